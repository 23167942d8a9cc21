/**
 * What the checks share: a console that runs, a browser that shows it, and what must hold of every
 * page.
 *
 * @module
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createInterface } from 'node:readline';

import { axe, chromium, target } from './packages.mjs';

/** @typedef {import('playwright-core').Page} Page */

const CHROMIUM = '/usr/bin/chromium';
const FLAGS = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
];
/** A machine that runs other tests beside is slow. */
const PATIENCE_MS = 60_000;
const SHOTS = `${target}console/`;

export const DESKTOP = { width: 1440, height: 900 };
export const PHONE = { width: 320, height: 640 };
/** The password of all users of the synthetic console. */
export const PASSWORD = 'snapless-synthetic';

/** Ids of volumes of the synthetic console, by their numbers. */
export const volumeId = (/** @type {number} */ number) =>
    `5e1f0000-0000-4000-8000-${number.toString(16).padStart(12, '0')}`;

/**
 * Starts a program that says its address in its first line.
 *
 * @param {string} program
 * @param {string[]} args
 */
export async function start(program, args) {
    const child = spawn(program, args, {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, RUST_LOG: 'error' },
    });
    const lines = createInterface(child.stdout);
    const address = await new Promise((resolve, reject) => {
        lines.once('line', resolve);
        child.once('error', reject);
        child.once('exit', (code) => reject(new Error(`${program} ended with ${code}`)));
    });
    return {
        address: String(address),
        async stop() {
            if (child.exitCode !== null) return;
            const ended = new Promise((resolve) => child.once('exit', resolve));
            child.kill('SIGKILL');
            await ended;
        },
    };
}

/**
 * Starts the console over an estate that does not exist.
 *
 * @param {string[]} [args]
 * @param {string} [listen]
 */
export function startSynthetic(args = [], listen = '127.0.0.1:0') {
    const program = process.env['SNAPLESS_SYNTHETIC'];
    assert.ok(program, 'SNAPLESS_SYNTHETIC names the program: run `cargo xtask page`');
    return start(program, ['--listen', listen, '--requests-per-second', '100000', ...args]);
}

/** A browser with a user folder of its own, which goes with it. */
export function launch() {
    return chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
}

/**
 * A page in a context of its own: its cookies are no other page's. Whatever the page says of
 * errors, and each breach of its content security policy, is collected in `errors`.
 *
 * @param {import('playwright-core').Browser} browser
 * @param {string} address
 * @param {import('playwright-core').BrowserContextOptions} [options]
 */
export async function open(browser, address, options = {}) {
    const context = await browser.newContext({
        viewport: DESKTOP,
        ignoreHTTPSErrors: true,
        baseURL: address,
        locale: 'en-GB',
        timezoneId: 'Europe/Berlin',
        acceptDownloads: true,
        ...options,
    });
    context.setDefaultTimeout(PATIENCE_MS);
    const page = await context.newPage();
    /** @type {string[]} */
    const errors = [];
    page.on('pageerror', (error) => errors.push(String(error)));
    page.on('console', (message) => {
        const text = message.text();
        // What the tests bring about: refused sign-ins, and servers that are gone.
        const meant = /status of 40[134]|ERR_CONNECTION|ERR_INCOMPLETE|ERR_EMPTY|Failed to load/;
        if (message.type() === 'error' && !meant.test(text)) errors.push(text);
    });
    page.on('dialog', (dialog) => {
        errors.push(`a script of somebody else ran: ${dialog.message()}`);
        dialog.dismiss();
    });
    return { page, context, errors };
}

/**
 * What a signed-in browser keeps, by console and user: passwords take a while on purpose.
 *
 * @type {Map<string, import('playwright-core').Cookie[]>}
 */
const kept = new Map();

/**
 * @param {Page} page
 * @param {string} [name] the user of this role of the synthetic console
 */
export async function signIn(page, name = 'administrator') {
    await page.goto('/');
    const key = `${name} ${page.url()}`;
    const cookies = kept.get(key);
    if (cookies) {
        await page.context().addCookies(cookies);
        await page.reload();
    } else {
        await fillIn(page, name, PASSWORD);
    }
    await page.getByRole('heading', { name: 'Overview' }).waitFor();
    if (!cookies) kept.set(key, await page.context().cookies());
}

/**
 * @param {Page} page
 * @param {string} name
 * @param {string} password
 */
export async function fillIn(page, name, password) {
    await page.getByLabel('Name').fill(name);
    await page.getByLabel('Password').fill(password);
    await page.getByRole('button', { name: 'Sign in' }).click();
}

/**
 * Shows a view; it is there when its heading has these words and nothing loads any more.
 *
 * @param {Page} page
 * @param {string} hash
 * @param {string | RegExp} heading
 */
export async function view(page, hash, heading) {
    await page.evaluate((to) => {
        location.hash = to;
    }, hash);
    await page.getByRole('heading', { level: 1, name: heading }).waitFor();
    await page.waitForFunction(() => document.querySelector('.loading') === null);
}

/**
 * Keeps a picture of the page under `target/console/`.
 *
 * @param {Page} page
 * @param {string} name
 */
export async function look(page, name) {
    mkdirSync(SHOTS, { recursive: true });
    await page.screenshot({ path: `${SHOTS}${name}.png` });
}

/**
 * What axe-core finds wrong, in words, and whether the page is wider than the window.
 *
 * @param {Page} page
 * @returns {Promise<string[]>}
 */
export async function inaccessible(page) {
    const here = await page.evaluate(() => 'axe' in globalThis);
    // By the debugger: the page's policy lets no other script in.
    if (!here) await page.evaluate(axe);
    return page.evaluate(async () => {
        const { axe: checker } = /** @type {any} */ (globalThis);
        const { violations } = await checker.run(document, { resultTypes: ['violations'] });
        /** @type {string[]} */
        const found = violations.flatMap((/** @type {any} */ rule) =>
            rule.nodes.map(
                (/** @type {any} */ node) =>
                    `${rule.id}: ${node.target.join(' ')}: ${node.failureSummary}`,
            ),
        );
        const { scrollWidth, clientWidth } = document.documentElement;
        if (scrollWidth > clientWidth) found.push(`${scrollWidth} wide in ${clientWidth}`);
        return found;
    });
}

/**
 * The times between frames while something happens, in milliseconds.
 *
 * @param {Page} page
 * @param {() => Promise<unknown>} act
 */
export async function frames(page, act) {
    await page.evaluate(() => {
        const shared = /** @type {any} */ (globalThis);
        shared.frameTimes = [];
        let last = performance.now();
        const tick = (/** @type {number} */ now) => {
            shared.frameTimes.push(now - last);
            last = now;
            shared.frame = requestAnimationFrame(tick);
        };
        shared.frame = requestAnimationFrame(tick);
    });
    await act();
    /** @type {number[]} */
    const times = await page.evaluate(() => {
        const shared = /** @type {any} */ (globalThis);
        cancelAnimationFrame(shared.frame);
        return shared.frameTimes.slice(1);
    });
    times.sort((one, other) => one - other);
    const at = (/** @type {number} */ share) =>
        (times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? NaN).toFixed(1);
    const [half, most, all] = [at(0.5), at(0.95), at(1)];
    return (
        `${times.length} frames: half within ${half} ms, ` +
        `95 of 100 within ${most}, all within ${all}`
    );
}
