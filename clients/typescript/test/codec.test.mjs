// The codec against the vectors recorded from the reference implementation; C core and C client replay the same files.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { deflate, inflate, inflateByMagic } from '../dist/compress.js';
import { decodeMessage, encodeMessage, encodePacket, PacketReader, parseHeader, RouteDictionary } from '../dist/index.js';

const load = (name) =>
    JSON.parse(readFileSync(new URL(`../../../tests/vectors/client/${name}.json`, import.meta.url), 'utf8')).vectors;
const hex = (bytes) => Buffer.from(bytes).toString('hex');
const bytesOf = (text) => new Uint8Array(Buffer.from(text, 'hex'));

/** Long byte strings are written as segments to join. */
function generated(text, segments) {
    if (!segments) return text === null ? null : bytesOf(text);
    const parts = segments.map(({ hex: plain, repeat }) =>
        repeat ? Buffer.alloc(repeat.len, Buffer.from(repeat.byte, 'hex')) : Buffer.from(plain, 'hex'),
    );
    return new Uint8Array(Buffer.concat(parts));
}

/** Where the reference has a bug or a quirk, the better outcome is the one that counts. */
function expected(vector) {
    const better = vector.compat_expect ?? {};
    if (better.error) return { error: better.error };
    if (better.out !== undefined) return { out: better.out };
    return vector.error ? { error: vector.error } : { out: vector.out };
}

// decode-whole-then-invalid: the reader is a streaming one, which hands out the first packet before it fails.
for (const vector of load('packet_codec')) {
    test(`packet ${vector.name}: ${vector.description}`, () => {
        const { error, out } = expected(vector);
        const run = {
            encode: () => encodePacket(vector.in.type, generated(vector.in.data, vector.in.data_gen)),
            decode: () => {
                const packets = [];
                new PacketReader().push(bytesOf(vector.in), (packet) => packets.push(packet));
                return packets.map(({ type, body }) => ({ data: hex(body), length: body.length, type }));
            },
            parse_header: () => parseHeader(bytesOf(vector.in)),
        }[vector.direction];
        if (error) return assert.throws(run, { kind: error });
        const got = run();
        if (vector.direction !== 'encode') return assert.deepEqual(got, out);
        assert.ok(Buffer.from(got).equals(generated(out, vector.out_gen)));
    });
}

test('a stream is cut into the same packets wherever its segments end', () => {
    const stream = bytesOf('010000027b7d02000000040000050001026162');
    const whole = [];
    new PacketReader().push(stream, (packet) => whole.push(`${packet.type}:${hex(packet.body)}`));
    for (let size = 1; size <= stream.length; size++) {
        const reader = new PacketReader();
        const got = [];
        for (let at = 0; at < stream.length; at += size)
            reader.push(stream.slice(at, at + size), (packet) => got.push(`${packet.type}:${hex(packet.body)}`));
        assert.deepEqual(got, whole);
        assert.equal(reader.pending, 0);
    }
});

test('a huge announced length takes no memory until the bytes come', () => {
    const reader = new PacketReader();
    reader.push(bytesOf('04ffffff'), () => assert.fail());
    for (let i = 0; i < 100; i++) reader.push(new Uint8Array(10), () => assert.fail());
    assert.equal(reader.pending, 1004);
});

const decoder = new TextDecoder();

for (const vector of load('message_codec')) {
    // Whether bytes after a zlib stream are ignored is up to the platform's inflater; no server sends any.
    const skip = vector.name === 'dec-z-trailing' ? 'up to the platform' : false;
    test(`message ${vector.name}: ${vector.description}`, { skip }, async () => {
        const { error, out } = expected(vector);
        const dictionary = new RouteDictionary(vector.dict);
        if (vector.direction === 'encode') return encodes(vector, dictionary, error, out);

        const run = async () => {
            const message = decodeMessage(bytesOf(vector.in), dictionary);
            return message.compressed ? { ...message, body: await inflate(message.body, 1 << 24) } : message;
        };
        if (error) return assert.rejects(run, { kind: error });
        // Routes are text in this client: bytes that are not UTF-8 become replacement characters.
        const { type, id, route, error: isError, body } = await run();
        assert.deepEqual(
            { type, id: String(id), route, error: isError, body: hex(body) },
            { ...out, route: decoder.decode(bytesOf(out.route)) },
        );
    });
}

async function encodes(vector, dictionary, error, out) {
    const { type, id, route_text: route, error: isError, data_compression: compress } = vector.in;
    const body = bytesOf(vector.in.body ?? '');
    const small = compress ? await deflate(body) : body;
    const compressed = small.length < body.length;
    const message = { type, id: BigInt(id), route, error: isError, compressed, body: compressed ? small : body };
    const run = () => encodeMessage(message, dictionary);
    if (error) return assert.throws(run, { kind: error });
    if (!compress || vector.compare === 'bytes') return assert.equal(hex(run()), out);
    // Deflaters differ, the inflated body does not; and short runs may or may not shrink.
    const got = decodeMessage(run(), dictionary);
    assert.equal(hex(got.compressed ? await inflate(got.body, 1 << 24) : got.body), hex(body));
}

test('no prefix of a message and no changed byte does worse than a ProtocolError', () => {
    const dictionary = new RouteDictionary({ 'test.echo': 1 });
    const whole = encodeMessage(
        { type: 0, id: 300n, route: 'a.b', error: false, compressed: false, body: Uint8Array.of(1, 2) },
        dictionary,
    );
    const attempt = (bytes) => {
        try {
            decodeMessage(bytes, dictionary);
        } catch (error) {
            assert.equal(error.name, 'ProtocolError');
        }
    };
    for (let length = 0; length < whole.length; length++) attempt(whole.slice(0, length));
    for (let at = 0; at < whole.length; at++)
        for (let value = 0; value < 256; value++) attempt(whole.map((byte, i) => (i === at ? value : byte)));
});

test('a dictionary with a code that does not fit is refused', () => {
    for (const code of [-1, 65536, 1.5, '1', null])
        assert.throws(() => new RouteDictionary({ a: code }), { kind: 'invalid_message' });
    assert.equal(new RouteDictionary(JSON.parse('{"__proto__":3}')).codeOf('__proto__'), 3);
});

test('inflating stops at the limit', async () => {
    const bomb = await deflate(new Uint8Array(1 << 22));
    await assert.rejects(inflate(bomb, 1 << 20), { kind: 'inflate_error' });
    assert.equal((await inflate(bomb, 1 << 22)).length, 1 << 22);
});

test('a handshake answer is inflated by its first bytes only', async () => {
    assert.equal(inflateByMagic(new TextEncoder().encode('{"code":200}'), 100), undefined);
    assert.equal(inflateByMagic(new Uint8Array(0), 100), undefined);
    assert.equal(hex(await inflateByMagic(await deflate(bytesOf('6869')), 100)), '6869');
});
