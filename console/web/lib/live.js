/**
 * The stream of events from the server, which is opened again for as long as somebody is signed in.
 *
 * One stream serves the whole page: of the volume that is shown it has the figures and the map too.
 * Every event of the stream is dispatched here under its own name, with its data as `detail`;
 * `state` says how the stream is, and `again` that events may have been missed.
 *
 * @module
 */

import { account, address, get } from './api.js';

const NAMES = ['overview', 'live', 'map', 'job', 'event', 'alarm'];
const PAUSES_S = [1, 2, 4, 8, 15];
/** A server sends a comment every 15 seconds; a connection can be dead without an error. */
const PROBE_MS = 20_000;

class Live extends EventTarget {
    /** @type {'off' | 'opening' | 'open' | 'lost'} */
    state = 'off';
    /** When the next try begins, in milliseconds since 1970; of state `lost`. */
    nextTry = 0;
    /** Whether the server that answers now is another process than before. */
    restarted = false;
    /** How far the server's clock is ahead of this computer's, in milliseconds. */
    ahead = 0;

    /** @type {EventSource | null} */
    #source = null;
    #instance = '';
    #tries = 0;
    #opened = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #timer;
    /** @type {{ volume: string | null, parts: number }} */
    #about = { volume: null, parts: 1024 };

    /** The server's present time, in milliseconds since 1970. */
    now() {
        return Date.now() + this.ahead;
    }

    /** @param {number} now the server's time in an answer */
    clock(now) {
        this.ahead = now - Date.now();
    }

    start() {
        this.#opened = false;
        this.#open();
    }

    stop() {
        this.#close();
        this.#instance = '';
        this.#set('off');
    }

    /**
     * Asks for the figures and the map of this volume too.
     *
     * @param {string | null} volume
     * @param {number} [parts] of its map
     */
    watch(volume, parts = 1024) {
        if (this.#about.volume === volume && this.#about.parts === parts) return;
        this.#about = { volume, parts };
        if (this.state !== 'off') this.#open();
    }

    /** Tries at once. */
    retry() {
        if (this.state === 'lost') this.#open();
    }

    #open() {
        this.#close();
        if (this.state !== 'open' && this.state !== 'lost') this.#set('opening');
        const { volume, parts } = this.#about;
        const source = new EventSource(address(['events'], volume ? { volume, parts } : {}));
        this.#source = source;
        source.addEventListener('hello', (event) => this.#hello(JSON.parse(event.data)));
        source.addEventListener('end', () => {
            this.#close();
            account.end();
        });
        source.addEventListener('error', () => this.#lost());
        for (const name of NAMES) {
            source.addEventListener(name, (event) => this.#tell(name, JSON.parse(event.data)));
        }
    }

    #close() {
        clearTimeout(this.#timer);
        this.#source?.close();
        this.#source = null;
    }

    /** @param {Api.Hello} hello */
    #hello(hello) {
        this.clock(hello.now_ms);
        this.restarted = this.#instance !== '' && this.#instance !== hello.instance;
        const missed = this.restarted || this.state === 'lost';
        this.#instance = hello.instance;
        this.#tries = 0;
        this.#set('open');
        if (missed && this.#opened) this.#tell('again', hello);
        this.#opened = true;
    }

    async #lost() {
        this.#close();
        const pause = PAUSES_S[Math.min(this.#tries, PAUSES_S.length - 1)] ?? 15;
        this.#tries += 1;
        this.nextTry = Date.now() + pause * 1000;
        this.#timer = setTimeout(() => this.#open(), pause * 1000);
        this.#set('lost');
        // A stream that is refused does not say why: the session may have ended.
        await get(['session'], {}, AbortSignal.timeout(PROBE_MS)).catch(() => undefined);
    }

    /** @param {Live['state']} state */
    #set(state) {
        this.state = state;
        this.#tell('state', state);
    }

    /**
     * @param {string} name
     * @param {unknown} detail
     */
    #tell(name, detail) {
        this.dispatchEvent(new CustomEvent(name, { detail }));
    }
}

export const live = new Live();
