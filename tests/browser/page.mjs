// What the browser tests of the chat page share: a real Chromium, the page in it, and what people do there.
//
// Needs Chromium (CHROMIUM, or where Debian puts it) and `npm ci` in clients/typescript; says so and skips without.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before } from 'node:test';

const chromiumPath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const require = createRequire(new URL('../../clients/typescript/package.json', import.meta.url));
let browser;

/** Why the tests cannot run here; `variable` is the environment's one that names what is tested. False: they can. */
function whySkip(variable) {
    if (!process.env[variable]) return `${variable} is not set`;
    if (!existsSync(chromiumPath)) return `no Chromium at ${chromiumPath}`;
    try {
        require.resolve('playwright-core');
    } catch {
        return 'playwright-core is not installed: run npm ci in clients/typescript';
    }
    return false;
}

/** Starts the browser before the tests of a file and ends it after them. Returns why to skip them, or false. */
export function useBrowser(variable) {
    const skip = whySkip(variable);
    before(async () => {
        if (skip) return;
        const { chromium } = require('playwright-core');
        const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'];
        const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync'];
        browser = await chromium.launch({ executablePath: chromiumPath, args: [...args, ...quiet] });
    });
    after(() => browser?.close());
    return skip;
}

/** Opens the page in a browser profile of its own; an exception in the page fails the test. */
export async function openPage(t, url) {
    const complaints = [];
    const context = await browser.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    page.on('pageerror', (error) => complaints.push(String(error)));
    await page.goto(url);
    t.after(() => assert.deepEqual(complaints, []));
    return page;
}

export async function join(page, name) {
    await page.getByLabel('Your name').fill(name);
    await page.getByRole('button', { name: 'Join' }).click();
    await page.locator('#room').waitFor();
}

export async function say(page, text) {
    await page.getByLabel('Message', { exact: true }).fill(text);
    await page.getByRole('button', { name: 'Send' }).click();
}

export const heard = (page, text, timeout = 20_000) =>
    page.locator('.bubble', { hasText: text }).first().waitFor({ timeout });
export const inState = (page, state) => page.locator(`body[data-state=${state}]`).waitFor();

/** Waits until the page lists exactly these people. */
export async function lists(page, names) {
    await page.waitForFunction(
        (wanted) => [...document.querySelectorAll('#members li')].map((row) => row.dataset.name).sort().join() === wanted,
        [...names].sort().join(),
    );
    assert.equal(await page.locator('#count').textContent(), String(names.length));
}
