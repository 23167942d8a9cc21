/**
 * The block map: the volume from its first block to its last, in cells, and in each cell the states
 * of its blocks.
 *
 * The server divides a volume of any size into at most 4,096 parts, so that a map of 64 TiB costs
 * what one of 64 GiB does. A cell is painted again only if its states have changed. Who does not
 * see it has the place in the volume as a slider, and the sums as a list.
 *
 * @module
 */

import { colour, font, prepare, still, theme } from '../lib/canvas.js';
import { framed, h, say, set } from '../lib/dom.js';
import { bytes, counted, percent } from '../lib/format.js';
import { BLOCKS, BLOCK_HINTS, BLOCK_WORDS } from '../lib/words.js';

const STATES = BLOCKS.length;
const FULL = 255;
const CELL_MIN = 7;
const CELL_MAX = 22;
const FADE_MS = 700;
const HINT = 'Point at a cell to see its blocks, or go there by the arrow keys.';
const HEAT_HINT = 'Point at a place to see how much was written there.';
/** What is seen even if it is a part of a cell's blocks only. */
const SMALL = /** @type {const} */ ({ reading: 1, held: 2, dirty: 4 });

/** How many parts a screen asks for: so many that cells stay as large as a pointer needs. */
export function partsFor() {
    return innerWidth < 600 ? 1024 : 4096;
}

/**
 * The shares of the states in each part, one after the other, from a map's runs.
 *
 * @param {Api.BlockMap} map
 */
export function sharesOf(map) {
    const shares = new Uint8Array(map.parts * STATES);
    const columns = map.states.map((state) => BLOCKS.indexOf(state));
    let part = 0;
    for (const [length = 0, ...values] of map.runs) {
        for (let end = Math.min(part + length, map.parts); part < end; part += 1) {
            columns.forEach((column, index) => {
                shares[part * STATES + column] = values[index] ?? 0;
            });
        }
    }
    return shares;
}

/**
 * The part of all blocks that each state has.
 *
 * @param {Uint8Array} shares
 */
export function totals(shares) {
    const sums = new Array(STATES).fill(0);
    shares.forEach((share, index) => {
        sums[index % STATES] += share;
    });
    const all = sums.reduce((sum, value) => sum + value, 0);
    return sums.map((sum) => (all === 0 ? 0 : sum / all));
}

/** @param {import('../lib/dom.js').Scope} scope */
export function blockMap(scope) {
    const canvas = h('canvas', {
        'class': 'block-map-canvas',
        'role': 'slider',
        'tabindex': '0',
        'aria-label': 'Place in the volume',
        'aria-valuemin': '0',
    });
    const readout = h('p', { class: 'readout small' }, HINT);
    const legend = h(
        'ul',
        { class: 'legend block-legend' },
        BLOCKS.map((state) =>
            h(
                'li',
                {
                    title: BLOCK_HINTS[state],
                },
                h('span', { class: `key key-${state}` }),
                h('span', null, BLOCK_WORDS[state]),
                h('b'),
            ),
        ),
    );
    const element = h('div', { class: 'block-map' }, legend, canvas, readout);

    let shares = new Uint8Array(0);
    let length = 0;
    let parts = 0;
    /** When each cell changed last, for its fade. @type {Float64Array} */
    let changed = new Float64Array(0);
    /** What each cell was painted with: its shares, the fade and the cursor, in one number. */
    let painted = new Float64Array(0);
    let layout = { columns: 1, size: CELL_MIN, rows: 1 };
    /** @type {number | null} */
    let cursor = null;
    let fading = false;

    const paint = framed(() => {
        const width = canvas.clientWidth;
        if (width === 0 || parts === 0) return;
        const now = performance.now();
        const context = prepare(canvas, width, layout.rows * layout.size);
        fading = false;
        for (let cell = 0; cell < parts; cell += 1) {
            const fresh = Math.max(0, 1 - (now - (changed[cell] ?? 0)) / FADE_MS);
            if (fresh > 0) fading = true;
            const look =
                digest(shares, cell) * 32 + Math.ceil(fresh * 15) * 2 + (cell === cursor ? 1 : 0);
            if (painted[cell] === look) continue;
            painted[cell] = look;
            paintCell(context, shares, cell, layout, fresh, cell === cursor);
        }
        if (fading) paint();
    });

    const place = () => {
        const width = canvas.clientWidth;
        if (width === 0 || parts === 0) return;
        const size = Math.max(
            CELL_MIN,
            Math.min(CELL_MAX, Math.floor(Math.sqrt((width * 330) / parts))),
        );
        const columns = Math.max(1, Math.floor(width / size));
        layout = {
            columns,
            size: width / columns,
            rows: Math.ceil(parts / columns),
        };
        painted = new Float64Array(parts).fill(-1);
        const context = prepare(canvas, width, layout.rows * layout.size);
        context.clearRect(0, 0, width, layout.rows * layout.size);
        paint();
    };

    /** @param {number | null} cell */
    const point = (cell) => {
        cursor = cell;
        const words = cell === null ? '' : describe(shares, cell, parts, length);
        say(readout, words || HINT);
        set(canvas, 'aria-valuenow', cell ?? 0);
        set(canvas, 'aria-valuetext', cell === null ? describe(shares, 0, parts, length) : words);
        paint();
    };

    canvas.addEventListener('pointermove', (event) => {
        const box = canvas.getBoundingClientRect();
        const column = Math.floor((event.clientX - box.left) / layout.size);
        const row = Math.floor((event.clientY - box.top) / layout.size);
        const cell = row * layout.columns + Math.min(column, layout.columns - 1);
        point(cell >= 0 && cell < parts ? cell : null);
    });
    canvas.addEventListener('pointerleave', () => point(null));
    canvas.addEventListener('blur', () => point(null));
    canvas.addEventListener('keydown', (event) => {
        const step = {
            ArrowRight: 1,
            ArrowLeft: -1,
            ArrowDown: layout.columns,
            ArrowUp: -layout.columns,
        }[event.key];
        const to =
            step !== undefined
                ? (cursor ?? -1) + step
                : event.key === 'Home'
                  ? 0
                  : event.key === 'End'
                    ? parts - 1
                    : null;
        if (to === null || parts === 0) return;
        event.preventDefault();
        point(Math.max(0, Math.min(parts - 1, to)));
    });
    scope.resized(canvas, place);
    scope.on(theme, 'change', place);

    return {
        element,
        /** @param {Api.BlockMap} map */
        update(map) {
            const next = sharesOf(map);
            const same = map.parts === parts;
            const now = performance.now();
            const fade = same && !still();
            if (!same) changed = new Float64Array(map.parts).fill(-FADE_MS);
            for (let cell = 0; fade && cell < map.parts; cell += 1) {
                if (digest(next, cell) !== digest(shares, cell)) changed[cell] = now;
            }
            shares = next;
            length = map.length ?? 0;
            parts = map.parts;
            set(canvas, 'aria-valuemax', Math.max(0, parts - 1));
            const known = new Set(map.states);
            const sums = totals(shares);
            legend.querySelectorAll('li').forEach((item, index) => {
                const state = BLOCKS[index] ?? 'unsynced';
                item.hidden = !known.has(state);
                const value = item.querySelector('b');
                if (value) say(value, sums[index] === 0 ? '0 %' : shareWords(sums[index] ?? 0));
            });
            if (same) paint();
            else place();
            point(cursor !== null && cursor < parts ? cursor : null);
        },
    };
}

/** @param {number} share */
function shareWords(share) {
    return share < 0.0005 ? '< 0.1 %' : percent(share);
}

/**
 * A cell's shares as one number.
 *
 * @param {Uint8Array} shares
 * @param {number} cell
 */
function digest(shares, cell) {
    let sum = 0;
    for (let state = 0; state < STATES - 1; state += 1)
        sum = sum * 256 + (shares[cell * STATES + state] ?? 0);
    return sum + (shares[cell * STATES + STATES - 1] ?? 0) / 256;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Uint8Array} shares
 * @param {number} cell
 * @param {{ columns: number, size: number }} layout
 * @param {number} fresh 1 just after a change, then less
 * @param {boolean} chosen
 */
function paintCell(context, shares, cell, layout, fresh, chosen) {
    const column = cell % layout.columns;
    const left = Math.round(column * layout.size);
    const top = Math.round(Math.floor(cell / layout.columns) * layout.size);
    const width = Math.round((column + 1) * layout.size) - left - 1;
    const height = Math.round((Math.floor(cell / layout.columns) + 1) * layout.size) - top - 1;
    const share = (/** @type {number} */ state) => (shares[cell * STATES + state] ?? 0) / FULL;
    context.clearRect(left, top, width + 1, height + 1);
    context.fillStyle = colour('block-unsynced');
    context.fillRect(left, top, width, height);
    // The sweep goes from left to right, and so does a cell.
    let from = 0;
    for (const state of [3, 5]) {
        const to = Math.min(1, from + share(state));
        if (to <= from) continue;
        context.fillStyle = colour(`block-${BLOCKS[state]}`);
        const begin = Math.round(from * width);
        context.fillRect(left + begin, top, Math.max(1, Math.round(to * width) - begin), height);
        from = to;
    }
    for (const state of Object.values(SMALL)) {
        if (share(state) === 0) continue;
        const high = Math.max(3, Math.round(share(state) * height));
        context.fillStyle = colour(`block-${BLOCKS[state]}`);
        context.fillRect(left, top + height - high, width, high);
    }
    if (fresh > 0) {
        context.globalAlpha = fresh * 0.2;
        context.fillStyle = colour('text');
        context.fillRect(left, top, width, height);
        context.globalAlpha = 1;
    }
    if (chosen) {
        context.strokeStyle = colour('text');
        context.lineWidth = 1.5;
        context.strokeRect(left + 0.75, top + 0.75, width - 1.5, height - 1.5);
    }
}

/**
 * A cell in words.
 *
 * @param {Uint8Array} shares
 * @param {number} cell
 * @param {number} parts
 * @param {number} length
 */
function describe(shares, cell, parts, length) {
    if (parts === 0) return 'Nothing is known';
    const from = bytes((length / parts) * cell);
    const to = bytes((length / parts) * (cell + 1));
    const states = BLOCKS.map((state, index) => ({
        state,
        share: shares[cell * STATES + index] ?? 0,
    }))
        .filter(({ share }) => share > 0)
        .map(
            ({ state, share }) =>
                `${share === FULL ? 'all' : shareWords(share / FULL)} ` +
                `${BLOCK_WORDS[state].toLowerCase()}`,
        );
    return `${from} to ${to}: ${states.join(', ') || 'nothing is known'}`;
}

/**
 * Where on the volume bytes were written, as a strip of the same order as the map.
 *
 * @param {import('../lib/dom.js').Scope} scope
 */
export function heatStrip(scope) {
    const canvas = h('canvas', {
        'role': 'img',
        'aria-label': 'Changed bytes on the volume',
    });
    const readout = h('p', { class: 'readout small' }, HEAT_HINT);
    const element = h('div', { class: 'heat-strip' }, canvas, readout);
    const HEIGHT = 56;
    /** @type {number[]} */
    let heat = [];
    let length = 0;
    const paint = framed(() => {
        const width = canvas.clientWidth;
        if (width === 0) return;
        const context = prepare(canvas, width, HEIGHT);
        context.clearRect(0, 0, width, HEIGHT);
        context.fillStyle = colour('sunken');
        context.fillRect(0, 0, width, HEIGHT - 18);
        const most = Math.log1p(Math.max(1, ...heat));
        context.fillStyle = colour('heat');
        heat.forEach((value, index) => {
            if (value === 0) return;
            const left = Math.floor((index / heat.length) * width);
            const right = Math.max(left + 1, Math.floor(((index + 1) / heat.length) * width));
            context.globalAlpha = 0.15 + (0.85 * Math.log1p(value)) / most;
            context.fillRect(left, 0, right - left, HEIGHT - 18);
        });
        context.globalAlpha = 1;
        context.font = font(11);
        context.fillStyle = colour('soft');
        context.textBaseline = 'middle';
        if (length === 0) return;
        for (const part of width < 500 ? [0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1]) {
            context.textAlign = part === 0 ? 'left' : part === 1 ? 'right' : 'center';
            context.fillText(bytes(length * part), part * width, HEIGHT - 7);
        }
    });
    canvas.addEventListener('pointermove', (event) => {
        const box = canvas.getBoundingClientRect();
        const part = Math.floor(((event.clientX - box.left) / box.width) * heat.length);
        const value = heat[part];
        if (value === undefined) return;
        const step = length / heat.length;
        say(
            readout,
            `${bytes(step * part)} to ${bytes(step * (part + 1))}: ` + `${bytes(value)} written`,
        );
    });
    canvas.addEventListener('pointerleave', () => say(readout, HEAT_HINT));
    scope.resized(canvas, paint);
    scope.on(theme, 'change', paint);
    return {
        element,
        /** @param {Api.Heat} next */
        update(next) {
            heat = next.bytes;
            length = next.length ?? 0;
            const touched = heat.filter((value) => value > 0).length;
            const all = heat.reduce((sum, value) => sum + value, 0);
            set(
                canvas,
                'aria-label',
                heat.length === 0
                    ? 'Nothing was written'
                    : `${bytes(all)} written to ${counted(touched, 'part')} of ` +
                          `${heat.length} of the volume`,
            );
            paint();
        },
    };
}
