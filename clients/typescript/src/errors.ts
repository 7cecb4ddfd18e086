// What can go wrong, as two classes: CereusError is what callers of the client see (the server's error payload, or the
// client's own in the same terms); ProtocolError is the codec saying which rule some bytes break.

/** Codes that this client makes up itself; every other code comes from the server. */
export const ErrorCode = {
    /** The server refused the handshake. */
    refused: 'PIT-400',
    /** There is no connection, or it went away before the answer came. */
    disconnected: 'PIT-499',
    /** No answer in time. */
    timeout: 'PIT-504',
    /** Anything else, for example an answer that does not decode. */
    unknown: 'PIT-000',
} as const;

/** An error with the code, text and metadata that the server (or the client itself) gave it. */
export class CereusError extends Error {
    readonly code: string;
    readonly msg: string;
    readonly metadata: Readonly<Record<string, string>>;

    constructor(code: string, msg: string, metadata: Record<string, string> = {}) {
        super(code ? `${code}: ${msg}` : msg);
        this.name = 'CereusError';
        this.code = code;
        this.msg = msg;
        this.metadata = metadata;
    }
}

export type ProtocolErrorKind =
    | 'wrong_packet_type'
    | 'invalid_header'
    | 'packet_too_big'
    | 'wrong_message_type'
    | 'invalid_message'
    | 'route_too_long'
    | 'route_code_unknown'
    | 'inflate_error';

/** Bytes that break the protocol. The kinds have the names that the shared test vectors use. */
export class ProtocolError extends Error {
    readonly kind: ProtocolErrorKind;

    constructor(kind: ProtocolErrorKind, detail: string) {
        super(`${kind}: ${detail}`);
        this.name = 'ProtocolError';
        this.kind = kind;
    }
}

/** The text of whatever was thrown. */
export function textOf(error: unknown): string {
    return error instanceof Error ? error.message : String(error);
}
