// The chat example's page in a real Chromium, against the real example server, named by CHAT_SERVER.
//
// Needs Chromium (CHROMIUM, or where Debian puts it) and `npm ci` in clients/typescript; says so and skips without.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import * as net from 'node:net';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';

const binary = process.env.CHAT_SERVER;
const chromiumPath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const require = createRequire(new URL('../../clients/typescript/package.json', import.meta.url));

function whySkip() {
    if (!binary) return 'CHAT_SERVER is not set';
    if (!existsSync(chromiumPath)) return `no Chromium at ${chromiumPath}`;
    try {
        require.resolve('playwright-core');
    } catch {
        return 'playwright-core is not installed: run npm ci in clients/typescript';
    }
    return false;
}

const skip = whySkip();
const timeout = 60_000;
let browser;

before(async () => {
    if (skip) return;
    const { chromium } = require('playwright-core');
    const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'];
    const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync'];
    browser = await chromium.launch({ executablePath: chromiumPath, args: [...args, ...quiet] });
});

after(() => browser?.close());

/** Starts the example; `ws` and `http` are HOST:PORT, with port 0 for any. */
async function startServer(t, { ws = '127.0.0.1:0', http = '127.0.0.1:0' } = {}) {
    const server = spawn(binary, ['--listen', `ws://${ws}`, '--http', http], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(server, 'exit');
    const kill = async (signal) => {
        server.kill(signal);
        await ended;
    };
    t.after(() => kill('SIGKILL'));
    for await (const line of createInterface({ input: server.stdout })) {
        const ready = /^READY ws=(\S+) http=http:\/\/([^/\s]+)\//.exec(line);
        if (ready) return { ws: ready[1], http: ready[2], kill };
    }
    throw new Error('the chat server ended before it was ready');
}

/** Opens the page in a browser profile of its own; an exception in the page fails the test. */
async function openPage(t, server) {
    const complaints = [];
    const context = await browser.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    page.on('pageerror', (error) => complaints.push(String(error)));
    await page.goto(`http://${server.http}/?port=${server.ws.split(':').at(-1)}`);
    t.after(() => assert.deepEqual(complaints, []));
    return page;
}

async function join(page, name) {
    await page.getByLabel('Your name').fill(name);
    await page.getByRole('button', { name: 'Join' }).click();
    await page.locator('#room').waitFor();
}

async function say(page, text) {
    await page.getByLabel('Message', { exact: true }).fill(text);
    await page.getByRole('button', { name: 'Send' }).click();
}

const heard = (page, text) => page.locator('.bubble', { hasText: text }).waitFor();
const inState = (page, state) => page.locator(`body[data-state=${state}]`).waitFor();

/** Waits until the page lists exactly these people. */
async function lists(page, names) {
    await page.waitForFunction(
        (wanted) => [...document.querySelectorAll('#members li')].map((row) => row.dataset.name).sort().join() === wanted,
        [...names].sort().join(),
    );
    assert.equal(await page.locator('#count').textContent(), String(names.length));
}

test('two people see and hear one another', { skip, timeout }, async (t) => {
    const server = await startServer(t);
    const ada = await openPage(t, server);
    const linus = await openPage(t, server);
    await join(ada, 'Ada');
    await lists(ada, ['Ada']);
    await join(linus, 'Linus');
    await lists(ada, ['Ada', 'Linus']);
    await lists(linus, ['Ada', 'Linus']);
    await ada.locator('.event', { hasText: 'Linus' }).waitFor();

    await say(ada, 'hello <b>there</b>');
    await heard(linus, 'hello <b>there</b>'); // text stays text
    await heard(ada, 'hello <b>there</b>');
    await say(linus, 'good evening, 仙人掌');
    await heard(ada, 'good evening, 仙人掌');
    assert.equal(await ada.locator('.mine .bubble').count(), 1);
    assert.equal(await linus.locator('#state-text').textContent(), 'connected');
    await linus.locator('#latency', { hasText: /^[\d.]+ ms$/ }).waitFor();

    await linus.close();
    await lists(ada, ['Ada']);
});

test('one who is kicked sees it and stays away until asked back', { skip, timeout }, async (t) => {
    const server = await startServer(t);
    const ada = await openPage(t, server);
    const eve = await openPage(t, server);
    await join(ada, 'Ada');
    await join(eve, 'Eve');
    await lists(ada, ['Ada', 'Eve']);
    let sockets = 0;
    eve.on('websocket', () => sockets++);
    await ada.locator('[data-name=Eve]').hover();
    await ada.getByRole('button', { name: 'Kick Eve' }).click();
    await inState(eve, 'kicked');
    assert.match(await eve.getByRole('alert').first().textContent(), /removed from the room/);
    assert.ok(await eve.getByRole('button', { name: 'Send' }).isDisabled());
    await lists(ada, ['Ada']);

    await eve.waitForTimeout(1500); // three times the first back-off: time enough to come back by mistake
    assert.equal(sockets, 0);
    assert.equal(await eve.locator('body').getAttribute('data-state'), 'kicked');

    await eve.getByRole('button', { name: 'Join again' }).click();
    await lists(ada, ['Ada', 'Eve']);
    await say(eve, 'sorry');
    await heard(ada, 'sorry');
});

test('when the server is killed and started again, everybody comes back', { skip, timeout }, async (t) => {
    const server = await startServer(t);
    const ada = await openPage(t, server);
    const linus = await openPage(t, server);
    await join(ada, 'Ada');
    await join(linus, 'Linus');
    await say(ada, 'before');
    await heard(linus, 'before');

    await server.kill('SIGKILL');
    await inState(ada, 'reconnecting');
    await ada.getByText('The server is out of reach.').waitFor();
    await ada.getByLabel('Message', { exact: true }).fill('a draft'); // must survive
    await startServer(t, server);
    await inState(ada, 'connected');
    await inState(linus, 'connected');
    await lists(ada, ['Ada', 'Linus']);
    await lists(linus, ['Ada', 'Linus']);
    assert.equal(await ada.locator('#notice').isVisible(), false);
    await ada.getByRole('button', { name: 'Send' }).click();
    await heard(linus, 'a draft');
    await heard(linus, 'before'); // what was said is still there
});

test('a name that a dead connection still holds is taken back', { skip, timeout }, async (t) => {
    const server = await startServer(t);
    // A network that dies towards the page only: the server's side of the connection stays open.
    const ghosts = [];
    const pages = [];
    const network = net.createServer((page) => {
        const [host, port] = server.ws.split(':');
        const ghost = net.connect(Number(port), host);
        page.pipe(ghost, { end: false }).on('error', () => {});
        ghost.pipe(page).on('error', () => {});
        pages.push(page);
        ghosts.push(ghost);
    });
    network.listen(0, '127.0.0.1');
    await once(network, 'listening');
    t.after(() => {
        for (const socket of [...pages, ...ghosts]) socket.destroy();
        network.close();
    });

    const ada = await openPage(t, { ...server, ws: `127.0.0.1:${network.address().port}` });
    await join(ada, 'Ada');
    pages[0].destroy();
    await ada.locator('.event', { hasText: 'not free yet' }).waitFor();
    ghosts[0].destroy();
    await ada.locator('.event', { hasText: 'Back in the room' }).waitFor();
    await say(ada, 'still me');
    await heard(ada, 'still me');
});

test('the page fits a phone', { skip, timeout }, async (t) => {
    const server = await startServer(t);
    const page = await openPage(t, server);
    await page.setViewportSize({ width: 360, height: 640 });
    await join(page, 'A name of twenty-four ch');
    await say(page, 'x'.repeat(300));
    await heard(page, 'xxx');
    const [inner, scroll] = await page.evaluate(() => [innerWidth, document.documentElement.scrollWidth]);
    assert.equal(scroll, inner);
    assert.ok(await page.getByRole('button', { name: 'Send' }).isVisible());
});
