// The transports on real sockets, against a mock server.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { connect, nodeWebSocketTransport, raw, tcpTransport, webSocketTransport } from '../dist/node.js';
import { checkUpgrade, encodeFrame, FrameReader } from '../dist/node/websocket.js';
import { frame, MockServer } from './support/mock-server.mjs';
import { until } from './support/fakes.mjs';

const kinds = { tcp: tcpTransport(), ws: nodeWebSocketTransport() };
// Newer versions of Node have a WebSocket of their own, the one that browsers have too.
const builtIn = 'WebSocket' in globalThis ? { 'ws (built in)': webSocketTransport } : {};

/** A connected pair of client and server over `kind`, closed with the test. */
async function pair(t, kind, options = {}) {
    const transport = { ...kinds, ...builtIn }[kind];
    const scheme = kind.slice(0, kind === 'tcp' ? 3 : 2);
    const server = new MockServer({ handlers: { 'a.echo': (_session, body) => body }, ...options });
    t.after(() => server.close());
    const url = `${scheme}://127.0.0.1:${await server.listen({ webSocket: scheme === 'ws' })}`;
    const client = await connect(url, { transport, reconnect: { baseMs: 1, maxMs: 10 } });
    t.after(() => client.close());
    return { server, client, url, transport, session: [...server.sessions][0] };
}

for (const kind of Object.keys({ ...kinds, ...builtIn })) {
    test(`${kind}: bodies of all sizes come back as they went out`, async (t) => {
        const { client } = await pair(t, kind);
        for (const length of [0, 1, 110, 111, 112, 125, 126, 1024, 65_500, 65_535, 65_536, 1_000_000]) {
            const body = new Uint8Array(length).map((_, i) => i * 7);
            const answer = await client.request('a.echo', body, { serializer: raw });
            assert.ok(Buffer.from(answer).equals(Buffer.from(body)), `${length} bytes`);
        }
    });

    test(`${kind}: a hundred requests at once find their answers`, async (t) => {
        const { client } = await pair(t, kind);
        const numbers = Array.from({ length: 100 }, (_, i) => i);
        assert.deepEqual(await Promise.all(numbers.map((n) => client.request('a.echo', n))), numbers);
    });

    test(`${kind}: errors, pushes and a kick`, async (t) => {
        const { client, session } = await pair(t, kind);
        await assert.rejects(client.request('a.none'), { code: 'PIT-404' });
        const got = [];
        client.onPush('onx', (body) => got.push(body));
        client.onKick(() => got.push('kicked'));
        session.push('onx', { n: 1 });
        session.kick();
        await until(() => client.state === 'kicked' && got.length === 2);
        assert.deepEqual(got, [{ n: 1 }, 'kicked']);
    });

    test(`${kind}: the server cuts the line and the client comes back`, async (t) => {
        const { client, server, session } = await pair(t, kind);
        const lost = new Promise((resolve) => client.onState(({ state }) => state === 'reconnecting' && resolve()));
        session.socket.destroy();
        await lost;
        await until(() => client.state === 'connected' && !server.sessions.has(session));
        assert.equal(await client.request('a.echo', 'again'), 'again');
    });

    test(`${kind}: close() is seen by the server`, async (t) => {
        const { client, server } = await pair(t, kind);
        client.close();
        await until(() => server.sessions.size === 0);
    });

    test(`${kind}: nobody listens`, async (t) => {
        const { server, client, url, transport } = await pair(t, kind);
        client.close();
        await server.close();
        await assert.rejects(connect(url, { transport, reconnect: false, connectTimeoutMs: 60_000 }), {
            code: 'PIT-499',
            msg: /ECONNREFUSED|WebSocket failed/,
        });
    });

}

test('a URL that can not work rejects at once', async () => {
    for (const transport of Object.values(kinds))
        for (const url of ['', 'nonsense', 'http://127.0.0.1/', 'tcp://', 'tcp://127.0.0.1', 'ws://'])
            await assert.rejects(connect(url, { transport }), { code: 'PIT-000' });
});

test('ws: pings are answered, pongs ignored, fragments joined around them', async (t) => {
    const { client, session } = await pair(t, 'ws');
    const got = [];
    client.onPush('on', (body) => got.push(body));
    const packet = Buffer.from('0400000506026f6e37', 'hex');
    session.socket.write(frame(2, packet.subarray(0, 3), false));
    session.socket.write(frame(9, Buffer.from('hi')));
    session.socket.write(frame(0, packet.subarray(3, 6), false));
    session.socket.write(frame(10, Buffer.from('lo')));
    session.socket.write(frame(0, packet.subarray(6)));
    await until(() => got.length > 0 && session.controls.length > 0);
    assert.deepEqual(got, [7]);
    assert.deepEqual(session.controls.map(({ opcode, payload }) => [opcode, String(payload)]), [[10, 'hi']]);
});

test('ws: a close frame is echoed and its code becomes the reason', async (t) => {
    const { client, session } = await pair(t, 'ws');
    const reasons = [];
    client.onState(({ state, reason }) => state === 'reconnecting' && reasons.push(reason));
    session.socket.write(frame(8, Buffer.from([0x03, 0xe9])));
    await until(() => reasons.length > 0);
    assert.match(reasons[0], /1001/);
    assert.deepEqual(session.controls.map(({ opcode, payload }) => [opcode, payload.toString('hex')]), [[8, '03e9']]);
});

test('ws: what a server must not send ends the connection', async (t) => {
    const cases = [
        Buffer.from([0xc2, 0]), // reserved bit
        Buffer.from([0x82, 0x80, 0, 0, 0, 0]), // masked
        Buffer.from([0x83, 0]), // unknown opcode
        Buffer.from([0x89, 126, 0, 126]), // long ping
        Buffer.from([0x09, 0]), // ping in pieces
        Buffer.from([0x80, 0]), // continues nothing
        Buffer.concat([frame(2, Buffer.alloc(1), false), frame(2, Buffer.alloc(1))]), // begins in the middle
        frame(1, Buffer.from([3, 0, 0, 0])), // text
        Buffer.from([0x82, 127, 0, 0, 0, 0, 1, 0, 0, 4]), // longer than any packet
        Buffer.from([0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255]),
        frame(2, Buffer.from([3, 0, 0])), // not a packet
        frame(2, Buffer.from([3, 0, 0, 0, 3, 0, 0, 0, 3])), // one and a bit
        Buffer.concat([frame(2, Buffer.alloc(0), false), ...Array(5000).fill(frame(0, Buffer.alloc(0), false))]), // endless
    ];
    const { client, server } = await pair(t, 'ws');
    for (const bytes of cases) {
        const lost = new Promise((resolve) => {
            const stop = client.onState(({ state }) => state === 'reconnecting' && resolve(stop()));
        });
        [...server.sessions][0].socket.write(bytes);
        await lost;
        await until(() => client.state === 'connected' && server.sessions.size === 1);
    }
});

test('ws: an answer that is no upgrade rejects', async (t) => {
    const answers = [
        'HTTP/1.1 404 Not Found\r\n\r\n',
        'HTTP/1.1 101 Switching Protocols\r\n\r\n',
        'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: AAAA\r\n\r\n',
        'garbage\r\n\r\n',
        `HTTP/1.1 101 ${'x'.repeat(20_000)}`,
    ];
    let answer;
    const listener = net.createServer((socket) => {
        socket.on('error', () => {});
        socket.write(answer);
    });
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    t.after(() => listener.close());
    const url = `ws://127.0.0.1:${listener.address().port}`;
    for (answer of answers)
        await assert.rejects(connect(url, { transport: kinds.ws, reconnect: false }), { code: 'PIT-499' });
});

test('ws: the example of RFC 6455 is accepted', () => {
    const accept = createHash('sha1').update('dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
    assert.equal(accept, 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
    checkUpgrade(`HTTP/1.1 101 OK\r\nupgrade: WebSocket\r\nsec-websocket-accept: ${accept}`, 'dGhlIHNhbXBsZSBub25jZQ==');
    assert.equal(Buffer.from(encodeFrame(1, Buffer.from('Hello'), Buffer.from('37fa213d', 'hex'))).toString('hex'),
        '818537fa213d7f9f4d5158');
});

test('ws: frames are cut alike wherever the segments end', () => {
    const stream = Buffer.concat([frame(2, Buffer.from('abc')), frame(9, Buffer.alloc(0)), frame(2, Buffer.alloc(300, 1))]);
    for (const size of [1, 2, 3, 7, 100, stream.length]) {
        const reader = new FrameReader();
        const got = [];
        for (let at = 0; at < stream.length; at += size) {
            reader.push(stream.subarray(at, at + size));
            for (let next = reader.next(); next; next = reader.next()) got.push([next.opcode, next.payload.length]);
        }
        assert.deepEqual(got, [[2, 3], [9, 0], [2, 300]]);
    }
});

/** A key and a certificate for localhost, made for this run. */
function selfSigned(t) {
    const folder = mkdtempSync(join(tmpdir(), 'cereus-tls-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
    const words = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost';
    const made = spawnSync('openssl', [...words.split(' '), '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', cert]);
    return made.status === 0 ? { key: readFileSync(key), cert: readFileSync(cert) } : undefined;
}

for (const scheme of ['tls', 'wss']) {
    test(`${scheme}: works with the right certificate and only with that`, async (t) => {
        const tls = selfSigned(t);
        if (!tls) return t.skip('no openssl command');
        const server = new MockServer({ handlers: { 'a.echo': (_session, body) => body } });
        t.after(() => server.close());
        const port = await server.listen({ webSocket: scheme === 'wss', tls });
        const url = `${scheme}://localhost:${port}/`;
        const client = await connect(url, { tls: { ca: tls.cert, lookup } });
        t.after(() => client.close());
        assert.equal(await client.request('a.echo', 'secret'), 'secret');
        await assert.rejects(connect(url, { tls: { lookup }, reconnect: false }), { code: 'PIT-499', msg: /self-signed/ });
        const elsewhere = { ca: tls.cert, servername: 'example.org', lookup };
        await assert.rejects(connect(url, { tls: elsewhere, reconnect: false }), { code: 'PIT-499', msg: /example\.org/ });
    });
}

/** localhost may be an IPv6 address first; the mock listens on IPv4. */
function lookup(_host, options, done) {
    if (options.all) done(null, [{ address: '127.0.0.1', family: 4 }]);
    else done(null, '127.0.0.1', 4);
}

test('the browser entry imports nothing of Node', () => {
    const seen = new Set();
    const visit = (name) => {
        if (seen.has(name)) return;
        seen.add(name);
        const text = readFileSync(new URL(`../dist/${name}`, import.meta.url), 'utf8');
        for (const [, from] of text.matchAll(/(?:from|import) *\(?'([^']+)'/g)) {
            assert.match(from, /^\.\/[a-z]+\.js$/, `${name} imports ${from}`);
            visit(from.slice(2));
        }
    };
    visit('index.js');
    assert.ok(seen.size > 5);
});
