// tcp:// and tls:// for Node: packets one after the other on a stream.

import * as net from 'node:net';
import * as tls from 'node:tls';

import type { TransportFactory } from '../transport.js';

/** Opens the socket under any of our transports. */
export function openSocket(url: URL, secure: boolean, defaultPort: number, options: tls.ConnectionOptions): net.Socket {
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1'); // URL keeps the brackets of an IPv6 address
    const port = url.port ? Number(url.port) : defaultPort;
    if (!secure) return net.connect({ host, port, noDelay: true });
    const servername = net.isIP(host) ? {} : { servername: host };
    const socket = tls.connect({ host, port, ...servername, ...options });
    socket.setNoDelay(true);
    return socket;
}

export function tcpTransport(tlsOptions: tls.ConnectionOptions = {}): TransportFactory {
    return (text, events) => {
        const url = new URL(text);
        const secure = url.protocol === 'tls:';
        if (!secure && url.protocol !== 'tcp:') throw new TypeError(`not tcp:// or tls://: ${text}`);
        if (!url.port) throw new TypeError(`no port in ${text}`);

        const socket = openSocket(url, secure, 0, tlsOptions);
        let reason = 'closed by the server';
        socket.on(secure ? 'secureConnect' : 'connect', () => events.onOpen());
        socket.on('data', (bytes) => events.onBytes(bytes));
        socket.on('error', (error) => (reason = error.message || String((error as NodeJS.ErrnoException).code)));
        socket.on('close', () => events.onClose(reason));
        return {
            framed: false,
            send(packet) {
                if (socket.writable) socket.write(packet);
            },
            close: () => socket.destroy(),
        };
    };
}
