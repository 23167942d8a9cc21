/**
 * A volume's time: an instant is picked to the second, and something is done with it.
 *
 * @module
 */

import { account, get, isAbort } from '../lib/api.js';
import { fill, h, say, set } from '../lib/dom.js';
import { estate } from '../lib/estate.js';
import {
    capital,
    counted,
    duration,
    fullTime,
    localInput,
    percent,
    time as short,
    zone,
} from '../lib/format.js';
import { live } from '../lib/live.js';
import { link, note } from '../lib/router.js';
import {
    askBookmark,
    askMount,
    askRemoveBookmark,
    askRestore,
    askRetention,
    askVerify,
    SLOTS,
} from '../parts/acts.js';
import { heatStrip } from '../parts/block-map.js';
import { jobList } from '../parts/jobs.js';
import { button, empty, facts, failed, iconButton, loading, panel, table } from '../parts/small.js';
import { judge, timeline } from '../parts/timeline.js';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const BUCKETS = 600;
const HEAT_PARTS = 512;
const SETTLES_MS = 250;
const AGAIN_MS = 1000;
/** While nothing is counted any more: so often the latest point and new gaps are asked for. */
const RENEW_MS = 5000;
const SHOWN_MAX = 100;

/** @type {[string, number][]} */
const SPANS = [
    ['10 min', 10 * MINUTE],
    ['1 h', HOUR],
    ['6 h', 6 * HOUR],
    ['1 d', DAY],
    ['1 w', 7 * DAY],
    ['1 mo', 30 * DAY],
    ['All', Infinity],
];

/**
 * @param {HTMLElement} body
 * @param {import('../lib/dom.js').Scope} scope
 * @param {string} id
 * @param {import('../lib/router.js').Route} route
 */
export function time(body, scope, id, route) {
    const line = timeline(scope, {
        picked: (at) => picked(at),
        looked: () => lookSoon(),
    });
    const heat = heatStrip(scope);
    const input = h('input', {
        'type': 'datetime-local',
        'step': '1',
        'aria-label': `Instant, in ${zone()}`,
    });
    const verdict = h('p', { class: 'verdict', role: 'status' });
    const nearest = h('div', { class: 'row' });
    const acts = h('div', { class: 'row acts' });
    const counting = h('p', { class: 'soft small', role: 'status' });
    const heatNote = h('p', { class: 'soft small' });
    const gaps = h('div', null, loading('gaps'));
    const bookmarks = h('div', null, loading('bookmarks'));
    const retention = h('div', null, loading('retention'));
    const spans = SPANS.map(([word, span]) =>
        h(
            'button',
            {
                type: 'button',
                class: 'button segment',
                onclick: () => {
                    const middle = Number.isFinite(span) ? line.at() : 0;
                    line.look(
                        Number.isFinite(span)
                            ? { from: middle - span / 2, to: middle + span / 2 }
                            : line.whole(),
                    );
                },
            },
            word,
        ),
    );
    const stage = h('div', { class: 'wide' }, loading('the timeline'));
    const content = h(
        'div',
        null,
        h(
            'div',
            { class: 'instant' },
            h(
                'div',
                { class: 'instant-pick' },
                input,
                button('t0', () => go(data?.t0[data.t0.length - 1]?.time_ms), {
                    title: 'The begin of the newest session',
                }),
                button('Latest', () => go(data?.end_ms)),
            ),
            h(
                'div',
                { class: 'zoom' },
                h(
                    'div',
                    {
                        'class': 'segments',
                        'role': 'group',
                        'aria-label': 'How much time is shown',
                    },
                    spans,
                ),
                iconButton('minus', 'Show more time', () => line.zoom(2)),
                iconButton('plus', 'Show less time', () => line.zoom(0.5)),
            ),
        ),
        line.element,
        h(
            'ul',
            { class: 'legend timeline-legend' },
            key('restorable', 'Can be restored'),
            key('gap', 'Gap'),
            key('bookmark', 'Bookmark'),
            key('heat', 'Changed bytes'),
        ),
        counting,
        h('div', { class: 'picked' }, verdict, nearest, acts),
    );
    fill(
        body,
        h(
            'div',
            { class: 'grid' },
            h('section', { 'class': 'panel wide', 'aria-label': 'Timeline' }, stage),
            jobList(scope, id),
            panel('Changed bytes on the volume', { class: 'wide', aside: heatNote }, heat.element),
            panel('Gaps', { class: 'short' }, gaps),
            panel('Bookmarks', { class: 'short' }, bookmarks),
            panel(
                'Retention',
                {
                    aside: estate.can('retention', 'administrator')
                        ? button('Change…', () => askRetention(id, showRetention), {
                              class: 'quiet',
                          })
                        : null,
                },
                retention,
            ),
            panel(
                'All that is stored',
                {},
                h(
                    'p',
                    { class: 'soft' },
                    'A verification reads everything of the volume and checks every checksum.',
                ),
                estate.can('verify')
                    ? h(
                          'div',
                          { class: 'row' },
                          button('Verify…', () => askVerify(id), { icon: 'check' }),
                      )
                    : null,
            ),
        ),
    );

    /** @type {Api.Timeline | null} */
    let data = null;
    /** @type {Api.Point | null} */
    let point = null;
    // Timers: the next request of all, and that of the picked point.
    let soon = 0;
    let pointSoon = 0;

    const load = async () => {
        const shown = data ? line.shown() : null;
        const next = /** @type {Api.Timeline} */ (
            await get(
                ['volumes', id, 'timeline'],
                {
                    from_ms: shown ? Math.floor(shown.from) : null,
                    to_ms: shown ? Math.ceil(shown.to) : null,
                    buckets: BUCKETS,
                },
                scope.signal,
            )
        );
        const first = data === null;
        data = next;
        live.clock(next.now_ms);
        line.update(next);
        if (first) {
            fill(
                stage,
                next.begin_ms === null
                    ? empty(
                          'Nothing of this volume can be restored yet.',
                          'Its first point is there when the first sync is complete.',
                      )
                    : content,
            );
            const asked = Number(route.query.get('at'));
            line.pick(asked > 0 ? asked : (next.end_ms ?? next.now_ms), true);
            picked(line.at());
        }
        showGaps(gaps, next, go);
        showBookmarks(bookmarks, next, id, go, load);
        judgeNow();
        // The latest point goes on: what was asked for a moment ago may be there by now.
        if (point && point.restorable !== judge(next, line.at()).restorable) askPoint();
        const { changes } = next;
        say(
            counting,
            changes && !changes.complete
                ? `Counted of the history: ${percent(changes.counted)}`
                : '',
        );
        return changes === null || changes.complete;
    };
    const loadHeat = async () => {
        if (!data) return true;
        const { from, to } = line.shown();
        const found = /** @type {Api.Heat} */ (
            await get(
                ['volumes', id, 'heat'],
                {
                    from_ms: Math.floor(from),
                    to_ms: Math.ceil(to),
                    parts: HEAT_PARTS,
                },
                scope.signal,
            )
        );
        heat.update(found);
        say(
            heatNote,
            `from ${short(from)} to ${short(to)}` +
                (found.complete ? '' : `, ${percent(found.counted)} counted`),
        );
        return found.complete;
    };
    const both = async () => {
        const counted = await load()
            .then(async (all) => [all, await loadHeat()])
            .catch((error) => {
                if (!isAbort(error) && !scope.over && data === null)
                    fill(stage, failed(error, lookSoon));
                return [true];
            });
        if (scope.over) return;
        clearTimeout(soon);
        soon = Number(setTimeout(both, counted.every(Boolean) ? RENEW_MS : AGAIN_MS));
    };
    const lookSoon = () => {
        const span = line.shown().to - line.shown().from;
        spans.forEach((element, index) => {
            const wanted = Math.min(SPANS[index]?.[1] ?? 0, line.whole().to - line.whole().from);
            set(element, 'aria-pressed', String(Math.abs(span - wanted) < wanted / 100));
        });
        clearTimeout(soon);
        soon = Number(setTimeout(both, SETTLES_MS));
    };

    /** @param {number | null | undefined} at */
    const go = (at) => {
        if (at === null || at === undefined) return;
        line.pick(at);
        line.handle.focus({ preventScroll: true });
    };
    /** @param {number} at */
    const picked = (at) => {
        point = null;
        if (document.activeElement !== input) input.value = localInput(at);
        note(link(['volumes', id, 'time'], { at: Math.round(at) }));
        judgeNow();
        clearTimeout(pointSoon);
        pointSoon = Number(setTimeout(askPoint, SETTLES_MS));
    };
    const askPoint = async () => {
        const at = line.at();
        const found = await get(['volumes', id, 'point'], { at: atWords(at) }, scope.signal).catch(
            () => null,
        );
        if (line.at() !== at) return;
        point = found;
        judgeNow();
    };
    /**
     * The name by which the server is asked for an instant: of a kept point its exact time.
     *
     * @param {number} at
     */
    const atWords = (at) => {
        const single = data?.restorable.find(
            (stretch) => stretch.single && at >= stretch.from_ms && at <= stretch.to_ms,
        );
        return single?.at ?? new Date(at).toISOString();
    };

    const judgeNow = () => {
        if (!data) return;
        const at = line.at();
        const known = judge(data, at);
        const can = point ? point.restorable : known.restorable;
        // A gap's reason is known here; of what else there is the server knows more.
        const why = point?.why && !known.gap ? `cannot be restored: ${point.why}` : known.words;
        const words = can ? 'can be restored' : why;
        const tone = can ? 'ok' : 'bad';
        set(verdict, 'class', `verdict tone-${tone}`);
        const text = `${fullTime(at)} ${words}`;
        if (verdict.dataset['text'] !== text) {
            verdict.dataset['text'] = text;
            fill(
                verdict,
                h('span', { class: `dot tone-${tone}` }),
                h('b', null, fullTime(at)),
                ' ',
                h('span', null, words),
            );
        }
        const before = point?.before_ms ?? null;
        const after = point?.after_ms ?? null;
        const offer = can
            ? []
            : [
                  before === null
                      ? null
                      : button(`Last point before: ${short(before)}`, () => go(before), {
                            icon: 'left',
                        }),
                  after === null
                      ? null
                      : button(`Next point: ${short(after)}`, () => go(after), {
                            icon: 'right',
                        }),
              ];
        const shape = JSON.stringify([can, before, after]);
        if (nearest.dataset['shape'] !== shape) {
            nearest.dataset['shape'] = shape;
            fill(nearest, ...offer);
        }
        showActs(can);
    };
    /** @param {boolean} can */
    const showActs = (can) => {
        const shape = String(can);
        if (acts.dataset['shape'] === shape) return;
        acts.dataset['shape'] = shape;
        const at = () => atWords(line.at());
        const said = () => fullTime(line.at());
        fill(
            acts,
            estate.can('files')
                ? button(
                      'Browse files',
                      () => {
                          location.hash = link(['volumes', id, 'files'], { at: at() });
                      },
                      { icon: 'folder', class: 'primary', disabled: !can },
                  )
                : null,
            estate.can('mount')
                ? button('Mount…', () => askMount(id, at(), said()), {
                      icon: 'disk',
                      disabled: !can,
                  })
                : null,
            estate.can('restore')
                ? button('Restore to a file…', () => askRestore(id, at(), said()), {
                      icon: 'restore',
                      disabled: !can,
                  })
                : null,
            account.may('operator')
                ? button('Bookmark…', () => askBookmark(id, at(), said(), load), {
                      icon: 'bookmark',
                      disabled: !can,
                  })
                : h(
                      'p',
                      { class: 'soft small' },
                      'Your role, viewer, may look. An operator may do something with a point.',
                  ),
        );
    };

    const showRetention = async () => {
        try {
            const found = /** @type {Api.Retention} */ (
                await get(['volumes', id, 'retention'], {}, scope.signal)
            );
            fill(retention, retentionWords(found));
        } catch (error) {
            if (!isAbort(error)) fill(retention, failed(error, showRetention));
        }
    };

    input.addEventListener('change', () => {
        const at = Date.parse(input.value);
        if (!Number.isNaN(at)) line.pick(at);
    });
    scope.add(() => {
        clearTimeout(soon);
        clearTimeout(pointSoon);
    });
    both();
    showRetention();
    return {
        /** @param {import('../lib/router.js').Route} to */
        moved: (to) => {
            const at = Number(to.query.get('at'));
            if (to.path[1] !== id || to.path[2] !== 'time' || !(at > 0) || !data) return false;
            line.pick(at, true);
            picked(at);
            return true;
        },
    };
}

/**
 * @param {string} name
 * @param {string} word
 */
function key(name, word) {
    return h('li', null, h('span', { class: `key key-${name}` }), h('span', null, word));
}

/**
 * @param {HTMLElement} place
 * @param {Api.Timeline} data
 * @param {(at: number) => void} go
 */
function showGaps(place, data, go) {
    const shape = JSON.stringify(data.gaps);
    if (place.dataset['shape'] === shape) return;
    place.dataset['shape'] = shape;
    if (data.gaps.length === 0) {
        fill(place, empty('No gap.', 'Every write since the begin of each session was captured.'));
        return;
    }
    const newest = [...data.gaps].reverse();
    const shown = newest.slice(0, SHOWN_MAX);
    fill(
        place,
        table(
            'Gaps, the newest first',
            ['Began', 'Lasted', 'Reason'],
            shown.map((gap) => [
                h(
                    'button',
                    {
                        type: 'button',
                        class: 'link',
                        title: fullTime(gap.from_ms),
                        onclick: () => go(gap.from_ms),
                    },
                    short(gap.from_ms),
                ),
                gap.to_ms === null ? 'lasts' : duration((gap.to_ms - gap.from_ms) / 1000),
                capital(gap.reason_text),
            ]),
        ),
        newest.length > shown.length
            ? h(
                  'p',
                  { class: 'soft small' },
                  `and ${counted(newest.length - shown.length, 'older gap')}`,
              )
            : null,
    );
}

/**
 * @param {HTMLElement} place
 * @param {Api.Timeline} data
 * @param {string} id
 * @param {(at: number) => void} go
 * @param {() => Promise<unknown>} changed
 */
function showBookmarks(place, data, id, go, changed) {
    const shape = JSON.stringify(data.bookmarks);
    if (place.dataset['shape'] === shape) return;
    place.dataset['shape'] = shape;
    if (data.bookmarks.length === 0) {
        fill(place, empty('No bookmark.', 'A bookmark names a point; retention keeps it.'));
        return;
    }
    const may = account.may('operator');
    const newest = [...data.bookmarks].sort(
        (one, other) => (other.time_ms ?? 0) - (one.time_ms ?? 0),
    );
    fill(
        place,
        table(
            'Bookmarks, the newest first',
            ['Name', 'Instant', 'Kept', ...(may ? [''] : [])],
            newest.map((bookmark) => {
                const at = bookmark.time_ms;
                return [
                    h(
                        'span',
                        { class: 'break' },
                        bookmark.name,
                        bookmark.error
                            ? h('span', { class: 'text-bad' }, ` (${bookmark.error})`)
                            : null,
                    ),
                    at === null
                        ? '–'
                        : h(
                              'button',
                              {
                                  type: 'button',
                                  class: 'link',
                                  title: fullTime(at),
                                  onclick: () => go(at),
                              },
                              short(at),
                          ),
                    bookmark.keep ?? 'by the policy',
                    ...(may
                        ? [
                              iconButton('close', `Remove the bookmark ${bookmark.name}`, () =>
                                  askRemoveBookmark(id, bookmark.name, changed),
                              ),
                          ]
                        : []),
                ];
            }),
        ),
    );
}

/** @param {Api.Retention} retention */
function retentionWords(retention) {
    const policy = retention.effective;
    const points = SLOTS.filter((slot) => policy[slot] > 0)
        .map((slot) => `${policy[slot]} ${slot}`)
        .join(', ');
    const own = Object.values(retention.own).some((value) => value !== null);
    return facts([
        [
            'Every instant',
            policy.keep_all === 'forever' ? 'for ever' : `for ${spanWords(policy.keep_all)}`,
        ],
        ['Single points before', policy.keep_all === 'forever' ? null : points || 'none'],
        [
            'Bookmarks',
            policy.bookmarks === 'forever' ? 'for ever' : `for ${spanWords(policy.bookmarks)}`,
        ],
        ['Days begin in', policy.time_zone],
        ['Policy', own ? 'the volume’s own' : 'the default'],
    ]);
}

/**
 * "14 days" of `14d`.
 *
 * @param {string} span
 */
function spanWords(span) {
    const match = /^(\d+)([hdw])$/.exec(span);
    if (!match) return span;
    const unit = { h: 'hour', d: 'day', w: 'week' }[match[2] ?? 'd'] ?? 'day';
    return counted(Number(match[1]), unit);
}
