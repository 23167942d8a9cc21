/**
 * Charts on a canvas: lines over time, and bars of a histogram.
 *
 * A chart of this size is little code, so that the repository needs no library in it and a build
 * needs no Node. Each has a sentence for those who do not see it, and its values as a table.
 *
 * @module
 */

import { colour, font, prepare, theme } from '../lib/canvas.js';
import { fill, framed, h, say } from '../lib/dom.js';
import { time } from '../lib/format.js';
import { table } from './small.js';

const TOP = 8;
const BOTTOM = 20;
const RIGHT = 8;
const HEIGHT = 148;

/**
 * @typedef {{ name: string, colour: string, values: (number | null)[] }} Series
 * @typedef {{ from: number, to: number, times: number[], series: Series[] }} Lines
 */

/**
 * Lines over the last minutes.
 *
 * @param {import('../lib/dom.js').Scope} scope
 * @param {string} title
 * @param {(value: number) => string} unit
 * @param {{ binary?: boolean, least?: number }} options a scale of powers of two; its least top
 */
export function lineChart(scope, title, unit, options = {}) {
    const canvas = h('canvas', { 'role': 'img', 'aria-label': title });
    const legend = h('ul', { class: 'legend' });
    const rows = h('div');
    const details = h('details', { class: 'as-table' }, h('summary', null, 'As a table'), rows);
    const element = h(
        'figure',
        { class: 'chart' },
        h('figcaption', { class: 'chart-head' }, h('h3', null, title), legend),
        canvas,
        details,
    );
    /** @type {Lines} */
    let lines = { from: 0, to: 1, times: [], series: [] };
    /** @type {number | null} */
    let pointed = null;

    const plot = () => {
        const width = canvas.clientWidth;
        if (width === 0) return;
        const context = prepare(canvas, width, HEIGHT);
        context.clearRect(0, 0, width, HEIGHT);
        context.font = font(11);
        const values = lines.series.flatMap((series) => series.values);
        const highest = values.reduce(
            (/** @type {number} */ most, value) => Math.max(most, value ?? 0),
            0,
        );
        const steps = scale(Math.max(highest, options.least ?? 1), options.binary ?? false);
        const top = steps[steps.length - 1] ?? 1;
        const left = Math.max(...steps.map((step) => context.measureText(unit(step)).width)) + 10;
        const x = (/** @type {number} */ at) =>
            left +
            ((at - lines.from) / Math.max(1, lines.to - lines.from)) * (width - left - RIGHT);
        const y = (/** @type {number} */ value) =>
            HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);

        context.textBaseline = 'middle';
        context.textAlign = 'right';
        for (const step of steps) {
            context.fillStyle = colour('line');
            context.fillRect(left, Math.round(y(step)), width - left - RIGHT, 1);
            context.fillStyle = colour('soft');
            context.fillText(unit(step), left - 6, y(step));
        }
        timeAxis(context, lines.from, lines.to, x, left, width);
        for (const series of lines.series) line(context, lines.times, series, x, y);
        if (pointed !== null) mark(context, pointed, x, y);
    };

    /**
     * @param {CanvasRenderingContext2D} context
     * @param {number} index
     * @param {(at: number) => number} x
     * @param {(value: number) => number} y
     */
    const mark = (context, index, x, y) => {
        const at = x(lines.times[index] ?? 0);
        context.fillStyle = colour('edge');
        context.fillRect(Math.round(at), TOP, 1, HEIGHT - TOP - BOTTOM);
        const when = time(lines.times[index] ?? 0);
        const half = context.measureText(when).width / 2 + 4;
        const middle = Math.max(half, Math.min(canvas.clientWidth - half, at));
        context.fillStyle = colour('surface');
        context.fillRect(middle - half, HEIGHT - BOTTOM + 1, half * 2, BOTTOM);
        context.fillStyle = colour('text');
        context.textAlign = 'center';
        context.fillText(when, middle, HEIGHT - 8);
        for (const series of lines.series) {
            const value = series.values[index];
            if (value === null || value === undefined) continue;
            context.fillStyle = colour(series.colour);
            context.beginPath();
            context.arc(at, y(value), 3, 0, 2 * Math.PI);
            context.fill();
        }
    };

    const words = (/** @type {number} */ index) =>
        lines.series
            .map((series) => {
                const value = series.values[index];
                const known = value !== null && value !== undefined;
                return `${series.name} ${known ? unit(value) : 'not known'}`;
            })
            .join(' · ');

    const point = (/** @type {number | null} */ index) => {
        pointed = index;
        figures();
        paint();
    };
    /** The legend has the newest values, or those where the pointer is. */
    const figures = () => {
        const index = pointed ?? lines.times.length - 1;
        legend.querySelectorAll('.legend-value').forEach((figure, place) => {
            const value = lines.series[place]?.values[index];
            say(figure, value === null || value === undefined ? '–' : unit(value));
        });
    };
    const paint = framed(plot);
    canvas.addEventListener('pointermove', (event) => {
        if (lines.times.length === 0) return;
        const box = canvas.getBoundingClientRect();
        const at = lines.from + ((event.clientX - box.left) / box.width) * (lines.to - lines.from);
        point(nearest(lines.times, at));
    });
    canvas.addEventListener('pointerleave', () => point(null));
    details.addEventListener('toggle', () => tabulate());
    scope.resized(canvas, paint);
    scope.on(theme, 'change', paint);

    const tabulate = () => {
        if (!details.open) return;
        const last = lines.times.length - 1;
        const chosen = Array.from({ length: Math.min(20, last + 1) }, (_, back) => last - back);
        fill(
            rows,
            table(
                `${title}, the newest first`,
                ['Time', ...lines.series.map((series) => series.name)],
                chosen.map((index) => [
                    time(lines.times[index] ?? 0),
                    ...lines.series.map((series) => {
                        const value = series.values[index];
                        return value === null || value === undefined ? '–' : unit(value);
                    }),
                ]),
            ),
        );
    };

    return {
        element,
        /** @param {Lines} next */
        update(next) {
            lines = next;
            const names = next.series.map((series) => series.name).join();
            if (legend.dataset['names'] !== names) {
                legend.dataset['names'] = names;
                fill(
                    legend,
                    next.series.map((series) =>
                        h(
                            'li',
                            null,
                            h('span', { class: `key key-${series.colour}` }),
                            h('span', null, series.name),
                            h('b', { class: 'legend-value' }),
                        ),
                    ),
                );
            }
            const last = next.times.length - 1;
            if (pointed !== null && pointed > last) pointed = null;
            figures();
            canvas.setAttribute(
                'aria-label',
                last < 0 ? `${title}: nothing was reported yet` : `${title}. Now ${words(last)}.`,
            );
            paint();
        },
    };
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number[]} times
 * @param {Series} series
 * @param {(at: number) => number} x
 * @param {(value: number) => number} y
 */
function line(context, times, series, x, y) {
    const base = y(0);
    context.strokeStyle = colour(series.colour);
    context.lineWidth = 1.5;
    context.lineJoin = 'round';
    let from = 0;
    while (from < times.length) {
        if (series.values[from] === null) {
            from += 1;
            continue;
        }
        let to = from;
        context.beginPath();
        while (to < times.length && series.values[to] !== null) {
            context.lineTo(x(times[to] ?? 0), y(series.values[to] ?? 0));
            to += 1;
        }
        context.stroke();
        context.lineTo(x(times[to - 1] ?? 0), base);
        context.lineTo(x(times[from] ?? 0), base);
        context.globalAlpha = 0.08;
        context.fillStyle = colour(series.colour);
        context.fill();
        context.globalAlpha = 1;
        from = to;
    }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} from
 * @param {number} to
 * @param {(at: number) => number} x
 * @param {number} left
 * @param {number} width
 */
function timeAxis(context, from, to, x, left, width) {
    const minutes = [1, 2, 5, 10, 30, 60].find((step) => (to - from) / 60_000 / step <= 6) ?? 60;
    const step = minutes * 60_000;
    context.fillStyle = colour('soft');
    context.textAlign = 'center';
    for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
        const place = x(at);
        if (place < left + 14 || place > width - 18) continue;
        const clock = new Date(at).toLocaleTimeString('en-GB', {
            hour: '2-digit',
            minute: '2-digit',
        });
        context.fillText(clock, place, HEIGHT - 8);
    }
}

/**
 * Four or so values of a scale from 0 that are round numbers.
 *
 * @param {number} highest
 * @param {boolean} binary
 */
export function scale(highest, binary) {
    let unit = 1;
    if (binary) while (highest / unit >= 1024) unit *= 1024;
    const raw = highest / unit / 3;
    const power = 10 ** Math.floor(Math.log10(Math.max(raw, 1e-9)));
    const factor = [1, 2, 2.5, 5, 10].find((candidate) => candidate * power >= raw) ?? 10;
    const step = factor * power * unit;
    const steps = [0];
    while ((steps[steps.length - 1] ?? 0) < highest) steps.push(steps.length * step);
    return steps;
}

/**
 * The index of the time that is nearest.
 *
 * @param {number[]} times in order
 * @param {number} at
 */
export function nearest(times, at) {
    let [low, high] = [0, times.length - 1];
    while (low < high) {
        const middle = (low + high) >> 1;
        if ((times[middle] ?? 0) < at) low = middle + 1;
        else high = middle;
    }
    const before = times[low - 1];
    const here = times[low] ?? 0;
    return before !== undefined && at - before < here - at ? low - 1 : low;
}

/** @typedef {ReturnType<typeof barChart>} BarChart */

/**
 * Bars: how many of each kind.
 *
 * @param {import('../lib/dom.js').Scope} scope
 * @param {string} title
 * @param {{ bar: string, value: string }} columns of its table
 */
export function barChart(scope, title, columns) {
    const canvas = h('canvas', { 'role': 'img', 'aria-label': title });
    const note = h('p', { class: 'chart-note small soft' });
    const rows = h('div');
    const details = h('details', { class: 'as-table' }, h('summary', null, 'As a table'), rows);
    const element = h(
        'figure',
        { class: 'chart' },
        h('figcaption', { class: 'chart-head' }, h('h3', null, title), note),
        canvas,
        details,
    );
    /** @type {{ label: string, value: number, tone: string }[]} */
    let bars = [];
    const paint = framed(() => {
        const width = canvas.clientWidth;
        if (width === 0) return;
        const context = prepare(canvas, width, HEIGHT);
        context.clearRect(0, 0, width, HEIGHT);
        context.font = font(11);
        context.textBaseline = 'middle';
        context.textAlign = 'center';
        const highest = Math.max(1, ...bars.map((bar) => bar.value));
        const slot = width / Math.max(1, bars.length);
        const every = Math.ceil(46 / slot);
        const base = HEIGHT - BOTTOM;
        context.fillStyle = colour('line');
        context.fillRect(0, base, width, 1);
        bars.forEach((bar, index) => {
            // A few beside many have to be seen: heights are of the square roots.
            const high =
                bar.value === 0
                    ? 0
                    : Math.max(3, Math.sqrt(bar.value / highest) * (base - TOP - 12));
            context.fillStyle = colour(bar.tone);
            context.fillRect(index * slot + slot * 0.12, base - high, slot * 0.76, high);
            context.fillStyle = colour('soft');
            if (index % every === 0) context.fillText(bar.label, (index + 0.5) * slot, HEIGHT - 8);
        });
    });
    const tabulate = () => {
        if (!details.open) return;
        fill(
            rows,
            table(
                title,
                [columns.bar, { text: columns.value, class: 'number' }],
                bars.map((bar) => [bar.label, String(bar.value)]),
            ),
        );
    };
    details.addEventListener('toggle', tabulate);
    scope.resized(canvas, paint);
    scope.on(theme, 'change', paint);
    return {
        element,
        /**
         * @param {{ label: string, value: number, tone: string }[]} next
         * @param {string} words
         */
        update(next, words) {
            bars = next;
            say(note, words);
            canvas.setAttribute('aria-label', `${title}. ${words}`);
            paint();
            tabulate();
        },
    };
}
