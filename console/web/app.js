/**
 * The page: who is signed in, which view is shown, and how the server is.
 *
 * @module
 */

import { account, get, inWords, isAbort, send } from './lib/api.js';
import { themeChanged } from './lib/canvas.js';
import { fill, h, say, Scope, set } from './lib/dom.js';
import { estate } from './lib/estate.js';
import { duration } from './lib/format.js';
import { live } from './lib/live.js';
import { link, route } from './lib/router.js';
import { ROLES } from './lib/words.js';
import { closeAll } from './parts/dialog.js';
import { notice, place as placeNotices } from './parts/notices.js';
import { failed, icon, loading } from './parts/small.js';
import { activity } from './views/activity.js';
import { audit } from './views/audit.js';
import { clients } from './views/clients.js';
import { lost } from './views/lost.js';
import { overview } from './views/overview.js';
import { signIn } from './views/sign-in.js';
import { volume } from './views/volume.js';

/**
 * A view fills `main` and ends with its scope. It says whether it takes a new address itself.
 *
 * @typedef {object} View
 * @property {string} title
 * @property {((route: import('./lib/router.js').Route) => boolean)} [moved]
 */
/** @typedef {import('./lib/router.js').Route} Route */
/** @typedef {(main: HTMLElement, scope: Scope, route: Route) => View} Maker */

/** @type {Record<string, Maker>} */
const VIEWS = { '': overview, 'volumes': volume, activity, clients, audit };

const THEMES = /** @type {const} */ (['auto', 'light', 'dark']);
const THEME_WORDS = { auto: 'as the system', light: 'light', dark: 'dark' };

const main = h('main', { id: 'main', tabindex: '-1' });
const banner = h('div', { class: 'banner', role: 'status', hidden: true });
const nav = h('nav', { 'class': 'nav', 'aria-label': 'Console' });
const user = h('div', { class: 'user' });
const pulse = h('span', { class: 'pulse' });
const skip = h('a', { class: 'skip', href: '#main' }, 'Skip to the content');
skip.addEventListener('click', (event) => {
    event.preventDefault();
    main.focus();
});
const shell = h(
    'div',
    { class: 'shell' },
    skip,
    h(
        'header',
        { class: 'top' },
        h(
            'a',
            { class: 'brand', href: '#/', title: 'Overview' },
            brandMark(),
            h('span', null, 'Snapless'),
        ),
        nav,
        h('div', { class: 'top-end' }, pulse, themeButton(), user),
    ),
    banner,
    main,
);

/** @type {{ scope: Scope, view: View | null } | null} */
let current = null;

document.body.append(shell);
placeNotices();
addEventListener('hashchange', () => show(false));
account.addEventListener('ended', () => {
    live.stop();
    notice('Your session has ended. Sign in again to go on.', 'warn');
    ask();
});
live.addEventListener('state', tellState);
live.addEventListener('again', () => {
    if (live.restarted) notice('The server was restarted. The page has loaded everything again.');
    estate
        .load()
        .then(() => show(true))
        .catch((error) => notice(inWords(error), 'bad'));
});
for (const name of ['jobs', 'alarms']) estate.addEventListener(name, showNav);
setInterval(() => {
    if (live.state === 'lost') tellState();
}, 1000);
begin();

/** Finds out who is signed in. */
async function begin() {
    fill(main, loading('the console'));
    try {
        account.session = await get(['session']);
        await enter();
    } catch (error) {
        if (error instanceof Error && 'status' in error && error.status === 401) ask();
        else fill(main, failed(error, begin));
    }
}

/** Loads the estate and shows the view that the address names. */
async function enter() {
    fill(main, loading('the volumes'));
    try {
        await estate.load();
    } catch (error) {
        if (account.session) fill(main, failed(error, enter));
        return;
    }
    showUser();
    live.start();
    show(true);
}

/** Shows the form to sign in; afterwards the page is where it was. */
function ask() {
    leave();
    estate.forget();
    shell.classList.add('signed-out');
    fill(nav);
    fill(user);
    banner.hidden = true;
    document.title = 'Sign in · Snapless';
    signIn(main, () => {
        shell.classList.remove('signed-out');
        enter();
    });
}

function leave() {
    closeAll();
    current?.scope.end();
    current = null;
}

/**
 * Shows the view of the address.
 *
 * @param {boolean} anew whether also one that is shown already begins anew
 */
function show(anew) {
    if (!account.session || !estate.loaded) return;
    const to = route();
    showNav();
    if (!anew && current?.view?.moved?.(to)) return;
    const same = anew && current !== null;
    leave();
    const scope = new Scope();
    const make = VIEWS[to.path[0] ?? ''] ?? lost;
    live.watch(null);
    fill(main);
    current = { scope, view: null };
    try {
        current.view = make(main, scope, to);
        document.title = `${current.view.title} · Snapless`;
    } catch (error) {
        fill(
            main,
            failed(error, () => show(true)),
        );
    }
    if (same) return;
    scrollTo(0, 0);
    const heading = main.querySelector('h1');
    if (heading instanceof HTMLElement) {
        heading.tabIndex = -1;
        heading.focus({ preventScroll: true });
    }
}

function showNav() {
    if (!account.session) return;
    const at = route().path[0] ?? '';
    const running = [...estate.jobs.values()].filter(({ state }) => state === 'running').length;
    const alarms = [...estate.alarms.values()].filter(({ ended_ms }) => ended_ms === null).length;
    /** @type {[string, string, number, string][]} */
    const links = [
        ['', 'Overview', 0, ''],
        ['activity', 'Activity', running + alarms, 'running or alarming'],
        ['clients', 'Clients', 0, ''],
    ];
    if (account.may('administrator')) links.push(['audit', 'Audit log', 0, '']);
    if (nav.childElementCount !== links.length) {
        fill(
            nav,
            links.map(([path, word]) =>
                h(
                    'a',
                    { href: link(path ? [path] : []) },
                    word,
                    h('span', { class: 'count', hidden: true }),
                ),
            ),
        );
    }
    links.forEach(([path, , count, what], index) => {
        const item = nav.children[index];
        if (!item) return;
        set(item, 'aria-current', path === at || (path === '' && at === 'volumes') ? 'page' : null);
        const number = item.querySelector('.count');
        if (!(number instanceof HTMLElement)) return;
        number.hidden = count === 0;
        say(number, String(count));
        set(number, 'title', `${count} ${what}`);
    });
}

function showUser() {
    const session = account.session;
    if (!session) return;
    fill(
        user,
        h(
            'span',
            { class: 'user-name' },
            session.name,
            h('span', { class: 'soft' }, ROLES[session.role]),
        ),
        h('button', { type: 'button', class: 'button quiet', onclick: signOut }, 'Sign out'),
    );
}

async function signOut() {
    try {
        await send('DELETE', ['session']);
    } catch (error) {
        if (account.session) {
            notice(inWords(error), 'bad');
            return;
        }
    }
    live.stop();
    account.session = null;
    ask();
}

/** Says how the stream from the server is: by the mark, and by a banner if something is wrong. */
function tellState() {
    const { state } = live;
    set(pulse, 'class', `pulse pulse-${state}`);
    const words = {
        off: '',
        opening: 'Connecting',
        open: 'Live',
        lost: 'Not live',
    }[state];
    say(pulse, words);
    const wrong = state === 'lost' && account.session !== null;
    if (!wrong) {
        if (!banner.hidden) banner.hidden = true;
        return;
    }
    const seconds = Math.ceil((live.nextTry - Date.now()) / 1000);
    if (banner.hidden) {
        const when = h('span', { 'aria-hidden': 'true' });
        fill(
            banner,
            icon('warning'),
            h(
                'span',
                null,
                'No connection to the server: what is shown is not current. ' +
                    'The page connects again by itself.',
            ),
            when,
            h(
                'button',
                { type: 'button', class: 'button', onclick: () => live.retry() },
                'Try now',
            ),
        );
        banner.hidden = false;
    }
    const when = banner.querySelector('[aria-hidden="true"]:not(svg)');
    if (when) say(when, seconds > 0 ? `Next try in ${duration(seconds)}.` : 'Trying…');
}

function themeButton() {
    const element = h('button', {
        type: 'button',
        class: 'button icon-only',
        onclick: () => {
            const next = THEMES[(THEMES.indexOf(chosen()) + 1) % THEMES.length] ?? 'auto';
            localStorage.setItem('snapless-theme', next);
            document.documentElement.dataset['theme'] = next;
            themeChanged();
            tell();
        },
    });
    const tell = () => {
        const word = `Theme: ${THEME_WORDS[chosen()]}`;
        set(element, 'aria-label', word);
        set(element, 'title', word);
        fill(element, icon(chosen()));
    };
    tell();
    return element;
}

/** @returns {typeof THEMES[number]} */
function chosen() {
    return THEMES.find((theme) => theme === document.documentElement.dataset['theme']) ?? 'auto';
}

function brandMark() {
    return h('img', { src: 'icon.svg', alt: '', width: 22, height: 22 });
}

addEventListener('unhandledrejection', (event) => {
    if (isAbort(event.reason)) event.preventDefault();
    else if (account.session) notice(inWords(event.reason), 'bad');
});
