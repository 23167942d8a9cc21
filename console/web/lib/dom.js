/**
 * Elements without markup in strings: what comes from a server is always text, never HTML.
 *
 * @module
 */

/**
 * @typedef {Node | string | number | null | undefined | false} Child
 * @typedef {string | number | boolean | null | undefined | ((event: any) => void)} Property
 */

/**
 * Makes an element. `class` and attributes go by their names; `onclick` and the like are listeners;
 * `true` is an attribute without a value, and `false` or `null` none. ARIA's own "true" and "false"
 * are strings.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, Property> | null} [properties]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, properties, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties ?? {})) {
        if (typeof value === 'function') {
            element.addEventListener(name.slice(2), value);
        } else {
            set(element, name, value);
        }
    }
    element.append(...nodes(children));
    return element;
}

const SVG = 'http://www.w3.org/2000/svg';

/**
 * Makes an element of SVG.
 *
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {...Element} children
 */
export function svg(tag, attributes, ...children) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) {
        element.setAttribute(name, String(value));
    }
    element.append(...children);
    return element;
}

/**
 * Sets an attribute if it differs: what does not change is not announced, styled or painted again.
 *
 * @param {Element} element
 * @param {string} name
 * @param {string | number | boolean | null | undefined} value
 */
export function set(element, name, value) {
    if (value === null || value === undefined || value === false) {
        if (element.hasAttribute(name)) element.removeAttribute(name);
        return;
    }
    const text = value === true ? '' : String(value);
    if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/**
 * Sets an element's text if it differs.
 *
 * @param {Element} element
 * @param {string} text
 */
export function say(element, text) {
    if (element.textContent !== text) element.textContent = text;
}

/**
 * Puts these in the place of all that an element has.
 *
 * @param {Element} element
 * @param {...(Child | Child[])} children
 */
export function fill(element, ...children) {
    element.replaceChildren(...nodes(children));
}

/**
 * @param {(Child | Child[])[]} children
 * @returns {(Node | string)[]}
 */
function nodes(children) {
    const kept = [];
    for (const child of children.flat()) {
        if (child instanceof Node || typeof child === 'string') kept.push(child);
        else if (typeof child === 'number') kept.push(String(child));
    }
    return kept;
}

let ids = 0;

/**
 * An id that no other element has.
 *
 * @param {string} name
 */
export function newId(name) {
    ids += 1;
    return `${name}-${ids}`;
}

/**
 * Calls `paint` once before the next frame, however often the returned function is called.
 *
 * @param {() => void} paint
 */
export function framed(paint) {
    let asked = false;
    return () => {
        if (asked) return;
        asked = true;
        requestAnimationFrame(() => {
            asked = false;
            paint();
        });
    };
}

/** What ends with a view: listeners, timers, streams, running requests. */
export class Scope {
    #abort = new AbortController();

    get signal() {
        return this.#abort.signal;
    }

    get over() {
        return this.#abort.signal.aborted;
    }

    /** @param {() => void} end */
    add(end) {
        if (this.over) end();
        else this.signal.addEventListener('abort', end, { once: true });
    }

    /**
     * @param {number} milliseconds
     * @param {() => void} act
     */
    every(milliseconds, act) {
        const timer = setInterval(act, milliseconds);
        this.add(() => clearInterval(timer));
    }

    /**
     * @param {EventTarget} target
     * @param {string} name
     * @param {(event: any) => void} act
     */
    on(target, name, act) {
        target.addEventListener(name, act, { signal: this.signal });
    }

    /**
     * Calls `act` when an element's size changes.
     *
     * @param {Element} element
     * @param {() => void} act
     */
    resized(element, act) {
        const observer = new ResizeObserver(act);
        observer.observe(element);
        this.add(() => observer.disconnect());
    }

    end() {
        this.#abort.abort();
    }
}
