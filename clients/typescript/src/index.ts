// The client for browsers (and anything with a global WebSocket). Node programs import `cereus-client/node`, which adds
// TCP and TLS.

export { backoffMs, type ReconnectOptions } from './backoff.js';
export {
    Client,
    type ClientOptions,
    connect,
    type PushListener,
    type RequestOptions,
    type State,
    type StateInfo,
    type Unsubscribe,
} from './client.js';
export { type Clock, systemClock } from './clock.js';
export { CereusError, ErrorCode, ProtocolError, type ProtocolErrorKind } from './errors.js';
export type { Handshake } from './link.js';
export { decodeMessage, encodeMessage, type Message, MessageType, RouteDictionary } from './message.js';
export { encodePacket, type Packet, PacketReader, PacketType, parseHeader } from './packet.js';
export { json, raw, type Serializer } from './serializer.js';
export { type Transport, type TransportEvents, type TransportFactory, webSocketTransport } from './transport.js';
