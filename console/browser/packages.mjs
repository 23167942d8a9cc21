/**
 * The packages of the checks, which `cargo xtask` installs under `target/`: nothing is put beside
 * the sources.
 *
 * @module
 */

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** The repository's `target/`. */
export const target = fileURLToPath(new URL('../../target/', import.meta.url));

const require = createRequire(`${target}browser/`);

/** @type {typeof import('playwright-core')} */
const playwright = require('playwright-core');

export const { chromium } = playwright;

/** The source of axe-core, to be run in a page. */
export const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
