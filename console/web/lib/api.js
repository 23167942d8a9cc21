/**
 * Requests to the server (`console/openapi.yaml`), with errors that say what happened in words.
 *
 * @module
 */

import { capital } from './format.js';
import { joined } from './router.js';

const BASE = 'api/v1';

/** An error of the server, or that it cannot be reached. Its message is for people. */
class Problem extends Error {
    /**
     * @param {string} code
     * @param {string} message
     * @param {number} status 0 without an answer
     */
    constructor(code, message, status) {
        super(message);
        this.code = code;
        this.status = status;
    }
}

/**
 * Who is signed in. The event `ended` says that the server no longer knows the session.
 */
class Account extends EventTarget {
    /** @type {Api.Session | null} */
    session = null;

    /** @param {Api.Role} role */
    may(role) {
        const roles = ['viewer', 'operator', 'administrator'];
        const own = this.session ? roles.indexOf(this.session.role) : -1;
        return own >= roles.indexOf(role);
    }

    end() {
        if (!this.session) return;
        this.session = null;
        this.dispatchEvent(new Event('ended'));
    }
}

export const account = new Account();

/** @typedef {import('./router.js').Query} Query */

/**
 * The address of a resource.
 *
 * @param {(string | number)[]} path
 * @param {Query} [query]
 */
export function address(path, query = {}) {
    return `${BASE}/${joined(path, query)}`;
}

/**
 * @param {(string | number)[]} path
 * @param {Query} [query]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export function get(path, query, signal) {
    return request('GET', address(path, query), undefined, signal);
}

/**
 * @param {'POST' | 'PUT' | 'DELETE'} method
 * @param {(string | number)[]} path
 * @param {object} [body]
 * @returns {Promise<any>}
 */
export function send(method, path, body) {
    return request(method, address(path), body);
}

/**
 * @param {string} method
 * @param {string} url
 * @param {object} [body]
 * @param {AbortSignal} [signal]
 */
async function request(method, url, body, signal) {
    /** @type {Record<string, string>} */
    const headers = { Accept: 'application/json' };
    if (body !== undefined) headers['Content-Type'] = 'application/json';
    if (method !== 'GET' && account.session) headers['X-CSRF-Token'] = account.session.csrf_token;
    let answer;
    try {
        answer = await fetch(url, {
            method,
            headers,
            signal: signal ?? null,
            credentials: 'same-origin',
            cache: 'no-store',
            body: body === undefined ? null : JSON.stringify(body),
        });
    } catch (error) {
        if (signal?.aborted) throw error;
        throw new Problem(
            'unreachable',
            'The server does not answer. Check that it runs and that this ' +
                'computer reaches it; the page tries again.',
            0,
        );
    }
    if (answer.ok) return answer.status === 204 ? null : answer.json();
    const problem = await problemOf(answer);
    if (answer.status === 401 && problem.code === 'not-signed-in') account.end();
    throw problem;
}

/** @param {Response} answer */
async function problemOf(answer) {
    try {
        const { code, message } = await answer.json();
        if (typeof code === 'string' && typeof message === 'string') {
            return new Problem(code, sentence(message), answer.status);
        }
    } catch {
        // Not an answer of this API: of a proxy, perhaps.
    }
    return new Problem(
        'unknown',
        `The server answered with ${answer.status} and no reason. Its log ` + 'may have one.',
        answer.status,
    );
}

/** @param {string} message */
function sentence(message) {
    const first = capital(message);
    return /[.!?]$/.test(first) ? first : `${first}.`;
}

/**
 * What to show of any error.
 *
 * @param {unknown} error
 */
export function inWords(error) {
    if (error instanceof Problem) return error.message;
    const why = error instanceof Error ? error.message : String(error);
    return `The page has met an error of its own: ${why}`;
}

/**
 * Whether an error only says that nothing waits for the answer any more.
 *
 * @param {unknown} error
 */
export function isAbort(error) {
    return error instanceof DOMException && error.name === 'AbortError';
}
