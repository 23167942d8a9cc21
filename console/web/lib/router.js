/**
 * Which view an address names. Addresses are behind `#`, so that the server has one page.
 *
 * @module
 */

/** @typedef {{ path: string[], query: URLSearchParams }} Route */
/** @typedef {Record<string, string | number | boolean | null | undefined>} Query */

/** @returns {Route} */
export function route() {
    const [path = '', search = ''] = location.hash.replace(/^#\/?/, '').split('?', 2);
    return {
        path: path
            .split('/')
            .filter((part) => part !== '')
            .map(unescaped),
        query: new URLSearchParams(search),
    };
}

/** @param {string} part */
function unescaped(part) {
    try {
        return decodeURIComponent(part);
    } catch {
        return part;
    }
}

/**
 * A path with its query. Parts of the path are escaped; what is null or undefined of the query is
 * left out.
 *
 * @param {(string | number)[]} path
 * @param {Query} query
 */
export function joined(path, query) {
    const given = Object.entries(query).filter(
        ([, value]) => value !== null && value !== undefined,
    );
    const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
    const parts = path.map((part) => encodeURIComponent(part)).join('/');
    return `${parts}${given.length > 0 ? `?${search}` : ''}`;
}

/**
 * The address of a view.
 *
 * @param {string[]} path
 * @param {Query} [query]
 */
export function link(path, query = {}) {
    return `#/${joined(path, query)}`;
}

/**
 * Notes the view's state in the address, without a new entry of the browser's history.
 *
 * @param {string} address
 */
export function note(address) {
    if (location.hash !== address) history.replaceState(history.state, '', address);
}
