/**
 * Questions before something happens. A dialog keeps the focus, closes with Escape, and says in
 * itself what went wrong.
 *
 * @module
 */

import { inWords } from '../lib/api.js';
import { fill, h, newId } from '../lib/dom.js';
import { button } from './small.js';

/**
 * @typedef {object} Question
 * @property {string} title
 * @property {import('../lib/dom.js').Child[]} body
 * @property {string} confirm the word of the button: what happens
 * @property {boolean} [danger] whether it takes something away
 * @property {() => Promise<void>} act closes the dialog if it succeeds
 */

/**
 * Asks, and acts if the answer is yes.
 *
 * @param {Question} question
 */
export function ask(question) {
    const title = newId('dialog');
    const wrong = h('p', { class: 'form-error', role: 'alert' });
    const confirm = h(
        'button',
        {
            type: 'submit',
            class: `button ${question.danger ? 'danger' : 'primary'}`,
        },
        question.confirm,
    );
    const form = h(
        'form',
        { class: 'dialog-form', novalidate: false },
        h('h2', { id: title }, question.title),
        h('div', { class: 'dialog-body' }, question.body),
        wrong,
        h(
            'div',
            { class: 'dialog-acts' },
            button('Cancel', () => dialog.close()),
            confirm,
        ),
    );
    const dialog = open(title, form);
    form.addEventListener('submit', async (event) => {
        event.preventDefault();
        fill(wrong);
        confirm.disabled = true;
        try {
            await question.act();
            dialog.close();
        } catch (error) {
            fill(wrong, inWords(error));
        } finally {
            confirm.disabled = false;
        }
    });
}

/**
 * Shows something that is there once, such as a token.
 *
 * @param {string} heading
 * @param {...import('../lib/dom.js').Child} body
 */
export function show(heading, ...body) {
    const title = newId('dialog');
    const dialog = open(
        title,
        h(
            'div',
            { class: 'dialog-form' },
            h('h2', { id: title }, heading),
            h('div', { class: 'dialog-body' }, body),
            h(
                'div',
                { class: 'dialog-acts' },
                button('Done', () => dialog.close(), { class: 'primary' }),
            ),
        ),
    );
}

/**
 * @param {string} title the id of its heading
 * @param {HTMLElement} content
 */
function open(title, content) {
    const dialog = h('dialog', { 'class': 'dialog', 'aria-labelledby': title }, content);
    dialog.addEventListener('close', () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    return dialog;
}

/** Closes what is open: its view is going. */
export function closeAll() {
    for (const dialog of document.querySelectorAll('dialog')) dialog.close();
}

/**
 * A field of a form, with its label and a hint.
 *
 * @param {string} label
 * @param {HTMLInputElement | HTMLSelectElement} input
 * @param {string} [hint]
 */
export function field(label, input, hint) {
    input.id ||= newId('field');
    const hintId = `${input.id}-hint`;
    if (hint) input.setAttribute('aria-describedby', hintId);
    return h(
        'div',
        { class: 'field' },
        h('label', { for: input.id }, label),
        input,
        hint ? h('p', { class: 'hint', id: hintId }, hint) : null,
    );
}

/**
 * @param {[string, string][]} options values and their words
 * @param {string} chosen
 */
export function select(options, chosen) {
    return h(
        'select',
        null,
        options.map(([value, word]) => h('option', { value, selected: value === chosen }, word)),
    );
}
