/* cereus/serializer.h: how messages become bodies and back. JSON and Protobuf are built in (`pitaya.serializertype`); a
 * game may bring its own, whose name the handshake then announces to the clients.
 */
#ifndef CEREUS_SERIALIZER_H
#define CEREUS_SERIALIZER_H

#include <cereus/status.h>
#include <cereus/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Hands out @p size bytes that live as long as the request; NULL: the request's limit is reached or out of memory. */
typedef void *cereus_alloc_fn(void *allocator, size_t size);
/** Takes @p len bytes of output. Anything but CEREUS_OK must end the encoding with that status. */
typedef cereus_status cereus_write_fn(void *writer, const void *data, size_t len);

/** A serializer: constant, stateless, called from all loops at once; it must not block. */
typedef struct cereus_serializer {
    const char *name; /* announced in the handshake; letters and digits */

    /**
     * Decode @p body into a fresh message of @p type.
     * @param alloc, allocator  where all memory of the message comes from; nothing is freed one by one
     * @param ret_msg  set on CEREUS_OK
     * @return CEREUS_OK; CEREUS_E_MALFORMED: the peer's bytes, @p err says what is wrong, for the client to read;
     *         CEREUS_E_NOMEM: alloc returned NULL
     */
    cereus_status (*decode)(const struct ProtobufCMessageDescriptor *type, cereus_slice body, cereus_alloc_fn *alloc,
                            void *allocator, struct ProtobufCMessage **ret_msg, cereus_error *err);

    /**
     * Encode @p msg by calls of @p write.
     * @return CEREUS_OK; CEREUS_E_INVALID: the message cannot be said in this format, @p err says why; what write
     * returned
     */
    cereus_status (*encode)(const struct ProtobufCMessage *msg, cereus_write_fn *write, void *writer,
                            cereus_error *err);

    /** Encode the error {code, msg, metadata} that a client gets; keys and values are pairs, @p meta_count of each. Bad
     * UTF-8 in the texts is replaced, never a failure. Returns as encode. */
    cereus_status (*encode_error)(cereus_slice code, cereus_slice msg, const cereus_slice *meta_keys,
                                  const cereus_slice *meta_values, size_t meta_count, cereus_write_fn *write,
                                  void *writer);
} cereus_serializer;

#ifdef __cplusplus
}
#endif
#endif
