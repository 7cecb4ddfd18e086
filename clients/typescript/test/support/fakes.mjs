// A clock that is turned by hand and a transport without a network, so that the client's timing is tested without
// waiting for it.

import { Client, decodeMessage, encodeMessage, encodePacket, PacketReader, PacketType } from '../../dist/index.js';

export class FakeClock {
    #now = 0;
    #timers = new Set();

    now() {
        return this.#now;
    }

    setTimeout(fn, ms) {
        const timer = { fn, at: this.#now + ms };
        this.#timers.add(timer);
        return timer;
    }

    clearTimeout(timer) {
        this.#timers.delete(timer);
    }

    get pending() {
        return this.#timers.size;
    }

    /** Runs what falls due within `ms`, in order, and gives promises time to settle. */
    async advance(ms) {
        const end = this.#now + ms;
        for (;;) {
            const due = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
            if (!due) break;
            this.#timers.delete(due);
            this.#now = due.at;
            due.fn();
            await settle();
        }
        this.#now = end;
        await settle();
    }
}

/** Let promises come to rest. */
async function settle() {
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Wait for what happens after inflating or deflating, which takes its own time. */
export async function until(condition) {
    while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

const text = new TextEncoder();
export const bytesOf = (value) => (value instanceof Uint8Array ? value : text.encode(JSON.stringify(value)));

/** The server's end of one connection attempt. */
export class FakeConnection {
    packets = []; // what the client sent and nobody took yet
    closed = false;
    #events;
    #reader = new PacketReader();

    constructor(events) {
        this.#events = events;
    }

    transport = {
        framed: true,
        send: (bytes) => this.#reader.push(bytes.slice(), (packet) => this.packets.push(packet)),
        close: () => (this.closed = true),
    };

    open() {
        this.#events.onOpen();
    }

    bytes(bytes) {
        this.#events.onBytes(bytes);
    }

    packet(type, body) {
        this.bytes(encodePacket(type, body));
    }

    close(reason = 'gone') {
        this.#events.onClose(reason);
    }

    /** Answers the handshake. */
    accept(sys = {}, code = 200) {
        this.packet(PacketType.handshake, bytesOf({ code, sys: { dict: {}, heartbeat: 30, serializer: 'json', ...sys } }));
    }

    push(route, body, more = {}) {
        this.message({ type: 3, id: 0n, route, body: bytesOf(body), ...more });
    }

    respond(id, body, more = {}) {
        this.message({ type: 2, id: BigInt(id), route: '', body: bytesOf(body), ...more });
    }

    message(message) {
        this.packet(PacketType.data, encodeMessage({ error: false, compressed: false, ...message }));
    }

    /** Types of the packets that the client sent since the last call. */
    sent() {
        return this.packets.splice(0).map(({ type }) => type);
    }

    /** Messages that the client sent since the last call. */
    messages() {
        return this.packets
            .splice(0)
            .filter(({ type }) => type === PacketType.data)
            .map(({ body }) => decodeMessage(body));
    }
}

/** A client over fakes; `connections` are its attempts so far, `states` the states that it went through. */
export function fakeClient(options = {}) {
    const clock = new FakeClock();
    const connections = [];
    const states = [];
    const errors = [];
    const client = new Client({
        clock,
        random: () => 0.5,
        onError: (error) => errors.push(error),
        transport: (_url, events) => {
            const connection = new FakeConnection(events);
            connections.push(connection);
            return connection.transport;
        },
        ...options,
    });
    client.onState((info) => states.push(info));
    return { client, clock, connections, states, errors, last: () => connections.at(-1) };
}

/** The same, connected. */
export async function connectedClient(options = {}, sys = {}) {
    const world = fakeClient(options);
    const connecting = world.client.connect('ws://fake');
    world.last().open();
    world.last().accept(sys);
    await connecting;
    world.last().sent();
    world.states.length = 0;
    return world;
}
