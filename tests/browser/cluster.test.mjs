// The chat page on the cluster of `make demo`: two connectors, two rooms, a metagame, run by scripts/demo.py from the build
// tree that CLUSTER_BUILD names. Servers are killed under the pages, and the pages go on.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { heard, inState, join, lists, openPage, say, useBrowser } from './page.mjs';

const skip = useBrowser('CLUSTER_BUILD');
const timeout = 120_000;
const script = fileURLToPath(new URL('../../scripts/demo.py', import.meta.url));

/** Starts the demo in a directory of its own. */
async function startDemo(t) {
    const dir = mkdtempSync(path.join(tmpdir(), 'cereus-'));
    const args = [script, '--build', process.env.CLUSTER_BUILD, '--any-ports', '--dir', dir];
    const demo = spawn('python3', args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(demo, 'exit');
    const pids = {};
    const waiting = new Set(); // of { pattern, found }
    const log = [];
    t.after(async () => {
        demo.kill('SIGINT');
        const [code] = await ended;
        rmSync(dir, { recursive: true });
        assert.equal(code, 0, log.join('\n'));
        assert.doesNotMatch(log.join('\n'), /Sanitizer|runtime error|Traceback/);
    });
    createInterface({ input: demo.stdout }).on('line', (line) => {
        log.push(line);
        const up = /^(\S+) is up, pid (\d+)/.exec(line);
        if (up) pids[up[1]] = Number(up[2]);
        for (const one of waiting) {
            if (!one.pattern.test(line)) continue;
            waiting.delete(one);
            one.found(line);
        }
    });
    const wait = (pattern) => new Promise((found) => waiting.add({ pattern, found }));
    const ready = await wait(/^READY /);
    const pages = [...ready.matchAll(/connector-\d=\S+?,(\S+)/g)].map((match) => `http://${match[1]}/`);
    /** Kills a server; `gone` and `back` are promises of what the demo says then. */
    const kill = (name) => {
        const gone = wait(new RegExp(`^${name} .*ended with signal 9`));
        const back = wait(new RegExp(`^${name} is up`));
        process.kill(pids[name], 'SIGKILL');
        return { gone, back };
    };
    return { pages, kill };
}

/** What is said while a server dies may be lost; people say it again. */
async function sayUntilHeard(speaker, listener, text) {
    for (;;) {
        await say(speaker, text);
        const found = await heard(listener, text, 1000).then(() => true, () => false);
        if (found) return;
    }
}

test('two pages on two connectors talk', { skip, timeout }, async (t) => {
    const demo = await startDemo(t);
    const ada = await openPage(t, demo.pages[0]);
    const linus = await openPage(t, demo.pages[1]);
    await join(ada, 'Ada');
    await join(linus, 'Linus');
    await lists(ada, ['Ada', 'Linus']);
    await lists(linus, ['Ada', 'Linus']);
    await say(ada, 'hello over there');
    await heard(linus, 'hello over there');
    await linus.locator('#latency', { hasText: /^[\d.]+ ms$/ }).waitFor(); // all the way to the room and back
    await ada.locator('[data-name=Linus]').hover();
    await ada.getByRole('button', { name: 'Kick Linus' }).click();
    await inState(linus, 'kicked');
    await lists(ada, ['Ada']);
});

test('the talk goes on while the room is killed', { skip, timeout }, async (t) => {
    const demo = await startDemo(t);
    const ada = await openPage(t, demo.pages[0]);
    const linus = await openPage(t, demo.pages[1]);
    await join(ada, 'Ada');
    await join(linus, 'Linus');
    const hello = await ada.locator('.event', { hasText: 'Linus' }).textContent();
    const { gone, back } = demo.kill(/served by (\S+)/.exec(hello)[1]);
    await gone;
    await sayUntilHeard(linus, ada, 'still here?'); // served by the other one
    assert.equal(await ada.locator('body').getAttribute('data-state'), 'connected'); // nobody noticed
    await back;
    await sayUntilHeard(ada, linus, 'and back again');
    const grace = await openPage(t, demo.pages[1]);
    await join(grace, 'Grace');
    await lists(ada, ['Ada', 'Grace', 'Linus']);
});

test('a page comes back to its connector', { skip, timeout }, async (t) => {
    const demo = await startDemo(t);
    const ada = await openPage(t, demo.pages[0]);
    const linus = await openPage(t, demo.pages[1]);
    await join(ada, 'Ada');
    await join(linus, 'Linus');
    await lists(ada, ['Ada', 'Linus']);
    const { back } = demo.kill('connector-2');
    await inState(linus, 'reconnecting');
    await lists(ada, ['Ada']);
    await back;
    await inState(linus, 'connected');
    await lists(ada, ['Ada', 'Linus']);
    await lists(linus, ['Ada', 'Linus']);
    await sayUntilHeard(ada, linus, 'welcome back');
});
