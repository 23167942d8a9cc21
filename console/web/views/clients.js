/**
 * Machines that may send, tokens with which machines enrol, and tokens of the API.
 *
 * @module
 */

import { account, get, isAbort, send } from '../lib/api.js';
import { fill, framed, h } from '../lib/dom.js';
import { estate } from '../lib/estate.js';
import { collator, count, counted, duration, fullTime, time } from '../lib/format.js';
import { live } from '../lib/live.js';
import { ROLES } from '../lib/words.js';
import { ask, field, select, show } from '../parts/dialog.js';
import { notice } from '../parts/notices.js';
import {
    badge,
    button,
    copyable,
    empty,
    facts,
    failed,
    loading,
    panel,
    table,
    when,
} from '../parts/small.js';

const SOON_DAYS = 14;
const SHOWN_MAX = 200;

/**
 * @param {HTMLElement} main
 * @param {import('../lib/dom.js').Scope} scope
 */
export function clients(main, scope) {
    const machines = h('div');
    const search = h('input', {
        'type': 'search',
        'class': 'machine-search',
        'placeholder': 'Search machines',
        'aria-label': 'Search machines',
        'maxlength': '100',
    });
    const tokens = h('div', null, loading('tokens'));
    const manages = account.may('administrator');
    const enrols = estate.can('enrolment', 'administrator');
    const showMachines = framed(() => {
        const wanted = search.value.trim().toLowerCase();
        const all = [...estate.machines.values()]
            .filter(({ name, machine }) => `${name} ${machine}`.toLowerCase().includes(wanted))
            .sort((one, other) => collator.compare(one.name, other.name));
        const shape = JSON.stringify(all);
        if (machines.dataset['shape'] === shape) return;
        machines.dataset['shape'] = shape;
        fill(
            machines,
            estate.machines.size === 0
                ? empty('No machine has enrolled yet.', 'A token lets one machine enrol, once.')
                : all.length === 0
                  ? empty('No machine is like that.', 'Change the search.')
                  : machineTable(all.slice(0, SHOWN_MAX), enrols),
            all.length > SHOWN_MAX
                ? h(
                      'p',
                      { class: 'soft small' },
                      `and ${counted(all.length - SHOWN_MAX, 'more machine')}: search for them`,
                  )
                : null,
        );
    });
    const showTokens = async () => {
        try {
            const found = await get(['tokens'], {}, scope.signal);
            fill(tokens, tokenTable(found.tokens, showTokens));
        } catch (error) {
            if (!isAbort(error)) fill(tokens, failed(error, showTokens));
        }
    };
    fill(
        main,
        h(
            'div',
            { class: 'page' },
            h(
                'header',
                { class: 'page-head' },
                h('h1', null, 'Clients'),
                enrols
                    ? button('Enrol a machine…', askEnrolment, {
                          class: 'primary',
                          icon: 'plus',
                      })
                    : null,
            ),
            h(
                'div',
                { class: 'grid' },
                panel('Machines', { class: 'wide', aside: search }, machines),
                manages
                    ? panel(
                          'Tokens of the API',
                          {
                              class: 'wide',
                              aside: button('Make a token…', () => askToken(showTokens), {
                                  icon: 'plus',
                              }),
                          },
                          tokens,
                      )
                    : null,
                server(),
            ),
        ),
    );
    search.addEventListener('input', showMachines);
    scope.on(estate, 'volumes', showMachines);
    showMachines();
    if (manages) showTokens();
    return { title: 'Clients' };
}

function server() {
    const known = estate.server;
    if (!known) return null;
    const expires = known.certificate_expires_ms;
    return panel(
        'Server',
        { class: 'wide' },
        facts([
            ['Name', known.name],
            ['Version', known.version],
            ['Repository', h('code', { class: 'break' }, known.repository)],
            [
                'Certificate',
                expires === null
                    ? null
                    : `expires on ${fullTime(expires)}, ` +
                      `in ${duration((expires - live.now()) / 1000)}`,
            ],
            ['Folders for restores', known.restore_folders.join(', ') || 'none'],
        ]),
    );
}

/**
 * @param {Api.MachineLine[]} machines
 * @param {boolean} manages
 */
function machineTable(machines, manages) {
    const columns = [
        'Machine',
        'State',
        { text: 'Volumes', class: 'number' },
        'Enrolled',
        'Certificate',
        ...(manages ? [''] : []),
    ];
    return table(
        'Machines',
        columns,
        machines.map((machine) => {
            const left =
                machine.expires_ms === null ? null : (machine.expires_ms - live.now()) / 1000;
            const soon = left !== null && left < SOON_DAYS * 86_400;
            return [
                h(
                    'span',
                    null,
                    h('b', null, machine.name),
                    machine.role === 'operator' ? h('span', { class: 'soft' }, ' operator') : null,
                    ' ',
                    h('span', { class: 'soft mono small machine-id' }, machine.machine.slice(0, 8)),
                ),
                machine.revoked
                    ? badge('bad', 'Revoked')
                    : machine.connected
                      ? badge('ok', 'Connected')
                      : badge('idle', 'Not connected'),
                count(machine.volumes),
                machine.enrolled_ms === null ? '–' : when(machine.enrolled_ms),
                left === null
                    ? '–'
                    : h(
                          'span',
                          { class: soon ? 'text-warn' : '' },
                          left < 0 ? 'expired' : `expires in ${duration(left)}`,
                      ),
                ...(manages
                    ? [
                          machine.revoked
                              ? null
                              : button('Revoke…', () => askRevocation(machine), {
                                    class: 'quiet',
                                }),
                      ]
                    : []),
            ];
        }),
    );
}

/** @param {Api.MachineLine} machine */
function askRevocation(machine) {
    ask({
        title: `Revoke ${machine.name}?`,
        body: [
            h(
                'p',
                null,
                'The server refuses the machine from now on, for ever. What it has sent stays ' +
                    'and can be restored. To protect it again, it has to be enrolled anew.',
            ),
        ],
        confirm: 'Revoke',
        danger: true,
        act: async () => {
            await send('PUT', ['machines', machine.machine, 'revocation']);
            estate.machine({ ...machine, revoked: true });
            notice(`${machine.name} is revoked.`);
        },
    });
}

function askEnrolment() {
    const name = h('input', {
        maxlength: '64',
        placeholder: 'web-1',
        spellcheck: 'false',
        autocapitalize: 'none',
    });
    const role = select(
        [
            ['client', 'Client: sends its volumes'],
            ['operator', 'Operator: asks for points of all volumes'],
        ],
        'client',
    );
    const valid = select(
        [
            ['60', 'An hour'],
            ['480', '8 hours'],
            ['1440', 'A day'],
            ['10080', 'A week'],
        ],
        '60',
    );
    ask({
        title: 'Enrol a machine',
        body: [
            h('p', { class: 'soft' }, 'A token lets one machine enrol, once.'),
            field('Machine’s name', name, 'Empty: its own name.'),
            field('Role', role),
            field('Valid for', valid),
        ],
        confirm: 'Make a token',
        act: async () => {
            const made = /** @type {Api.Enrolment} */ (
                await send('POST', ['enrolments'], {
                    name: name.value.trim() || null,
                    role: role.value,
                    valid_minutes: Number(valid.value),
                })
            );
            show(
                'Enrol the machine now',
                h('p', null, 'On the machine, as an administrator:'),
                copyable(made.command, 'the command'),
                h(
                    'p',
                    { class: 'soft' },
                    h('code', null, 'SERVER'),
                    ' stands for this server’s address. The token is shown once, and valid ' +
                        'until ' +
                        `${fullTime(made.valid_until_ms)}.`,
                ),
            );
        },
    });
}

/**
 * @param {Api.Token[]} tokens
 * @param {() => Promise<void>} changed
 */
function tokenTable(tokens, changed) {
    if (tokens.length === 0)
        return empty('No token.', 'A program asks this server with a token of its own.');
    return table(
        'Tokens of the API',
        ['Name', 'Role', 'Made', 'Expires', ''],
        tokens.map((token) => [
            h('b', null, token.name),
            ROLES[token.role],
            h(
                'span',
                { title: fullTime(token.made_ms) },
                `${time(token.made_ms)} by ${token.made_by}`,
            ),
            token.expires_ms === null ? 'never' : when(token.expires_ms),
            button(
                'End…',
                () =>
                    ask({
                        title: `End the token ${token.name}?`,
                        body: [h('p', null, 'A program that has it is refused from now on.')],
                        confirm: 'End',
                        danger: true,
                        act: async () => {
                            await send('DELETE', ['tokens', token.token]);
                            notice(`The token ${token.name} has ended.`);
                            await changed();
                        },
                    }),
                { class: 'quiet' },
            ),
        ]),
    );
}

/** @param {() => Promise<void>} changed */
function askToken(changed) {
    const name = h('input', {
        required: true,
        pattern: '[A-Za-z0-9][A-Za-z0-9._\\-]{0,63}',
        maxlength: '64',
        spellcheck: 'false',
        autocapitalize: 'none',
        placeholder: 'monitoring',
    });
    const role = select(
        [
            ['viewer', 'Viewer: looks'],
            ['operator', 'Operator: also mounts, restores and reads files'],
            ['administrator', 'Administrator: everything'],
        ],
        'viewer',
    );
    const valid = select(
        [
            ['30', '30 days'],
            ['90', '90 days'],
            ['365', 'A year'],
            ['', 'Until it is ended'],
        ],
        '90',
    );
    ask({
        title: 'Make a token of the API',
        body: [
            field('Name', name, 'What it is for.'),
            field('Role', role),
            field('Valid for', valid),
        ],
        confirm: 'Make a token',
        act: async () => {
            const made = /** @type {Api.MadeToken} */ (
                await send('POST', ['tokens'], {
                    name: name.value,
                    role: role.value,
                    valid_days: valid.value === '' ? null : Number(valid.value),
                })
            );
            show(
                'The token',
                h('p', null, 'It is shown once. A program sends it with each request:'),
                copyable(`Authorization: Bearer ${made.secret}`, 'the header'),
            );
            await changed();
        },
    });
}
