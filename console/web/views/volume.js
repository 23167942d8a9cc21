/**
 * A volume: its head, and under it what it does now, its time, or the files of a point.
 *
 * @module
 */

import { fill, h, say, set } from '../lib/dom.js';
import { estate } from '../lib/estate.js';
import { bytes, capital, duration, fullTime, percent } from '../lib/format.js';
import { link } from '../lib/router.js';
import { LEVEL_TONES, STATES, TONES } from '../lib/words.js';
import { icon } from '../parts/small.js';
import { files } from './files.js';
import { lost } from './lost.js';
import { now } from './now.js';
import { time } from './time.js';

const PARTS = /** @type {const} */ ({
    now: 'Now',
    time: 'Time',
    files: 'Files',
});

/**
 * @param {HTMLElement} main
 * @param {import('../lib/dom.js').Scope} scope
 * @param {import('../lib/router.js').Route} route
 */
export function volume(main, scope, route) {
    const id = route.path[1] ?? '';
    const part = route.path[2] ?? 'now';
    if (!estate.volumes.has(id) || !(part in PARTS)) return lost(main);

    const state = h('span', { class: 'badge' });
    const need = h('p', { class: 'need' }, icon('warning'), h('span'));
    const summary = h('p', { class: 'volume-summary soft' });
    const name = h('span');
    const machine = h('span', { class: 'soft' });
    const body = h('div', { class: 'volume-body' });
    const tabs = Object.entries(PARTS)
        .filter(([key]) => key !== 'files' || estate.can('files'))
        .map(([key, word]) =>
            h(
                'a',
                {
                    'href': link(key === 'now' ? ['volumes', id] : ['volumes', id, key]),
                    'aria-current': key === part ? 'page' : null,
                },
                word,
            ),
        );
    fill(
        main,
        h(
            'div',
            { class: 'page' },
            h(
                'nav',
                { 'class': 'crumbs', 'aria-label': 'Way' },
                h('a', { href: '#/' }, 'Overview'),
                icon('right'),
                h('span', null, estate.nameOf(id)),
            ),
            h('header', { class: 'page-head' }, h('h1', null, name, machine), state),
            summary,
            need,
            h('nav', { 'class': 'tabs', 'aria-label': 'Views of the volume' }, tabs),
            body,
        ),
    );

    const update = () => {
        const line = estate.volumes.get(id);
        if (!line) return;
        say(name, line.name);
        const on = estate.machineName(line);
        say(machine, on ? ` on ${on}` : '');
        set(state, 'class', `badge tone-${TONES[line.state]}`);
        say(state, STATES[line.state]);
        say(summary, summarise(line));
        need.hidden = line.attention === null;
        set(need, 'class', `need tone-${LEVEL_TONES[line.level]}`);
        const text = need.querySelector('span');
        if (text) say(text, capital(line.attention ?? ''));
    };
    update();
    scope.on(estate, 'volumes', update);
    scope.every(1000, update);

    const named = /** @type {keyof typeof PARTS} */ (part);
    const make = { now, time, files }[named];
    const view = make(body, scope, id, route);
    return {
        title: part === 'now' ? estate.nameOf(id) : `${estate.nameOf(id)} · ${PARTS[named]}`,
        ...view,
    };
}

/** @param {Api.VolumeLine} line */
function summarise(line) {
    const words = [capital(line.state_text)];
    const rpo = estate.rpo(line);
    if (rpo !== null && line.latest_ms !== null) {
        const target =
            line.rpo_target_seconds === null ? '' : `, target ${duration(line.rpo_target_seconds)}`;
        words.push(`RPO ${duration(rpo)}${target} (latest point ${fullTime(line.latest_ms)})`);
    }
    if (line.first_sync && line.first_sync.total > 0) {
        const { done, total, eta_seconds: eta } = line.first_sync;
        words.push(
            `first sync ${percent(done / total)}${eta === null ? '' : `, ${duration(eta)} left`}`,
        );
    }
    if (line.length !== null) words.push(bytes(line.length));
    if (line.stored_bytes !== null) words.push(`${bytes(line.stored_bytes)} stored`);
    return words.join(' · ');
}
