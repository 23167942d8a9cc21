/**
 * Small parts that many views have.
 *
 * @module
 */

import { inWords } from '../lib/api.js';
import { h, set, svg } from '../lib/dom.js';
import { fullTime, time } from '../lib/format.js';
import { notice } from './notices.js';

/** Outlines on a grid of 16 by 16. */
const ICONS = {
    search: 'M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9ZM10.5 10.5 14 14',
    copy: 'M5.5 5.5h8v8h-8zM3 10.5H2.5v-8h8V3',
    close: 'M4 4l8 8M12 4l-8 8',
    right: 'M6 3.5 10.5 8 6 12.5',
    left: 'M10 3.5 5.5 8l4.5 4.5',
    down: 'M3.5 6 8 10.5 12.5 6',
    plus: 'M8 3v10M3 8h10',
    minus: 'M3 8h10',
    folder: 'M1.5 12.5v-9h4l1.5 2h7.5v7zM1.5 5.5h5',
    file: 'M3.5 1.5h6l3 3v10h-9zM9.5 1.5v3h3',
    link:
        'M6.5 9.5l3-3M7 4.5l1.2-1.2a2.8 2.8 0 0 1 4 4L11 8.5' +
        'M9 11.5l-1.2 1.2a2.8 2.8 0 0 1-4-4L5 7.5',
    bookmark: 'M4 2h8v12l-4-3-4 3z',
    disk: 'M2 9.5h12v4H2zM2 9.5 4 2.5h8l2 7M11.5 11.5h.01',
    download: 'M8 2v8M4.5 7 8 10.5 11.5 7M2.5 13.5h11',
    restore: 'M2.5 8a5.5 5.5 0 1 1 1.8 4.1M2.5 3.5V8H7',
    check: 'M8 1.5 13.5 4v4c0 3.2-2.3 5.5-5.5 6.5C4.8 13.5 2.5 11.2 2.5 8V4zM5.5 8l2 2 3-3.5',
    warning: 'M8 2 15 13.5H1zM8 6.5v3M8 11.5h.01',
    auto: 'M8 2a6 6 0 1 0 0 12 6 6 0 0 0 0-12ZM8 2v12M10 3v10M12 4.5v7',
    light:
        'M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15' +
        'M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1',
    dark: 'M13.5 9.5A6 6 0 0 1 6.5 2.5a6 6 0 1 0 7 7Z',
};

/** @param {keyof typeof ICONS} name */
export function icon(name) {
    const path = svg('path', { d: ICONS[name] });
    return svg(
        'svg',
        { 'class': `icon icon-${name}`, 'viewBox': '0 0 16 16', 'aria-hidden': 'true' },
        path,
    );
}

/**
 * A state: a mark in its tone, and the word.
 *
 * @param {string} tone `ok`, `info`, `warn`, `bad` or `idle`
 * @param {string} word
 */
export function badge(tone, word) {
    return h('span', { class: `badge tone-${tone}` }, word);
}

/**
 * A time, with all of it on its title.
 *
 * @param {number} ms since 1970
 */
export function when(ms) {
    return h('span', { title: fullTime(ms) }, time(ms));
}

/**
 * A share of a whole as a bar. Its text has to stand beside it.
 *
 * @param {string} label
 */
export function meter(label) {
    const bar = h('span', { class: 'meter-bar' });
    const element = h(
        'span',
        {
            'class': 'meter',
            'role': 'progressbar',
            'aria-label': label,
            'aria-valuemin': '0',
            'aria-valuemax': '100',
        },
        bar,
    );
    return {
        element,
        /**
         * @param {number} share
         * @param {string} [tone]
         */
        update(share, tone = 'info') {
            const percent = Math.max(0, Math.min(1, share)) * 100;
            bar.style.width = `${percent.toFixed(2)}%`;
            set(element, 'aria-valuenow', Math.floor(percent));
            set(element, 'class', `meter tone-${tone}`);
        },
    };
}

/**
 * @param {string} text
 * @param {() => void} act
 * @param {object} [options]
 * @param {string} [options.class]
 * @param {keyof typeof ICONS} [options.icon]
 * @param {string} [options.title]
 * @param {boolean} [options.disabled]
 */
export function button(text, act, options = {}) {
    return h(
        'button',
        {
            type: 'button',
            class: `button ${options.class ?? ''}`.trim(),
            title: options.title,
            disabled: options.disabled,
            onclick: act,
        },
        options.icon ? icon(options.icon) : null,
        h('span', null, text),
    );
}

/**
 * A button that shows an icon only.
 *
 * @param {keyof typeof ICONS} name
 * @param {string} label
 * @param {() => void} act
 */
export function iconButton(name, label, act) {
    return h(
        'button',
        {
            'type': 'button',
            'class': 'button icon-only',
            'aria-label': label,
            'title': label,
            'onclick': act,
        },
        icon(name),
    );
}

/**
 * Text to be pasted elsewhere, with a button that copies it.
 *
 * @param {string} text
 * @param {string} what "the command"
 */
export function copyable(text, what) {
    return h(
        'div',
        { class: 'copyable' },
        h('code', { 'tabindex': '0', 'role': 'group', 'aria-label': what }, text),
        iconButton('copy', `Copy ${what}`, async () => {
            try {
                await navigator.clipboard.writeText(text);
                notice('Copied.');
            } catch {
                notice('The browser does not let this page copy. Select the text instead.', 'warn');
            }
        }),
    );
}

/**
 * Where there is nothing to show, and why.
 *
 * @param {string} title
 * @param {string} text
 * @param {...Node} acts
 */
export function empty(title, text, ...acts) {
    return h(
        'div',
        { class: 'empty' },
        h('p', { class: 'empty-title' }, title),
        h('p', { class: 'soft' }, text),
        acts.length > 0 ? h('div', { class: 'row' }, ...acts) : null,
    );
}

/** @param {string} what "the volume" */
export function loading(what) {
    return h(
        'div',
        { class: 'loading', role: 'status' },
        h('span', { class: 'spinner' }),
        h('span', null, `Loading ${what}…`),
    );
}

/**
 * @param {unknown} error
 * @param {() => void} again
 */
export function failed(error, again) {
    return h(
        'div',
        { class: 'failed', role: 'alert' },
        icon('warning'),
        h('p', null, inWords(error)),
        button('Try again', again),
    );
}

/**
 * Names with values.
 *
 * @param {[string, Node | string | null][]} rows those without a value are left out
 */
export function facts(rows) {
    const shown = rows.filter(([, value]) => value !== null && value !== '');
    return h(
        'dl',
        { class: 'facts' },
        shown.map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))),
    );
}

/**
 * A part of a page with a heading.
 *
 * @param {string} title
 * @param {{ class?: string, aside?: Node | Node[] | null, id?: string }} options
 * @param {...import('../lib/dom.js').Child} children
 */
export function panel(title, options, ...children) {
    const id = options.id ?? `panel-${title.toLowerCase().replace(/[^a-z]+/g, '-')}`;
    return h(
        'section',
        { 'class': `panel ${options.class ?? ''}`.trim(), 'aria-labelledby': id },
        h(
            'header',
            { class: 'panel-head' },
            h('h2', { id }, title),
            h('div', { class: 'row' }, options.aside ?? null),
        ),
        ...children,
    );
}

/**
 * A table of plain rows. On a phone each row is a list of its cells with their names; the roles
 * keep it a table for those who hear it.
 *
 * @param {string} caption heard, not drawn
 * @param {(string | { text: string, class: string })[]} columns
 * @param {import('../lib/dom.js').Child[][]} rows
 */
export function table(caption, columns, rows) {
    const head = columns.map((column) =>
        typeof column === 'string' ? { text: column, class: '' } : column,
    );
    const name = (/** @type {string} */ text) =>
        text === '' ? h('span', { class: 'heard' }, 'Acts') : text;
    const classOf = (/** @type {number} */ index) =>
        head[index]?.text === '' ? 'acts-cell' : (head[index]?.class ?? '');
    return h(
        'div',
        {
            'class': 'table-frame',
            'tabindex': '0',
            'role': 'group',
            'aria-label': caption,
        },
        h(
            'table',
            { class: 'plain', role: 'table' },
            h('caption', { class: 'heard' }, caption),
            h(
                'thead',
                { role: 'rowgroup' },
                h(
                    'tr',
                    { role: 'row' },
                    head.map((column, index) =>
                        h(
                            'th',
                            { scope: 'col', role: 'columnheader', class: classOf(index) },
                            name(column.text),
                        ),
                    ),
                ),
            ),
            h(
                'tbody',
                { role: 'rowgroup' },
                rows.map((cells) =>
                    h(
                        'tr',
                        { role: 'row' },
                        cells.map((cell, index) =>
                            h(
                                'td',
                                {
                                    'role': 'cell',
                                    'class': classOf(index),
                                    'data-label': head[index]?.text ?? '',
                                },
                                cell,
                            ),
                        ),
                    ),
                ),
            ),
        ),
    );
}
