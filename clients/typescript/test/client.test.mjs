// The client's states, its clock and its order, over a fake transport.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { deflate, inflate } from '../dist/compress.js';
import { backoffMs, CereusError, MessageType, PacketType, raw } from '../dist/index.js';
import { bytesOf, connectedClient, fakeClient, until } from './support/fakes.mjs';

const { handshake, ack, heartbeat, data, kick } = PacketType;
const names = (states) => states.map(({ state }) => state);
const parsed = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

test('connecting goes through its states and sends handshake and ack', async () => {
    const { client, last, states } = fakeClient({ user: { age: 30 }, sys: { platform: 'test' } });
    assert.equal(client.state, 'idle');
    const connecting = client.connect('ws://fake');
    assert.equal(client.state, 'connecting');
    last().open();
    assert.equal(client.state, 'handshaking');
    const [hello] = last().packets;
    assert.equal(hello.type, handshake);
    assert.equal(parsed(hello.body).sys.platform, 'test');
    assert.deepEqual(parsed(hello.body).user, { age: 30 });
    for (const value of Object.values(parsed(hello.body).sys)) assert.equal(typeof value, 'string');
    last().accept({ heartbeat: 7, serializer: 'protobuf' });
    await connecting;
    assert.deepEqual(last().sent(), [handshake, ack]);
    assert.deepEqual(names(states), ['connecting', 'handshaking', 'connected']);
    assert.equal(client.handshake.heartbeatMs, 7000);
    assert.equal(client.handshake.serializer, 'protobuf');
});

test('a refused handshake rejects and is not tried again', async () => {
    const { client, clock, last, connections } = fakeClient();
    const connecting = client.connect('ws://fake');
    last().open();
    last().accept({}, 400);
    await assert.rejects(connecting, { name: 'CereusError', code: 'PIT-400' });
    assert.equal(client.state, 'closed');
    await clock.advance(100_000);
    assert.equal(connections.length, 1);
    assert.equal(clock.pending, 0);
});

test('a handshake answer that is nonsense counts as a lost connection', async () => {
    for (const body of ['', '[', 'null', '{"code":200,"sys":{"heartbeat":"1"}}', '{"code":200,"sys":{"dict":{"a":-1}}}']) {
        const { client, last } = fakeClient();
        void client.connect('ws://fake');
        last().open();
        last().packet(handshake, new TextEncoder().encode(body));
        assert.equal(client.state, 'reconnecting', body);
        assert.ok(last().closed);
    }
});

test('a compressed handshake is inflated, and messages behind it wait', async () => {
    const { client, last } = fakeClient();
    const got = [];
    client.onPush('onx', (body) => got.push(body));
    const connecting = client.connect('ws://fake');
    last().open();
    const answer = bytesOf({ code: 200, sys: { dict: { onx: 5 }, heartbeat: 30, serializer: 'json' } });
    last().packet(handshake, await deflate(answer));
    last().packet(data, Uint8Array.of(0x07, 0, 5, 0x31)); // a push by code: needs the dictionary
    assert.deepEqual(got, []);
    await connecting;
    await until(() => got.length > 0);
    assert.deepEqual(got, [1]);
});

test('a server that does not answer the handshake is given up', async () => {
    const { client, clock, last, states } = fakeClient({ connectTimeoutMs: 3000 });
    void client.connect('ws://fake');
    last().open();
    await clock.advance(2999);
    assert.equal(client.state, 'handshaking');
    await clock.advance(1);
    assert.equal(client.state, 'reconnecting');
    assert.match(states.at(-1).reason, /no handshake within 3000 ms/);
});

test('requests find their answers, in whatever order they come', async () => {
    const { client, last } = await connectedClient();
    const first = client.request('a.b', { n: 1 });
    const second = client.request('a.c', { n: 2 });
    const sent = last().messages();
    assert.deepEqual(sent.map(({ route, body }) => [route, parsed(body)]), [['a.b', { n: 1 }], ['a.c', { n: 2 }]]);
    last().respond(sent[1].id, { two: 2 });
    last().respond(sent[0].id, { one: 1 });
    assert.deepEqual(await first, { one: 1 });
    assert.deepEqual(await second, { two: 2 });
});

test('an error answer becomes a CereusError with code, msg and metadata', async () => {
    const { client, last } = await connectedClient();
    const failing = client.request('a.b');
    last().respond(1, { code: 'PIT-404', msg: 'not found', metadata: { k: 'v' } }, { error: true });
    await assert.rejects(failing, (error) => {
        assert.ok(error instanceof CereusError);
        assert.deepEqual([error.code, error.msg, error.metadata], ['PIT-404', 'not found', { k: 'v' }]);
        return true;
    });
    const odd = client.request('a.b');
    last().respond(2, new TextEncoder().encode('boom'), { error: true });
    await assert.rejects(odd, { code: 'PIT-000', msg: 'boom' });
});

test('a protobuf server has its errors in protobuf', async () => {
    const { client, last } = await connectedClient({ serializer: raw }, { serializer: 'protobuf' });
    const payload = Buffer.from('0a075049542d343333120a74657374206572726f721a0c0a04736f6d6512046d657461', 'hex');
    const failing = client.request('a.b');
    last().respond(1, new Uint8Array(payload), { error: true });
    await assert.rejects(failing, { code: 'PIT-433', msg: 'test error', metadata: { some: 'meta' } });
    for (let length = 0; length < payload.length; length++) {
        const cut = client.request('a.b');
        last().respond(2 + length, new Uint8Array(payload.subarray(0, length)), { error: true });
        await assert.rejects(cut, { name: 'CereusError' });
    }
});

test('no answer in time is PIT-504, and the late answer is ignored', async () => {
    const { client, clock, last, errors } = await connectedClient({ requestTimeoutMs: 2000 });
    const late = assert.rejects(client.request('a.b'), { code: 'PIT-504' });
    await clock.advance(2000);
    await late;
    last().respond(1, {});
    assert.deepEqual(errors, []);
});

test('an answer that does not decode rejects only its own request', async () => {
    const { client, last } = await connectedClient();
    const bad = client.request('a.b');
    last().respond(1, new TextEncoder().encode('pushed'));
    await assert.rejects(bad, { code: 'PIT-000' });
    const notInflating = client.request('a.b');
    last().respond(2, Uint8Array.of(1, 2, 3), { compressed: true });
    await assert.rejects(notInflating, { code: 'PIT-000', msg: /inflate_error/ });
    const fine = client.request('a.b', 'x', { serializer: raw });
    last().respond(3, new TextEncoder().encode('pushed'));
    assert.equal(new TextDecoder().decode(await fine), 'pushed');
});

test('what can not be sent rejects and leaves nothing behind', async () => {
    const { client, clock } = await connectedClient({ requestsMax: 1 });
    const before = clock.pending;
    await assert.rejects(client.request('r'.repeat(256)), { kind: 'route_too_long' });
    await assert.rejects(client.request('a.b', new Uint8Array(0x1000000)), RangeError);
    assert.equal(clock.pending, before);
    void client.request('a.b');
    await assert.rejects(client.request('a.b'), { code: 'PIT-000', msg: /wait already/ });
});

test('notify sends no id and expects nothing', async () => {
    const { client, clock, last } = await connectedClient();
    const before = clock.pending;
    client.notify('a.b', { x: 1 });
    assert.equal(last().messages()[0].type, MessageType.notify);
    assert.equal(clock.pending, before);
});

test('pushes reach the listeners of their route and those of all routes', async () => {
    const { client, last, errors } = await connectedClient();
    const got = [];
    const stop = client.onPush('onA', (body) => got.push(['a', body]));
    client.onPush('*', (body, route) => got.push(['*', route, body]));
    client.onPush('onRaw', (body) => got.push(['raw', body.length]), { serializer: raw });
    last().push('onA', { n: 1 });
    last().push('onB', { n: 2 });
    stop();
    last().push('onA', { n: 3 });
    assert.deepEqual(got, [
        ['a', { n: 1 }],
        ['*', 'onA', { n: 1 }],
        ['*', 'onB', { n: 2 }],
        ['*', 'onA', { n: 3 }],
    ]);
    last().push('onRaw', new TextEncoder().encode('not json'));
    assert.deepEqual(got.at(-1), ['raw', 8]);
    assert.equal(errors.length, 1); // the listener of all routes wanted JSON
});

test('a listener that throws harms neither the others nor the connection', async () => {
    const { client, last, errors } = await connectedClient();
    const got = [];
    client.onPush('onA', () => assert.fail('mine'));
    client.onPush('onA', (body) => got.push(body));
    last().push('onA', 1);
    assert.deepEqual(got, [1]);
    assert.equal(errors.length, 1);
    assert.equal(client.state, 'connected');
});

test('order is kept when some bodies have to be inflated, and a kick waits for them', async () => {
    const { client, last } = await connectedClient();
    const got = [];
    client.onPush('onA', (body) => got.push(body));
    client.onKick(() => got.push('kick'));
    const long = 'x'.repeat(100);
    const small = await deflate(bytesOf(long));
    last().push('onA', small, { compressed: true });
    last().push('onA', 1);
    last().push('onA', small, { compressed: true });
    last().packet(kick);
    assert.deepEqual(got, []);
    await until(() => got.includes('kick'));
    assert.deepEqual(got, [long, 1, long, 'kick']);
});

test('what came before the end of the connection is delivered before it', async () => {
    const { client, last, states } = await connectedClient();
    const answer = client.request('a.b');
    last().respond(1, await deflate(bytesOf('x'.repeat(100))), { compressed: true });
    last().close();
    assert.equal(await answer, 'x'.repeat(100));
    await until(() => states.length > 0);
    assert.deepEqual(names(states), ['reconnecting']);
});

test('the dictionary is used in both directions', async () => {
    const { client, last } = await connectedClient({}, { dict: { 'test.echo': 258, onx: 0 } });
    const got = [];
    client.onPush('onx', (body) => got.push(body));
    client.notify('test.echo', 1);
    assert.deepEqual([...last().packets[0].body], [0x03, 1, 2, 0x31]);
    last().packet(data, Uint8Array.of(0x07, 0, 0, 0x32));
    assert.deepEqual(got, [2]);
});

test('a push with an unknown code is reported and the connection goes on', async () => {
    const { client, last, errors } = await connectedClient();
    last().packet(data, Uint8Array.of(0x07, 0, 9, 0x32));
    last().packet(data, Uint8Array.of());
    assert.deepEqual(errors.map(({ kind }) => kind), ['route_code_unknown', 'invalid_message']);
    assert.equal(client.state, 'connected');
});

test('bodies are deflated on request, when that helps, and stay in order', async () => {
    const { client, last } = await connectedClient({ compress: true });
    const long = 'y'.repeat(500);
    client.notify('a.long', long);
    client.notify('a.short', 'y');
    client.notify('a.none');
    await until(() => last().packets.length === 3);
    const sent = last().messages();
    assert.deepEqual(sent.map(({ route, compressed }) => [route, compressed]), [
        ['a.long', true],
        ['a.short', false],
        ['a.none', false],
    ]);
    assert.equal(parsed(await inflate(sent[0].body, 1000)), long);
});

test('a body that inflates beyond the limit fails its request', async () => {
    const { client, last } = await connectedClient({ inflatedMax: 1000 });
    const answer = client.request('a.b');
    last().respond(1, await deflate(new Uint8Array(1001)), { compressed: true });
    await assert.rejects(answer, { code: 'PIT-000' });
});

test('a heartbeat goes out every interval', async () => {
    const { clock, last } = await connectedClient({}, { heartbeat: 10 });
    await clock.advance(9_999);
    assert.deepEqual(last().sent(), []);
    await clock.advance(1);
    assert.deepEqual(last().sent(), [heartbeat]);
    last().packet(heartbeat);
    await clock.advance(10_000);
    assert.deepEqual(last().sent(), [heartbeat]);
});

test('a silent server is given up a little after two intervals, any packet resets that', async () => {
    const { client, clock, last, states } = await connectedClient({}, { heartbeat: 10 });
    await clock.advance(15_000);
    last().packet(heartbeat);
    await clock.advance(20_999);
    assert.equal(client.state, 'connected');
    await clock.advance(1);
    assert.equal(client.state, 'reconnecting');
    assert.match(states.at(-1).reason, /nothing from the server/);
    assert.ok(last().closed);
});

test('a server without heartbeats is never given up', async () => {
    const { client, clock, last } = await connectedClient({}, { heartbeat: 0 });
    await clock.advance(1_000_000);
    assert.equal(client.state, 'connected');
    assert.deepEqual(last().sent(), []);
});

test('a lost connection fails what waits and comes back by itself', async () => {
    const { client, clock, last, connections, states } = await connectedClient();
    const waiting = client.request('a.b');
    last().close('reset');
    await assert.rejects(waiting, { code: 'PIT-499', msg: 'reset' });
    assert.throws(() => client.notify('a.b'), { code: 'PIT-499' });
    await assert.rejects(client.request('a.b'), { code: 'PIT-499' });
    assert.deepEqual(states.at(-1), { state: 'reconnecting', previous: 'connected', attempt: 1, reason: 'reset', retryInMs: 250 });
    await clock.advance(250);
    assert.equal(connections.length, 2);
    last().open();
    last().accept();
    assert.deepEqual(names(states), ['reconnecting', 'connecting', 'handshaking', 'connected']);
    assert.equal(states.at(-1).attempt, 0);
    const again = client.request('a.b');
    last().respond(2, 'back');
    assert.equal(await again, 'back');
});

test('waits grow until a connection has lasted, and shrink again', async () => {
    const { client, clock, last, states } = await connectedClient();
    const waits = () => states.filter(({ state }) => state === 'reconnecting').map(({ retryInMs }) => retryInMs);
    for (let i = 0; i < 4; i++) {
        last().close();
        await clock.advance(states.at(-1).retryInMs);
        last().open();
        last().accept();
    }
    assert.deepEqual(waits(), [250, 500, 1000, 2000]);
    await clock.advance(10_000);
    last().close();
    assert.equal(waits().at(-1), 250);
    client.close();
});

test('the back-off is full jitter under a doubling ceiling', () => {
    assert.equal(backoffMs(1, {}, 0), 0);
    assert.deepEqual([1, 2, 3, 7, 8, 5000].map((n) => backoffMs(n, {}, 1)), [500, 1000, 2000, 30_000, 30_000, 30_000]);
    assert.equal(backoffMs(3, { baseMs: 10, maxMs: 1000 }, 0.5), 20);
});

test('attempts can be limited, and then connect() rejects', async () => {
    const { client, clock, last, connections } = fakeClient({ reconnect: { attemptsMax: 2 } });
    const connecting = assert.rejects(client.connect('ws://fake'), { code: 'PIT-499', msg: 'refused 3' });
    for (let i = 1; i <= 3; i++) {
        last().close(`refused ${i}`);
        await clock.advance(2000);
    }
    await connecting;
    assert.equal(connections.length, 3);
    assert.equal(client.state, 'closed');
});

test('reconnecting can be off', async () => {
    const { client, clock, last, states } = await connectedClient({ reconnect: false });
    last().close();
    assert.deepEqual(names(states), ['closed']);
    assert.equal(clock.pending, 0);
    assert.equal(client.handshake, undefined);
});

test('retry() does not wait', async () => {
    const { client, clock, last, connections } = await connectedClient();
    last().close();
    client.retry();
    client.retry();
    assert.equal(connections.length, 2);
    await clock.advance(9000);
    assert.equal(connections.length, 2);
});

test('a kicked client says so, fails what waits and stays away until told to connect', async () => {
    const { client, clock, last, connections, states } = await connectedClient();
    let kicks = 0;
    client.onKick(() => kicks++);
    const waiting = client.request('a.b');
    last().packet(kick);
    last().close();
    await assert.rejects(waiting, { code: 'PIT-499', msg: /kicked/ });
    await clock.advance(100_000);
    assert.deepEqual([kicks, client.state, connections.length, clock.pending], [1, 'kicked', 1, 0]);
    client.close();
    assert.deepEqual(names(states), ['kicked']);
    const again = client.connect('ws://fake');
    last().open();
    last().accept();
    await again;
    assert.equal(client.state, 'connected');
});

test('close() ends it in every state, without a trace', async () => {
    for (const steps of [0, 1, 2, 3, 4]) {
        const { client, clock, last, connections } = fakeClient();
        if (steps >= 1) client.connect('ws://fake').catch(() => {});
        if (steps >= 2) last().open();
        if (steps >= 3) last().accept();
        if (steps >= 4) last().close();
        client.close();
        assert.equal(client.state, 'closed');
        assert.equal(clock.pending, 0);
        last()?.close();
        await clock.advance(100_000);
        assert.ok(connections.length <= 1);
    }
});

test('connect() twice is refused, and close() rejects the first', async () => {
    const { client } = fakeClient();
    const first = client.connect('ws://fake');
    await assert.rejects(client.connect('ws://fake'), { code: 'PIT-000' });
    client.close();
    await assert.rejects(first, { code: 'PIT-499' });
});

test('bytes that are not packets end the connection', async () => {
    for (const bytes of [[0x48, 0x54, 0x54, 0x50], [3, 0, 0], [4, 0, 0, 2, 1], [3, 0, 0, 0, 3]]) {
        const { client, last } = await connectedClient();
        last().bytes(Uint8Array.from(bytes));
        assert.equal(client.state, 'reconnecting', String(bytes));
    }
});

test('a listener may close and connect again from within a state change', async () => {
    const { client, last, connections } = await connectedClient();
    const stop = client.onState(({ state }) => {
        if (state !== 'connecting') return;
        stop();
        client.close();
        void client.connect('ws://fake');
    });
    last().close();
    client.retry();
    assert.equal(connections.length, 2);
    assert.equal(client.state, 'connecting');
    last().open();
    last().accept();
    assert.equal(client.state, 'connected');
});
