/**
 * What every drawing needs: sharp pixels, and the colours of the style sheet in the theme that is
 * shown.
 *
 * @module
 */

/**
 * Makes a canvas's pixels those of the screen. Drawing is in CSS pixels afterwards.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {number} width CSS pixels
 * @param {number} height CSS pixels
 * @returns {CanvasRenderingContext2D}
 */
export function prepare(canvas, width, height) {
    const ratio = devicePixelRatio || 1;
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== wide || canvas.height !== high) {
        canvas.width = wide;
        canvas.height = high;
        canvas.style.height = `${height}px`;
    }
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    return context;
}

/** @type {Map<string, string>} */
const colours = new Map();
/** @type {HTMLElement | null} */
let probe = null;

/**
 * The colour of a custom property, such as `synced` of `--synced`, in the present theme.
 *
 * @param {string} name
 */
export function colour(name) {
    const known = colours.get(name);
    if (known) return known;
    if (!probe) {
        probe = document.createElement('span');
        probe.hidden = true;
        document.body.append(probe);
    }
    probe.style.color = `var(--${name})`;
    const found = getComputedStyle(probe).color;
    colours.set(name, found);
    return found;
}

/** Told when the theme changes: drawings have to be made again. */
export const theme = new EventTarget();

/** Forgets the colours of the theme before. */
export function themeChanged() {
    colours.clear();
    theme.dispatchEvent(new Event('change'));
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', themeChanged);

/** Whether the person wants less motion. */
export function still() {
    return matchMedia('(prefers-reduced-motion: reduce)').matches;
}

/** The page's, once it was asked for. */
let family = '';

/**
 * The font of drawings, of this many pixels.
 *
 * @param {number} size
 * @param {number} [weight]
 */
export function font(size, weight = 400) {
    family ||= getComputedStyle(document.body).fontFamily;
    return `${weight} ${size}px ${family}`;
}
