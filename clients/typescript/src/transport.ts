// What carries packets. A transport is one connection attempt: it opens once, closes once and is never used again.

export interface TransportEvents {
    onOpen(): void;
    /** Bytes from the server. If the transport is `framed`, exactly what the server sent as one packet. */
    onBytes(bytes: Uint8Array): void;
    /** The end, whoever wanted it, also of an attempt that never opened. The last call. */
    onClose(reason: string): void;
}

export interface Transport {
    /** True if the carrier keeps packets apart (WebSocket), false for a stream (TCP). */
    readonly framed: boolean;
    /** Send one packet; only between onOpen and onClose. */
    send(packet: Uint8Array): void;
    close(): void;
}

/** Start a connection attempt. Throws for a URL that can never work; everything else is an event, after it returned. */
export type TransportFactory = (url: string, events: TransportEvents) => Transport;

/** ws:// and wss:// by way of the platform's own WebSocket. */
export const webSocketTransport: TransportFactory = (url, events) => {
    const socket = new WebSocket(url);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => events.onOpen();
    socket.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) => {
        if (typeof data === 'string') socket.close(1003); // servers send binary messages only
        else events.onBytes(new Uint8Array(data));
    };
    let ended = false;
    const end = (reason: string): void => {
        if (!ended) events.onClose(reason);
        ended = true;
    };
    // A close event should follow every error event, but not every version of Node sends it.
    socket.onerror = () => end('WebSocket failed');
    socket.onclose = (event) => end(event.reason || `WebSocket closed (${event.code})`);
    return {
        framed: true,
        send: (packet) => socket.send(packet as Uint8Array<ArrayBuffer>),
        close: () => socket.close(),
    };
};
