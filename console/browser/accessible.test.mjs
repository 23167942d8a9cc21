/**
 * Accessibility: axe-core has nothing to say about any view, in both themes, at a desk and on a
 * phone, and no view is wider than the window.
 *
 * @module
 */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import * as shared from './console.mjs';

const { DESKTOP, PHONE, inaccessible, launch, look, open, signIn } = shared;
const { startSynthetic, view, volumeId } = shared;

/** The volume whose first sync goes on, of 64 TiB. */
const LARGE = volumeId(0);
/** A protected volume with months of history. */
const OLD = volumeId(1);

/** @type {import('playwright-core').Browser} */
let browser;
/** @type {Awaited<ReturnType<typeof startSynthetic>>} */
let server;

before(async () => {
    [browser, server] = await Promise.all([launch(), startSynthetic(['--volumes', '60'])]);
});
after(async () => {
    await browser?.close();
    await server?.stop();
});

test('every view is accessible, in both themes, on a desk and on a phone', async () => {
    const wrong = [];
    const { page, errors } = await open(browser, server.address, { reducedMotion: 'reduce' });
    await page.goto('/');
    await page.getByRole('heading', { name: 'Sign in to Snapless' }).waitFor();
    /** @type {[string, () => Promise<unknown>][]} */
    const views = [
        ['sign-in', async () => undefined],
        ['overview', () => signIn(page)],
        ['groups', () => view(page, '#/?group=machine', 'Overview')],
        ['nothing found', () => view(page, '#/?search=nothing', 'Overview')],
        ['volume', () => view(page, `#/volumes/${LARGE}`, /on/)],
        ['time', () => view(page, `#/volumes/${OLD}/time`, /on/)],
        ['files', () => view(page, `#/volumes/${OLD}/files`, /on/)],
        ['activity', () => view(page, '#/activity', 'Activity')],
        ['clients', () => view(page, '#/clients', 'Clients')],
        ['audit', () => view(page, '#/audit', 'Audit log')],
        ['lost', () => view(page, '#/nowhere', 'Nothing here')],
        [
            'question',
            async () => {
                await view(page, `#/volumes/${OLD}/time`, /on/);
                await page.getByRole('button', { name: 'Mount…' }).click();
            },
        ],
    ];
    for (const [name, go] of views) {
        await page.setViewportSize(DESKTOP);
        await page.emulateMedia({ colorScheme: 'light' });
        await go();
        for (const size of [DESKTOP, PHONE]) {
            await page.setViewportSize(size);
            for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
                await page.emulateMedia({ colorScheme });
                const found = await inaccessible(page);
                wrong.push(
                    ...found.map((words) => `${name}, ${size.width}, ${colorScheme}: ${words}`),
                );
                if (size === PHONE) await look(page, `${name}-phone-${colorScheme}`);
                else if (colorScheme === 'dark') await look(page, `${name}-dark`);
            }
        }
    }
    console.log(`axe-core looked at ${views.length} views in 2 themes and 2 widths`);
    assert.deepEqual([...wrong, ...errors], []);
});
