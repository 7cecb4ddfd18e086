/* tools/bench/frame.h: the client's end of both framings: packets one after the other on TCP, one per masked frame on
 * WebSocket. Pure functions; what is inside a packet is wire/'s. */
#ifndef CRS_BENCH_FRAME_H
#define CRS_BENCH_FRAME_H

#include "base/buf.h"
#include "wire/message.h"
#include "wire/packet.h"

typedef enum crs_bench_item_kind {
    CRS_BENCH_PACKET,
    CRS_BENCH_PING,  /* WebSocket only: answer it with `ping` */
    CRS_BENCH_PONG,  /* WebSocket only */
    CRS_BENCH_CLOSE, /* WebSocket only: the server says goodbye */
} crs_bench_item_kind;

typedef struct crs_bench_item {
    crs_bench_item_kind kind;
    crs_packet packet; /* CRS_BENCH_PACKET */
    cereus_slice ping; /* CRS_BENCH_PING */
} crs_bench_item;

/**
 * Cut the next item off the front of what a server sent.
 * @param ret_item  set on CEREUS_OK; points into @p in
 * @param ret_used  set on CEREUS_OK: bytes consumed
 * @return CEREUS_OK; CEREUS_E_AGAIN: more bytes needed; CEREUS_E_MALFORMED, CEREUS_E_TOO_LONG. A WebSocket server sends
 *         one whole packet per unmasked, unfragmented binary frame; anything else is malformed.
 */
cereus_status crs_bench_next(bool ws, cereus_slice in, crs_bench_item *ret_item, size_t *ret_used);

/** Append a packet to @p out as a client sends it. @return CEREUS_OK; CEREUS_E_TOO_LONG; CEREUS_E_NOMEM */
CEREUS_MUST_USE cereus_status crs_bench_put_packet(bool ws, crs_packet_type type, cereus_slice body, crs_bytes *out);

/** Append a data packet that holds @p msg. Errors as crs_bench_put_packet(). */
CEREUS_MUST_USE cereus_status crs_bench_put_message(bool ws, const crs_message *msg, crs_bytes *out);

/** Append the answer to a ping. Errors as crs_bench_put_packet(). */
CEREUS_MUST_USE cereus_status crs_bench_put_pong(cereus_slice ping, crs_bytes *out);

/** Append the HTTP request that opens a WebSocket at @p host (HOST:PORT). Errors as crs_bench_put_packet(). */
CEREUS_MUST_USE cereus_status crs_bench_put_upgrade(const char *host, crs_bytes *out);

/**
 * Read the answer to crs_bench_put_upgrade().
 * @return CEREUS_OK; CEREUS_E_AGAIN: more bytes needed; CEREUS_E_MALFORMED: not the 101 that belongs to the request
 */
cereus_status crs_bench_upgraded(cereus_slice in, size_t *ret_used);

#endif
