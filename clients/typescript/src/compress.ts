// zlib streams by way of the platform's own (De)CompressionStream, which browsers and Node 18 share. They are
// asynchronous: whoever calls keeps the order of messages.

import { ProtocolError, textOf } from './errors.js';
import { concat } from './message.js';

/** Inflate a whole zlib (or gzip) stream; more than `outMax` bytes of output is an error, found before they pile up. */
export async function inflate(
    bytes: Uint8Array,
    outMax: number,
    format: 'deflate' | 'gzip' = 'deflate',
): Promise<Uint8Array> {
    if (bytes.length === 0) throw new ProtocolError('inflate_error', 'no stream at all');
    try {
        return await pump(new DecompressionStream(format), bytes, outMax);
    } catch (error) {
        throw error instanceof ProtocolError ? error : new ProtocolError('inflate_error', textOf(error));
    }
}

/** Deflate into a zlib stream. */
export function deflate(bytes: Uint8Array): Promise<Uint8Array> {
    return pump(new CompressionStream('deflate'), bytes, Infinity);
}

/** Handshake answers may be compressed and nothing says so but their first bytes (JSON begins with neither). */
export function inflateByMagic(bytes: Uint8Array, outMax: number): Promise<Uint8Array> | undefined {
    if (bytes[0] === 0x1f && bytes[1] === 0x8b) return inflate(bytes, outMax, 'gzip');
    if (bytes[0] === 0x78 && [0x01, 0x5e, 0x9c, 0xda].includes(bytes[1]!)) return inflate(bytes, outMax);
    return undefined;
}

async function pump(
    stream: { readable: ReadableStream; writable: WritableStream },
    bytes: Uint8Array,
    outMax: number,
): Promise<Uint8Array> {
    const writer = stream.writable.getWriter();
    // A bad stream fails both ends; the reader reports it, so the writer's copy of the failure is silenced.
    void writer.write(bytes).catch(() => {});
    void writer.close().catch(() => {});

    const reader = (stream.readable as ReadableStream<Uint8Array>).getReader();
    const chunks: Uint8Array[] = [];
    let total = 0;
    for (let step = await reader.read(); !step.done; step = await reader.read()) {
        total += step.value.length;
        if (total > outMax) {
            void reader.cancel().catch(() => {});
            throw new ProtocolError('inflate_error', `more than ${outMax} bytes`);
        }
        chunks.push(step.value);
    }
    return concat(...chunks);
}
