/**
 * The labels of a time axis: round times of this browser's zone, from seconds to years.
 *
 * @module
 */

import { clock } from '../lib/format.js';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Steps of the clock, which divide a day. */
const CLOCK = [1, 2, 5, 10, 15, 30]
    .map((step) => step * SECOND)
    .concat([1, 2, 5, 10, 15, 30].map((step) => step * MINUTE))
    .concat([1, 2, 3, 6, 12].map((step) => step * HOUR));
/** Steps of the calendar: days, or months. */
const CALENDAR = [
    { days: 1, months: 0 },
    { days: 2, months: 0 },
    { days: 7, months: 0 },
    { days: 0, months: 1 },
    { days: 0, months: 3 },
    { days: 0, months: 6 },
    { days: 0, months: 12 },
];

const minute = new Intl.DateTimeFormat('en-GB', {
    hour: '2-digit',
    minute: '2-digit',
});
const day = new Intl.DateTimeFormat('en-GB', {
    weekday: 'short',
    day: 'numeric',
    month: 'short',
});
const month = new Intl.DateTimeFormat('en-GB', {
    month: 'short',
    year: 'numeric',
});

/**
 * @typedef {{ time: number, text: string, major: boolean }} Label
 */

/**
 * At most so many labels between two instants.
 *
 * @param {number} from milliseconds since 1970
 * @param {number} to
 * @param {number} most
 * @returns {Label[]}
 */
export function labels(from, to, most) {
    const step = CLOCK.find((candidate) => (to - from) / candidate <= most);
    return step === undefined ? ofCalendar(from, to, most) : ofClock(from, to, step);
}

/**
 * @param {number} from
 * @param {number} to
 * @param {number} step
 */
function ofClock(from, to, step) {
    /** @type {Label[]} */
    const found = [];
    const midnight = new Date(from);
    midnight.setHours(0, 0, 0, 0);
    for (let start = midnight; start.getTime() <= to; start = plus(start, 1, 0)) {
        const next = plus(start, 1, 0).getTime();
        for (let time = start.getTime(); time < next && time <= to; time += step) {
            if (time < from) continue;
            const major = time === start.getTime();
            const plain = step < MINUTE ? clock : minute;
            found.push({ time, text: (major ? day : plain).format(time), major });
        }
    }
    return found;
}

/**
 * @param {number} from
 * @param {number} to
 * @param {number} most
 */
function ofCalendar(from, to, most) {
    const length = (/** @type {typeof CALENDAR[0]} */ step) => (step.days + step.months * 30) * DAY;
    const fits = CALENDAR.find((candidate) => (to - from) / length(candidate) <= most);
    const step = fits ?? { days: 0, months: 12 };
    const start = new Date(from);
    start.setHours(0, 0, 0, 0);
    if (step.months > 0) start.setMonth(start.getMonth() - (start.getMonth() % step.months), 1);
    else if (step.days === 7) start.setDate(start.getDate() - ((start.getDay() + 6) % 7));
    /** @type {Label[]} */
    const found = [];
    for (let time = start; time.getTime() <= to; time = plus(time, step.days, step.months)) {
        if (time.getTime() < from) continue;
        const major = time.getDate() === 1;
        found.push({
            time: time.getTime(),
            text: (step.months > 0 ? month : day).format(time),
            major,
        });
    }
    return found;
}

/**
 * @param {Date} time
 * @param {number} days
 * @param {number} months
 */
function plus(time, days, months) {
    const next = new Date(time);
    next.setMonth(next.getMonth() + months, next.getDate() + days);
    return next;
}
