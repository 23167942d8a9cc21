/**
 * What a volume does now: its block map, queue, holds, rates, age of the latest point, and what
 * happened to it.
 *
 * @module
 */

import { get, isAbort } from '../lib/api.js';
import { fill, h, say } from '../lib/dom.js';
import {
    ago,
    bytes,
    capital,
    count,
    counted,
    fullTime,
    milliseconds,
    percent,
    rate,
    time,
} from '../lib/format.js';
import { live } from '../lib/live.js';
import { activity, LEVEL_TONES } from '../lib/words.js';
import { blockMap, partsFor } from '../parts/block-map.js';
import { barChart, lineChart } from '../parts/chart.js';
import { jobList } from '../parts/jobs.js';
import { empty, facts, failed, loading, meter, panel } from '../parts/small.js';

const MINUTES = 15;
const SAMPLES_MAX = 900;
const EVENTS_SHOWN = 50;
const COUNTED_MS = 5000;
const NOT_TOLD =
    'Nothing is told of queue and held writes at the moment; a service of an older release never ' +
    'does. `snapless status` on the machine shows it.';

/**
 * @param {HTMLElement} body
 * @param {import('../lib/dom.js').Scope} scope
 * @param {string} id
 */
export function now(body, scope, id) {
    const map = blockMap(scope);
    const mapNote = h('p', { class: 'soft small' });
    const mapPlace = h('div', null, loading('the block map'));
    const rates = lineChart(scope, 'Rates', rate, {
        binary: true,
        least: 1024 * 1024,
    });
    const ages = lineChart(scope, 'Age of the latest point, and holds', milliseconds, {
        least: 10,
    });
    const queue = lineChart(scope, 'Queue', bytes, {
        binary: true,
        least: 1024 * 1024,
    });
    const holds = barChart(scope, 'Holds by their length', {
        bar: 'From',
        value: 'Writes held',
    });
    const nothing = empty(
        'Nothing was reported in this time.',
        'Figures come while the machine is connected.',
    );
    const service = h('div');
    const queueMeter = meter('Queue memory in use');
    const queueText = h('span');
    const events = h('div', null, loading('events'));
    const sessions = h('div');
    const grid = h(
        'div',
        { class: 'grid' },
        panel('Block map', { class: 'wide', aside: mapNote }, mapPlace),
        panel(
            'Over time',
            {
                class: 'wide',
                aside: h('p', { class: 'soft small' }, `at most the last ${MINUTES} minutes`),
            },
            h(
                'div',
                { class: 'charts' },
                rates.element,
                ages.element,
                queue.element,
                holds.element,
            ),
            nothing,
        ),
        panel(
            'Service and queue',
            {},
            h('div', { class: 'queue-line' }, queueText, queueMeter.element),
            service,
        ),
        panel('Sessions', {}, sessions),
        jobList(scope, id),
        panel('Events', { class: 'wide' }, events),
    );
    fill(body, grid);

    /** What the server has counted. @type {Sample[]} */
    let counts = [];
    /** The same, and what was reported since. @type {Sample[]} */
    let samples = [];
    /**
     * Shows the series of which something is known; a chart of none is not shown.
     *
     * @param {ReturnType<typeof lineChart>} chart
     * @param {Sample[]} from
     * @param {[string, string, (sample: Sample) => number | null][]} wanted
     */
    const show = (chart, from, wanted) => {
        const to = live.now();
        const kept = from.filter((sample) => sample.time_ms >= to - MINUTES * 60_000);
        const begin = Math.min(kept[0]?.time_ms ?? to, to - 60_000);
        const series = wanted
            .map(([name, colour, value]) => ({ name, colour, values: kept.map(value) }))
            .filter(({ values }) => values.some((value) => value !== null));
        chart.element.hidden = series.length === 0;
        chart.update({ from: begin, to, times: kept.map((sample) => sample.time_ms), series });
    };
    const plot = () => {
        show(rates, samples, [
            ['Captured', 'series-1', (sample) => sample.drained],
            ['Sent', 'series-3', (sample) => sample.sent],
            ['Stored', 'series-2', (sample) => sample.received],
        ]);
        show(ages, counts, [
            ['Latest point', 'series-1', (sample) => sample.latest_age_ms],
            [
                'Hold, 99 of 100',
                'series-3',
                ({ hold_p99_us: us }) => (us === null ? null : us / 1000),
            ],
        ]);
        show(queue, samples, [['In use', 'series-4', (sample) => sample.queue_used]]);
        nothing.hidden = samples.length > 0;
    };

    /** @param {Api.Live | null} report */
    const tell = (report) => {
        if (!report) {
            say(queueText, '');
            queueMeter.element.hidden = true;
            holds.element.hidden = true;
            fill(
                service,
                empty(
                    'No service reports.',
                    'Figures come once a second while the machine is connected.',
                ),
            );
            return;
        }
        const used = report.queue;
        queueMeter.element.hidden = used === null || used.capacity === 0;
        if (used && used.capacity > 0) {
            const share = used.used / used.capacity;
            queueMeter.update(share, share > 0.9 ? 'bad' : share > 0.6 ? 'warn' : 'info');
            say(
                queueText,
                `Queue ${percent(share)}: ${bytes(used.used)} of ${bytes(used.capacity)} wait, ` +
                    `${bytes(used.kept)} kept until acknowledged`,
            );
        } else {
            say(queueText, NOT_TOLD);
        }
        const shape = JSON.stringify([report.activity, report.last_error, report.counters]);
        if (service.dataset['shape'] !== shape) {
            service.dataset['shape'] = shape;
            fill(
                service,
                facts([
                    ['Service', activity(report.activity)],
                    ['Last error', report.last_error],
                    ...counters(report.counters),
                ]),
            );
        }
        holds.element.hidden = report.holds === null;
        if (report.holds) tellHolds(holds, report.holds);
    };

    const load = async () => {
        const [detail, history, shape, list] = await Promise.all([
            get(['volumes', id], {}, scope.signal),
            get(['volumes', id, 'history'], {}, scope.signal),
            get(['volumes', id, 'map'], { parts: partsFor() }, scope.signal),
            get(['volumes', id, 'events'], { limit: EVENTS_SHOWN }, scope.signal),
        ]);
        counts = history.samples;
        samples = counts;
        plot();
        tell(detail.live);
        showMap(shape);
        showSessions(sessions, detail);
        tellEvents(list.events);
        live.watch(id, partsFor());
    };
    /** @param {Api.BlockMap} shape */
    const showMap = (shape) => {
        if (shape.parts === 0) {
            fill(
                mapPlace,
                empty(
                    'Nothing tells the states of the blocks at present.',
                    'They are known while the machine is connected, or from what is stored.',
                ),
            );
            return;
        }
        if (!mapPlace.contains(map.element)) fill(mapPlace, map.element);
        map.update(shape);
        const cell = shape.length === null ? '' : `a cell is ${bytes(shape.length / shape.parts)}`;
        const block = shape.block_size === null ? '' : `, a block ${bytes(shape.block_size)}`;
        const age =
            shape.time_ms !== null && live.now() - shape.time_ms > 10_000
                ? ` · as of ${time(shape.time_ms)}`
                : '';
        say(mapNote, `${cell}${block}${age}`);
    };
    /** @type {Api.Event[]} */
    let known = [];
    /** @param {Api.Event[]} next */
    const tellEvents = (next) => {
        known = next.slice(0, EVENTS_SHOWN);
        if (known.length === 0) {
            fill(
                events,
                empty(
                    'Nothing has happened to this volume.',
                    'Gaps, connections and jobs are told here.',
                ),
            );
            return;
        }
        fill(
            events,
            h(
                'ol',
                { class: 'events' },
                known.map((event) =>
                    h(
                        'li',
                        null,
                        h(
                            'time',
                            {
                                datetime: new Date(event.time_ms).toISOString(),
                                title: fullTime(event.time_ms),
                            },
                            time(event.time_ms),
                        ),
                        h('span', { class: `dot tone-${LEVEL_TONES[event.level]}` }),
                        h('span', null, capital(event.text)),
                    ),
                ),
            ),
        );
    };

    const begin = () =>
        load().catch((error) => {
            if (isAbort(error) || scope.over) return;
            fill(
                body,
                failed(error, () => {
                    fill(body, grid);
                    begin();
                }),
            );
        });
    scope.on(live, 'live', ({ detail }) => {
        const { volume, live: report } = /** @type {Api.LiveEvent} */ (detail);
        if (volume !== id) return;
        samples = [...samples, sampleOf(report)].slice(-SAMPLES_MAX);
        plot();
        tell(report);
    });
    scope.on(live, 'map', ({ detail }) => {
        if (detail.volume === id) showMap(detail);
    });
    scope.on(live, 'event', ({ detail }) => {
        if (detail.volume === id) tellEvents([detail, ...known]);
    });
    // The server alone knows what came of an interval: its samples take the place of the page's.
    scope.every(COUNTED_MS, async () => {
        const history = await get(['volumes', id, 'history'], {}, scope.signal).catch(() => null);
        if (!history) return;
        counts = history.samples;
        samples = counts;
    });
    scope.every(1000, () => {
        if (live.state !== 'open') plot();
    });
    begin();
    return {};
}

/** @typedef {Api.History['samples'][0]} Sample */

/**
 * A sample of what was just reported.
 *
 * @param {Api.Live} report
 * @returns {Sample}
 */
function sampleOf(report) {
    return {
        time_ms: report.time_ms,
        received: report.rates.received,
        drained: report.rates.drained,
        sent: report.rates.sent,
        queue_used: report.queue?.used ?? null,
        holds: null,
        hold_p99_us: null,
        latest_age_ms: null,
    };
}

/**
 * @param {import('../parts/chart.js').BarChart} bars
 * @param {Api.Holds} holds
 */
function tellHolds(bars, holds) {
    const last = holds.buckets.reduce((most, value, index) => (value > 0 ? index : most), 0);
    const first = Math.max(
        0,
        holds.buckets.findIndex((value) => value > 0),
    );
    const shown = holds.buckets.slice(first, Math.max(last + 1, first + 8)).map((value, index) => ({
        label: micro(2 ** (first + index)),
        value,
        tone: 'series-3',
    }));
    const longest =
        holds.held === 0
            ? 'no write was held in this session'
            : `${counted(holds.held, 'write')} held in this session, ` +
              `the longest for ${milliseconds(holds.longest_us / 1000)}`;
    bars.update(shown, `${count(holds.now)} held now; ${longest}.`);
}

/** @param {number} microseconds */
function micro(microseconds) {
    if (microseconds < 1000) return `${microseconds} µs`;
    if (microseconds < 1_000_000) return `${Math.round(microseconds / 1000)} ms`;
    return `${Math.round(microseconds / 1_000_000)} s`;
}

/**
 * Counters by the words of their names; bytes as bytes.
 *
 * @param {Record<string, number>} counters
 * @returns {[string, string][]}
 */
function counters(counters) {
    return Object.entries(counters).map(([name, value]) => {
        const words = name.replaceAll('_', ' ');
        const text = /(^|_)bytes($|_)/.test(name) ? bytes(value) : count(value);
        return [capital(words), text];
    });
}

/**
 * @param {HTMLElement} place
 * @param {Api.Volume} volume
 */
function showSessions(place, volume) {
    const sessions = [...volume.sessions].reverse();
    fill(
        place,
        volume.error ? h('p', { class: 'need tone-bad' }, volume.error) : null,
        sessions.length === 0
            ? empty('Nothing is stored yet.', 'The first session begins with the first sync.')
            : null,
        sessions.map((session, index) =>
            h(
                'details',
                { class: 'session', open: index === 0 },
                h(
                    'summary',
                    null,
                    h(
                        'span',
                        null,
                        session.t0_ms === null ? 'Not begun' : `Since ${time(session.t0_ms)}`,
                    ),
                    h('span', { class: 'soft mono small' }, session.session.slice(0, 8)),
                ),
                session.damage ? h('p', { class: 'need tone-bad' }, session.damage) : null,
                facts([
                    [
                        't0',
                        session.t0_ms === null
                            ? null
                            : `${fullTime(session.t0_ms)}, ` +
                              (session.t0_restorable ? 'can be restored' : 'cannot be restored'),
                    ],
                    [
                        'Latest point',
                        session.latest_ms === null
                            ? 'none'
                            : `${fullTime(session.latest_ms)} ` +
                              `(${ago(session.latest_ms, live.now())})`,
                    ],
                    [
                        'Every instant since',
                        session.whole_from_ms === null ? null : fullTime(session.whole_from_ms),
                    ],
                    [
                        'Blocks',
                        session.blocks === null
                            ? null
                            : `${count(session.blocks_known ?? 0)} of ` +
                              `${count(session.blocks)} known`,
                    ],
                    [
                        'Blocks with holes',
                        session.blocks_with_holes ? count(session.blocks_with_holes) : null,
                    ],
                    ['Excluded', session.excluded_bytes ? bytes(session.excluded_bytes) : null],
                    ['Stored', session.stored_bytes === null ? null : bytes(session.stored_bytes)],
                    ['Epochs', session.epochs === null ? null : count(session.epochs)],
                    ['Gaps', count(session.gaps)],
                    ['Sectors', session.sector_size === null ? null : bytes(session.sector_size)],
                ]),
            ),
        ),
        volume.copy_check ? h('p', { class: 'soft small' }, checkWords(volume.copy_check)) : null,
    );
}

/** @param {Api.CopyCheck} check */
function checkWords(check) {
    const same = `${bytes(check.same_bytes)} the same`;
    const differing = check.differing_bytes > 0 ? `, ${bytes(check.differing_bytes)} differ` : '';
    const unclear = check.unclear_bytes > 0 ? `, ${bytes(check.unclear_bytes)} not clear` : '';
    const when = ago(check.time_ms, live.now());
    return `The copy was compared with the volume ${when}: ${same}${differing}${unclear}.`;
}
