/**
 * Quantities in words. Bytes are counted in powers of 1,024; times are of this browser's zone and
 * have their seconds, since a point is an instant to the second.
 *
 * @module
 */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
const SECOND = 1;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** The order of names: `disk-2` is before `disk-10`. */
export const collator = new Intl.Collator('en', { numeric: true });

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

/** @param {number} value */
export function count(value) {
    return whole.format(value);
}

/**
 * "1 volume", "1,000 volumes".
 *
 * @param {number} value
 * @param {string} one
 * @param {string} [many]
 */
export function counted(value, one, many = `${one}s`) {
    return `${count(value)} ${value === 1 ? one : many}`;
}

/** @param {number} value */
export function bytes(value) {
    let unit = 0;
    let rest = Math.abs(value);
    while (rest >= 1023.5 && unit < UNITS.length - 1) {
        rest /= 1024;
        unit += 1;
    }
    const digits = unit === 0 || rest >= 99.95 ? 0 : rest >= 9.995 ? 1 : 2;
    const text = rest.toFixed(digits);
    const short = digits > 0 ? text.replace(/\.?0+$/, '') : text;
    return `${value < 0 ? '−' : ''}${short} ${UNITS[unit]}`;
}

/**
 * A sentence's beginning.
 *
 * @param {string} text
 */
export function capital(text) {
    return text.charAt(0).toUpperCase() + text.slice(1);
}

/** @param {number} perSecond */
export function rate(perSecond) {
    return `${bytes(perSecond)}/s`;
}

/**
 * A share between 0 and 1; 100 % only when nothing is left.
 *
 * @param {number} share
 */
export function percent(share) {
    const value = Math.max(0, Math.min(1, share)) * 100;
    if (value === 100 || value === 0) return `${value} %`;
    const shown = Math.min(value, 99.9);
    return `${shown < 10 || shown > 99 ? shown.toFixed(1) : Math.floor(shown)} %`;
}

/**
 * A length of time in its two largest units: "4 min 12 s".
 *
 * @param {number} seconds
 */
export function duration(seconds) {
    if (seconds < 1) return seconds <= 0 ? '0 s' : 'less than 1 s';
    const parts = [
        [Math.floor(seconds / DAY), 'd'],
        [Math.floor((seconds % DAY) / HOUR), 'h'],
        [Math.floor((seconds % HOUR) / MINUTE), 'min'],
        [Math.floor(seconds % MINUTE), 's'],
    ];
    const first = parts.findIndex(([value]) => Number(value) > 0);
    const kept = parts.slice(first, first + 2).filter(([value]) => Number(value) > 0);
    return kept.map(([value, unit]) => `${value} ${unit}`).join(' ');
}

/** @param {number} milliseconds */
export function milliseconds(milliseconds) {
    if (milliseconds >= 10_000) return duration(milliseconds / 1000);
    if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(1)} s`;
    if (milliseconds >= 10 || milliseconds === 0) return `${Math.round(milliseconds)} ms`;
    return milliseconds >= 0.1 ? `${milliseconds.toFixed(1)} ms` : 'under 0.1 ms';
}

/** The hour, to the second. */
export const clock = new Intl.DateTimeFormat('en-GB', {
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
});
const short = new Intl.DateTimeFormat('en-GB', {
    day: 'numeric',
    month: 'short',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
});
const dated = new Intl.DateTimeFormat('en-GB', {
    day: 'numeric',
    month: 'short',
    year: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
});
const long = new Intl.DateTimeFormat('en-GB', {
    weekday: 'long',
    day: 'numeric',
    month: 'long',
    year: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
});

/**
 * A time as short as it stays clear today: the hour of today, or with its day, or with its year.
 *
 * @param {number} time milliseconds since 1970
 * @param {number} [now]
 */
export function time(time, now = Date.now()) {
    const then = new Date(time);
    const today = new Date(now);
    if (then.toDateString() === today.toDateString()) return clock.format(then);
    return (then.getFullYear() === today.getFullYear() ? short : dated).format(then);
}

/** @param {number} time milliseconds since 1970 */
export function fullTime(time) {
    return long.format(new Date(time));
}

/**
 * "4 min 12 s ago".
 *
 * @param {number} time milliseconds since 1970
 * @param {number} now
 */
export function ago(time, now) {
    const seconds = Math.round((now - time) / 1000);
    return seconds < 1 ? 'now' : `${duration(seconds)} ago`;
}

/**
 * The value of an input of type `datetime-local`, in this browser's zone, to the second.
 *
 * @param {number} time milliseconds since 1970
 */
export function localInput(time) {
    const date = new Date(time);
    const shifted = new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
    return shifted.toISOString().slice(0, 19);
}

/** The name of this browser's time zone. */
export function zone() {
    return Intl.DateTimeFormat().resolvedOptions().timeZone;
}
