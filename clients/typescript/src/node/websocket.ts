// ws:// and wss:// for Node versions that have no WebSocket of their own, and for TLS options that the built-in one does
// not take: the client's half of RFC 6455, as much of it as a server of this protocol uses. No extensions, no
// subprotocols, binary messages.

import { createHash, randomBytes } from 'node:crypto';
import type * as tls from 'node:tls';

import { concat } from '../message.js';
import { PACKET_BODY_MAX, PACKET_HEADER_LEN } from '../packet.js';
import type { TransportFactory } from '../transport.js';
import { openSocket } from './tcp.js';

const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const HEAD_LEN_MAX = 16 * 1024;
const MESSAGE_LEN_MAX = PACKET_HEADER_LEN + PACKET_BODY_MAX;
const CONTROL_LEN_MAX = 125;
/** Fragments of one message; empty ones cost memory too. */
const FRAGMENTS_MAX = 4096;
/** A server that pings but does not read gets no more pongs than this many bytes. */
const PONGS_QUEUED_MAX = 64 * 1024;

const Opcode = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

export interface Frame {
    fin: boolean;
    opcode: number;
    payload: Uint8Array;
}

/** One masked frame, as clients must send them. */
export function encodeFrame(opcode: number, payload: Uint8Array, mask: Uint8Array = randomBytes(4)): Uint8Array {
    const length = payload.length;
    const head =
        length < 126
            ? [0x80 | length]
            : length < 0x10000
              ? [0x80 | 126, length >>> 8, length]
              : [0x80 | 127, 0, 0, 0, 0, length >>> 24, length >>> 16, length >>> 8, length]; // a Uint8Array cuts to 8 bits
    const frame = concat(Uint8Array.from([0x80 | opcode, ...head]), mask, payload);
    const start = frame.length - length;
    for (let i = 0; i < length; i++) frame[start + i]! ^= mask[i & 3]!;
    return frame;
}

/** Cuts what a server sends into frames, and refuses what a server must not send from the header alone. */
export class FrameReader {
    #chunks: Uint8Array[] = [];
    #have = 0;

    push(chunk: Uint8Array): void {
        this.#chunks.push(chunk);
        this.#have += chunk.length;
    }

    /** The next whole frame, or nothing yet. Throws for a broken rule. */
    next(): Frame | undefined {
        const head = this.#peek(10);
        if (head.length < 2) return undefined;
        const fin = (head[0]! & 0x80) !== 0;
        const opcode = head[0]! & 0x0f;
        let length = head[1]! & 0x7f;
        let headLen = 2;
        if ((head[0]! & 0x70) !== 0) throw new Error('reserved bits are set');
        if ((head[1]! & 0x80) !== 0) throw new Error('the server masks');
        if (!(Object.values(Opcode) as number[]).includes(opcode)) throw new Error(`opcode ${opcode}`);
        if (opcode >= Opcode.close && (length > CONTROL_LEN_MAX || !fin)) throw new Error('long control frame');
        if (length >= 126) {
            headLen += length === 126 ? 2 : 8;
            if (head.length < headLen) return undefined;
            length = 0;
            for (const byte of head.subarray(2, headLen)) length = length * 256 + byte;
        }
        if (length > MESSAGE_LEN_MAX) throw new Error(`frame of ${length} bytes`);
        if (this.#have < headLen + length) return undefined;
        const frame = this.#peek(headLen + length);
        this.#drop(headLen + length);
        return { fin, opcode, payload: frame.subarray(headLen) };
    }

    /** Up to `length` bytes from the front, in one piece. Joins chunks at most once per frame and header. */
    #peek(length: number): Uint8Array {
        const wanted = Math.min(length, this.#have);
        if (this.#chunks.length > 1 && this.#chunks[0]!.length < wanted) this.#chunks = [concat(...this.#chunks)];
        return (this.#chunks[0] ?? new Uint8Array(0)).subarray(0, wanted);
    }

    #drop(length: number): void {
        this.#have -= length;
        this.#chunks = this.#have > 0 ? [this.#chunks[0]!.subarray(length), ...this.#chunks.slice(1)] : [];
    }
}

/** Checks the server's answer to the upgrade; `head` is its text without the blank line. */
export function checkUpgrade(head: string, key: string): void {
    const [status = '', ...lines] = head.split('\r\n');
    if (!/^HTTP\/1\.1 101( |$)/.test(status)) throw new Error(`no upgrade: ${status.slice(0, 80)}`);
    const headers = new Map(
        lines.map((line) => {
            const colon = line.indexOf(':');
            return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
        }),
    );
    const accept = createHash('sha1').update(key + ACCEPT_GUID).digest('base64');
    if (headers.get('upgrade')?.toLowerCase() !== 'websocket' || headers.get('sec-websocket-accept') !== accept)
        throw new Error('the answer to the upgrade is not that of a WebSocket server');
}

export function nodeWebSocketTransport(tlsOptions: tls.ConnectionOptions = {}): TransportFactory {
    return (text, events) => {
        const url = new URL(text);
        const secure = url.protocol === 'wss:';
        if (!secure && url.protocol !== 'ws:') throw new TypeError(`not ws:// or wss://: ${text}`);

        const socket = openSocket(url, secure, secure ? 443 : 80, tlsOptions);
        const key = randomBytes(16).toString('base64');
        const reader = new FrameReader();
        let head: Buffer | undefined = Buffer.alloc(0); // the answer so far, until it is whole
        let parts: Uint8Array[] = []; // of a fragmented message
        let partsLen = 0;
        let reason = 'closed by the server';

        const write = (opcode: number, payload: Uint8Array): void => {
            if (socket.writable) socket.write(encodeFrame(opcode, payload));
        };
        const onMessagePart = ({ fin, opcode, payload }: Frame): void => {
            if ((opcode === Opcode.continuation) !== parts.length > 0) throw new Error('fragments out of order');
            if (opcode === Opcode.text) throw new Error('text message');
            partsLen += payload.length;
            if (partsLen > MESSAGE_LEN_MAX || parts.push(payload) > FRAGMENTS_MAX) throw new Error('long message');
            if (!fin) return;
            const message = parts.length === 1 ? payload : concat(...parts);
            parts = [];
            partsLen = 0;
            events.onBytes(message);
        };
        const onFrame = (frame: Frame): void => {
            if (frame.opcode === Opcode.ping) {
                if (socket.writableLength < PONGS_QUEUED_MAX) write(Opcode.pong, frame.payload);
            } else if (frame.opcode === Opcode.close) {
                if (frame.payload.length >= 2)
                    reason = `closed by the server (${(frame.payload[0]! << 8) | frame.payload[1]!})`;
                write(Opcode.close, frame.payload.subarray(0, 2));
                socket.end();
            } else if (frame.opcode !== Opcode.pong) {
                onMessagePart(frame);
            }
        };
        const onBytes = (bytes: Buffer): void => {
            if (head) {
                head = Buffer.concat([head, bytes]);
                const end = head.indexOf('\r\n\r\n');
                if (end > HEAD_LEN_MAX || (end < 0 && head.length > HEAD_LEN_MAX)) throw new Error('endless answer');
                if (end < 0) return;
                checkUpgrade(head.toString('latin1', 0, end), key);
                bytes = head.subarray(end + 4);
                head = undefined;
                events.onOpen();
            }
            reader.push(bytes);
            for (let frame = reader.next(); frame && !socket.destroyed; frame = reader.next()) onFrame(frame);
        };

        socket.on(secure ? 'secureConnect' : 'connect', () =>
            socket.write(
                `GET ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\nUpgrade: websocket\r\n` +
                    `Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`,
            ),
        );
        socket.on('data', (bytes) => {
            try {
                onBytes(bytes);
            } catch (error) {
                socket.destroy(error as Error);
            }
        });
        socket.on('error', (error) => (reason = error.message || String((error as NodeJS.ErrnoException).code)));
        socket.on('close', () => events.onClose(reason));
        return {
            framed: true,
            send: (packet) => write(Opcode.binary, packet),
            close() {
                if (head) {
                    socket.destroy();
                    return;
                }
                // Say good-bye, but do not wait for the answer: what comes now is of no interest.
                write(Opcode.close, Uint8Array.of(0x03, 0xe8));
                socket.destroySoon();
                socket.unref(); // a server that does not read must not keep the program alive
            },
        };
    };
}
