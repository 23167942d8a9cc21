/**
 * Every machine and every volume, in one line each, and what needs a person.
 *
 * @module
 */

import { fill, framed, h, say, set } from '../lib/dom.js';
import { estate } from '../lib/estate.js';
import {
    bytes,
    capital,
    collator,
    count,
    counted,
    duration,
    percent,
    rate,
} from '../lib/format.js';
import { link, note } from '../lib/router.js';
import { LEVEL_TONES, STATES, TONES, URGENCY } from '../lib/words.js';
import { select } from '../parts/dialog.js';
import { empty, icon, meter } from '../parts/small.js';
import { windowed } from '../parts/windowed.js';

const NEEDS_SHOWN = 4;

/**
 * @typedef {object} Column
 * @property {string} key
 * @property {string} word
 * @property {string} [class]
 * @property {(line: Api.VolumeLine) => number | string} by what it is sorted by
 * @property {boolean} [most] whether the first click puts the largest first
 */

/** @type {Column[]} */
const COLUMNS = [
    {
        key: 'state',
        word: 'State',
        by: (line) => `${URGENCY[line.level]} ${STATES[line.state]}`,
    },
    {
        key: 'volume',
        word: 'Volume',
        by: (line) => `${estate.machineName(line)} ${line.name}`,
    },
    {
        key: 'rpo',
        word: 'RPO',
        by: (line) => estate.rpo(line) ?? Infinity,
        most: true,
    },
    {
        key: 'sync',
        word: 'First sync',
        by: (line) => shareOf(line.first_sync) ?? 2,
    },
    {
        key: 'rate',
        word: 'Receiving',
        class: 'number',
        by: (line) => line.receive_rate ?? -1,
        most: true,
    },
    {
        key: 'stored',
        word: 'Stored',
        class: 'number',
        by: (line) => line.stored_bytes ?? -1,
        most: true,
    },
    {
        key: 'about',
        word: 'What to know',
        by: (line) => `${URGENCY[line.level]} ${about(line)}`,
    },
];

/** What the tiles count, and the filter that each is. */
const FILTERS = [
    { key: 'all', word: 'Volumes', tone: 'idle', has: () => true },
    {
        key: 'protected',
        word: 'Protected',
        tone: 'ok',
        has: (/** @type {Api.VolumeLine} */ line) => line.state === 'protected',
    },
    {
        key: 'first-sync',
        word: 'First sync',
        tone: 'info',
        has: (/** @type {Api.VolumeLine} */ line) => line.state === 'first-sync',
    },
    {
        key: 'needs',
        word: 'Need a person',
        tone: 'bad',
        has: (/** @type {Api.VolumeLine} */ line) => line.attention !== null,
    },
    { key: 'late', word: 'RPO missed', tone: 'warn', has: missed },
];

/**
 * @param {HTMLElement} main
 * @param {import('../lib/dom.js').Scope} scope
 * @param {import('../lib/router.js').Route} route
 */
export function overview(main, scope, route) {
    const chosen = {
        search: route.query.get('search') ?? '',
        show: route.query.get('show') ?? 'all',
        group: route.query.get('group') ?? 'none',
        sort: route.query.get('sort') ?? 'state',
        down: route.query.get('down') === '1',
    };
    /** @type {Set<string>} */
    const closed = new Set();

    const search = h('input', {
        'type': 'search',
        'placeholder': 'Search volumes and machines',
        'value': chosen.search,
        'aria-label': 'Search volumes and machines',
        'maxlength': '100',
    });
    const state = select(
        [
            ['all', 'All states'],
            ...FILTERS.slice(1).map(
                (filter) => /** @type {[string, string]} */ ([filter.key, filter.word]),
            ),
            ...Object.entries(STATES).filter(([key]) => !['protected', 'first-sync'].includes(key)),
        ],
        chosen.show,
    );
    state.setAttribute('aria-label', 'Show');
    const group = select(
        [
            ['none', 'No groups'],
            ['machine', 'By machine'],
            ['group', 'By group'],
            ['state', 'By state'],
        ],
        chosen.group,
    );
    group.setAttribute('aria-label', 'Groups');
    const found = h('p', { class: 'soft small', role: 'status' });
    const tiles = FILTERS.map((filter) =>
        tile(filter, () => {
            choose({ show: chosen.show === filter.key ? 'all' : filter.key });
        }),
    );
    const rateTile = h(
        'div',
        { class: 'tile' },
        h('span', { class: 'tile-value' }, '–'),
        h('span', { class: 'tile-word' }, 'Receiving'),
    );
    const spaceTile = h(
        'div',
        { class: 'tile' },
        h('span', { class: 'tile-value' }, '–'),
        h('span', { class: 'tile-word' }, 'Free'),
    );
    const needs = h('div');
    const heads = COLUMNS.map((column) =>
        head(column, () => {
            const down = chosen.sort === column.key ? !chosen.down : column.most === true;
            choose({ sort: column.key, down });
        }),
    );
    const table = h(
        'table',
        { class: 'volumes', role: 'table' },
        h('caption', { class: 'heard' }, 'Volumes'),
        h(
            'thead',
            { role: 'rowgroup' },
            h(
                'tr',
                { role: 'row' },
                heads.map((part) => part.element),
            ),
        ),
    );
    const nothing = h('div', { hidden: true });
    fill(
        main,
        h(
            'div',
            { class: 'page' },
            h('header', { class: 'page-head' }, h('h1', null, 'Overview')),
            h(
                'div',
                { class: 'tiles' },
                tiles.map((part) => part.element),
                rateTile,
                spaceTile,
            ),
            needs,
            h(
                'div',
                { class: 'toolbar' },
                h('div', { class: 'search' }, icon('search'), search),
                state,
                group,
                found,
            ),
            table,
            nothing,
        ),
    );
    const rows = windowed(scope, table, (/** @type {Item} */ item) =>
        'volume' in item
            ? volumeRow(item)
            : groupRow(item, (/** @type {string} */ key) => {
                  if (!closed.delete(key)) closed.add(key);
                  order();
              }),
    );

    /** Sorts, searches and groups again. */
    const order = framed(() => {
        const lines = filtered([...estate.volumes.values()], chosen);
        sort(lines, chosen);
        rows.update(grouped(lines, chosen.group, closed));
        say(
            found,
            lines.length === estate.volumes.size
                ? counted(lines.length, 'volume')
                : `${count(lines.length)} of ${counted(estate.volumes.size, 'volume')}`,
        );
        for (const part of heads) part.update(chosen);
        nothing.hidden = lines.length > 0;
        table.hidden = lines.length === 0;
        if (lines.length === 0) {
            fill(
                nothing,
                estate.volumes.size === 0
                    ? empty(
                          'No machine has sent a volume yet.',
                          'Make a token for a machine and enrol it: its ' +
                              'volumes are here as soon as they are protected.',
                          h(
                              'a',
                              { class: 'button primary', href: link(['clients']) },
                              'To the clients',
                          ),
                      )
                    : empty('No volume is like that.', 'Change the search or what is shown.'),
            );
        }
    });
    const sums = framed(() => {
        const lines = [...estate.volumes.values()];
        FILTERS.forEach((filter, index) => {
            tiles[index]?.update(lines.filter(filter.has).length, chosen.show === filter.key);
        });
        const value = rateTile.firstElementChild;
        if (value) say(value, rate(lines.reduce((sum, line) => sum + (line.receive_rate ?? 0), 0)));
        const server = estate.server;
        const free = spaceTile.firstElementChild;
        spaceTile.hidden = server?.free_bytes === null || !server;
        if (free && server?.free_bytes) say(free, bytes(server.free_bytes));
        showNeeds(needs, lines, chosen.show === 'needs', () => choose({ show: 'needs' }));
    });
    /** @param {Partial<typeof chosen>} change */
    const choose = (change) => {
        Object.assign(chosen, change);
        state.value = chosen.show;
        note(
            link([], {
                search: chosen.search || null,
                show: chosen.show === 'all' ? null : chosen.show,
                group: chosen.group === 'none' ? null : chosen.group,
                sort: chosen.sort === 'state' ? null : chosen.sort,
                down: chosen.down ? 1 : null,
            }),
        );
        order();
        sums();
    };
    search.addEventListener('input', () => choose({ search: search.value }));
    state.addEventListener('change', () => choose({ show: state.value }));
    group.addEventListener('change', () => choose({ group: group.value }));
    scope.on(estate, 'volumes', () => {
        order();
        sums();
    });
    scope.on(estate, 'alarms', sums);
    scope.every(1000, rows.renew);
    order();
    sums();
    return { title: 'Overview' };
}

/** @param {Api.VolumeLine} line */
function missed(line) {
    const rpo = estate.rpo(line);
    return rpo !== null && line.rpo_target_seconds !== null && rpo > line.rpo_target_seconds;
}

/** @param {Api.Progress | null} progress */
function shareOf(progress) {
    if (!progress || progress.total === 0) return null;
    return progress.done / progress.total;
}

/**
 * The line's last column: what a person should do, or the reason of its gap.
 *
 * @param {Api.VolumeLine} line
 */
function about(line) {
    if (line.attention !== null) return capital(line.attention);
    if (line.gap) return `Gap: ${line.gap.reason_text}`;
    return line.state === 'protected' ? '' : capital(line.state_text);
}

/**
 * @param {Api.VolumeLine[]} lines
 * @param {{ search: string, show: string }} chosen
 */
function filtered(lines, chosen) {
    const filter = FILTERS.find(({ key }) => key === chosen.show);
    const words = chosen.search
        .toLowerCase()
        .split(/\s+/)
        .filter((word) => word !== '');
    return lines.filter((line) => {
        if (filter ? !filter.has(line) : line.state !== chosen.show) return false;
        if (words.length === 0) return true;
        const text =
            `${line.name} ${estate.machineName(line)} ${line.group ?? ''} ${line.volume} ` +
            `${STATES[line.state]} ${about(line)}`.toLowerCase();
        return words.every((word) => text.toLowerCase().includes(word));
    });
}

/**
 * @param {Api.VolumeLine[]} lines
 * @param {{ sort: string, down: boolean }} chosen
 */
function sort(lines, chosen) {
    const column = COLUMNS.find(({ key }) => key === chosen.sort) ?? COLUMNS[0];
    if (!column) return;
    const keyed = new Map(lines.map((line) => [line, column.by(line)]));
    const names = new Map(lines.map((line) => [line, `${estate.machineName(line)} ${line.name}`]));
    const sign = chosen.down ? -1 : 1;
    lines.sort((one, other) => {
        const [a, b] = [keyed.get(one), keyed.get(other)];
        const by =
            typeof a === 'number' && typeof b === 'number'
                ? a - b || 0
                : collator.compare(String(a), String(b));
        return sign * by || collator.compare(names.get(one) ?? '', names.get(other) ?? '');
    });
}

/** @typedef {{ title: string, size: number, key: string, open: boolean }} Group */
/** @typedef {Api.VolumeLine | Group} Item */

/**
 * @param {Api.VolumeLine[]} lines
 * @param {string} by
 * @param {Set<string>} closed
 * @returns {import('../parts/windowed.js').Row<Item>[]}
 */
function grouped(lines, by, closed) {
    const row = (/** @type {Api.VolumeLine} */ line) => ({
        key: line.volume,
        item: line,
    });
    if (by === 'none') return lines.map(row);
    /** @type {Map<string, Api.VolumeLine[]>} */
    const groups = new Map();
    for (const line of lines) {
        const title =
            (by === 'machine'
                ? estate.machineName(line)
                : by === 'state'
                  ? STATES[line.state]
                  : line.group) || 'Without a group';
        const members = groups.get(title);
        if (members) members.push(line);
        else groups.set(title, [line]);
    }
    const titles = [...groups.keys()].sort(collator.compare);
    return titles.flatMap((title) => {
        const members = groups.get(title) ?? [];
        const open = !closed.has(title);
        const item = { title, size: members.length, key: title, open };
        return [{ key: `group ${title}`, item }, ...(open ? members.map(row) : [])];
    });
}

/**
 * @param {Column} column
 * @param {() => void} act
 */
function head(column, act) {
    const arrow = h('span', { 'class': 'arrow', 'aria-hidden': 'true' });
    const element = h(
        'th',
        {
            scope: 'col',
            role: 'columnheader',
            class: `c-${column.key} ${column.class ?? ''}`,
        },
        h('button', { type: 'button', onclick: act }, column.word, arrow),
    );
    return {
        element,
        /** @param {{ sort: string, down: boolean }} chosen */
        update(chosen) {
            const is = chosen.sort === column.key;
            set(element, 'aria-sort', is ? (chosen.down ? 'descending' : 'ascending') : null);
            say(arrow, is ? (chosen.down ? '↓' : '↑') : '');
        },
    };
}

/** @param {Api.VolumeLine} first */
function volumeRow(first) {
    const state = h('span', { class: 'badge' });
    const name = h('a', { class: 'name' });
    const machine = h('span', { class: 'soft' });
    const rpo = h('span', { class: 'rpo-value' });
    const target = h('span', { class: 'soft' });
    const rpoMeter = meter('Age of the latest point, of the target');
    const sync = h('span', { class: 'sync-value' });
    const syncMeter = meter('First sync');
    const receiving = h('span');
    const stored = h('span');
    const text = h('span', { class: 'about' });
    const cell = (
        /** @type {string} */ key,
        /** @type {string} */ label,
        /** @type {(Node | string)[]} */ ...children
    ) => h('td', { 'role': 'cell', 'class': `c-${key}`, 'data-label': label }, ...children);
    const element = h(
        'tr',
        { role: 'row', class: 'volume-row' },
        cell('state', 'State', state),
        cell('volume', 'Volume', name, ' ', machine),
        cell('rpo', 'RPO', h('span', { class: 'line' }, rpo, target), rpoMeter.element),
        cell('sync', 'First sync', h('span', { class: 'line' }, sync), syncMeter.element),
        cell('rate', 'Receiving', receiving),
        cell('stored', 'Stored', stored),
        cell('about', 'What to know', text),
    );
    const update = (/** @type {Api.VolumeLine} */ line) => {
        set(element, 'class', `volume-row level-${line.level}`);
        set(state, 'class', `badge tone-${TONES[line.state]}`);
        say(state, STATES[line.state]);
        set(state, 'title', line.state_text);
        set(name, 'href', link(['volumes', line.volume]));
        say(name, line.name);
        say(machine, estate.machineName(line) || 'no machine');
        const age = estate.rpo(line);
        say(rpo, age === null ? '–' : duration(age));
        set(rpo, 'class', `rpo-value${missed(line) ? ' is-bad' : ''}`);
        say(
            target,
            age !== null && line.rpo_target_seconds !== null
                ? ` of ${duration(line.rpo_target_seconds)}`
                : '',
        );
        rpoMeter.element.hidden = age === null || line.rpo_target_seconds === null;
        rpoMeter.update((age ?? 0) / (line.rpo_target_seconds || 1), missed(line) ? 'bad' : 'ok');
        const share = shareOf(line.first_sync);
        const eta = line.first_sync?.eta_seconds;
        const done = line.first_sync === null && line.latest_ms !== null;
        say(
            sync,
            share !== null
                ? `${percent(share)}${eta ? `, ${duration(eta)} left` : ''}`
                : done
                  ? 'Complete'
                  : '–',
        );
        set(sync, 'class', `sync-value${share === null ? ' soft' : ''}`);
        syncMeter.element.hidden = share === null;
        syncMeter.update(share ?? 0);
        say(
            receiving,
            line.receive_rate === null
                ? '–'
                : line.receive_rate === 0
                  ? '0'
                  : rate(line.receive_rate),
        );
        set(receiving, 'class', line.receive_rate ? '' : 'soft');
        say(stored, line.stored_bytes === null ? '–' : bytes(line.stored_bytes));
        const words = about(line);
        say(text, words);
        set(text, 'title', words);
        set(text, 'class', `about${line.attention ? '' : ' soft'}`);
    };
    update(first);
    return {
        element,
        update: (/** @type {Item} */ item) => ('volume' in item ? update(item) : undefined),
    };
}

/**
 * @param {Group} group
 * @param {(key: string) => void} toggle
 */
function groupRow(group, toggle) {
    const size = h('span', { class: 'soft' });
    const button = h(
        'button',
        { type: 'button', onclick: () => toggle(group.key) },
        icon('right'),
        h('span', null, group.title),
        size,
    );
    const element = h(
        'tr',
        { role: 'row', class: 'group-row' },
        h('th', { scope: 'rowgroup', role: 'rowheader', colspan: String(COLUMNS.length) }, button),
    );
    const update = (/** @type {Item} */ item) => {
        if ('volume' in item) return;
        set(button, 'aria-expanded', String(item.open));
        say(size, counted(item.size, 'volume'));
    };
    update(group);
    return { element, update };
}

/**
 * @param {typeof FILTERS[0]} filter
 * @param {() => void} act
 */
function tile(filter, act) {
    const value = h('span', { class: 'tile-value' });
    const element = h(
        'button',
        { type: 'button', class: 'tile', onclick: act },
        value,
        h('span', { class: 'tile-word' }, filter.word),
    );
    return {
        element,
        /**
         * @param {number} number
         * @param {boolean} pressed
         */
        update(number, pressed) {
            say(value, count(number));
            const tone = number === 0 ? 'idle' : filter.tone;
            set(element, 'class', `tile tone-${tone}`);
            set(element, 'aria-pressed', String(pressed));
        },
    };
}

/**
 * The volumes and alarms that need a person, the most urgent first.
 *
 * @param {HTMLElement} place
 * @param {Api.VolumeLine[]} lines
 * @param {boolean} filtered whether the table below shows them all
 * @param {() => void} all
 */
function showNeeds(place, lines, filtered, all) {
    const volumes = lines
        .filter((line) => line.attention !== null)
        .map((line) => ({
            level: line.level,
            title: estate.nameOf(line.volume),
            text: capital(line.attention ?? ''),
            href: link(['volumes', line.volume]),
        }));
    const alarms = [...estate.alarms.values()]
        .filter((alarm) => alarm.ended_ms === null && alarm.volume === null)
        .map((alarm) => ({
            level: alarm.level,
            title:
                (alarm.machine === null ? null : estate.machines.get(alarm.machine)?.name) ??
                'Server',
            text: capital(alarm.text),
            href: link(['activity']),
        }));
    const shortage = estate.server?.shortage;
    if (shortage)
        alarms.push({
            level: 'critical',
            title: 'Server',
            text: shortage,
            href: link(['activity']),
        });
    const items = [...alarms, ...volumes].sort(
        (one, other) =>
            URGENCY[one.level] - URGENCY[other.level] || collator.compare(one.title, other.title),
    );
    const shown = filtered ? [] : items.slice(0, NEEDS_SHOWN);
    const state = JSON.stringify([shown, items.length]);
    if (place.dataset['state'] === state) return;
    place.dataset['state'] = state;
    if (shown.length === 0) {
        fill(place);
        return;
    }
    const id = 'needs';
    fill(
        place,
        h(
            'section',
            { 'class': 'needs', 'aria-labelledby': id },
            h(
                'header',
                { class: 'panel-head' },
                h('h2', { id }, 'Needs a person'),
                items.length > shown.length
                    ? h(
                          'button',
                          { type: 'button', class: 'button quiet', onclick: all },
                          `Show all ${count(items.length)}`,
                      )
                    : null,
            ),
            h(
                'ul',
                null,
                shown.map((item) =>
                    h(
                        'li',
                        { class: `need tone-${LEVEL_TONES[item.level]}` },
                        icon('warning'),
                        h('a', { href: item.href }, item.title),
                        h('span', null, item.text),
                    ),
                ),
            ),
        ),
    );
}
