// Messages, what a data packet holds:
//
//     flag: u8 | id: varint (request, response) | route (all but response) | body
//
// The route is either its code in the dictionary (u16) or a length byte and text. This file is pure: it neither
// inflates nor deflates, it only reads and writes the bit that says so.

import { ProtocolError } from './errors.js';

export const MessageType = { request: 0, notify: 1, response: 2, push: 3 } as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

export interface Message {
    type: MessageType;
    /** 64-bit; 0 where the type has none. */
    id: bigint;
    /** Empty for a response. */
    route: string;
    error: boolean;
    compressed: boolean;
    body: Uint8Array;
}

const FLAG_ROUTE_CODE = 0x01;
const FLAG_COMPRESSED = 0x10;
const FLAG_ERROR = 0x20;
const ROUTE_LEN_MAX = 255;
const ID_LEN_MAX = 10;
const ID_MAX = 2n ** 64n - 1n;

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** Routes that have a two-byte code, as announced by the server; good for both directions. */
export class RouteDictionary {
    readonly #codes = new Map<string, number>();
    readonly #routes = new Map<number, string>();

    constructor(entries: Readonly<Record<string, unknown>> = {}) {
        for (const [route, code] of Object.entries(entries)) {
            if (typeof code !== 'number' || !Number.isInteger(code) || code < 0 || code > 0xffff)
                throw new ProtocolError('invalid_message', `dictionary code of "${route}"`);
            this.#codes.set(route, code);
            this.#routes.set(code, route);
        }
    }

    get size(): number {
        return this.#codes.size;
    }

    codeOf(route: string): number | undefined {
        return this.#codes.get(route);
    }

    routeOf(code: number): string | undefined {
        return this.#routes.get(code);
    }
}

/** Everything of a message but its body, so that a body can be deflated (and the bit set) before the two are joined. */
export function encodeHead(message: Omit<Message, 'body'>, dictionary?: RouteDictionary): Uint8Array {
    const { type } = message;
    if (!isMessageType(type)) throw new ProtocolError('wrong_message_type', String(type));
    const code = hasRoute(type) ? dictionary?.codeOf(message.route) : undefined;
    let flag = type << 1;
    if (code !== undefined) flag |= FLAG_ROUTE_CODE;
    if (message.compressed) flag |= FLAG_COMPRESSED;
    if (message.error) flag |= FLAG_ERROR;

    const head = [flag];
    if (hasId(type)) {
        let rest = BigInt.asUintN(64, message.id);
        for (; rest > 0x7fn; rest >>= 7n) head.push(Number(rest & 0x7fn) | 0x80);
        head.push(Number(rest));
    }
    if (code !== undefined) {
        head.push(code >>> 8, code & 0xff);
    } else if (hasRoute(type)) {
        const route = utf8Encoder.encode(message.route);
        if (route.length > ROUTE_LEN_MAX)
            throw new ProtocolError('route_too_long', `${route.length} bytes, ${ROUTE_LEN_MAX} fit`);
        head.push(route.length, ...route);
    }
    return Uint8Array.from(head);
}

export function encodeMessage(message: Message, dictionary?: RouteDictionary): Uint8Array {
    return concat(encodeHead(message, dictionary), message.body);
}

/** Take a message apart; its body points into `bytes` and is still deflated if `compressed` says so. */
export function decodeMessage(bytes: Uint8Array, dictionary?: RouteDictionary): Message {
    if (bytes.length < 2) throw new ProtocolError('invalid_message', `${bytes.length} bytes`);
    const flag = bytes[0]!;
    const type = (flag >>> 1) & 0x07;
    if (!isMessageType(type)) throw new ProtocolError('wrong_message_type', String(type));

    let at = 1;
    let id = 0n;
    if (hasId(type)) {
        const end = bytes.subarray(at, at + ID_LEN_MAX).findIndex((byte) => byte < 0x80);
        if (end < 0) throw new ProtocolError('invalid_message', 'the id does not end');
        for (let i = end; i >= 0; i--) id = (id << 7n) | BigInt(bytes[at + i]! & 0x7f);
        if (id > ID_MAX) throw new ProtocolError('invalid_message', 'the id has more than 64 bits');
        at += end + 1;
    }

    let route = '';
    if (hasRoute(type)) {
        if ((flag & FLAG_ROUTE_CODE) !== 0) {
            if (bytes.length < at + 2) throw new ProtocolError('invalid_message', 'the route code is cut');
            const code = (bytes[at]! << 8) | bytes[at + 1]!;
            const known = dictionary?.routeOf(code);
            if (known === undefined) throw new ProtocolError('route_code_unknown', String(code));
            route = known;
            at += 2;
        } else {
            const length = bytes[at];
            if (length === undefined || bytes.length < at + 1 + length)
                throw new ProtocolError('invalid_message', 'the route is cut');
            route = utf8Decoder.decode(bytes.subarray(at + 1, at + 1 + length));
            at += 1 + length;
        }
    }

    const error = (flag & FLAG_ERROR) !== 0;
    const compressed = (flag & FLAG_COMPRESSED) !== 0;
    return { type, id, route, error, compressed, body: bytes.subarray(at) };
}

export function concat(...parts: Uint8Array[]): Uint8Array {
    const joined = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
    let at = 0;
    for (const part of parts) {
        joined.set(part, at);
        at += part.length;
    }
    return joined;
}

function isMessageType(type: number): type is MessageType {
    return type >= MessageType.request && type <= MessageType.push;
}

function hasId(type: MessageType): boolean {
    return type === MessageType.request || type === MessageType.response;
}

function hasRoute(type: MessageType): boolean {
    return type !== MessageType.response;
}
