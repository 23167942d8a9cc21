/**
 * The product's words for what the server tells in codes (docs/glossary.md).
 *
 * @module
 */

/** @type {Record<Api.State, string>} */
export const STATES = {
    'waiting': 'Waiting',
    'first-sync': 'First sync',
    'protected': 'Protected',
    'gap': 'In a gap',
    'resync': 'Resync',
    'disconnected': 'Disconnected',
    'paused': 'Paused',
    'ended': 'Ended',
    'damaged': 'Damaged',
};

/** How a state looks: the tone of its mark. @type {Record<Api.State, string>} */
export const TONES = {
    'waiting': 'idle',
    'first-sync': 'info',
    'protected': 'ok',
    'gap': 'bad',
    'resync': 'warn',
    'disconnected': 'warn',
    'paused': 'idle',
    'ended': 'idle',
    'damaged': 'bad',
};

/** @type {Record<Api.Level, string>} */
export const LEVEL_TONES = {
    ok: 'ok',
    notice: 'info',
    warning: 'warn',
    critical: 'bad',
};

/** @type {Record<Api.Level, string>} */
export const LEVELS = {
    ok: 'Fine',
    notice: 'Notice',
    warning: 'Warning',
    critical: 'Critical',
};

/** What needs a person first. @type {Record<Api.Level, number>} */
export const URGENCY = { critical: 0, warning: 1, notice: 2, ok: 3 };

/** States of blocks, in the order of the method. */
export const BLOCKS = /** @type {const} */ ([
    'unsynced',
    'reading',
    'held',
    'synced',
    'dirty',
    'excluded',
]);

/** @type {Record<typeof BLOCKS[number], string>} */
export const BLOCK_WORDS = {
    unsynced: 'Unsynced',
    reading: 'Reading',
    held: 'Held now',
    synced: 'Synced',
    dirty: 'Dirty',
    excluded: 'Excluded',
};

/** @type {Record<typeof BLOCKS[number], string>} */
export const BLOCK_HINTS = {
    unsynced: 'not copied yet',
    reading: 'being read by the sweep or for a held write',
    held: 'a write waits until they are read',
    synced: 'the server has them',
    dirty: 'written without being captured; read again after the gap',
    excluded: 'paging and hibernation files; not copied',
};

/** @type {Record<Api.Job['kind'], string>} */
export const JOBS = {
    mount: 'Mount',
    restore: 'Restore',
    verify: 'Verification',
};

/** @type {Record<Api.Job['state'], { word: string, tone: string }>} */
export const JOB_STATES = {
    running: { word: 'Running', tone: 'info' },
    stopping: { word: 'Stopping', tone: 'idle' },
    done: { word: 'Done', tone: 'ok' },
    failed: { word: 'Failed', tone: 'bad' },
    stopped: { word: 'Stopped', tone: 'idle' },
};

/** @type {Record<Api.Alarm['kind'], string>} */
export const ALARMS = {
    'rpo-missed': 'RPO missed',
    'gap': 'Gap',
    'damage': 'Damage',
    'disk-filling': 'Disk filling',
    'certificate-expiring': 'Certificate expiring',
};

/** @type {Record<Api.Role, string>} */
export const ROLES = {
    viewer: 'Viewer',
    operator: 'Operator',
    administrator: 'Administrator',
};

/**
 * What a machine's service does.
 *
 * @param {string} activity
 */
export function activity(activity) {
    /** @type {Record<string, string>} */
    const words = {
        connecting: 'connects to the server',
        streaming: 'streams to the server',
        backing_off: 'waits before it connects again',
        paused: 'is paused',
        ended: 'has ended',
        stopped: 'is stopped',
    };
    return words[activity] ?? activity;
}
