// A small server of the protocol on real sockets, TCP and WebSocket, for what fakes can not show: segments, frames,
// upgrades, and how a connection really ends.

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import * as net from 'node:net';
import { createServer as createTlsServer } from 'node:tls';

import { decodeMessage, encodeMessage, encodePacket, PacketReader, PacketType } from '../../dist/index.js';
import { bytesOf } from './fakes.mjs';

/** One unmasked frame, as servers send them. */
export function frame(opcode, payload, fin = true) {
    const { length } = payload;
    const head = Buffer.alloc(length < 126 ? 2 : length < 65536 ? 4 : 10);
    head[0] = (fin ? 0x80 : 0) | opcode;
    head[1] = length < 126 ? length : length < 65536 ? 126 : 127;
    if (head.length === 4) head.writeUInt16BE(length, 2);
    if (head.length === 10) head.writeBigUInt64BE(BigInt(length), 2);
    return Buffer.concat([head, payload]);
}

/** The masked frames that are whole in `buffer`, and what is left. */
function framesOf(buffer) {
    const frames = [];
    for (;;) {
        if (buffer.length < 2) break;
        const kind = buffer[1] & 0x7f;
        const start = kind < 126 ? 2 : kind === 126 ? 4 : 10;
        if (buffer.length < start + 4) break;
        const length = kind < 126 ? kind : kind === 126 ? buffer.readUInt16BE(2) : Number(buffer.readBigUInt64BE(2));
        if (buffer.length < start + 4 + length) break;
        if ((buffer[1] & 0x80) === 0) throw new Error('a client must mask');
        const mask = buffer.subarray(start, start + 4);
        const payload = buffer.subarray(start + 4, start + 4 + length).map((byte, i) => byte ^ mask[i & 3]);
        frames.push({ opcode: buffer[0] & 0x0f, payload });
        buffer = buffer.subarray(start + 4 + length);
    }
    return { frames, rest: buffer };
}

/** One client of the mock. */
export class MockSession {
    controls = []; // WebSocket control frames that came in
    constructor(socket, webSocket) {
        this.socket = socket;
        this.webSocket = webSocket;
    }

    packet(type, body) {
        const bytes = encodePacket(type, body);
        this.socket.write(this.webSocket ? frame(2, bytes) : bytes);
    }

    push(route, value) {
        this.message({ type: 3, id: 0n, route, body: bytesOf(value) });
    }

    message(message) {
        this.packet(PacketType.data, encodeMessage({ error: false, compressed: false, ...message }));
    }

    kick() {
        this.packet(PacketType.kick);
        this.socket.end();
    }
}

/**
 * `handlers` maps a route to a function (session, body bytes) whose value is the answer; what it throws, if it has a
 * code, becomes an error answer. `onSession` sees each connection, `onGone` its end.
 */
export class MockServer {
    sessions = new Set();
    #listeners = [];

    constructor({ handlers = {}, sys = {}, onSession = () => {}, onGone = () => {} } = {}) {
        Object.assign(this, { handlers, sys, onSession, onGone });
    }

    /** Opens a listener, with TLS if there are `key` and `cert` for it; answers its port. */
    async listen({ webSocket = false, port = 0, tls } = {}) {
        const accept = (socket) => this.#accept(socket, webSocket);
        const listener = tls ? createTlsServer(tls, accept) : net.createServer(accept);
        listener.listen(port, '127.0.0.1');
        this.#listeners.push(listener);
        await once(listener, 'listening');
        return listener.address().port;
    }

    async close() {
        for (const { socket } of this.sessions) socket.destroy();
        for (const listener of this.#listeners) {
            listener.close();
            await once(listener, 'close');
        }
    }

    #accept(socket, webSocket) {
        const session = new MockSession(socket, webSocket);
        const reader = new PacketReader();
        const onBytes = (bytes) => reader.push(bytes, (packet) => void this.#onPacket(session, packet));
        this.sessions.add(session);
        socket.setNoDelay(true);
        socket.on('error', () => {});
        socket.on('close', () => {
            this.sessions.delete(session);
            this.onGone(session);
        });
        socket.on('data', webSocket ? this.#upgrade(session, onBytes) : (bytes) => onBytes(new Uint8Array(bytes)));
        if (!webSocket) this.onSession(session);
    }

    #upgrade(session, onBytes) {
        let buffer = Buffer.alloc(0);
        let upgraded = false;
        return (bytes) => {
            buffer = Buffer.concat([buffer, bytes]);
            if (!upgraded) {
                const end = buffer.indexOf('\r\n\r\n');
                if (end < 0) return;
                const key = /^sec-websocket-key: *(.*)$/im.exec(buffer.toString('latin1', 0, end))[1].trim();
                const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
                session.socket.write(
                    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
                        `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
                );
                buffer = buffer.subarray(end + 4);
                upgraded = true;
                this.onSession(session);
            }
            const { frames, rest } = framesOf(buffer);
            buffer = rest;
            for (const { opcode, payload } of frames) {
                if (opcode === 2) onBytes(new Uint8Array(payload));
                else session.controls.push({ opcode, payload });
                if (opcode === 8) session.socket.end(frame(8, payload));
            }
        };
    }

    async #onPacket(session, { type, body }) {
        if (type === PacketType.handshake) {
            const sys = { dict: {}, heartbeat: 30, serializer: 'json', ...this.sys };
            session.packet(PacketType.handshake, bytesOf({ code: 200, sys }));
        }
        if (type !== PacketType.data) return;
        const message = decodeMessage(body);
        let reply;
        let error = false;
        try {
            const handler = this.handlers[message.route];
            if (!handler) throw Object.assign(new Error(`${message.route} not found`), { code: 'PIT-404' });
            reply = await handler(session, message.body);
        } catch (failure) {
            reply = { code: failure.code ?? 'PIT-000', msg: failure.message };
            error = true;
        }
        if (message.type === 0 && reply !== undefined)
            session.message({ type: 2, id: message.id, route: '', error, body: bytesOf(reply) });
    }
}
