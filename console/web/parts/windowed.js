/**
 * A table of any number of rows, of which those near the window are in the page.
 *
 * All rows have one height. What is above and below is two empty rows of the right height; screen
 * readers get the number of rows and the number of each from ARIA.
 *
 * @module
 */

import { framed, h, set } from '../lib/dom.js';

const OVERSCAN = 6;

/**
 * @template T
 * @typedef {object} Row
 * @property {string} key
 * @property {T} item
 */

/**
 * @template T
 * @param {import('../lib/dom.js').Scope} scope
 * @param {HTMLTableElement} table with its head
 * @param {(item: T) => { element: HTMLTableRowElement, update: (item: T) => void }} make
 */
export function windowed(scope, table, make) {
    const above = spacer();
    const below = spacer();
    const body = h('tbody', { role: 'rowgroup' }, above.element, below.element);
    table.append(body);
    /** @type {Row<T>[]} */
    let rows = [];
    /** @type {Map<string, ReturnType<typeof make>>} */
    let shown = new Map();
    let height = 0;
    /** Whether rows may say something else than before; scrolling alone changes none. */
    let changed = false;

    const paint = framed(() => {
        if (!table.isConnected) return;
        if (height === 0)
            height = parseFloat(getComputedStyle(table).getPropertyValue('--row')) || 40;
        const top = body.getBoundingClientRect().top;
        const first = Math.max(0, Math.floor(-top / height) - OVERSCAN);
        const last = Math.min(rows.length, Math.ceil((innerHeight - top) / height) + OVERSCAN);
        const keys = new Set(rows.slice(first, last).map((row) => row.key));
        // Those that go, first: what stays then is where it has to be, and is not moved.
        for (const [key, part] of shown) if (!keys.has(key)) part.element.remove();
        /** @type {typeof shown} */
        const next = new Map();
        /** @type {Element} */
        let before = above.element;
        for (let index = first; index < last; index += 1) {
            const row = rows[index];
            if (!row) continue;
            let part = shown.get(row.key);
            if (!part) part = make(row.item);
            else if (changed) part.update(row.item);
            next.set(row.key, part);
            set(part.element, 'aria-rowindex', index + 2);
            if (before.nextElementSibling !== part.element) before.after(part.element);
            before = part.element;
        }
        shown = next;
        changed = false;
        above.size(first * height);
        below.size(Math.max(0, rows.length - last) * height);
    });

    const renew = () => {
        changed = true;
        paint();
    };
    scope.on(window, 'scroll', paint);
    scope.on(window, 'resize', () => {
        height = 0;
        paint();
    });
    return {
        /** @param {Row<T>[]} next */
        update(next) {
            rows = next;
            set(table, 'aria-rowcount', next.length + 1);
            renew();
        },
        /** Says the same rows again: their ages have grown. */
        renew,
    };
}

function spacer() {
    const element = h('tr', { 'class': 'spacer', 'aria-hidden': 'true' });
    return {
        element,
        /** @param {number} height */
        size(height) {
            element.style.height = `${height}px`;
            element.hidden = height === 0;
        },
    };
}
