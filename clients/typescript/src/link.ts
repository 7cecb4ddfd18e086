// A Link is one connection to a server from the first byte to the last: handshake, heartbeats both ways, order.
//
// Inflating is asynchronous, so packets (and the end of the connection) stand in one queue and are handled one after
// the other: whatever arrived before a kick or a close is delivered before it. The Client above makes a new Link for
// each attempt and remembers nothing of the old one.

import type { Clock } from './clock.js';
import { deflate, inflate, inflateByMagic } from './compress.js';
import { textOf } from './errors.js';
import { concat, decodeMessage, encodeHead, type Message, MessageType, RouteDictionary } from './message.js';
import { encodePacket, PACKET_BODY_MAX, type Packet, PacketReader, PacketType } from './packet.js';
import type { Transport, TransportFactory } from './transport.js';

/** What the server said about itself in the handshake. */
export interface Handshake {
    /** 0 when the server has heartbeats off. */
    readonly heartbeatMs: number;
    /** Name of the server's serializer, `json` or `protobuf` unless it has its own. */
    readonly serializer: string;
    readonly dictionary: RouteDictionary;
}

export interface LinkOptions {
    clock: Clock;
    /** What to send in the handshake. */
    hello: unknown;
    /** Time from the start until the handshake is done. */
    connectTimeoutMs: number;
    /** Deflate outgoing bodies when that makes them shorter. */
    compress: boolean;
    /** Longest body that is inflated, bytes. */
    inflatedMax: number;
}

export interface LinkEvents {
    /** The transport is open and the handshake is on its way. */
    onHandshaking(): void;
    onReady(handshake: Handshake): void;
    /** A response or push, its body inflated. */
    onMessage(message: Message): void;
    /** One message was unusable; if `id` is set it was the answer to that request. The connection goes on. */
    onBadMessage(error: unknown, id: bigint | undefined): void;
    /** The server said good-bye. The last call. */
    onKick(): void;
    /** The connection is gone; `refused` if the server turned the handshake down. The last call. */
    onLost(reason: string, refused: boolean): void;
}

/** Added to the two heartbeat intervals after which a silent server counts as gone. */
const DEADLINE_SLACK_MS = 1_000;
/** Bytes that may wait behind a body that is being inflated. */
const INBOX_LEN_MAX = 64 * 1024 * 1024;
const HANDSHAKE_LEN_MAX = 4 * 1024 * 1024;
/** The server names the interval; outside of these it would flood us or overflow a timer. */
const HEARTBEAT_MS_MIN = 50;
const HEARTBEAT_MS_MAX = 24 * 3600 * 1000;

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder();

export class Link {
    readonly #options: LinkOptions;
    readonly #events: LinkEvents;
    readonly #clock: Clock;
    readonly #transport: Transport;
    readonly #reader = new PacketReader();

    #inbox: (Packet | { lost: string })[] = [];
    #inboxLen = 0;
    #inflating = false;
    #outgoing: Promise<void> = Promise.resolve(); // only used with compress
    #handshake: Handshake | undefined;
    #ended = false;

    #receivedAt: number;
    #openTimer: unknown;
    #beatTimer: unknown;
    #deadlineTimer: unknown;

    /** Starts to connect. Throws for a URL that can never work. */
    constructor(url: string, factory: TransportFactory, options: LinkOptions, events: LinkEvents) {
        this.#options = options;
        this.#events = events;
        this.#clock = options.clock;
        this.#receivedAt = this.#clock.now();
        this.#transport = factory(url, {
            onOpen: () => this.#onOpen(),
            onBytes: (bytes) => this.#onBytes(bytes),
            onClose: (reason) => this.#enqueue({ lost: reason }),
        });
        this.#openTimer = this.#clock.setTimeout(
            () => this.#lose(`no handshake within ${options.connectTimeoutMs} ms`),
            options.connectTimeoutMs,
        );
    }

    /** Send a request or notify. Throws if it can never be sent: route or body too long. */
    send(type: MessageType, id: bigint, route: string, body: Uint8Array): void {
        const head = encodeHead({ type, id, route, error: false, compressed: false }, this.#handshake?.dictionary);
        if (head.length + body.length > PACKET_BODY_MAX) throw new RangeError(`body of ${body.length} bytes`);
        if (!this.#options.compress) {
            this.#transport.send(encodePacket(PacketType.data, concat(head, body)));
            return;
        }
        this.#outgoing = this.#outgoing.then(async () => {
            // A platform that cannot deflate only costs the saving.
            const small = body.length > 0 ? await deflate(body).catch(() => body) : body;
            if (this.#ended) return;
            const packed = small.length < body.length;
            if (packed) head[0]! |= 0x10;
            this.#transport.send(encodePacket(PacketType.data, concat(head, packed ? small : body)));
        });
    }

    /** End the connection without another event. */
    close(): void {
        if (this.#ended) return;
        this.#ended = true;
        this.#inbox = [];
        for (const timer of [this.#openTimer, this.#beatTimer, this.#deadlineTimer]) this.#clock.clearTimeout(timer);
        this.#transport.close();
    }

    #lose(reason: string, refused = false): void {
        if (this.#ended) return;
        this.close();
        this.#events.onLost(reason, refused);
    }

    #onOpen(): void {
        if (this.#ended) return;
        this.#receivedAt = this.#clock.now();
        const hello = utf8Encoder.encode(JSON.stringify(this.#options.hello));
        this.#transport.send(encodePacket(PacketType.handshake, hello));
        this.#events.onHandshaking();
    }

    #onBytes(bytes: Uint8Array): void {
        if (this.#ended) return;
        this.#receivedAt = this.#clock.now();
        try {
            this.#reader.push(bytes, (packet) => this.#enqueue(packet));
        } catch (error) {
            this.#lose(textOf(error));
            return;
        }
        if (this.#transport.framed && this.#reader.pending > 0) this.#lose('a message that is not one whole packet');
    }

    #enqueue(item: Packet | { lost: string }): void {
        if (this.#ended) return;
        this.#inbox.push(item);
        if ('body' in item) this.#inboxLen += item.body.length;
        if (this.#inboxLen > INBOX_LEN_MAX) this.#lose('the server sends faster than its bodies can be inflated');
        else this.#drain();
    }

    #drain(): void {
        while (!this.#inflating && !this.#ended) {
            const item = this.#inbox.shift();
            if (!item) return;
            if ('lost' in item) {
                this.#lose(item.lost);
                return;
            }
            this.#inboxLen -= item.body.length;
            const inflated = this.#onPacket(item);
            if (!inflated) continue;
            this.#inflating = true;
            void inflated.then(() => {
                this.#inflating = false;
                this.#drain();
            });
        }
    }

    /** Handles a packet; answers a promise (that never fails) if the next one has to wait. */
    #onPacket({ type, body }: Packet): Promise<void> | undefined {
        switch (type) {
            case PacketType.handshake:
                return this.#onHandshake(body);
            case PacketType.data:
                return this.#onData(body);
            case PacketType.kick:
                this.close();
                this.#events.onKick();
                return undefined;
            case PacketType.heartbeat: // counted as a life sign when it arrived, like every packet
            case PacketType.ack: // servers have no reason to send one; harmless
                return undefined;
        }
    }

    #onHandshake(body: Uint8Array): Promise<void> | undefined {
        const inflated = inflateByMagic(body, HANDSHAKE_LEN_MAX);
        if (!inflated) {
            this.#onHandshakeText(body);
            return undefined;
        }
        return inflated.then(
            (plain) => this.#onHandshakeText(plain),
            (error) => this.#lose(`handshake: ${textOf(error)}`),
        );
    }

    #onHandshakeText(body: Uint8Array): void {
        if (this.#ended) return;
        let code: unknown;
        let handshake: Handshake;
        try {
            const answer = JSON.parse(utf8Decoder.decode(body));
            code = answer.code;
            handshake = readHandshake(answer.sys ?? {});
        } catch (error) {
            this.#lose(`handshake: ${textOf(error)}`);
            return;
        }
        if (code !== 200) {
            this.#lose(`the server refused the handshake (code ${String(code)})`, true);
            return;
        }
        if (this.#handshake) return; // we ask once; a second answer changes nothing
        this.#handshake = handshake;
        this.#clock.clearTimeout(this.#openTimer);
        this.#transport.send(encodePacket(PacketType.ack));
        if (handshake.heartbeatMs > 0) {
            this.#beat(handshake.heartbeatMs);
            this.#watch(2 * handshake.heartbeatMs + DEADLINE_SLACK_MS);
        }
        this.#events.onReady(handshake);
    }

    #beat(everyMs: number): void {
        this.#beatTimer = this.#clock.setTimeout(() => {
            this.#transport.send(encodePacket(PacketType.heartbeat));
            this.#beat(everyMs);
        }, everyMs);
    }

    #watch(silenceMaxMs: number): void {
        const left = this.#receivedAt + silenceMaxMs - this.#clock.now();
        if (left <= 0) this.#lose(`nothing from the server for ${silenceMaxMs} ms`);
        else this.#deadlineTimer = this.#clock.setTimeout(() => this.#watch(silenceMaxMs), left);
    }

    #onData(bytes: Uint8Array): Promise<void> | undefined {
        let message: Message;
        try {
            message = decodeMessage(bytes, this.#handshake?.dictionary);
        } catch (error) {
            this.#events.onBadMessage(error, undefined);
            return undefined;
        }
        if (!message.compressed) {
            this.#events.onMessage(message);
            return undefined;
        }
        return inflate(message.body, this.#options.inflatedMax).then(
            (body) => {
                if (!this.#ended) this.#events.onMessage({ ...message, body, compressed: false });
            },
            (error) => {
                const id = message.type === MessageType.response ? message.id : undefined;
                if (!this.#ended) this.#events.onBadMessage(error, id);
            },
        );
    }
}

function readHandshake(sys: { heartbeat?: unknown; serializer?: unknown; dict?: unknown }): Handshake {
    const { heartbeat = 0, serializer = 'json', dict } = sys;
    if (typeof heartbeat !== 'number') throw new TypeError('heartbeat is not a number');
    if (typeof serializer !== 'string') throw new TypeError('serializer is not a string');
    return {
        heartbeatMs: heartbeat > 0 ? Math.min(HEARTBEAT_MS_MAX, Math.max(HEARTBEAT_MS_MIN, heartbeat * 1000)) : 0,
        serializer,
        dictionary: new RouteDictionary((dict ?? {}) as Record<string, unknown>),
    };
}
