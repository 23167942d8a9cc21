/**
 * What the page says by the way: a line that goes by itself, and is read out by screen readers.
 *
 * @module
 */

import { h } from '../lib/dom.js';

const STAYS_MS = 6000;
const list = h('div', {
    'class': 'notices',
    'role': 'status',
    'aria-live': 'polite',
});

/** Puts the place of notices into the page. */
export function place() {
    document.body.append(list);
}

/**
 * @param {string} text
 * @param {'ok' | 'warn' | 'bad'} [tone]
 */
export function notice(text, tone = 'ok') {
    const line = h('p', { class: `notice tone-${tone}` }, text);
    list.append(line);
    setTimeout(() => line.remove(), STAYS_MS);
}
