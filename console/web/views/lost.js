/**
 * An address that names nothing.
 *
 * @module
 */

import { fill, h } from '../lib/dom.js';
import { empty } from '../parts/small.js';

/** @param {HTMLElement} main */
export function lost(main) {
    fill(
        main,
        h('h1', { class: 'heard' }, 'Nothing here'),
        empty(
            'There is nothing at this address.',
            'It may be of another version of the console.',
            h('a', { class: 'button', href: '#/' }, 'To the overview'),
        ),
    );
    return { title: 'Nothing here' };
}
