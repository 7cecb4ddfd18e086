// The client against a real server: the conformance server, named by CONFORMANCE_SERVER, over TCP and WebSocket, and within
// TLS if CEREUS_TEST_TLS names the folder with server.crt and server.key.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { test } from 'node:test';

import { connect, raw } from '../dist/node.js';

const binary = process.env.CONFORMANCE_SERVER;
const certificates = process.env.CEREUS_TEST_TLS;
const trusting = certificates ? { tls: { ca: readFileSync(`${certificates}/server.crt`, 'utf8') } } : {};
const skip = binary ? false : 'CONFORMANCE_SERVER is not set';
const configs = JSON.parse(readFileSync(new URL('../../../tests/vectors/client/configs.json', import.meta.url), 'utf8'));
const NOT_HERE_YET = 3; // the server's exit status for settings that it can not serve
const text = (bytes) => new TextDecoder().decode(bytes);

/** Starts the server with one of the recorded settings; answers its URLs by scheme. */
async function start(t, config) {
    const args = ['--settings', JSON.stringify(configs[config]), '--tcp', '127.0.0.1:0', '--ws', '127.0.0.1:0'];
    if (certificates) {
        args.push('--tls', '127.0.0.1:0', '--wss', '127.0.0.1:0');
        args.push('--cert', `${certificates}/server.crt`, '--key', `${certificates}/server.key`);
    }
    const server = spawn(binary, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(server, 'exit');
    let ready = false;
    t.after(async () => {
        server.kill('SIGTERM');
        const [status] = await ended;
        if (ready) assert.equal(status, 0, 'how the server ended');
    });
    for await (const line of createInterface({ input: server.stdout })) {
        if (!line.startsWith('READY ')) continue;
        ready = true;
        const words = line.slice('READY '.length).trim().split(' ');
        return Object.fromEntries(words.map((word) => [word.split('=')[0], word.replace('=', '://')]));
    }
    const [status] = await ended;
    if (status === NOT_HERE_YET) return t.skip('the server does not know these settings yet');
    throw new Error(`the server ended with ${status} before it was ready`);
}

for (const kind of ['tcp', 'ws', ...(certificates ? ['tls', 'wss'] : [])]) {
    /** A test with a server of that configuration and a connected client. */
    const check = (name, config, run, options = {}) =>
        test(`${kind}: ${name}`, { skip, timeout: 20_000 }, async (t) => {
            const urls = await start(t, config);
            if (!urls) return;
            const client = await connect(urls[kind], { reconnect: false, ...trusting, ...options });
            t.after(() => client.close());
            await run(client);
        });

    check('a request is answered', 'json', async (client) => {
        assert.deepEqual(await client.request('test.typed', { msg: 'hi' }), { code: 200, msg: 'hi' });
        assert.deepEqual(await client.request('connector.test.noarg'), { code: 200, msg: 'hello' });
        assert.equal(text(await client.request('test.echo', 'bytes', { serializer: raw })), 'bytes');
        assert.equal((await client.request('test.emptyraw', '', { serializer: raw })).length, 0);
    });

    check('many requests at once find their answers', 'json', async (client) => {
        const numbers = Array.from({ length: 200 }, (_, i) => i);
        assert.deepEqual(await Promise.all(numbers.map((n) => client.request('test.echo', n))), numbers);
    });

    check('errors keep code, text and metadata', 'json', async (client) => {
        await assert.rejects(client.request('test.err', 1), { code: 'PIT-555', msg: 'somerror' });
        await assert.rejects(client.request('test.errmeta', 1), {
            code: 'PIT-433',
            msg: 'test error',
            metadata: { some: 'meta' },
        });
        await assert.rejects(client.request('test.nosuch'), { code: 'PIT-404' });
        await assert.rejects(client.request('nonsense'), { code: 'PIT-400' });
    });

    check('a protobuf server has its errors in protobuf', 'pb', async (client) => {
        await assert.rejects(client.request('test.errmulti', ''), {
            code: 'APP-1',
            msg: 'many',
            metadata: { a: '1', b: '2', c: '' },
        });
    }, { serializer: raw });

    check('a notify is heard and pushes come back', 'json', async (client) => {
        const pushed = new Promise((resolve) => client.onPush('onnote', resolve));
        client.notify('test.note', { n: 1 });
        assert.deepEqual(await pushed, { n: 1 });
    });

    check('a push precedes the answer of its handler', 'json', async (client) => {
        const got = [];
        client.onPush('onpush', (body) => got.push(text(body)), { serializer: raw });
        got.push(text(await client.request('test.push', 'x', { serializer: raw })));
        assert.deepEqual(got, ['x', 'pushed']);
    });

    check('the dictionary is used in both directions', 'json-dict', async (client) => {
        assert.equal(client.handshake.dictionary.codeOf('onpush'), 300);
        const got = [];
        client.onPush('*', (_body, route) => got.push(route), { serializer: raw });
        for (const route of ['test.echo', 'test.push']) await client.request(route, 'x', { serializer: raw });
        const noted = new Promise((resolve) => client.onPush('onnote', resolve, { serializer: raw }));
        client.notify('test.note', 'n', { serializer: raw });
        assert.equal(text(await noted), 'n');
        assert.deepEqual(got, ['onpush', 'onnote']);
    });

    check('compressed bodies and the compressed handshake are inflated, in order', 'json-dict-z', async (client) => {
        const long = 'x'.repeat(10_000);
        const answers = await Promise.all([long, 'short', long].map((body) => client.request('test.echo', body)));
        assert.deepEqual(answers, [long, 'short', long]);
        assert.equal(client.handshake.dictionary.size, 6);
        await assert.rejects(client.request('test.errlong', 1), { code: 'APP-3', msg: 'long error '.repeat(50) });
    });

    check('the server inflates what the client deflates', 'json', async (client) => {
        const long = 'y'.repeat(10_000);
        assert.equal(await client.request('test.echo', long), long);
    }, { compress: true });

    check('a kick is seen and not answered by coming back', 'json', async (client) => {
        const kicked = new Promise((resolve) => client.onKick(resolve));
        const request = assert.rejects(client.request('test.kickme', ''), { code: 'PIT-499' });
        await Promise.all([kicked, request]);
        assert.equal(client.state, 'kicked');
    });

    check('heartbeats keep both sides alive', 'json-hb1', async (client) => {
        const lost = new Promise((resolve) => client.onState(resolve));
        const longEnough = new Promise((resolve) => setTimeout(resolve, 4500));
        assert.equal(await Promise.race([lost, longEnough]), undefined);
        assert.equal(await client.request('test.echo', 1), 1);
    });

    test(`${kind}: a refused handshake rejects`, { skip, timeout: 20_000 }, async (t) => {
        const urls = await start(t, 'json-validator');
        if (!urls) return;
        await assert.rejects(connect(urls[kind], { sys: { clientVersion: '0.0.0' }, ...trusting }), { code: 'PIT-400' });
    });
}
