/**
 * The files of a point, to look at and to download.
 *
 * @module
 */

import { account, address, get, isAbort } from '../lib/api.js';
import { fill, h } from '../lib/dom.js';
import { bytes, count, counted, fullTime } from '../lib/format.js';
import { link } from '../lib/router.js';
import { instantOf, instantWords } from '../parts/jobs.js';
import { button, empty, failed, icon, loading, panel, table, when } from '../parts/small.js';

/**
 * @param {HTMLElement} body
 * @param {import('../lib/dom.js').Scope} scope
 * @param {string} id
 * @param {import('../lib/router.js').Route} route
 */
export function files(body, scope, id, route) {
    const at = route.query.get('at') ?? 'latest';
    const path = route.query.get('path') ?? '/';
    const place = h('div');
    const note = h('p', { class: 'soft small' });
    const instant = instantOf(at);
    const said = Number.isNaN(instant) ? `at ${instantWords(at)}` : `on ${fullTime(instant)}`;
    fill(
        body,
        h(
            'div',
            { class: 'grid' },
            panel(
                'Files',
                {
                    class: 'wide',
                    aside: [
                        note,
                        h(
                            'a',
                            {
                                class: 'button',
                                href: link(['volumes', id, 'time'], {
                                    at: Number.isNaN(instant) ? null : instant,
                                }),
                            },
                            'Another instant',
                        ),
                    ],
                },
                h(
                    'p',
                    { class: 'soft' },
                    at === 'latest'
                        ? 'As the volume was at its latest point.'
                        : `As the volume was ${said}.`,
                ),
                crumbs(id, at, path),
                place,
            ),
        ),
    );
    if (!account.may('operator')) {
        fill(
            place,
            empty('Your role, viewer, may not read files.', 'An operator or an administrator may.'),
        );
        return {};
    }
    /** @type {Api.FileEntry[]} */
    let entries = [];
    const load = async () => {
        if (entries.length === 0) fill(place, loading('the folder'));
        try {
            const after = entries[entries.length - 1]?.name ?? null;
            const folder = /** @type {Api.Folder} */ (
                await get(['volumes', id, 'files'], { at, path, after }, scope.signal)
            );
            entries = [...entries, ...folder.entries];
            const found = counted(entries.length, 'entry', 'entries');
            note.textContent = `${folder.file_system}, ${found}${folder.more ? ' so far' : ''}`;
            fill(
                place,
                entries.length === 0
                    ? empty('The folder is empty.', 'It was so at this instant.')
                    : list(id, at, path, entries),
                folder.more ? button('Show more', load) : null,
            );
        } catch (error) {
            if (!isAbort(error)) fill(place, failed(error, load));
        }
    };
    load();
    return {};
}

/**
 * @param {string} id
 * @param {string} at
 * @param {string} path
 */
function crumbs(id, at, path) {
    const names = path.split('/').filter((name) => name !== '');
    const steps = [h('a', { href: link(['volumes', id, 'files'], { at }) }, 'Root')];
    names.forEach((name, index) =>
        steps.push(
            h(
                'a',
                {
                    'href': link(['volumes', id, 'files'], {
                        at,
                        path: `/${names.slice(0, index + 1).join('/')}`,
                    }),
                    'aria-current': index === names.length - 1 ? 'page' : null,
                },
                name,
            ),
        ),
    );
    return h(
        'nav',
        { 'class': 'crumbs', 'aria-label': 'Folder' },
        steps.flatMap((step, index) => (index === 0 ? [step] : [icon('right'), step])),
    );
}

/**
 * @param {string} id
 * @param {string} at
 * @param {string} path
 * @param {Api.FileEntry[]} entries
 */
function list(id, at, path, entries) {
    const folders = entries.filter(({ kind }) => kind === 'folder');
    const others = entries.filter(({ kind }) => kind !== 'folder');
    return table(
        'Files',
        ['Name', { text: 'Size', class: 'number' }, 'Changed', 'Attributes', ''],
        [...folders, ...others].map((entry) => {
            const inner = `${path === '/' ? '' : path}/${entry.name}`;
            const name =
                entry.kind === 'folder'
                    ? h(
                          'a',
                          {
                              class: 'file-name',
                              href: link(['volumes', id, 'files'], { at, path: inner }),
                          },
                          icon('folder'),
                          entry.name,
                      )
                    : h(
                          'span',
                          { class: 'file-name' },
                          icon(entry.kind === 'link' ? 'link' : 'file'),
                          entry.name,
                      );
            const act =
                entry.kind === 'folder'
                    ? null
                    : entry.unreadable !== null
                      ? h('span', { class: 'soft small' }, `Not to be read: ${entry.unreadable}`)
                      : h(
                            'a',
                            {
                                'class': 'button',
                                'download': '',
                                'aria-label': `Download ${entry.name}`,
                                'href': address(['volumes', id, 'files', 'content'], {
                                    at,
                                    path: inner,
                                }),
                            },
                            icon('download'),
                            h('span', null, 'Download'),
                        );
            return [
                name,
                entry.size === null || entry.kind === 'folder'
                    ? ''
                    : h('span', { title: `${count(entry.size)} bytes` }, bytes(entry.size)),
                entry.modified_ms === null ? '' : when(entry.modified_ms),
                entry.attributes.join(', '),
                act,
            ];
        }),
    );
}
