// The client: one logical connection to a server, which outlives the real ones (see link.ts). It keeps who waits for
// which answer, who listens to which push, and decides when to connect again.

import { backoffMs, type ReconnectOptions } from './backoff.js';
import { type Clock, systemClock } from './clock.js';
import { CereusError, ErrorCode, textOf } from './errors.js';
import { type Handshake, Link } from './link.js';
import { type Message, MessageType } from './message.js';
import { decodeError, json, type Serializer } from './serializer.js';
import { type TransportFactory, webSocketTransport } from './transport.js';

/**
 *            connect()              open               answer 200
 *     idle ────────────> connecting ────> handshaking ────────────> connected ──── kick packet ────> kicked
 *                          ^      │            │                        │
 *                    time  │      v            v       connection lost  │
 *                        reconnecting <─────────────────────────────────┘
 *
 * Any state but kicked goes to closed: close(), a refused handshake, a lost connection with reconnecting off or all
 * attempts used up. connect() starts again from closed and kicked. A kick may come as early as handshaking.
 */
export type State = 'idle' | 'connecting' | 'handshaking' | 'connected' | 'reconnecting' | 'kicked' | 'closed';

const ARROWS: Record<State, readonly State[]> = {
    idle: ['connecting', 'closed'],
    connecting: ['handshaking', 'reconnecting', 'closed'],
    handshaking: ['connected', 'reconnecting', 'kicked', 'closed'],
    connected: ['reconnecting', 'kicked', 'closed'],
    reconnecting: ['connecting', 'closed'],
    kicked: ['connecting'],
    closed: ['connecting'],
};

export interface StateInfo {
    readonly state: State;
    readonly previous: State;
    /** Why, where there is something to say: the connection was lost, refused, kicked. */
    readonly reason?: string;
    /** Failures in a row, 0 when all is well. */
    readonly attempt: number;
    /** In `reconnecting`: time until the next try. */
    readonly retryInMs?: number;
}

export interface ClientOptions {
    /** Default: JSON values in and out. `raw` is Uint8Array in and out. */
    serializer?: Serializer;
    /** Members of the handshake's `sys` that differ from the defaults (platform, libVersion, ...); all strings. */
    sys?: Record<string, string>;
    /** The handshake's `user`: anything that JSON can say. */
    user?: Record<string, unknown>;
    /** Default 10000: longer than the 5 s that a server gives its backends, so that its own answer wins. */
    requestTimeoutMs?: number;
    /** From the start of a connection attempt until the handshake is done. Default 10000. */
    connectTimeoutMs?: number;
    /** Requests that may wait for their answers at once. Default 1024. */
    requestsMax?: number;
    /** How to come back after a lost connection; `false`: do not. */
    reconnect?: ReconnectOptions | false;
    /** Deflate outgoing bodies when that makes them shorter. Default false. */
    compress?: boolean;
    /** Longest body after inflating, bytes. Default 16 MiB. */
    inflatedMax?: number;
    /** Failures that nobody waits for: a push that does not decode, a listener that throws. Default console.error. */
    onError?: (error: unknown) => void;

    transport?: TransportFactory;
    clock?: Clock;
    /** In [0, 1), for the back-off. */
    random?: () => number;
}

export interface RequestOptions {
    timeoutMs?: number;
    /** For this request only, for example `raw` towards a raw handler. */
    serializer?: Serializer;
}

export type PushListener<T = any> = (body: T, route: string) => void;
export type Unsubscribe = () => void;

interface Waiting {
    route: string;
    serializer: Serializer;
    timer: unknown;
    resolve: (value: any) => void;
    reject: (error: unknown) => void;
}

interface Subscription {
    listener: PushListener;
    serializer: Serializer;
}

/** A connection that held this long counts as healthy: the next loss starts with a short wait again. */
const STABLE_MS = 10_000;
const ID_MAX = 0xffffffffn;

export class Client {
    readonly #options: Required<Omit<ClientOptions, 'sys' | 'user'>>;
    readonly #hello: unknown;
    readonly #clock: Clock;

    #state: State = 'idle';
    #url = '';
    #link: Link | undefined;
    #handshake: Handshake | undefined;
    #attempt = 0; // failures in a row, connections that did not last included
    #connectedAt = 0;
    #retryTimer: unknown;
    #connecting: { resolve: () => void; reject: (error: unknown) => void } | undefined;

    #lastId = 0n;
    readonly #waiting = new Map<bigint, Waiting>();
    readonly #pushes = new Map<string, Set<Subscription>>();
    readonly #kicks = new Set<() => void>();
    readonly #states = new Set<(info: StateInfo) => void>();

    constructor(options: ClientOptions = {}) {
        const { sys, user, ...rest } = options;
        this.#options = {
            serializer: json,
            requestTimeoutMs: 10_000,
            connectTimeoutMs: 10_000,
            requestsMax: 1024,
            reconnect: {},
            compress: false,
            inflatedMax: 16 * 1024 * 1024,
            onError: (error) => console.error(error),
            transport: webSocketTransport,
            clock: systemClock,
            random: Math.random,
            ...rest,
        };
        this.#clock = this.#options.clock;
        const about = { platform: 'js', libVersion: '0.1.0-cereus', clientBuildNumber: '1', clientVersion: '0.1', ...sys };
        this.#hello = user === undefined ? { sys: about } : { sys: about, user };
    }

    get state(): State {
        return this.#state;
    }

    /** What the server announced; there while connected. */
    get handshake(): Handshake | undefined {
        return this.#state === 'connected' ? this.#handshake : undefined;
    }

    /**
     * Connect. Settles when connected for the first time, or when there is no hope: handshake refused, kicked, close()
     * called, attempts used up. While reconnecting is on, a server that cannot be reached is tried again and again.
     */
    connect(url: string): Promise<void> {
        if (!['idle', 'closed', 'kicked'].includes(this.#state))
            return Promise.reject(new CereusError(ErrorCode.unknown, `connect() while ${this.#state}`));
        this.#url = url;
        this.#attempt = 0;
        return new Promise((resolve, reject) => {
            this.#connecting = { resolve, reject };
            this.#open();
        });
    }

    /** Ends the connection for good (until the next connect()). */
    close(): void {
        if (this.#state === 'closed' || this.#state === 'kicked') return;
        this.#end('closed', new CereusError(ErrorCode.disconnected, 'closed by the client'));
    }

    /** While reconnecting: try now rather than when the wait is over. */
    retry(): void {
        if (this.#state !== 'reconnecting') return;
        this.#clock.clearTimeout(this.#retryTimer);
        this.#open();
    }

    /** Ask; rejects with CereusError: the server's own, or ErrorCode.timeout, ErrorCode.disconnected. */
    request<T = any>(route: string, body?: unknown, options: RequestOptions = {}): Promise<T> {
        return new Promise((resolve, reject) => {
            const link = this.#linkInUse();
            if (this.#waiting.size >= this.#options.requestsMax)
                throw new CereusError(ErrorCode.unknown, `${this.#waiting.size} requests wait already`);
            const { serializer = this.#options.serializer, timeoutMs = this.#options.requestTimeoutMs } = options;
            const bytes = serializer.encode(body, route);
            const id = this.#nextId();
            const timer = this.#clock.setTimeout(() => {
                this.#waiting.delete(id);
                reject(new CereusError(ErrorCode.timeout, `no answer to ${route} within ${timeoutMs} ms`));
            }, timeoutMs);
            this.#waiting.set(id, { route, serializer, timer, resolve, reject });
            try {
                link.send(MessageType.request, id, route, bytes);
            } catch (error) {
                this.#take(id)?.reject(error);
            }
        });
    }

    /** Tell, without an answer. Throws CereusError ErrorCode.disconnected if there is no connection. */
    notify(route: string, body?: unknown, options: Pick<RequestOptions, 'serializer'> = {}): void {
        const { serializer = this.#options.serializer } = options;
        this.#linkInUse().send(MessageType.notify, 0n, route, serializer.encode(body, route));
    }

    /** Listen to pushes of one route, or of all with '*'. */
    onPush<T = any>(
        route: string,
        listener: PushListener<T>,
        options: Pick<RequestOptions, 'serializer'> = {},
    ): Unsubscribe {
        const subscription = { listener, serializer: options.serializer ?? this.#options.serializer };
        const set = this.#pushes.get(route) ?? new Set();
        this.#pushes.set(route, set.add(subscription));
        return () => {
            set.delete(subscription);
            if (set.size === 0 && this.#pushes.get(route) === set) this.#pushes.delete(route);
        };
    }

    /** The server kicked this client; it does not reconnect by itself. */
    onKick(listener: () => void): Unsubscribe {
        this.#kicks.add(listener);
        return () => this.#kicks.delete(listener);
    }

    onState(listener: (info: StateInfo) => void): Unsubscribe {
        this.#states.add(listener);
        return () => this.#states.delete(listener);
    }

    #linkInUse(): Link {
        if (this.#state !== 'connected' || !this.#link)
            throw new CereusError(ErrorCode.disconnected, `not connected (${this.#state})`);
        return this.#link;
    }

    #nextId(): bigint {
        do this.#lastId = this.#lastId >= ID_MAX ? 1n : this.#lastId + 1n;
        while (this.#waiting.has(this.#lastId));
        return this.#lastId;
    }

    #open(): void {
        this.#become('connecting');
        // A listener of that state may have called close() and even connect() again.
        if (this.#state !== 'connecting' || this.#link) return;
        const { transport, clock, connectTimeoutMs, compress, inflatedMax } = this.#options;
        const options = { clock, hello: this.#hello, connectTimeoutMs, compress, inflatedMax };
        try {
            this.#link = new Link(this.#url, transport, options, {
                onHandshaking: () => this.#become('handshaking'),
                onReady: (handshake) => this.#onReady(handshake),
                onMessage: (message) => this.#onMessage(message),
                onBadMessage: (error, id) => this.#onBadMessage(error, id),
                onKick: () => this.#onKick(),
                onLost: (reason, refused) => this.#onLost(reason, refused),
            });
        } catch (error) {
            this.#end('closed', new CereusError(ErrorCode.unknown, `cannot connect: ${textOf(error)}`));
        }
    }

    #onReady(handshake: Handshake): void {
        this.#handshake = handshake;
        this.#connectedAt = this.#clock.now();
        const connecting = this.#connecting;
        this.#connecting = undefined;
        connecting?.resolve();
        this.#become('connected');
    }

    #onKick(): void {
        this.#end('kicked', new CereusError(ErrorCode.disconnected, 'kicked by the server'));
        for (const listener of [...this.#kicks]) this.#guard(() => listener());
    }

    #onLost(reason: string, refused: boolean): void {
        const { reconnect, random } = this.#options;
        if (this.#state === 'connected' && this.#clock.now() - this.#connectedAt >= STABLE_MS) this.#attempt = 0;
        this.#attempt++;
        const error = new CereusError(refused ? ErrorCode.refused : ErrorCode.disconnected, reason);
        if (refused || !reconnect || this.#attempt > (reconnect.attemptsMax ?? Infinity)) {
            this.#end('closed', error);
            return;
        }
        this.#link = undefined;
        const retryInMs = backoffMs(this.#attempt, reconnect, random());
        this.#retryTimer = this.#clock.setTimeout(() => this.#open(), retryInMs);
        this.#failWaiting(error);
        this.#become('reconnecting', { reason, retryInMs });
    }

    /** No connection and no further try. */
    #end(state: 'closed' | 'kicked', error: CereusError): void {
        this.#link?.close();
        this.#link = undefined;
        this.#clock.clearTimeout(this.#retryTimer);
        const connecting = this.#connecting;
        this.#connecting = undefined;
        connecting?.reject(error);
        this.#failWaiting(error);
        this.#become(state, { reason: error.msg });
    }

    #become(state: State, more: { reason?: string; retryInMs?: number } = {}): void {
        const previous = this.#state;
        if (!ARROWS[previous].includes(state)) throw new Error(`no arrow from ${previous} to ${state}`);
        this.#state = state;
        // #attempt itself is kept until the connection has proved good, see STABLE_MS.
        const attempt = state === 'connected' ? 0 : this.#attempt;
        const info: StateInfo = { state, previous, attempt, ...more };
        for (const listener of [...this.#states]) this.#guard(() => listener(info));
    }

    #onMessage({ type, id, route, error, body }: Message): void {
        if (type === MessageType.push) this.#onPush(route, body);
        else if (type === MessageType.response) this.#onResponse(id, error, body);
        else this.#options.onError(new CereusError(ErrorCode.unknown, `a message of type ${type} from the server`));
    }

    #onResponse(id: bigint, isError: boolean, body: Uint8Array): void {
        const waiting = this.#take(id);
        if (!waiting) return; // timed out, and here it is after all
        if (isError) {
            waiting.reject(decodeError(body, this.#handshake?.serializer ?? 'json'));
            return;
        }
        try {
            waiting.resolve(waiting.serializer.decode(body, waiting.route));
        } catch (error) {
            const text = `the answer to ${waiting.route} does not decode: ${textOf(error)}`;
            waiting.reject(new CereusError(ErrorCode.unknown, text));
        }
    }

    #onPush(route: string, body: Uint8Array): void {
        const all = [...(this.#pushes.get(route) ?? []), ...(route === '*' ? [] : (this.#pushes.get('*') ?? []))];
        for (const { listener, serializer } of all)
            this.#guard(() => listener(serializer.decode(body, route), route));
    }

    #onBadMessage(error: unknown, id: bigint | undefined): void {
        const waiting = id === undefined ? undefined : this.#take(id);
        if (waiting) waiting.reject(new CereusError(ErrorCode.unknown, textOf(error)));
        else this.#options.onError(error);
    }

    #take(id: bigint): Waiting | undefined {
        const waiting = this.#waiting.get(id);
        if (!waiting) return undefined;
        this.#waiting.delete(id);
        this.#clock.clearTimeout(waiting.timer);
        return waiting;
    }

    #failWaiting(error: CereusError): void {
        for (const id of [...this.#waiting.keys()]) this.#take(id)?.reject(error);
    }

    /** Runs the user's code, whose failures must not reach the connection. */
    #guard(run: () => void): void {
        try {
            run();
        } catch (error) {
            this.#options.onError(error);
        }
    }
}

/** A client that is connected. */
export async function connect(url: string, options?: ClientOptions): Promise<Client> {
    const client = new Client(options);
    await client.connect(url);
    return client;
}
