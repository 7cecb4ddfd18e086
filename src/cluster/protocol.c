/* cluster/protocol.c: a small protobuf reader and writer for messages of one or two levels. The last of several values of a
 * field counts, and a message field that comes twice is merged, as everywhere in protobuf. */
#include "cluster/protocol.h"

#include "base/utf8.h"

/* ---- reading ---- */

typedef struct field {
    uint64_t number;
    unsigned wire; /* 0 varint, 1 eight bytes, 2 bytes, 5 four bytes */
    uint64_t value;
    cereus_slice bytes;
} field;

typedef struct reader {
    const uint8_t *at, *end;
    bool bad;
} reader;

static reader reader_of(cereus_slice in)
{
    return (reader){.at = in.data, .end = in.data + in.len};
}

static uint64_t read_varint(reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (r->at == r->end)
            break;
        uint8_t byte = *r->at++;
        if (shift == 63 && byte > 1)
            break;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    r->bad = true;
    return 0;
}

static const uint8_t *take(reader *r, uint64_t len)
{
    const uint8_t *from = r->at;
    if (len > (uint64_t)(r->end - r->at)) {
        r->bad = true;
        return NULL;
    }
    r->at += len;
    return from;
}

/** The next field; false: the end, or r->bad. */
static bool next_field(reader *r, field *f)
{
    if (r->at == r->end || r->bad)
        return false;
    uint64_t tag = read_varint(r);
    *f = (field){.number = tag >> 3, .wire = (unsigned)(tag & 7)};
    if (f->number == 0 || f->number >= 1u << 29)
        r->bad = true;
    uint64_t len;
    switch (f->wire) {
    case 0:
        f->value = read_varint(r);
        break;
    case 1:
        take(r, 8);
        break;
    case 2:
        len = read_varint(r);
        f->bytes = cereus_slice_of(take(r, len), (size_t)len);
        break;
    case 5:
        take(r, 4);
        break;
    default: /* groups: nobody has written them for twenty years */
        r->bad = true;
    }
    return !r->bad;
}

static void read_text(reader *r, const field *f, cereus_slice *ret)
{
    if (f->wire != 2)
        return; /* another type than ours: like an unknown field */
    if (!crs_utf8_valid(f->bytes))
        r->bad = true;
    *ret = f->bytes;
}

static void read_bytes(const field *f, cereus_slice *ret)
{
    if (f->wire == 2)
        *ret = f->bytes;
}

static void read_number(const field *f, uint64_t *ret)
{
    if (f->wire == 0)
        *ret = f->value;
}

static cereus_status verdict(const reader *r)
{
    return r->bad ? CEREUS_E_MALFORMED : CEREUS_OK;
}

cereus_status crs_session_decode(cereus_slice in, int64_t *ret_id, cereus_slice *ret_uid, cereus_slice *ret_data)
{
    reader r = reader_of(in);
    field f;
    uint64_t id = (uint64_t)*ret_id; /* merged: see above */
    while (next_field(&r, &f)) {
        if (f.number == 1)
            read_number(&f, &id);
        else if (f.number == 2)
            read_text(&r, &f, ret_uid);
        else if (f.number == 3)
            read_bytes(&f, ret_data);
    }
    *ret_id = (int64_t)id;
    return verdict(&r);
}

static cereus_status decode_msg(cereus_slice in, crs_request *ret)
{
    reader r = reader_of(in);
    field f;
    while (next_field(&r, &f)) {
        switch (f.number) {
        case 1:
            read_number(&f, &ret->msg_id);
            break;
        case 2:
            read_text(&r, &f, &ret->route);
            break;
        case 3:
            read_bytes(&f, &ret->body);
            break;
        case 4:
            read_text(&r, &f, &ret->reply);
            break;
        case 5:
            read_number(&f, &ret->msg_type);
            break;
        default:
            break;
        }
    }
    return verdict(&r);
}

cereus_status crs_request_decode(cereus_slice in, crs_request *ret)
{
    reader r = reader_of(in);
    field f;
    *ret = (crs_request){0};
    while (next_field(&r, &f)) {
        switch (f.number) {
        case 1:
            read_number(&f, &ret->type);
            break;
        case 2:
            if (f.wire != 2)
                break;
            ret->has_session = true;
            CEREUS_TRY(crs_session_decode(f.bytes, &ret->session_id, &ret->uid, &ret->session_data));
            break;
        case 3:
            if (f.wire != 2)
                break;
            ret->has_msg = true;
            CEREUS_TRY(decode_msg(f.bytes, ret));
            break;
        case 4:
            read_text(&r, &f, &ret->frontend_id);
            break;
        case 5:
            read_bytes(&f, &ret->metadata);
            break;
        case 15:
            read_number(&f, &ret->extension);
            break;
        default:
            break;
        }
    }
    return verdict(&r);
}

static cereus_status decode_pair(cereus_slice in, crs_rpc_error *ret)
{
    reader r = reader_of(in);
    field f;
    cereus_slice key = cereus_slice_of("", 0), value = key;
    while (next_field(&r, &f)) {
        if (f.number == 1)
            read_text(&r, &f, &key);
        else if (f.number == 2)
            read_text(&r, &f, &value);
    }
    if (r.bad)
        return CEREUS_E_MALFORMED;
    size_t i = 0; /* a key that comes twice: the last counts */
    while (i < ret->pair_count && !crs_slice_eq(ret->keys[i], key))
        i++;
    if (i == CRS_ERROR_PAIRS_MAX)
        return CEREUS_OK;
    ret->keys[i] = key;
    ret->values[i] = value;
    if (i == ret->pair_count)
        ret->pair_count++;
    return CEREUS_OK;
}

static cereus_status decode_error(cereus_slice in, crs_rpc_error *ret)
{
    reader r = reader_of(in);
    field f;
    while (next_field(&r, &f)) {
        if (f.number == 1)
            read_text(&r, &f, &ret->code);
        else if (f.number == 2)
            read_text(&r, &f, &ret->msg);
        else if (f.number == 3 && f.wire == 2)
            CEREUS_TRY(decode_pair(f.bytes, ret));
    }
    return verdict(&r);
}

cereus_status crs_response_decode(cereus_slice in, crs_response *ret)
{
    reader r = reader_of(in);
    field f;
    ret->data = cereus_slice_of("", 0);
    ret->failed = false;
    ret->error.code = ret->error.msg = ret->data;
    ret->error.pair_count = 0;
    ret->extension = 0;
    while (next_field(&r, &f)) {
        if (f.number == 1) {
            read_bytes(&f, &ret->data);
        } else if (f.number == 2 && f.wire == 2) {
            ret->failed = true;
            CEREUS_TRY(decode_error(f.bytes, &ret->error));
        } else if (f.number == 15) {
            read_number(&f, &ret->extension);
        }
    }
    return verdict(&r);
}

cereus_status crs_push_decode(cereus_slice in, crs_push_msg *ret)
{
    reader r = reader_of(in);
    field f;
    *ret = (crs_push_msg){0};
    while (next_field(&r, &f)) {
        if (f.number == 1)
            read_text(&r, &f, &ret->route);
        else if (f.number == 2)
            read_text(&r, &f, &ret->uid);
        else if (f.number == 3)
            read_bytes(&f, &ret->data);
    }
    return verdict(&r);
}

cereus_status crs_bind_decode(cereus_slice in, crs_bind_msg *ret)
{
    reader r = reader_of(in);
    field f;
    *ret = (crs_bind_msg){0};
    while (next_field(&r, &f)) {
        if (f.number == 1)
            read_text(&r, &f, &ret->uid);
        else if (f.number == 2)
            read_text(&r, &f, &ret->frontend_id);
        else if (f.number == 15)
            read_number(&f, &ret->at_us);
    }
    return verdict(&r);
}

cereus_status crs_kick_decode(cereus_slice in, cereus_slice *ret_uid)
{
    reader r = reader_of(in);
    field f;
    *ret_uid = cereus_slice_of("", 0);
    while (next_field(&r, &f)) {
        if (f.number == 1)
            read_text(&r, &f, ret_uid);
    }
    return verdict(&r);
}

/* ---- writing ---- */

static size_t varint_len(uint64_t v)
{
    size_t len = 1;
    while (v >>= 7)
        len++;
    return len;
}

static size_t number_len(uint64_t v)
{
    return v ? 1 + varint_len(v) : 0;
}

static size_t bytes_len(cereus_slice s)
{
    return s.len ? 1 + varint_len(s.len) + s.len : 0;
}

static uint8_t *put_varint(uint8_t *at, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *at++ = (uint8_t)(v | 0x80);
    *at++ = (uint8_t)v;
    return at;
}

static uint8_t *put_number(uint8_t *at, unsigned number, uint64_t v)
{
    if (v == 0)
        return at;
    *at++ = (uint8_t)(number << 3);
    return put_varint(at, v);
}

/** The head of a field of @p len bytes, also when that is 0. */
static uint8_t *put_head(uint8_t *at, unsigned number, size_t len)
{
    *at++ = (uint8_t)(number << 3 | 2);
    return put_varint(at, len);
}

static uint8_t *put_bytes(uint8_t *at, unsigned number, cereus_slice s)
{
    if (s.len == 0)
        return at;
    at = put_head(at, number, s.len);
    memcpy(at, s.data, s.len);
    return at + s.len;
}

/** A peer drops a message with a text that is none (cluster-protocol.md 2): it is not sent. */
static cereus_status check_text(cereus_slice s)
{
    return crs_utf8_valid(s) ? CEREUS_OK : CEREUS_E_INVALID;
}

/** Room for exactly @p len bytes at the end of @p out. */
static uint8_t *room_for(crs_bytes *out, size_t len, cereus_status *ret_status)
{
    *ret_status = crs_bytes_reserve(out, len);
    if (*ret_status)
        return NULL;
    uint8_t *at = out->data + out->len;
    out->len += len;
    return at;
}

static size_t session_len(int64_t id, cereus_slice uid, cereus_slice data)
{
    return number_len((uint64_t)id) + bytes_len(uid) + bytes_len(data);
}

static uint8_t *put_session(uint8_t *at, int64_t id, cereus_slice uid, cereus_slice data)
{
    at = put_number(at, 1, (uint64_t)id);
    at = put_bytes(at, 2, uid);
    return put_bytes(at, 3, data);
}

cereus_status crs_session_encode(int64_t id, cereus_slice uid, cereus_slice data, crs_bytes *out)
{
    CEREUS_TRY(check_text(uid));
    cereus_status st;
    uint8_t *at = room_for(out, session_len(id, uid, data), &st);
    if (at)
        put_session(at, id, uid, data);
    return st;
}

cereus_status crs_request_encode(const crs_request *req, crs_bytes *out)
{
    CEREUS_TRY(check_text(req->uid));
    CEREUS_TRY(check_text(req->route));
    CEREUS_TRY(check_text(req->reply));
    CEREUS_TRY(check_text(req->frontend_id));
    size_t session = session_len(req->session_id, req->uid, req->session_data);
    size_t msg = number_len(req->msg_id) + bytes_len(req->route) + bytes_len(req->body) + bytes_len(req->reply) +
                 number_len(req->msg_type);
    size_t len =
        number_len(req->type) + bytes_len(req->frontend_id) + bytes_len(req->metadata) + number_len(req->extension);
    if (req->has_session)
        len += 1 + varint_len(session) + session;
    if (req->has_msg)
        len += 1 + varint_len(msg) + msg;
    cereus_status st;
    uint8_t *at = room_for(out, len, &st);
    if (!at)
        return st;
    at = put_number(at, 1, req->type);
    if (req->has_session) {
        at = put_head(at, 2, session);
        at = put_session(at, req->session_id, req->uid, req->session_data);
    }
    if (req->has_msg) {
        at = put_head(at, 3, msg);
        at = put_number(at, 1, req->msg_id);
        at = put_bytes(at, 2, req->route);
        at = put_bytes(at, 3, req->body);
        at = put_bytes(at, 4, req->reply);
        at = put_number(at, 5, req->msg_type);
    }
    at = put_bytes(at, 4, req->frontend_id);
    at = put_bytes(at, 5, req->metadata);
    put_number(at, 15, req->extension);
    return CEREUS_OK;
}

static size_t pair_len(cereus_slice key, cereus_slice value)
{
    return 1 + varint_len(key.len) + key.len + 1 + varint_len(value.len) + value.len; /* written even when empty */
}

static uint8_t *put_pair_part(uint8_t *at, unsigned number, cereus_slice s)
{
    at = put_head(at, number, s.len);
    if (s.len)
        memcpy(at, s.data, s.len);
    return at + s.len;
}

cereus_status crs_response_encode(const crs_response *res, crs_bytes *out)
{
    const crs_rpc_error *e = &res->error;
    size_t error = 0;
    if (res->failed) {
        CEREUS_TRY(check_text(e->code));
        CEREUS_TRY(check_text(e->msg));
        error = bytes_len(e->code) + bytes_len(e->msg);
        for (size_t i = 0; i < e->pair_count; i++) {
            CEREUS_TRY(check_text(e->keys[i]));
            CEREUS_TRY(check_text(e->values[i]));
            size_t pair = pair_len(e->keys[i], e->values[i]);
            error += 1 + varint_len(pair) + pair;
        }
    }
    size_t len = bytes_len(res->data) + (res->failed ? 1 + varint_len(error) + error : 0) + number_len(res->extension);
    cereus_status st;
    uint8_t *at = room_for(out, len, &st);
    if (!at)
        return st;
    at = put_bytes(at, 1, res->data);
    if (res->failed) {
        at = put_head(at, 2, error);
        at = put_bytes(at, 1, e->code);
        at = put_bytes(at, 2, e->msg);
        for (size_t i = 0; i < e->pair_count; i++) {
            at = put_head(at, 3, pair_len(e->keys[i], e->values[i]));
            at = put_pair_part(at, 1, e->keys[i]);
            at = put_pair_part(at, 2, e->values[i]);
        }
    }
    put_number(at, 15, res->extension);
    return CEREUS_OK;
}

cereus_status crs_push_encode(const crs_push_msg *push, crs_bytes *out)
{
    CEREUS_TRY(check_text(push->route));
    CEREUS_TRY(check_text(push->uid));
    cereus_status st;
    uint8_t *at = room_for(out, bytes_len(push->route) + bytes_len(push->uid) + bytes_len(push->data), &st);
    if (at)
        put_bytes(put_bytes(put_bytes(at, 1, push->route), 2, push->uid), 3, push->data);
    return st;
}

enum { MARK_LEN = 2, MARK_TAG = 15 << 3 }; /* field 15, a number below 128: in what it marks others are before it */

cereus_status crs_mark_encode(unsigned mark, crs_bytes *out)
{
    const uint8_t bytes[MARK_LEN] = {MARK_TAG, (uint8_t)mark};
    return crs_bytes_append(out, bytes, sizeof bytes);
}

bool crs_has_mark(cereus_slice in, unsigned mark, cereus_slice *ret_rest)
{
    if (in.len < MARK_LEN || in.data[0] != MARK_TAG || in.data[1] != mark)
        return false;
    *ret_rest = cereus_slice_of(in.data + MARK_LEN, in.len - MARK_LEN);
    return true;
}

cereus_status crs_bind_encode(const crs_bind_msg *bind, crs_bytes *out)
{
    CEREUS_TRY(check_text(bind->uid));
    CEREUS_TRY(check_text(bind->frontend_id));
    cereus_status st;
    uint8_t *at = room_for(out, bytes_len(bind->uid) + bytes_len(bind->frontend_id) + number_len(bind->at_us), &st);
    if (at)
        put_number(put_bytes(put_bytes(at, 1, bind->uid), 2, bind->frontend_id), 15, bind->at_us);
    return st;
}

cereus_status crs_kick_encode(cereus_slice uid, crs_bytes *out)
{
    CEREUS_TRY(check_text(uid));
    cereus_status st;
    uint8_t *at = room_for(out, bytes_len(uid), &st);
    if (at)
        put_bytes(at, 1, uid);
    return st;
}
