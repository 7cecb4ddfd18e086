// Packets, the framing of the protocol:
//
//     type: u8 | body_len: u24 big-endian | body
//
// A WebSocket message holds exactly one packet; on TCP they follow one another and PacketReader finds their edges.

import { ProtocolError } from './errors.js';

export const PacketType = { handshake: 1, ack: 2, heartbeat: 3, data: 4, kick: 5 } as const;
export type PacketType = (typeof PacketType)[keyof typeof PacketType];

export const PACKET_HEADER_LEN = 4;
export const PACKET_BODY_MAX = 0xffffff;

export interface Packet {
    type: PacketType;
    body: Uint8Array;
}

const EMPTY = new Uint8Array(0);

export function encodePacket(type: number, body: Uint8Array = EMPTY): Uint8Array {
    const packet = new Uint8Array(PACKET_HEADER_LEN + body.length);
    packet[0] = checkType(type);
    if (body.length > PACKET_BODY_MAX) throw new ProtocolError('packet_too_big', `${body.length} bytes`);
    packet[1] = body.length >>> 16;
    packet[2] = body.length >>> 8;
    packet[3] = body.length;
    packet.set(body, PACKET_HEADER_LEN);
    return packet;
}

/** Take a header apart; it must be exactly the four bytes. */
export function parseHeader(header: Uint8Array): { type: PacketType; length: number } {
    if (header.length !== PACKET_HEADER_LEN) throw new ProtocolError('invalid_header', `${header.length} bytes`);
    return { type: checkType(header[0]!), length: (header[1]! << 16) | (header[2]! << 8) | header[3]! };
}

function checkType(type: number): PacketType {
    if (type < PacketType.handshake || type > PacketType.kick)
        throw new ProtocolError('wrong_packet_type', String(type));
    return type as PacketType;
}

/**
 * Cuts a stream of bytes into packets. A bad type is refused from the header alone, and memory grows with the bytes
 * that arrived, not with the length that a header announces.
 */
export class PacketReader {
    #pending = EMPTY; // buffer that holds the start of a packet
    #have = 0; // bytes of #pending in use

    /** Bytes of a packet that is not complete yet. */
    get pending(): number {
        return this.#have;
    }

    /** Calls `onPacket` for each packet that `chunk` completes; bodies may point into `chunk`. */
    push(chunk: Uint8Array, onPacket: (packet: Packet) => void): void {
        let at = 0;
        while (at < chunk.length) {
            if (this.#have === 0) {
                const whole = packetAt(chunk.subarray(at));
                if (whole) {
                    at += PACKET_HEADER_LEN + whole.body.length;
                    onPacket(whole);
                    continue;
                }
            }
            at += this.#fill(chunk.subarray(at));
            const whole = packetAt(this.#pending.subarray(0, this.#have));
            if (whole) {
                this.#pending = EMPTY; // the packet keeps the buffer
                this.#have = 0;
                onPacket(whole);
            }
        }
    }

    /** Keeps what the packet in progress still needs (its header first); answers how many bytes that took. */
    #fill(bytes: Uint8Array): number {
        let wanted = PACKET_HEADER_LEN;
        if (this.#have >= PACKET_HEADER_LEN) wanted += parseHeader(this.#pending.subarray(0, PACKET_HEADER_LEN)).length;
        const taken = Math.min(wanted - this.#have, bytes.length);
        const total = this.#have + taken;
        if (total > this.#pending.length) {
            const grown = new Uint8Array(Math.min(wanted, Math.max(total, 2 * this.#pending.length)));
            grown.set(this.#pending.subarray(0, this.#have));
            this.#pending = grown;
        }
        this.#pending.set(bytes.subarray(0, taken), this.#have);
        this.#have = total;
        return taken;
    }
}

/** The packet at the front of `bytes`, or nothing when it is not all there. */
function packetAt(bytes: Uint8Array): Packet | undefined {
    if (bytes.length < PACKET_HEADER_LEN) return undefined;
    const { type, length } = parseHeader(bytes.subarray(0, PACKET_HEADER_LEN));
    if (bytes.length < PACKET_HEADER_LEN + length) return undefined;
    return { type, body: bytes.subarray(PACKET_HEADER_LEN, PACKET_HEADER_LEN + length) };
}
