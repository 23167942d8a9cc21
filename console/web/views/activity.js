/**
 * Jobs and alarms of all volumes.
 *
 * @module
 */

import { fill, framed, h } from '../lib/dom.js';
import { estate } from '../lib/estate.js';
import { capital, duration } from '../lib/format.js';
import { live } from '../lib/live.js';
import { link } from '../lib/router.js';
import { ALARMS, LEVEL_TONES, LEVELS } from '../lib/words.js';
import { jobList } from '../parts/jobs.js';
import { badge, empty, panel, table, when } from '../parts/small.js';

/**
 * @param {HTMLElement} main
 * @param {import('../lib/dom.js').Scope} scope
 */
export function activity(main, scope) {
    const lasting = h('div');
    const ended = h('div');
    const update = framed(() => {
        const alarms = [...estate.alarms.values()].sort(
            (one, other) => other.since_ms - one.since_ms,
        );
        const now = alarms.filter((alarm) => alarm.ended_ms === null);
        const past = alarms.filter((alarm) => alarm.ended_ms !== null);
        fill(
            lasting,
            now.length === 0
                ? empty(
                      'No alarm.',
                      'RPO, gaps, damage, space and certificates are as they should be.',
                  )
                : list('Alarms', now),
        );
        fill(
            ended,
            past.length === 0
                ? empty(
                      'None since the console was started.',
                      'Alarms that have ended stay here for a while.',
                  )
                : list('Alarms that ended', past),
        );
    });
    fill(
        main,
        h(
            'div',
            { class: 'page' },
            h('header', { class: 'page-head' }, h('h1', null, 'Activity')),
            h(
                'div',
                { class: 'grid' },
                panel('Alarms', { class: 'wide' }, lasting),
                jobList(scope, null),
                panel('Alarms that ended', { class: 'wide' }, ended),
            ),
        ),
    );
    scope.on(estate, 'alarms', update);
    update();
    return { title: 'Activity' };
}

/**
 * @param {string} caption
 * @param {Api.Alarm[]} alarms
 */
function list(caption, alarms) {
    return table(
        caption,
        ['Level', 'Alarm', 'About', 'What', 'Since', 'For'],
        alarms.map((alarm) => [
            badge(LEVEL_TONES[alarm.level], LEVELS[alarm.level]),
            ALARMS[alarm.kind],
            alarm.volume !== null
                ? h('a', { href: link(['volumes', alarm.volume]) }, estate.nameOf(alarm.volume))
                : alarm.machine !== null
                  ? (estate.machines.get(alarm.machine)?.name ?? alarm.machine)
                  : 'Server',
            capital(alarm.text),
            when(alarm.since_ms),
            duration(((alarm.ended_ms ?? live.now()) - alarm.since_ms) / 1000),
        ]),
    );
}
