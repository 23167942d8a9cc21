/**
 * The form to sign in.
 *
 * @module
 */

import { account, inWords, send } from '../lib/api.js';
import { fill, h } from '../lib/dom.js';
import { field } from '../parts/dialog.js';

/**
 * @param {HTMLElement} main
 * @param {() => void} done
 */
export function signIn(main, done) {
    const name = h('input', {
        name: 'name',
        autocomplete: 'username',
        required: true,
        maxlength: '64',
        autocapitalize: 'none',
        spellcheck: 'false',
    });
    const password = h('input', {
        type: 'password',
        name: 'password',
        autocomplete: 'current-password',
        required: true,
        maxlength: '1024',
    });
    const wrong = h('p', { class: 'form-error', role: 'alert' });
    const submit = h('button', { type: 'submit', class: 'button primary' }, 'Sign in');
    const form = h(
        'form',
        { class: 'sign-in' },
        h('img', { src: 'icon.svg', alt: '', width: 40, height: 40 }),
        h('h1', null, 'Sign in to Snapless'),
        field('Name', name),
        field('Password', password),
        wrong,
        submit,
        h(
            'p',
            { class: 'hint' },
            'The server’s administrator makes accounts: ',
            h('code', null, 'snapless-server console --help'),
        ),
    );
    form.addEventListener('submit', async (event) => {
        event.preventDefault();
        fill(wrong);
        submit.disabled = true;
        try {
            account.session = await send('POST', ['session'], {
                name: name.value,
                password: password.value,
            });
            done();
        } catch (error) {
            fill(wrong, inWords(error));
            password.value = '';
            password.focus();
        } finally {
            submit.disabled = false;
        }
    });
    fill(main, form);
    name.focus();
}
