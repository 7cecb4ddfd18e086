// The client for Node: everything that the browser has, plus tcp:// and tls://, and ws:// and wss:// on versions of Node
// that have no WebSocket of their own.

import type { ConnectionOptions } from 'node:tls';

import { Client as BaseClient, type ClientOptions } from './client.js';
import { tcpTransport } from './node/tcp.js';
import { nodeWebSocketTransport } from './node/websocket.js';
import { type TransportFactory, webSocketTransport } from './transport.js';

export * from './index.js';
export { nodeWebSocketTransport, tcpTransport };

export interface NodeClientOptions extends ClientOptions {
    /** For tls:// and wss://, for example `ca`. */
    tls?: ConnectionOptions;
}

/** Picks the transport by the scheme of the URL. */
export function nodeTransport(tls?: ConnectionOptions): TransportFactory {
    return (url, events) => {
        if (/^(tcp|tls):/.test(url)) return tcpTransport(tls)(url, events);
        // The built-in WebSocket takes no TLS options.
        const builtIn = 'WebSocket' in globalThis && !tls;
        return (builtIn ? webSocketTransport : nodeWebSocketTransport(tls))(url, events);
    };
}

export class Client extends BaseClient {
    constructor({ tls, ...options }: NodeClientOptions = {}) {
        super({ transport: nodeTransport(tls), ...options });
    }
}

/** A client that is connected. */
export async function connect(url: string, options?: NodeClientOptions): Promise<Client> {
    const client = new Client(options);
    await client.connect(url);
    return client;
}
