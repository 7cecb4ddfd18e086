// The chat example's page in a real Chromium, against the real example server, named by CHAT_SERVER.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import * as net from 'node:net';
import { createInterface } from 'node:readline';
import { test } from 'node:test';

import * as chat from './page.mjs';
import { heard, inState, join, lists, say } from './page.mjs';

const skip = chat.useBrowser('CHAT_SERVER');
const timeout = 60_000;

/** Starts the example; `ws` and `http` are HOST:PORT, with port 0 for any. */
async function startServer(t, { ws = '127.0.0.1:0', http = '127.0.0.1:0' } = {}) {
    const server = spawn(process.env.CHAT_SERVER, ['--listen', `ws://${ws}`, '--http', http], { stdio: ['ignore', 'pipe', 'inherit'] });
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

/** The page, told to play on `server.ws`. */
const openPage = (t, server) => chat.openPage(t, `http://${server.http}/?port=${server.ws.split(':').at(-1)}`);

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
