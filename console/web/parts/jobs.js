/**
 * Jobs: what runs for people, how far it is, and what came of it.
 *
 * @module
 */

import { account, send } from '../lib/api.js';
import { fill, framed, h, say, set } from '../lib/dom.js';
import { estate } from '../lib/estate.js';
import { ago, bytes, capital, duration, percent, rate, time } from '../lib/format.js';
import { live } from '../lib/live.js';
import { link } from '../lib/router.js';
import { JOB_STATES, JOBS } from '../lib/words.js';
import { ask } from './dialog.js';
import { button, copyable, empty, meter, panel } from './small.js';

/**
 * The jobs of a volume, if there are any, or all.
 *
 * @param {import('../lib/dom.js').Scope} scope
 * @param {string | null} volume
 */
export function jobList(scope, volume) {
    const list = h('ul', { class: 'jobs' });
    const nothing = empty(
        'No job has run.',
        'Mounts, restores and verifications are here, with what came of them.',
    );
    /** @type {Map<string, ReturnType<typeof jobItem>>} */
    const items = new Map();
    const update = framed(() => {
        const jobs = [...estate.jobs.values()]
            .filter((job) => volume === null || job.volume === volume)
            .sort((one, other) => other.started_ms - one.started_ms);
        for (const job of jobs) {
            const item = items.get(job.job);
            if (item) item.update(job);
            else items.set(job.job, jobItem(job, volume === null));
        }
        const elements = jobs.map((job) => items.get(job.job)?.element);
        const same =
            elements.length === list.childElementCount &&
            elements.every((element, index) => element === list.children[index]);
        if (!same) fill(list, ...elements);
        nothing.hidden = jobs.length > 0;
        element.hidden = jobs.length === 0 && volume !== null;
    });
    const element = panel('Jobs', { class: 'wide', id: 'jobs' }, nothing, list);
    scope.on(estate, 'jobs', update);
    update();
    return element;
}

/**
 * @param {Api.Job} first
 * @param {boolean} named whether to say the volume
 */
function jobItem(first, named) {
    const state = h('span', { class: 'badge' });
    const title = h(
        'span',
        { class: 'job-title' },
        JOBS[first.kind],
        named
            ? h(
                  'span',
                  null,
                  ' of ',
                  h('a', { href: link(['volumes', first.volume]) }, estate.nameOf(first.volume)),
              )
            : null,
        first.at === null ? null : h('span', { class: 'soft' }, ` at ${instantWords(first.at)}`),
    );
    const text = h('p', { class: 'job-text' });
    const by = h('p', { class: 'soft small' });
    const bar = meter('Progress');
    const progress = h('p', { class: 'small' });
    const stop = button(first.kind === 'mount' ? 'Unmount' : 'Stop', () => askStop(first), {
        class: 'quiet',
    });
    const more = h('div', { class: 'job-more' });
    const element = h(
        'li',
        { class: 'job' },
        h('div', { class: 'job-head' }, state, title, h('span', { class: 'fill' }), stop),
        text,
        bar.element,
        progress,
        more,
        by,
    );
    let shape = '';
    const update = (/** @type {Api.Job} */ job) => {
        const { word, tone } = JOB_STATES[job.state];
        set(state, 'class', `badge tone-${tone}`);
        say(state, job.kind === 'mount' && job.state === 'running' && job.mount ? 'Mounted' : word);
        say(text, capital(job.error ?? job.text));
        set(text, 'class', `job-text${job.error ? ' text-bad' : ''}`);
        const ended = job.ended_ms === null ? '' : `, ended ${ago(job.ended_ms, live.now())}`;
        say(by, `Started by ${job.by} at ${time(job.started_ms)}${ended}`);
        stop.hidden = job.state !== 'running' || !account.may('operator');
        const share =
            job.progress && job.progress.total > 0 && job.state === 'running'
                ? job.progress.done / job.progress.total
                : null;
        bar.element.hidden = share === null;
        progress.hidden = share === null;
        if (share !== null && job.progress) {
            bar.update(share);
            const left =
                job.progress.eta_seconds === null
                    ? ''
                    : `, ${duration(job.progress.eta_seconds)} left`;
            const speed = job.progress.rate === null ? '' : `, ${rate(job.progress.rate)}`;
            say(
                progress,
                `${percent(share)}: ${bytes(job.progress.done)} of ` +
                    `${bytes(job.progress.total)}${speed}${left}`,
            );
        }
        const next = JSON.stringify([job.state === 'running' ? job.mount : null, job.result]);
        if (next === shape) return;
        shape = next;
        fill(
            more,
            job.state === 'running' && job.mount ? mountWords(job.mount) : null,
            job.result ? resultWords(job.result) : null,
        );
    };
    update(first);
    return { element, update };
}

/** @param {Api.Mount} mount */
function mountWords(mount) {
    return h(
        'div',
        { class: 'mount' },
        h(
            'p',
            { class: 'small soft' },
            'On the server, the disk is at ',
            h('code', { class: 'break' }, mount.uri),
            '. Paste there:',
        ),
        ...mount.commands.map((command) => copyable(command, 'the command')),
    );
}

/** @param {Api.JobResult} result */
function resultWords(result) {
    return h(
        'div',
        null,
        result.file
            ? h('p', { class: 'small' }, 'In ', h('code', { class: 'break' }, result.file))
            : null,
        h(
            'p',
            { class: `small ${result.sound ? 'soft' : 'text-bad'}` },
            `${result.bytes === null ? '' : `${bytes(result.bytes)}: `}${
                result.sound ? 'no damage and no hole' : 'not all of it is sound'
            }`,
        ),
        result.findings.length > 0
            ? h(
                  'ul',
                  { class: 'findings small' },
                  result.findings.map((finding) => h('li', null, finding)),
              )
            : null,
    );
}

/** @param {Api.Job} job */
function askStop(job) {
    const mount = job.kind === 'mount';
    ask({
        title: mount ? 'Unmount?' : `Stop the ${JOBS[job.kind].toLowerCase()}?`,
        body: [
            h(
                'p',
                null,
                mount
                    ? 'Clients that read the disk lose it. What was written to it is gone.'
                    : 'What is done so far is not used.',
            ),
        ],
        confirm: mount ? 'Unmount' : 'Stop',
        danger: true,
        act: async () => {
            await send('DELETE', ['jobs', job.job]);
        },
    });
}

/**
 * The instant that a text names, in milliseconds since 1970; NaN for the name of a bookmark, which
 * may look like a date.
 *
 * @param {string} at
 */
export function instantOf(at) {
    return /^\d{4}-\d{2}-\d{2}T/.test(at) ? Date.parse(at) : NaN;
}

/**
 * A point as it was asked for, in this browser's zone if it is a time.
 *
 * @param {string} at
 */
export function instantWords(at) {
    const time = instantOf(at);
    return Number.isNaN(time) ? at : new Date(time).toLocaleString('en-GB');
}
