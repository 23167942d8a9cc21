/**
 * What people with the right to do so do with a point: each is asked for once more, and what came
 * of it is told. The server writes an entry into its audit log.
 *
 * @module
 */

import { get, inWords, send } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { estate } from '../lib/estate.js';
import { capital } from '../lib/format.js';
import { ask, field, select } from './dialog.js';
import { notice } from './notices.js';

const SPAN = '([1-9][0-9]{0,5}[hdw]|forever)';

/** The place where jobs are told, on the pages that have acts. */
function showJobs() {
    document.getElementById('jobs')?.scrollIntoView({ block: 'center' });
}

/**
 * The first words of each question: of which volume, and of which instant.
 *
 * @param {string} volume
 * @param {string} said
 */
function about(volume, said) {
    return h(
        'p',
        null,
        h('b', null, estate.nameOf(volume)),
        ', as it was on ',
        h('b', null, said),
        '.',
    );
}

/**
 * @param {string} volume
 * @param {string} at
 * @param {string} said
 */
export function askMount(volume, at, said) {
    const transport = select(
        [
            ['socket', 'A socket, for this server’s user'],
            ['port', 'A port of the loopback, for every user of the server'],
        ],
        'socket',
    );
    const writable = h('input', { type: 'checkbox', id: 'mount-writable' });
    ask({
        title: 'Mount this point?',
        body: [
            about(volume, said),
            h(
                'p',
                { class: 'soft' },
                'The server offers it as a disk over NBD until it is unmounted. ' +
                    'The stored volume does not change.',
            ),
            field('Address', transport),
            h(
                'div',
                { class: 'check' },
                writable,
                h(
                    'label',
                    { for: 'mount-writable' },
                    'Clients may write; what they write is gone with the mount',
                ),
            ),
        ],
        confirm: 'Mount',
        act: async () => {
            estate.started(
                await send('POST', ['volumes', volume, 'mounts'], {
                    at,
                    writable: writable.checked,
                    transport: transport.value,
                }),
            );
            showJobs();
        },
    });
}

/**
 * @param {string} volume
 * @param {string} at
 * @param {string} said
 */
export function askRestore(volume, at, said) {
    const { restore_folders: folders = [], restore_formats: formats = ['raw'] } =
        estate.server ?? {};
    if (folders.length === 0) {
        notice(
            'The server has no folder for restores: its administrator names some in the ' +
                'console’s settings.',
            'warn',
        );
        return;
    }
    const folder = select(
        folders.map((path) => [path, path]),
        folders[0] ?? '',
    );
    const format = select(
        formats.map((name) => [name, name]),
        formats[0] ?? 'raw',
    );
    const stem =
        estate
            .nameOf(volume)
            .replace(/[^A-Za-z0-9]+/g, '-')
            .replace(/^-|-$/g, '') || 'volume';
    const when = (/^\d{4}-/.test(at) ? at : new Date().toISOString())
        .slice(0, 19)
        .replace(/[^0-9]+/g, '-');
    const file = h('input', {
        required: true,
        maxlength: '200',
        pattern: '[A-Za-z0-9_][A-Za-z0-9._ \\-]{0,199}',
        value: `${stem}-${when}.img`,
        spellcheck: 'false',
        title: 'Letters, digits, spaces, dots, - and _',
    });
    format.addEventListener('change', () => {
        file.value = file.value.replace(
            /\.[A-Za-z0-9]+$/,
            `.${format.value === 'raw' ? 'img' : format.value}`,
        );
    });
    ask({
        title: 'Restore to a file?',
        body: [
            about(volume, said),
            field('Folder on the server', folder),
            field('File', file, 'A file that is there already is not overwritten.'),
            field('Format', format),
        ],
        confirm: 'Restore',
        act: async () => {
            estate.started(
                await send('POST', ['volumes', volume, 'restores'], {
                    at,
                    folder: folder.value,
                    file: file.value,
                    format: format.value,
                }),
            );
            showJobs();
        },
    });
}

/** @param {string} volume */
export function askVerify(volume) {
    ask({
        title: 'Verify all that is stored?',
        body: [
            h(
                'p',
                null,
                'The server reads everything of ',
                h('b', null, estate.nameOf(volume)),
                ' and checks every checksum. That takes as long as reading it does; ' +
                    'protection goes on.',
            ),
        ],
        confirm: 'Verify',
        act: async () => {
            estate.started(await send('POST', ['volumes', volume, 'verifications']));
            showJobs();
        },
    });
}

/**
 * @param {string} volume
 * @param {string} at
 * @param {string} said
 * @param {() => Promise<unknown>} changed
 */
export function askBookmark(volume, at, said, changed) {
    const name = h('input', {
        required: true,
        maxlength: '64',
        pattern: '[A-Za-z][A-Za-z0-9._\\-]{0,63}',
        spellcheck: 'false',
        autocapitalize: 'none',
        placeholder: 'before-upgrade',
        title: 'A letter, then letters, digits, -, _ and .',
    });
    const keep = h('input', {
        pattern: SPAN,
        placeholder: 'as the policy says',
        spellcheck: 'false',
        title: '90d, 8w, 36h or forever',
    });
    ask({
        title: 'Bookmark this point?',
        body: [
            about(volume, said),
            field('Name', name, 'A letter, then letters, digits, -, _ and .'),
            field('Kept for', keep, '90d, 8w, 36h or forever; empty: as the policy says.'),
        ],
        confirm: 'Bookmark',
        act: async () => {
            await send('POST', ['volumes', volume, 'bookmarks'], {
                name: name.value,
                at,
                keep: keep.value || null,
            });
            notice(`The point is bookmarked as ${name.value}.`);
            await changed();
        },
    });
}

/**
 * @param {string} volume
 * @param {string} name
 * @param {() => Promise<unknown>} changed
 */
export function askRemoveBookmark(volume, name, changed) {
    ask({
        title: `Remove the bookmark ${name}?`,
        body: [
            h('p', null, 'The point stays for now. Retention may remove it once it has no name.'),
        ],
        confirm: 'Remove',
        danger: true,
        act: async () => {
            await send('DELETE', ['volumes', volume, 'bookmarks', name]);
            notice(`The bookmark ${name} is removed.`);
            await changed();
        },
    });
}

/** For which slots of the calendar a policy keeps a point each. */
export const SLOTS = /** @type {const} */ (['hourly', 'daily', 'weekly', 'monthly', 'yearly']);

/**
 * @param {string} volume
 * @param {() => Promise<unknown>} changed
 */
export async function askRetention(volume, changed) {
    /** @type {Api.Retention} */
    let known;
    try {
        known = await get(['volumes', volume, 'retention']);
    } catch (error) {
        notice(inWords(error), 'bad');
        return;
    }
    const { own, effective } = known;
    const span = (/** @type {'keep_all' | 'bookmarks'} */ key) =>
        h('input', {
            value: own[key] ?? '',
            placeholder: effective[key],
            pattern: SPAN,
            spellcheck: 'false',
            title: '14d, 8w, 36h or forever',
        });
    const keepAll = span('keep_all');
    const bookmarks = span('bookmarks');
    const zone = h('input', {
        value: own.time_zone ?? '',
        placeholder: effective.time_zone,
        maxlength: '100',
        spellcheck: 'false',
    });
    const slots = SLOTS.map((slot) =>
        h('input', {
            type: 'number',
            min: '0',
            max: '100000',
            value: own[slot] ?? '',
            placeholder: String(effective[slot]),
        }),
    );
    ask({
        title: `What is kept of ${estate.nameOf(volume)}`,
        body: [
            h(
                'p',
                { class: 'soft' },
                'An empty field is as the default policy says. What the next fold drops does ' +
                    'not come back.',
            ),
            field('Every instant for', keepAll, '14d, 8w, 36h or forever'),
            h(
                'div',
                { class: 'fields' },
                SLOTS.map((slot, index) =>
                    field(
                        `${capital(slot)} points`,
                        /** @type {HTMLInputElement} */ (slots[index]),
                    ),
                ),
            ),
            field('Bookmarks for', bookmarks),
            field('Days begin in', zone, 'Such as Europe/Berlin'),
        ],
        confirm: 'Keep so',
        danger: true,
        act: async () => {
            /** @type {Record<string, string | number | null>} */
            const changes = {
                keep_all: keepAll.value || null,
                bookmarks: bookmarks.value || null,
                time_zone: zone.value || null,
            };
            SLOTS.forEach((slot, index) => {
                const value = slots[index]?.value ?? '';
                changes[slot] = value === '' ? null : Number(value);
            });
            await send('PUT', ['volumes', volume, 'retention'], changes);
            notice('The policy is set. The next fold follows it.');
            await changed();
        },
    });
}
