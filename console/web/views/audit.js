/**
 * The end of the audit log.
 *
 * @module
 */

import { get, isAbort } from '../lib/api.js';
import { fill, h } from '../lib/dom.js';
import { estate } from '../lib/estate.js';
import { button, empty, failed, loading, panel, table, when } from '../parts/small.js';

const SHOWN = 500;

/**
 * @param {HTMLElement} main
 * @param {import('../lib/dom.js').Scope} scope
 */
export function audit(main, scope) {
    const place = h('div');
    const load = async () => {
        fill(place, loading('the audit log'));
        try {
            const { entries } = await get(['audit'], { limit: SHOWN }, scope.signal);
            fill(
                place,
                entries.length === 0
                    ? empty(
                          'The audit log is empty.',
                          'What people and machines do is noted in it.',
                      )
                    : list(entries),
            );
        } catch (error) {
            if (!isAbort(error)) fill(place, failed(error, load));
        }
    };
    fill(
        main,
        h(
            'div',
            { class: 'page' },
            h('header', { class: 'page-head' }, h('h1', null, 'Audit log')),
            h(
                'div',
                { class: 'grid' },
                panel(
                    'Entries',
                    {
                        class: 'wide',
                        aside: button('Load again', load, { class: 'quiet' }),
                    },
                    place,
                ),
            ),
        ),
    );
    load();
    return { title: 'Audit log' };
}

/** @param {Api.AuditEntry[]} entries */
function list(entries) {
    return table(
        'Entries of the audit log, the newest first',
        ['Time', 'Act', 'Who', 'From', 'About'],
        entries.map((entry) => [
            entry.time_ms === null ? '–' : when(entry.time_ms),
            entry.act,
            entry.who ??
                (entry.machine === null
                    ? '–'
                    : (estate.machines.get(entry.machine)?.name ?? entry.machine)),
            entry.peer ?? '–',
            h('span', { class: 'break' }, entry.about),
        ]),
    );
}
