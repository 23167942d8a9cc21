/**
 * The page of a real server, which the bench feeds: a first sync under load is watched, an instant
 * is picked with the scrubber, mounted and compared with what the volume was then, and a file of
 * it is downloaded. Two browsers look; the server is restarted meanwhile.
 *
 * @module
 */

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
    copyFileSync,
    mkdirSync,
    readFileSync,
    rmSync,
    truncateSync,
    writeFileSync,
} from 'node:fs';
import { createConnection } from 'node:net';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';

import * as shared from './console.mjs';
import { target } from './packages.mjs';

const { fillIn, launch, look, open, view } = shared;

const FOLDER = `${target}console/server`;
const REPOSITORY = `${FOLDER}/repository`;
const RESTORES = `${FOLDER}/restores`;
const DISK = `${FOLDER}/disk.img`;
const THEN = `${FOLDER}/then.img`;
const NBD = `nbd+unix:///v?socket=${FOLDER}/nbd.sock`;
const VOLUME = '71a27cdd-812a-11d0-bec7-08002be2092f';
const PASSWORD = 'correct horse battery';
const MIB = 1 << 20;
const VOLUME_MIB = 64;
/** So slow that the first sync can be watched. */
const SWEEP_KIB = 8 << 10;
/** Where the load writes: past all that NTFS has there. */
const LOAD_AT = 40 * MIB;
/** The clock of the timeline is to the second: nothing is written a while before and after. */
const QUIET_MS = 2500;

const program = String(process.env['SNAPLESS_SERVER']);
const bench = String(process.env['SNAPLESS_BENCH']);

/** @type {import('playwright-core').Browser} */
let browser;
/** @type {Awaited<ReturnType<typeof serve>>} */
let server;
/** @type {import('node:child_process').ChildProcess} */
let host;
const report = randomBytes(3 * MIB);

before(async () => {
    rmSync(FOLDER, { recursive: true, force: true });
    mkdirSync(RESTORES, { recursive: true });
    writeFileSync(DISK, '');
    truncateSync(DISK, VOLUME_MIB * MIB);
    writeFileSync(`${FOLDER}/report`, report);
    execFileSync('mkntfs', ['-F', '-Q', '-q', '-s', '512', DISK], { stdio: 'ignore' });
    execFileSync('ntfscp', ['-f', '-q', DISK, `${FOLDER}/report`, 'report.bin']);

    run('init', REPOSITORY);
    run('ca', 'init', '--repository', REPOSITORY);
    const add = ['console', 'user', 'add', 'alice', '--role', 'administrator'];
    execFileSync(program, [...add, '--repository', REPOSITORY], { input: `${PASSWORD}\n` });
    writeFileSync(`${REPOSITORY}/trust/console.toml`, `restore_folders = ["${RESTORES}"]\n`);
    [browser, server] = await Promise.all([launch(), serve('127.0.0.1:0', '127.0.0.1:0')]);

    const args = ['serve', '--socket', `${FOLDER}/nbd.sock`, '--control', `${FOLDER}/control.sock`];
    host = spawn(bench, [...args, '--volume', `v=${DISK}`], { stdio: ['pipe', 'pipe', 'inherit'] });
    if (!host.stdout) throw new Error('the bench has no output');
    await lineOf(host.stdout, /^serving/);
});
after(async () => {
    await browser?.close();
    host?.kill('SIGKILL');
    await server?.stop();
});

test('a volume is watched, and what is mounted of an instant is what it was then', async () => {
    const { page, errors } = await open(browser, server.address);
    await page.goto('/');
    await fillIn(page, 'alice', PASSWORD);
    await page.getByText('No machine has sent a volume yet.').waitFor();
    await begin();
    const row = page.locator('.volume-row');
    await row.getByText('First sync', { exact: true }).waitFor();
    await look(page, 'server-overview');
    await row.getByRole('link').click();
    const map = page.getByRole('slider', { name: 'Place in the volume' });
    await map.waitFor();
    await look(page, 'server-first-sync');
    for (let turn = 0; turn < 12; turn += 1) write(LOAD_AT + turn * MIB, 0x11 + turn);
    // What only the machine knows.
    await page.getByRole('heading', { name: 'bench' }).waitFor();
    await page.getByText(/held now; [1-9][\d,]* writes held in this session/).waitFor();
    await page.locator('.block-legend li', { hasText: /^Held now/ }).waitFor();
    await page
        .getByText(/of 64(\.0)? MiB wait/)
        .first()
        .waitFor();
    await page.getByText('Protected', { exact: true }).waitFor({ timeout: 60_000 });
    await page.waitForFunction(() =>
        [...document.querySelectorAll('.block-legend li')].some((item) =>
            /^Synced(9\d|100)/.test(item.textContent?.replaceAll(/\s/g, '') ?? ''),
        ),
    );
    await look(page, 'server-protected');

    // The truth of an instant: the disk, while nothing is written.
    await pause(QUIET_MS);
    copyFileSync(DISK, THEN);
    const then = Math.ceil(Date.now() / 1000) * 1000;
    await pause(QUIET_MS);
    write(0, 0xee);
    write(LOAD_AT, 0xdd);
    await pause(QUIET_MS);

    // Not by its name: the first block, where NTFS begins, is lost by now.
    await view(page, `#/volumes/${VOLUME}/time`, /./);
    const scrubber = page.getByRole('slider', { name: 'Instant' });
    await page.getByLabel(/^Instant, in/).fill(local(then));
    await page.keyboard.press('Tab');
    assert.equal(await scrubber.getAttribute('aria-valuenow'), String(then / 1000));
    await page.locator('.verdict', { hasText: 'can be restored' }).waitFor();
    await look(page, 'server-time');

    await page.getByRole('button', { name: 'Mount…' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'Mount', exact: true }).click();
    const mount = page.locator('.job', { hasText: 'Mount' });
    await mount.getByText('Mounted').waitFor();
    const uri = String(await mount.locator('.mount code').first().textContent());
    const same = execFileSync('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', THEN, uri]);
    assert.match(String(same), /identical/);

    // The other browser sees the mount, and ends it.
    const other = await open(browser, server.address);
    await other.page.goto('/');
    await fillIn(other.page, 'alice', PASSWORD);
    await view(other.page, '#/activity', 'Activity');
    await other.page.getByRole('button', { name: 'Unmount' }).click();
    await other.page.getByRole('dialog').getByRole('button', { name: 'Unmount' }).click();
    await mount.getByText('Mounted').waitFor({ state: 'detached' });
    await other.context.close();

    await page.getByRole('button', { name: 'Restore to a file…' }).click();
    await dialog.getByLabel('File').fill('then.img');
    await dialog.getByRole('button', { name: 'Restore', exact: true }).click();
    await page.locator('.job', { hasText: 'Restore' }).getByText('Done').waitFor();
    assert.equal(hash(readFileSync(`${RESTORES}/then.img`)), hash(readFileSync(THEN)));

    await page.getByRole('button', { name: 'Browse files' }).click();
    const started = page.waitForEvent('download');
    await page.getByRole('link', { name: 'Download report.bin' }).click();
    assert.equal(hash(readFileSync(await (await started).path())), hash(report));
    await look(page, 'server-files');

    // What the policy cannot be is refused in the dialog, and what it can be is shown.
    await view(page, `#/volumes/${VOLUME}/time`, /./);
    await page.getByRole('button', { name: 'Change…' }).click();
    await dialog.getByLabel('Every instant for').fill('30d');
    await dialog.getByLabel('Daily points').fill('90');
    const zone = dialog.getByLabel('Days begin in');
    await zone.fill('Europe/Berlinn');
    await dialog.getByRole('button', { name: 'Keep so' }).click();
    await dialog.getByRole('alert').filter({ hasText: 'Europe/Berlinn' }).waitFor();
    await look(page, 'server-retention');
    await zone.fill('Europe/Berlin');
    await dialog.getByRole('button', { name: 'Keep so' }).click();
    await dialog.waitFor({ state: 'detached' });
    const policy = page.getByRole('region', { name: 'Retention' });
    for (const word of ['for 30 days', '90 daily', 'Europe/Berlin', 'the volume’s own']) {
        await policy.getByText(word).waitFor();
    }
    assert.match(run('retention', 'show', '--repository', REPOSITORY), /30d/);

    // The server ends while the page is open, and comes back where it was.
    const [machines, console] = [server.machines, new URL(server.address).host];
    await server.stop();
    await page.getByText('No connection to the server: what is shown is not current.').waitFor();
    server = await serve(machines, console);
    await page.getByRole('heading', { name: 'Sign in to Snapless' }).waitFor();
    await fillIn(page, 'alice', PASSWORD);
    await scrubber.waitFor();
    await page.getByText('Live', { exact: true }).waitFor();

    await view(page, '#/audit', 'Audit log');
    for (const act of [/mount/i, /restore/i, /retention/i]) {
        await page.getByRole('cell', { name: act }).first().waitFor();
    }
    assert.deepEqual(errors, []);
});

/** @param {string[]} args */
function run(...args) {
    return String(execFileSync(program, args));
}

/**
 * Starts the server with its console.
 *
 * @param {string} listen
 * @param {string} console
 */
async function serve(listen, console) {
    const args = ['serve', '--listen', listen, '--repository', REPOSITORY, '--console', console];
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const [machines, page] = await lineOf(child.stdout, /^listening on (\S+)/, /^console on (\S+)/);
    return {
        machines: String(machines),
        address: String(page),
        async stop() {
            const ended = new Promise((resolve) => child.once('exit', resolve));
            child.kill('SIGKILL');
            await ended;
        },
    };
}

/**
 * Waits until each of these was said, and returns what their groups have.
 *
 * @param {import('node:stream').Readable} output
 * @param {...RegExp} wanted
 */
async function lineOf(output, ...wanted) {
    /** @type {string[]} */
    const found = [];
    for await (const line of createInterface(output)) {
        wanted.forEach((pattern, index) => {
            const match = pattern.exec(line);
            if (match) found[index] = match[1] ?? '';
        });
        if (Object.keys(found).length === wanted.length) break;
    }
    output.resume();
    assert.equal(Object.keys(found).length, wanted.length, 'the program ended early');
    return found;
}

/** The bench enrols with a token, and protects its disk. */
async function begin() {
    const said = run('token', 'create', '--repository', REPOSITORY, '--name', 'web-1');
    const token = /snapless-\S+/.exec(said)?.[0];
    assert.ok(token, said);
    const sink = { server: { address: server.machines, volume: VOLUME, token } };
    const session = { sink, sweep_kib_per_second: SWEEP_KIB };
    const control = createConnection(`${FOLDER}/control.sock`);
    control.write(`${JSON.stringify({ command: 'start', volume: 'v', session })}\n`);
    await lineOf(control, /^(\{"started".*)/);
    control.destroy();
}

/**
 * Writes a MiB of the same bytes to the volume, as a client of the protected disk.
 *
 * @param {number} at
 * @param {number} byte
 */
function write(at, byte) {
    execFileSync('qemu-io', ['-f', 'raw', '-c', `write -P ${byte} ${at} ${MIB}`, NBD], {
        stdio: 'ignore',
    });
}

/** @param {number} milliseconds */
function pause(milliseconds) {
    return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/**
 * An instant as an input of the page takes it.
 *
 * @param {number} time
 */
function local(time) {
    return new Date(time).toLocaleString('sv-SE', { timeZone: 'Europe/Berlin' }).replace(' ', 'T');
}

/** @param {Buffer} content */
function hash(content) {
    return createHash('sha256').update(content).digest('hex');
}
