/**
 * The page over an estate that does not exist: 1,000 volumes, one of them of 64 TiB, with names
 * that try to be markup.
 *
 * @module
 */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import * as shared from './console.mjs';

const { fillIn, frames, look, open, signIn, startSynthetic, view, volumeId } = shared;

/** The volume whose first sync goes on, of 64 TiB. */
const LARGE = volumeId(0);
/** A protected volume with months of history. */
const OLD = volumeId(1);
const HOUR_MS = 3_600_000;

/** @type {import('playwright-core').Browser} */
let browser;
/** @type {Awaited<ReturnType<typeof startSynthetic>>} */
let server;

before(async () => {
    [browser, server] = await Promise.all([shared.launch(), startSynthetic()]);
});
after(async () => {
    await browser?.close();
    await server?.stop();
});

/**
 * Runs a check in a page of its own, in which nothing may go wrong unseen.
 *
 * @param {string} name
 * @param {(page: shared.Page) => Promise<void>} check
 * @param {import('playwright-core').BrowserContextOptions} [options]
 */
function inPage(name, check, options) {
    test(name, async () => {
        const { page, context, errors } = await open(browser, server.address, options);
        try {
            await check(page);
            assert.deepEqual(errors, []);
        } catch (error) {
            await look(page, `failed ${name}`);
            throw error;
        } finally {
            await context.close();
        }
    });
}

inPage(
    'a wrong password is refused in words, and the right one shows the overview',
    async (page) => {
        await page.goto('/');
        await page.getByRole('heading', { name: 'Sign in to Snapless' }).waitFor();
        await look(page, 'sign-in');
        await fillIn(page, 'administrator', 'wrong');
        const words = await page.getByRole('alert').filter({ hasText: /\w/ }).textContent();
        assert.match(String(words), /password/);
        await fillIn(page, 'administrator', shared.PASSWORD);
        await page.getByRole('heading', { name: 'Overview' }).waitFor();
        assert.equal(await page.title(), 'Overview · Snapless');
        await page.getByRole('button', { name: 'Sign out' }).click();
        await page.getByRole('heading', { name: 'Sign in to Snapless' }).waitFor();
        assert.equal(await page.evaluate(() => document.cookie), '');
    },
);

inPage(
    'a thousand volumes are searched, sorted and grouped, with few rows in the page',
    async (page) => {
        await signIn(page);
        const rows = page.locator('.volume-row');
        await rows.first().waitFor();
        await look(page, 'overview');
        const table = page.getByRole('table', { name: 'Volumes' });
        assert.equal(await table.getAttribute('aria-rowcount'), '1001');
        assert.ok((await rows.count()) < 60, 'rows out of sight are not in the page');
        const scrolled = await frames(page, async () => {
            for (let turn = 0; turn < 30; turn += 1) {
                await page.mouse.wheel(0, 1200);
                await page.waitForTimeout(30);
            }
        });
        console.log(`scrolling through 1,000 volumes: ${scrolled}`);
        const sorted = await frames(page, () =>
            page.getByRole('button', { name: 'RPO', exact: true }).click(),
        );
        console.log(`sorting 1,000 volumes: ${sorted}`);
        assert.equal(
            await page.getByRole('columnheader', { name: 'RPO' }).getAttribute('aria-sort'),
            'descending',
        );
        const first = await rows.first().locator('.c-rpo').textContent();
        assert.match(String(first), /h|min/, 'the oldest point is first');

        const search = page.getByRole('searchbox', { name: /Search/ });
        await search.fill('sql-1');
        const found = page.locator('.toolbar [role=status]');
        await found.filter({ hasText: ' of 1,000 volumes' }).waitFor();
        for (const text of await rows.locator('.c-volume').allTextContents()) {
            assert.match(text, /sql-1/);
        }
        await search.fill('no such volume');
        await page.getByText('No volume is like that.').waitFor();
        await search.fill('');
        await page.getByRole('combobox', { name: 'Groups' }).selectOption('machine');
        const group = page.getByRole('button', { name: /^files-2\b/ });
        await group.waitFor();
        assert.equal(await group.getAttribute('aria-expanded'), 'true');
        await group.click();
        await page.locator('button[aria-expanded=false]', { hasText: 'files-2' }).waitFor();
        assert.match(page.url(), /group=machine/);
        await page.getByRole('button', { name: /Need a person/ }).click();
        await found.filter({ hasText: ' of 1,000 volumes' }).waitFor();
        assert.equal(
            await page.locator('.volume-row .c-state', { hasText: 'Protected' }).count(),
            0,
        );
    },
);

inPage('names that are markup are shown as text', async (page) => {
    await signIn(page);
    const search = page.getByRole('searchbox', { name: /Search/ });
    for (const name of ['<b>D:</b>', '"><script>alert(1)</script>']) {
        await search.fill(name);
        await page.getByRole('link', { name, exact: true }).waitFor();
    }
    await page.getByRole('link', { name: '"><script>alert(1)</script>' }).click();
    await page.getByRole('heading', { level: 1, name: /<script>alert\(1\)/ }).waitFor();
    await view(page, `#/volumes/${OLD}/files`, /on/);
    await page.getByText('<img src=x onerror=alert(1)>.txt').waitFor();
});

inPage('the block map of 64 TiB is live, and smooth', async (page) => {
    await signIn(page);
    await view(page, `#/volumes/${LARGE}`, /on web-0/);
    const map = page.getByRole('slider', { name: 'Place in the volume' });
    await map.waitFor();
    await page.locator('.block-legend li', { hasText: /^Synced/ }).waitFor();
    const before = await map.screenshot();
    const smooth = await frames(page, () => page.waitForTimeout(5000));
    console.log(`the block map of 64 TiB, changing: ${smooth}`);
    await look(page, 'volume');
    assert.ok(!before.equals(await map.screenshot()), 'the map has changed');

    await map.focus();
    await page.keyboard.press('Home');
    assert.match(String(await map.getAttribute('aria-valuetext')), /^0 B to 16 GiB: all synced/);
    await page.keyboard.press('End');
    assert.match(String(await map.getAttribute('aria-valuetext')), /to 64 TiB: /);
    assert.equal(await map.getAttribute('aria-valuenow'), await map.getAttribute('aria-valuemax'));
    const rates = page.getByRole('img', { name: /^Rates/ });
    assert.match(String(await rates.getAttribute('aria-label')), /Captured .*B\/s/);
    await page.locator('summary', { hasText: 'As a table' }).first().click();
    await page.getByRole('group', { name: 'Rates, the newest first' }).waitFor();
    await page.getByText(/held now; [\d,]+ writes held in this session/).waitFor();
});

inPage('the scrubber picks an instant to the second, by pointer and by keyboard', async (page) => {
    await signIn(page);
    await view(page, `#/volumes/${OLD}/time`, /on web-0/);
    const scrubber = page.getByRole('slider', { name: 'Instant' });
    await scrubber.waitFor();
    const now = async () => Number(await scrubber.getAttribute('aria-valuenow'));
    await page.getByText('can be restored', { exact: true }).waitFor();
    await look(page, 'time');
    const scrubbed = await frames(page, async () => {
        const box = await page.locator('.timeline-canvas').boundingBox();
        assert.ok(box);
        await page.mouse.move(box.x + box.width * 0.9, box.y + 90);
        await page.mouse.down();
        for (let step = 0; step < 40; step += 1) {
            await page.mouse.move(box.x + box.width * (0.9 - step * 0.02), box.y + 90);
        }
        await page.mouse.up();
    });
    console.log(`scrubbing through 200 days: ${scrubbed}`);

    await page.getByRole('button', { name: 'Latest', exact: true }).click();
    await page.getByRole('button', { name: '10 min' }).click();
    const latest = await now();
    await scrubber.focus();
    await page.keyboard.press('Shift+ArrowLeft');
    assert.equal(await now(), latest - 1, 'a second');
    await page.keyboard.press('PageDown');
    assert.equal(await now(), latest - 61, 'a tenth of ten minutes');
    const said = await scrubber.getAttribute('aria-valuetext');
    assert.match(String(said), /\d\d:\d\d:\d\d, can be restored$/);
    await page.waitForURL(/at=\d+/);
    const at = Number(new URL(page.url()).hash.match(/at=(\d+)/)?.[1]);
    assert.equal(Math.floor(at / 1000), latest - 61);

    // The same address shows the same instant.
    await page.reload();
    await scrubber.waitFor();
    await page.waitForFunction(
        (wanted) =>
            document.querySelector('[role=slider]')?.getAttribute('aria-valuenow') === wanted,
        String(latest - 61),
    );
    const input = page.getByLabel(/^Instant, in/);
    const wanted = new Date(Math.floor(Date.now() / HOUR_MS - 24) * HOUR_MS + 1000);
    await input.fill(
        wanted.toLocaleString('sv-SE', { timeZone: 'Europe/Berlin' }).replace(' ', 'T'),
    );
    await page.keyboard.press('Tab');
    assert.equal(await now(), wanted.getTime() / 1000);
});

inPage('an instant in a gap says why it cannot be restored, and which can', async (page) => {
    await signIn(page);
    await view(page, `#/volumes/${OLD}/time`, /on web-0/);
    const gaps = page.getByRole('group', { name: 'Gaps, the newest first' });
    await gaps.getByRole('button').first().click();
    const verdict = page.locator('.verdict');
    await verdict.filter({ hasText: /gap/ }).waitFor();
    await page.getByRole('button', { name: '1 h', exact: true }).click();
    await look(page, 'gap');
    for (const act of ['Browse files', 'Mount…', 'Restore to a file…', 'Bookmark…']) {
        assert.ok(await page.getByRole('button', { name: act }).isDisabled(), act);
    }
    await page.getByRole('button', { name: /^Next point/ }).click();
    await verdict.filter({ hasText: 'can be restored' }).waitFor();
    assert.ok(await page.getByRole('button', { name: 'Mount…' }).isEnabled());
});

inPage(
    'a point is bookmarked, mounted, restored and verified, each after a question',
    async (page) => {
        await signIn(page, 'operator');
        await view(page, `#/volumes/${OLD}/time`, /on web-0/);
        const dialog = page.getByRole('dialog');
        const jobs = page.getByRole('region', { name: 'Jobs' });

        await page.getByRole('button', { name: 'Bookmark…' }).click();
        await dialog.getByLabel('Name').fill('before-the-update');
        await look(page, 'bookmark');
        await dialog.getByRole('button', { name: 'Bookmark', exact: true }).click();
        await dialog.waitFor({ state: 'detached' });
        const bookmarks = page.getByRole('group', { name: 'Bookmarks, the newest first' });
        await bookmarks.getByText('before-the-update').waitFor();
        await page.getByRole('button', { name: 'Bookmark…' }).click();
        await dialog.getByLabel('Name').fill('before-the-update');
        await dialog.getByRole('button', { name: 'Bookmark', exact: true }).click();
        await dialog
            .getByRole('alert')
            .filter({ hasText: /bookmark of this name/ })
            .waitFor();
        await page.keyboard.press('Escape');
        await dialog.waitFor({ state: 'detached' });
        await bookmarks
            .getByRole('button', { name: 'Remove the bookmark before-the-update' })
            .click();
        await dialog.getByRole('button', { name: 'Remove' }).click();
        await bookmarks.getByText('before-the-update').waitFor({ state: 'detached' });

        await page.getByRole('button', { name: 'Mount…' }).click();
        await dialog.getByRole('button', { name: 'Mount', exact: true }).click();
        const mount = jobs.locator('.job', { hasText: 'Mount' });
        await mount.getByText('Mounted').waitFor();
        await mount.getByText(/^nbd-client -unix/).waitFor();
        await mount.getByRole('button', { name: 'Copy the command' }).first().click();
        await look(page, 'mount');

        await page.getByRole('button', { name: 'Restore to a file…' }).click();
        const file = dialog.getByLabel('File');
        assert.match(await file.inputValue(), /^D-on-web-0-.*\.img$/);
        await dialog.getByLabel('Format').selectOption('vhdx');
        assert.match(await file.inputValue(), /\.vhdx$/);
        await dialog.getByRole('button', { name: 'Restore', exact: true }).click();
        const restore = jobs.locator('.job', { hasText: 'Restore' });
        const bar = restore.getByRole('progressbar');
        await bar.waitFor();
        await page.waitForFunction(() =>
            [...document.querySelectorAll('.job [role=progressbar]')].some(
                (element) => Number(element.getAttribute('aria-valuenow')) > 0,
            ),
        );
        await page.getByRole('button', { name: 'Verify…' }).click();
        await dialog.getByRole('button', { name: 'Verify', exact: true }).click();
        await restore.getByText(/\.vhdx$/).waitFor();
        await restore.getByText('no damage and no hole').waitFor();
        await jobs.locator('.job', { hasText: 'Verification' }).getByText('Done').waitFor();

        await mount.getByRole('button', { name: 'Unmount' }).click();
        await dialog.getByRole('button', { name: 'Unmount' }).click();
        await mount.getByText(/^(Stopped|Done)$/).waitFor();
    },
);

inPage('folders of a point are browsed, and a file is downloaded', async (page) => {
    await signIn(page, 'operator');
    await view(page, `#/volumes/${OLD}/time`, /on web-0/);
    await page.getByRole('button', { name: 'Browse files' }).click();
    await page.getByText('EFS has encrypted it').waitFor();
    await look(page, 'files');
    await page.getByRole('link', { name: 'Data' }).click();
    await page.getByRole('link', { name: '2026' }).waitFor();
    const started = page.waitForEvent('download');
    await page.getByRole('link', { name: 'Download Zürich "plan".pdf' }).click();
    const download = await started;
    assert.equal(download.suggestedFilename(), 'Zürich _plan_.pdf');
    const content = readFileSync(await download.path());
    const whole = Buffer.alloc(3 << 20, '.');
    whole.write('Zürich "plan".pdf\n');
    assert.equal(hash(content), hash(whole));

    await page.getByRole('link', { name: 'Root' }).click();
    await page.getByRole('link', { name: 'Many' }).click();
    const more = page.getByRole('button', { name: 'Show more' });
    await more.click();
    await page.getByText('file-01999.dat').waitFor();
});

inPage('machines are enrolled and revoked, tokens are made and ended', async (page) => {
    await signIn(page);
    await view(page, '#/clients', 'Clients');
    await look(page, 'clients');
    const dialog = page.getByRole('dialog');
    await page.getByRole('button', { name: 'Enrol a machine…' }).click();
    await dialog.getByLabel('Machine’s name').fill('web-new');
    await dialog.getByRole('button', { name: 'Make a token' }).click();
    await dialog.getByText(/^snapless enroll SERVER --token snapless-/).waitFor();
    await dialog.getByRole('button', { name: 'Done' }).click();

    await page.getByRole('searchbox', { name: 'Search machines' }).fill('mail-7');
    const machine = page.getByRole('row', { name: /^mail-7\b/ });
    await machine.getByRole('button', { name: 'Revoke…' }).click();
    await dialog.getByRole('button', { name: 'Revoke' }).click();
    await machine.getByText('Revoked').waitFor();

    await page.getByRole('button', { name: 'Make a token…' }).click();
    await dialog.getByLabel('Name').fill('monitoring');
    await dialog.getByRole('button', { name: 'Make a token' }).click();
    await dialog.getByText(/^Authorization: Bearer \S+$/).waitFor();
    await dialog.getByRole('button', { name: 'Done' }).click();
    const token = page.getByRole('row', { name: /^monitoring/ });
    await token.getByRole('button', { name: 'End…' }).click();
    await dialog.getByRole('button', { name: 'End' }).click();
    await token.waitFor({ state: 'detached' });

    await view(page, '#/audit', 'Audit log');
    await page.getByRole('row').nth(1).waitFor();
});

inPage('a viewer looks and is offered nothing else', async (page) => {
    await signIn(page, 'viewer');
    await view(page, `#/volumes/${OLD}/time`, /on web-0/);
    await page.getByText('Your role, viewer, may look.').waitFor();
    const offered = /Mount|Restore|Bookmark…|Browse|Verify|Change|Remove/;
    assert.equal(await page.getByRole('button', { name: offered }).count(), 0);
    assert.equal(await page.getByRole('link', { name: /Audit|Files/ }).count(), 0);
    await view(page, '#/clients', 'Clients');
    assert.equal(await page.getByRole('button', { name: /Enrol|Revoke|token/ }).count(), 0);
});

test('two browsers see each other’s acts, and a session ends in one only', async () => {
    const [one, other] = await Promise.all(
        ['operator', 'administrator'].map(async (name) => {
            const opened = await open(browser, server.address);
            await signIn(opened.page, name);
            await view(opened.page, `#/volumes/${volumeId(2)}/time`, /on web-0/);
            return opened;
        }),
    );
    assert.ok(one && other);
    await one.page.getByRole('button', { name: 'Bookmark…' }).click();
    await one.page.getByRole('dialog').getByLabel('Name').fill('from-one');
    await one.page.keyboard.press('Enter');
    await one.page.getByRole('button', { name: 'Verify…' }).click();
    await one.page.getByRole('dialog').getByRole('button', { name: 'Verify' }).click();
    await other.page.locator('.job', { hasText: 'Started by operator' }).waitFor();
    await other.page.getByText('from-one').waitFor();

    // The session ends elsewhere: the cookie is no longer known. It is the act that finds it out:
    // what the page asks for by itself waits, since an ended session takes an open dialog with it.
    await one.page.getByRole('button', { name: 'Verify…' }).click();
    /** @type {import('playwright-core').Route[]} */
    const waiting = [];
    await one.page.route('**/api/**', async (route) => {
        if (route.request().method() === 'GET') waiting.push(route);
        else await route.continue();
    });
    await one.context.clearCookies();
    await one.page.getByRole('dialog').getByRole('button', { name: 'Verify' }).click();
    await one.page.getByText('Your session has ended.').waitFor();
    await one.page.unrouteAll({ behavior: 'ignoreErrors' });
    for (const route of waiting) await route.abort().catch(() => {});
    await fillIn(one.page, 'operator', shared.PASSWORD);
    await one.page.getByRole('slider', { name: 'Instant' }).waitFor();
    assert.equal(await other.page.getByRole('heading', { name: 'Sign in' }).count(), 0);
    assert.deepEqual([...one.errors, ...other.errors], []);
    await Promise.all([one.context.close(), other.context.close()]);
});

test('a page that is open goes on after the server was restarted', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'snapless-console-'));
    const first = await startSynthetic(['--volumes', '20', '--folder', folder]);
    const { page, context, errors } = await open(browser, first.address);
    await signIn(page);
    await view(page, `#/volumes/${OLD}`, /on web-0/);
    await first.stop();
    await page.getByText('No connection to the server: what is shown is not current.').waitFor();
    await look(page, 'no-connection');
    await page.getByRole('heading', { level: 1, name: 'on web-0' }).waitFor();
    const port = new URL(first.address).port;
    const second = await startSynthetic(
        ['--volumes', '20', '--folder', folder],
        `127.0.0.1:${port}`,
    );
    // Sessions go with the server's memory: the page says so, and comes back to the same view.
    const back = page.getByText('Live', { exact: true });
    const form = page.getByRole('heading', { name: 'Sign in to Snapless' });
    await back.or(form).first().waitFor();
    if (await form.isVisible()) {
        await page.getByText('Your session has ended.').waitFor();
        await fillIn(page, 'administrator', shared.PASSWORD);
    }
    await page.getByRole('heading', { level: 1, name: 'on web-0' }).waitFor();
    await page.getByRole('slider', { name: 'Place in the volume' }).waitFor();
    await back.waitFor();
    assert.deepEqual(errors, []);
    await context.close();
    await second.stop();
    rmSync(folder, { recursive: true });
});

inPage('the theme is chosen by a switch, and stays', async (page) => {
    await page.emulateMedia({ colorScheme: 'light' });
    await signIn(page);
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await background();
    await page.getByRole('button', { name: 'Theme: as the system' }).click();
    await page.getByRole('button', { name: 'Theme: light' }).click();
    assert.notEqual(await background(), light);
    await page.reload();
    await page.getByRole('button', { name: 'Theme: dark' }).waitFor();
    assert.notEqual(await background(), light);
});

inPage('quantities are said in words that people read', async (page) => {
    await page.goto('/');
    const said = await page.evaluate(async () => {
        const load = (/** @type {string} */ path) => import(path);
        const format = await load('/lib/format.js');
        const { labels } = await load('/parts/time-axis.js');
        const { scale, nearest } = await load('/parts/chart.js');
        const { sharesOf, totals } = await load('/parts/block-map.js');
        const day = 86_400_000;
        const states = ['unsynced', 'synced'];
        const map = {
            parts: 4,
            states,
            runs: [
                [1, 255, 0],
                [3, 0, 255],
            ],
        };
        return {
            bytes: [0, 1023, 1024, 1536, 10 * 2 ** 30, 64 * 2 ** 40].map(format.bytes),
            duration: [0, 0.5, 59, 60, 252, 7322, 90_061].map(format.duration),
            percent: [0, 0.001, 0.5, 0.9999, 1].map(format.percent),
            counted: [format.counted(1, 'volume'), format.counted(1000, 'volume')],
            labels: labels(0, 90 * day, 10).map((/** @type {any} */ label) => label.text),
            seconds: labels(0, 20_000, 5).length,
            scale: [scale(13, false), scale(3 << 20, true)],
            nearest: [nearest([1, 5, 9], 6), nearest([1, 5, 9], 8), nearest([1], 100)],
            totals: totals(sharesOf(map)),
        };
    });
    assert.deepEqual(said, {
        bytes: ['0 B', '1023 B', '1 KiB', '1.5 KiB', '10 GiB', '64 TiB'],
        duration: ['0 s', 'less than 1 s', '59 s', '1 min', '4 min 12 s', '2 h 2 min', '1 d 1 h'],
        percent: ['0 %', '0.1 %', '50 %', '99.9 %', '100 %'],
        counted: ['1 volume', '1,000 volumes'],
        labels: ['Feb 1970', 'Mar 1970', 'Apr 1970'],
        seconds: 5,
        scale: [
            [0, 5, 10, 15],
            [0, 1 << 20, 2 << 20, 3 << 20],
        ],
        nearest: [1, 2, 0],
        totals: [0.25, 0, 0, 0.75, 0, 0],
    });
});

/** @param {Buffer} content */
function hash(content) {
    return createHash('sha256').update(content).digest('hex');
}
