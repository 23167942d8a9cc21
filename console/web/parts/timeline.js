/**
 * The timeline of a volume with its scrubber: what can be restored, gaps, bookmarks, and how much
 * changed when, from months down to seconds.
 *
 * The scrubber is a slider: arrow keys move it by what a pixel is, with Shift by a second, Page Up
 * and Page Down by a tenth of what is shown, Home and End to the first and the latest point.
 *
 * @module
 */

import { colour, font, prepare, theme } from '../lib/canvas.js';
import { framed, h, set } from '../lib/dom.js';
import { fullTime } from '../lib/format.js';
import { labels } from './time-axis.js';

const SECOND = 1000;
const HEAT = { top: 22, height: 54 };
const TRACK = { top: 84, height: 20 };
const FLAGS = { top: 112, height: 20 };
const HEIGHT = 136;
const STRIP = 22;
/** Free on both sides, so that the scrubber is whole at either end. */
const SIDE = 9;
const SPAN_MIN = 20 * SECOND;
/** A stretch narrower than this is drawn so wide, to be seen. */
const SEEN = 2;

/** @typedef {{ from: number, to: number }} Span */

/**
 * @param {import('../lib/dom.js').Scope} scope
 * @param {{ picked: (at: number) => void, looked: (window: Span) => void }} tell
 */
export function timeline(scope, tell) {
    const canvas = h('canvas', {
        'class': 'timeline-canvas',
        'role': 'img',
        'aria-label': 'Timeline',
    });
    const strip = h('canvas', { 'class': 'timeline-strip', 'aria-hidden': 'true' });
    const handle = h('div', {
        'class': 'timeline-handle',
        'role': 'slider',
        'tabindex': '0',
        'aria-label': 'Instant',
        'aria-describedby': 'timeline-keys',
    });
    const element = h(
        'div',
        { class: 'timeline' },
        h('div', { class: 'timeline-stage' }, canvas, handle),
        strip,
        h(
            'p',
            { class: 'heard', id: 'timeline-keys' },
            'Arrow keys move by what a pixel is, with Shift by a second. Page Up and Page Down ' +
                'move by a tenth of what is shown. Home and End go to the first and the latest ' +
                'point. Plus and minus zoom.',
        ),
    );
    /** @type {Api.Timeline | null} */
    let data = null;
    /** All that can be shown. @type {Span} */
    let whole = { from: 0, to: 1 };
    /** @type {Span} */
    let shown = { from: 0, to: 1 };
    let at = 0;

    const width = () => canvas.clientWidth;
    /** The place of an instant of a window, and the instant of a place. */
    const placeIn = (/** @type {Span} */ window, /** @type {number} */ time) =>
        SIDE + ((time - window.from) / (window.to - window.from)) * (width() - 2 * SIDE);
    const timeIn = (/** @type {Span} */ window, /** @type {number} */ place) =>
        window.from +
        ((place - SIDE) / Math.max(1, width() - 2 * SIDE)) * (window.to - window.from);
    const x = (/** @type {number} */ time) => placeIn(shown, time);
    const timeAt = (/** @type {number} */ place) => timeIn(shown, place);

    const paint = framed(() => {
        if (width() === 0 || !data) return;
        const context = prepare(canvas, width(), HEIGHT);
        context.clearRect(0, 0, width(), HEIGHT);
        context.font = font(11);
        paintAxis(context, shown, x, width());
        paintHeat(context, data, x, width());
        paintTrack(context, data, shown, x, width(), whole.to, TRACK);
        paintFlags(context, data, x, width());
        paintStrip();
        handle.style.left = `${Math.max(0, Math.min(width(), x(at)))}px`;
        set(handle, 'class', `timeline-handle${restorable(data, at) ? '' : ' not-restorable'}`);
    });

    const paintStrip = () => {
        if (!data) return;
        const context = prepare(strip, width(), STRIP);
        context.clearRect(0, 0, width(), STRIP);
        const all = (/** @type {number} */ time) => placeIn(whole, time);
        paintTrack(context, data, whole, all, width(), whole.to, {
            top: 7,
            height: 8,
        });
        const [left, right] = [all(shown.from), all(shown.to)];
        context.strokeStyle = colour('accent');
        context.lineWidth = 1.5;
        context.strokeRect(
            Math.max(0.75, left - 2),
            1.75,
            Math.max(6, right - left + 4) - 1.5,
            STRIP - 3.5,
        );
    };

    /** @param {Span} window */
    const look = (window) => {
        const most = whole.to - whole.from;
        const span = Math.max(Math.min(SPAN_MIN, most), Math.min(most, window.to - window.from));
        const middle = (window.from + window.to) / 2;
        const from = Math.max(whole.from, Math.min(whole.to - span, middle - span / 2));
        shown = { from, to: from + span };
        tell.looked(shown);
        paint();
    };

    /** @param {number} factor how much more is shown */
    const zoom = (factor, around = at) => {
        const span = (shown.to - shown.from) * factor;
        const kept = (around - shown.from) / (shown.to - shown.from);
        const from = around - span * (kept >= 0 && kept <= 1 ? kept : 0.5);
        look({ from, to: from + span });
    };

    const describe = () => {
        if (!data) return;
        set(handle, 'aria-valuemin', Math.floor(whole.from / SECOND));
        set(handle, 'aria-valuemax', Math.floor(whole.to / SECOND));
        set(handle, 'aria-valuenow', Math.floor(at / SECOND));
        set(handle, 'aria-valuetext', `${fullTime(at)}, ${judge(data, at).words}`);
    };

    /**
     * @param {number} time
     * @param {boolean} [silent] whether the page has chosen it and knows
     */
    const pick = (time, silent = false) => {
        at = Math.max(whole.from, Math.min(whole.to, time));
        if (at < shown.from || at > shown.to) {
            const span = shown.to - shown.from;
            look({ from: at - span / 2, to: at + span / 2 });
        }
        describe();
        paint();
        if (!silent) tell.picked(at);
    };

    /** @param {PointerEvent} event */
    const placeOf = (event) => event.clientX - canvas.getBoundingClientRect().left;
    const scrub = (/** @type {PointerEvent} */ event) => {
        const place = placeOf(event);
        pick(
            data
                ? snapped(data, timeAt(place), ((shown.to - shown.from) / width()) * 6)
                : timeAt(place),
        );
    };
    drag(canvas, scrub);
    drag(handle, scrub);
    canvas.addEventListener('pointerdown', () => handle.focus({ preventScroll: true }));
    drag(strip, (event) => {
        const box = strip.getBoundingClientRect();
        const middle = timeIn(whole, event.clientX - box.left);
        const span = shown.to - shown.from;
        look({ from: middle - span / 2, to: middle + span / 2 });
    });
    canvas.addEventListener(
        'wheel',
        (event) => {
            const span = shown.to - shown.from;
            if (event.ctrlKey || event.metaKey) {
                event.preventDefault();
                zoom(Math.exp(event.deltaY / 300), timeAt(event.offsetX));
            } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
                event.preventDefault();
                const by = (event.deltaX / width()) * span;
                look({ from: shown.from + by, to: shown.to + by });
            }
        },
        { passive: false },
    );
    handle.addEventListener('keydown', (event) => {
        const span = shown.to - shown.from;
        const step = event.shiftKey
            ? SECOND
            : Math.max(SECOND, Math.round(span / width() / SECOND) * SECOND);
        /** @type {Record<string, number>} */
        const moves = {
            ArrowRight: step,
            ArrowUp: step,
            ArrowLeft: -step,
            ArrowDown: -step,
            PageUp: span / 10,
            PageDown: -span / 10,
        };
        const move = moves[event.key];
        if (move !== undefined) pick(at + move);
        else if (event.key === 'Home') pick(whole.from);
        else if (event.key === 'End') pick(data?.end_ms ?? whole.to);
        else if (event.key === '+' || event.key === '=') zoom(0.5);
        else if (event.key === '-') zoom(2);
        else return;
        event.preventDefault();
    });
    scope.resized(canvas, paint);
    scope.on(theme, 'change', paint);

    return {
        element,
        handle,
        pick,
        zoom,
        look,
        shown: () => shown,
        whole: () => whole,
        at: () => at,
        /** @param {Api.Timeline} next */
        update(next) {
            data = next;
            whole = wholeOf(next);
            set(canvas, 'aria-label', summary(next));
            if (shown.to === 1) shown = { ...whole };
            describe();
            paint();
        },
    };
}

/**
 * Calls `move` while a pointer is pressed on an element.
 *
 * @param {HTMLElement} element
 * @param {(event: PointerEvent) => void} move
 */
function drag(element, move) {
    element.addEventListener('pointerdown', (event) => {
        if (event.button !== 0) return;
        element.setPointerCapture(event.pointerId);
        move(event);
    });
    element.addEventListener('pointermove', (event) => {
        if (element.hasPointerCapture(event.pointerId)) move(event);
    });
}

/**
 * From the first session's begin to now.
 *
 * @param {Api.Timeline} data
 */
function wholeOf(data) {
    const from = data.begin_ms ?? data.now_ms - 60 * SECOND;
    return { from, to: Math.max(data.now_ms, data.end_ms ?? 0, from + SPAN_MIN) };
}

/**
 * Whether an instant is in a stretch that can be restored.
 *
 * @param {Api.Timeline} data
 * @param {number} time
 */
export function restorable(data, time) {
    return data.restorable.some(({ from_ms, to_ms }) => time >= from_ms && time <= to_ms);
}

/**
 * What is known of an instant without asking the server.
 *
 * @param {Api.Timeline} data
 * @param {number} time
 * @returns {{ restorable: boolean, gap: boolean, words: string }}
 */
export function judge(data, time) {
    const not = (/** @type {string} */ words, gap = false) => ({ restorable: false, gap, words });
    if (restorable(data, time)) return { restorable: true, gap: false, words: 'can be restored' };
    const gap = data.gaps.find(
        ({ from_ms, to_ms }) => time >= from_ms && (to_ms === null || time <= to_ms),
    );
    if (gap) return not(`is in a gap: ${gap.reason_text}`, true);
    if (data.end_ms === null) return not('cannot be restored: there is no point yet');
    if (time > data.end_ms) return not('is after the latest point');
    return not('is not kept: retention has kept single points of this time');
}

/**
 * A kept point or a bookmark near a pointer takes it.
 *
 * @param {Api.Timeline} data
 * @param {number} time
 * @param {number} reach milliseconds
 */
function snapped(data, time, reach) {
    const places = [
        ...data.restorable.filter(({ single }) => single).map(({ from_ms }) => from_ms),
        ...data.bookmarks.map(({ time_ms }) => time_ms ?? -Infinity),
    ];
    const near = places
        .filter((place) => Math.abs(place - time) <= reach)
        .sort((one, other) => Math.abs(one - time) - Math.abs(other - time));
    return near[0] ?? Math.round(time / SECOND) * SECOND;
}

/** @param {Api.Timeline} data */
function summary(data) {
    if (data.begin_ms === null || data.end_ms === null)
        return 'Timeline: nothing can be restored yet';
    const stretches = data.restorable.filter(({ single }) => !single).length;
    const singles = data.restorable.length - stretches;
    return (
        `Timeline from ${fullTime(data.begin_ms)} to ${fullTime(data.end_ms)}: ` +
        `${stretches} stretches in which every instant can be restored, ` +
        `${singles} single points, ${data.gaps.length} gaps, ` +
        `${data.bookmarks.length} bookmarks`
    );
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Span} shown
 * @param {(time: number) => number} x
 * @param {number} width
 */
function paintAxis(context, shown, x, width) {
    context.textBaseline = 'middle';
    let free = 0;
    for (const { time, text, major } of labels(shown.from, shown.to, Math.max(2, width / 110))) {
        const place = Math.round(x(time));
        context.fillStyle = colour('line');
        context.fillRect(place, HEAT.top - 4, 1, FLAGS.top + FLAGS.height - HEAT.top);
        context.font = font(11, major ? 600 : 400);
        context.fillStyle = colour(major ? 'text' : 'soft');
        const wide = context.measureText(text).width;
        const left = Math.min(place + 4, width - wide);
        if (left < free) continue;
        context.textAlign = 'left';
        context.fillText(text, left, 9);
        free = left + wide + 8;
    }
    context.font = font(11);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Api.Timeline} data
 * @param {(time: number) => number} x
 * @param {number} width
 */
function paintHeat(context, data, x, width) {
    const { changes } = data;
    context.fillStyle = colour('line');
    context.fillRect(0, HEAT.top + HEAT.height, width, 1);
    if (!changes) return;
    const most = Math.log1p(Math.max(1, ...changes.bytes));
    context.fillStyle = colour('heat');
    changes.bytes.forEach((value, index) => {
        if (value === 0) return;
        const left = x(changes.from_ms + index * changes.bucket_ms);
        const right = x(changes.from_ms + (index + 1) * changes.bucket_ms);
        if (right < 0 || left > width) return;
        const share = Math.log1p(value) / most;
        const high = Math.max(2, share * share * HEAT.height);
        context.globalAlpha = 0.35 + 0.65 * share;
        context.fillRect(
            left,
            HEAT.top + HEAT.height - high,
            Math.max(1, right - left - 0.5),
            high,
        );
    });
    context.globalAlpha = 1;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Api.Timeline} data
 * @param {Span} shown
 * @param {(time: number) => number} x
 * @param {number} width
 * @param {number} now
 * @param {{ top: number, height: number }} lane
 */
function paintTrack(context, data, shown, x, width, now, lane) {
    context.fillStyle = colour('sunken');
    context.fillRect(0, lane.top, width, lane.height);
    const visible = (/** @type {number} */ from, /** @type {number} */ to) =>
        to >= shown.from && from <= shown.to;
    context.fillStyle = colour('restorable');
    for (const { from_ms, to_ms, single } of data.restorable) {
        if (!visible(from_ms, to_ms)) continue;
        const left = Math.max(0, x(from_ms));
        const right = Math.min(width, x(to_ms));
        if (single) context.fillRect(x(from_ms) - 1, lane.top, 2, lane.height);
        else context.fillRect(left, lane.top, Math.max(SEEN, right - left), lane.height);
    }
    for (const gap of data.gaps) {
        const to = gap.to_ms ?? now;
        if (!visible(gap.from_ms, to)) continue;
        const left = Math.max(0, x(gap.from_ms));
        hatch(context, left, lane.top, Math.max(SEEN, Math.min(width, x(to)) - left), lane.height);
    }
}

/**
 * A gap: told from what can be restored by more than its colour.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {number} left
 * @param {number} top
 * @param {number} width
 * @param {number} height
 */
function hatch(context, left, top, width, height) {
    context.save();
    context.beginPath();
    context.rect(left, top, width, height);
    context.clip();
    context.clearRect(left, top, width, height);
    context.fillStyle = colour('gap');
    context.globalAlpha = 0.22;
    context.fillRect(left, top, width, height);
    context.globalAlpha = 1;
    context.strokeStyle = colour('gap');
    context.lineWidth = 1.5;
    context.beginPath();
    for (let place = Math.floor((left - height) / 6) * 6; place < left + width; place += 6) {
        context.moveTo(place, top + height);
        context.lineTo(place + height, top);
    }
    context.stroke();
    context.restore();
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Api.Timeline} data
 * @param {(time: number) => number} x
 * @param {number} width
 */
function paintFlags(context, data, x, width) {
    context.textBaseline = 'middle';
    context.textAlign = 'left';
    for (const { time_ms, restorable: whole } of data.t0) {
        const place = Math.round(x(time_ms));
        if (place < -20 || place > width) continue;
        context.fillStyle = colour(whole ? 'soft' : 'gap');
        context.fillRect(place, TRACK.top - 3, 1, TRACK.height + 8);
        context.fillText('t0', place + 3, FLAGS.top + FLAGS.height / 2);
    }
    const marked = data.bookmarks
        .filter(({ time_ms }) => time_ms !== null)
        .sort((one, other) => Number(one.time_ms) - Number(other.time_ms));
    const places = marked.map(({ time_ms }) => Math.round(x(Number(time_ms))));
    for (const [index, { name }] of marked.entries()) {
        const place = places[index] ?? 0;
        if (place < -100 || place > width) continue;
        context.fillStyle = colour('bookmark');
        context.fillRect(place, TRACK.top - 3, 1.5, FLAGS.top + 9 - TRACK.top);
        context.beginPath();
        context.moveTo(place, FLAGS.top + 4);
        context.lineTo(place + 7, FLAGS.top + 8.5);
        context.lineTo(place, FLAGS.top + 13);
        context.fill();
        const wide = context.measureText(name).width;
        const end = place + 18 + wide;
        if (end > Math.min(width, places[index + 1] ?? width)) continue;
        context.fillText(name, place + 11, FLAGS.top + 9);
    }
}
