// How bodies become values. A server uses one serializer for all its routes and names it in the handshake; the client
// must be given the matching one. JSON and raw bytes are here; a protobuf user brings two functions of their own.

import { CereusError, ErrorCode } from './errors.js';

export interface Serializer {
    /** Called with what the caller passed to request() or notify(). */
    encode(value: unknown, route: string): Uint8Array;
    /** Called with the body of an answer or push; what it returns is what the caller gets. */
    decode(body: Uint8Array, route: string): unknown;
}

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder();

/** Values in and out. No value is an empty body, both ways, and bytes go out as they are. */
export const json: Serializer = {
    encode(value) {
        if (value === undefined) return new Uint8Array(0);
        return value instanceof Uint8Array ? value : utf8Encoder.encode(JSON.stringify(value));
    },
    decode(body) {
        return body.length === 0 ? undefined : JSON.parse(utf8Decoder.decode(body));
    },
};

/** Bytes in and out; a string goes out as UTF-8. */
export const raw: Serializer = {
    encode(value) {
        if (value === undefined) return new Uint8Array(0);
        if (value instanceof Uint8Array) return value;
        if (typeof value === 'string') return utf8Encoder.encode(value);
        throw new TypeError('the raw serializer takes a Uint8Array or a string');
    },
    decode(body) {
        return body;
    },
};

/** The error payload, in the encoding of the server's serializer `name`. A broken one still becomes an error. */
export function decodeError(body: Uint8Array, name: string): CereusError {
    try {
        return name === 'protobuf' ? decodeProtobufError(body) : decodeJsonError(body);
    } catch {
        return new CereusError(ErrorCode.unknown, utf8Decoder.decode(body));
    }
}

function decodeJsonError(body: Uint8Array): CereusError {
    const { code, msg, metadata } = JSON.parse(utf8Decoder.decode(body));
    const strings = Object.entries(metadata ?? {}).map(([key, value]) => [key, String(value)]);
    return new CereusError(String(code ?? ''), String(msg ?? ''), Object.fromEntries(strings));
}

/** message Error { string code = 1; string msg = 2; map<string, string> metadata = 3; } */
function decodeProtobufError(body: Uint8Array): CereusError {
    let code = '';
    let msg = '';
    const metadata = new Map<string, string>();
    for (const [number, bytes] of lengthFields(body)) {
        if (number === 1) code = utf8Decoder.decode(bytes);
        if (number === 2) msg = utf8Decoder.decode(bytes);
        if (number === 3) {
            const entry = new Map(lengthFields(bytes));
            metadata.set(text(entry.get(1)), text(entry.get(2)));
        }
    }
    return new CereusError(code, msg, Object.fromEntries(metadata));
}

function text(bytes: Uint8Array | undefined): string {
    return bytes ? utf8Decoder.decode(bytes) : '';
}

/** The length-delimited fields of a protobuf message as (number, bytes); fields of other kinds are stepped over. */
function* lengthFields(bytes: Uint8Array): Generator<[number, Uint8Array]> {
    let at = 0;
    const varint = (): number => {
        let value = 0;
        for (let shift = 0; shift < 70; shift += 7) {
            const byte = bytes[at++];
            if (byte === undefined) break;
            value += (byte & 0x7f) * 2 ** shift;
            if (byte < 0x80) return value;
        }
        throw new RangeError('varint');
    };
    while (at < bytes.length) {
        const key = varint();
        const kind = key % 8;
        if (kind === 0) {
            varint();
        } else if (kind === 1 || kind === 5) {
            at += kind === 1 ? 8 : 4;
        } else if (kind === 2) {
            const length = varint();
            if (length > bytes.length - at) throw new RangeError('length');
            yield [Math.floor(key / 8), bytes.subarray(at, at + length)];
            at += length;
        } else {
            throw new RangeError('wire type');
        }
    }
}
