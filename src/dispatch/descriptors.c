/* dispatch/descriptors.c: see descriptors.h. Of a file only its name and those of its messages are read, by our own
 * codec, which bounds nesting and memory; the rest is bytes that are compressed once and handed out.
 *
 * Pitaya's own types are a second table behind the first, so that a game may bring its own copy of their files. */
#include "dispatch/descriptors.h"

#include <protobuf-c/protobuf-c.h>
#include <zlib.h>

#include "base/arena.h"
#include "base/strmap.h"
#include "serialize/serializer.h"

#include "dispatch/file_names.pb-c.h"

enum {
    SET_MEMORY_MAX = 64 << 20, /* while a set is read */
    NAME_LEN_MAX = 1024,       /* of a message or file */
};

static const uint8_t pitaya_set[] = {
#include "dispatch/pitaya_set.inc"
};

typedef struct file {
    struct file *next;
    char *name;
    uint8_t *plain, *gzip; /* plain to compare with */
    size_t plain_len, gzip_len;
} file;

struct crs_descriptors {
    file *files;
    crs_strmap by_name;       /* file names and full names of messages -> file */
    crs_descriptors *builtin; /* asked last; NULL in itself */
};

/* -- one file -- */

static void free_file(file *f)
{
    if (!f)
        return;
    crs_free(f->name);
    crs_free(f->plain);
    crs_free(f->gzip);
    crs_free(f);
}

static bool compress_file(file *f)
{
    z_stream z = {0};
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    size_t cap = deflateBound(&z, f->plain_len);
    f->gzip = crs_malloc(cap);
    z.next_in = f->plain;
    z.avail_in = (uInt)f->plain_len;
    z.next_out = f->gzip;
    z.avail_out = (uInt)cap;
    bool ok = f->gzip && deflate(&z, Z_FINISH) == Z_STREAM_END;
    f->gzip_len = z.total_out;
    deflateEnd(&z);
    return ok;
}

static file *new_file(const char *name, cereus_slice bytes)
{
    file *f = crs_zalloc(sizeof *f);
    if (!f)
        return NULL;
    f->name = crs_strdup(name);
    f->plain = crs_malloc(bytes.len);
    f->plain_len = bytes.len;
    if (f->plain)
        memcpy(f->plain, bytes.data, bytes.len);
    if (!f->name || !f->plain || !compress_file(f)) {
        free_file(f);
        return NULL;
    }
    return f;
}

/* -- the table -- */

/* What is being added: a table of its own until all of it is known to be good. */
typedef struct adding {
    const crs_descriptors *to;
    crs_descriptors fresh;
    crs_arena arena;
    cereus_error *err;
} adding;

static const file *known(const adding *a, const char *name)
{
    const file *there = crs_strmap_get(&a->to->by_name, cereus_slice_str(name));
    return there ? there : crs_strmap_get(&a->fresh.by_name, cereus_slice_str(name));
}

static cereus_status put_name(adding *a, const char *name, file *f)
{
    if (strlen(name) > NAME_LEN_MAX)
        return crs_fail(a->err, CEREUS_E_MALFORMED, "descriptors of %.100s: a name has more than %d bytes", f->name,
                        NAME_LEN_MAX);
    const file *other = known(a, name);
    if (other)
        return crs_fail(a->err, CEREUS_E_EXISTS, "descriptors of %.100s: %.200s is known from %.100s already", f->name,
                        name, other->name);
    if (crs_strmap_put(&a->fresh.by_name, cereus_slice_str(name), f, NULL))
        return crs_fail(a->err, CEREUS_E_NOMEM, "descriptors of %.100s: out of memory", f->name);
    return CEREUS_OK;
}

static cereus_status put_messages(adding *a, const char *scope, Crs__MessageNames *const *messages, size_t count,
                                  file *f)
{
    for (size_t i = 0; i < count; i++) {
        const char *name = messages[i]->name ? messages[i]->name : "";
        const char *full = crs_arena_printf(&a->arena, "%s%s%s", scope, *scope ? "." : "", name);
        if (!full)
            return crs_fail(a->err, CEREUS_E_NOMEM, "descriptors of %.100s: out of memory", f->name);
        CEREUS_TRY(put_name(a, full, f));
        CEREUS_TRY(put_messages(a, full, messages[i]->nested_type, messages[i]->n_nested_type, f));
    }
    return CEREUS_OK;
}

static cereus_status add_file(adding *a, cereus_slice bytes)
{
    ProtobufCMessage *msg = NULL;
    cereus_status st =
        crs_serializer_protobuf.decode(&crs__file_names__descriptor, bytes, crs_arena_take, &a->arena, &msg, a->err);
    if (st)
        return crs_fail_in(a->err, st, "descriptors");
    const Crs__FileNames *names = (const Crs__FileNames *)msg;
    if (!names->name || !*names->name)
        return crs_fail(a->err, CEREUS_E_MALFORMED,
                        "descriptors: a file without a name; give what `protoc --descriptor_set_out` writes");
    const file *same = known(a, names->name);
    if (same && crs_slice_eq(cereus_slice_of(same->plain, same->plain_len), bytes))
        return CEREUS_OK;
    file *f = new_file(names->name, bytes);
    if (!f)
        return crs_fail(a->err, CEREUS_E_NOMEM, "descriptors of %.100s: out of memory", names->name);
    f->next = a->fresh.files;
    a->fresh.files = f;
    CEREUS_TRY(put_name(a, names->name, f));
    return put_messages(a, names->package ? names->package : "", names->message_type, names->n_message_type, f);
}

static cereus_status add_set(adding *a, cereus_slice set)
{
    ProtobufCMessage *msg = NULL;
    cereus_status st =
        crs_serializer_protobuf.decode(&crs__file_set__descriptor, set, crs_arena_take, &a->arena, &msg, a->err);
    if (st)
        return crs_fail_in(a->err, st, "descriptors");
    const Crs__FileSet *files = (const Crs__FileSet *)msg;
    if (files->n_file == 0)
        return crs_fail(a->err, CEREUS_E_MALFORMED,
                        "descriptors: no file in the set; give what `protoc --descriptor_set_out` writes");
    for (size_t i = 0; i < files->n_file; i++)
        CEREUS_TRY(add_file(a, cereus_slice_of(files->file[i].data, files->file[i].len)));
    return CEREUS_OK;
}

static void fini(crs_descriptors *d)
{
    while (d->files) {
        file *next = d->files->next;
        free_file(d->files);
        d->files = next;
    }
    crs_strmap_fini(&d->by_name);
}

/* Move what was read into the table. CEREUS_E_NOMEM: nothing was moved. */
static cereus_status take_over(crs_descriptors *d, crs_descriptors *fresh)
{
    cereus_slice key;
    void *value;
    cereus_status st = CEREUS_OK;
    for (size_t iter = 0; !st && crs_strmap_next(&fresh->by_name, &iter, &key, &value);)
        st = crs_strmap_put(&d->by_name, key, value, NULL);
    for (size_t iter = 0; st && crs_strmap_next(&fresh->by_name, &iter, &key, &value);)
        crs_strmap_del(&d->by_name, key);
    if (st)
        return st;
    file **tail = &fresh->files;
    while (*tail)
        tail = &(*tail)->next;
    *tail = d->files;
    d->files = fresh->files;
    fresh->files = NULL;
    return CEREUS_OK;
}

cereus_status crs_descriptors_add(crs_descriptors *d, cereus_slice set, cereus_error *err)
{
    adding a = {.to = d, .err = err};
    crs_strmap_init(&a.fresh.by_name);
    crs_arena_init(&a.arena, SET_MEMORY_MAX);
    cereus_status st = add_set(&a, set);
    if (!st && take_over(d, &a.fresh))
        st = crs_fail(err, CEREUS_E_NOMEM, "descriptors: out of memory");
    crs_arena_fini(&a.arena);
    fini(&a.fresh);
    return st;
}

static crs_descriptors *new_table(void)
{
    crs_descriptors *d = crs_zalloc(sizeof *d);
    if (d)
        crs_strmap_init(&d->by_name);
    return d;
}

crs_descriptors *crs_descriptors_new(void)
{
    crs_descriptors *d = new_table();
    if (d)
        d->builtin = new_table();
    if (!d || !d->builtin ||
        crs_descriptors_add(d->builtin, cereus_slice_of(pitaya_set, sizeof pitaya_set), NULL) != CEREUS_OK)
        return crs_descriptors_free(d);
    return d;
}

crs_descriptors *crs_descriptors_free(crs_descriptors *d)
{
    if (d) {
        crs_descriptors_free(d->builtin);
        fini(d);
        crs_free(d);
    }
    return NULL;
}

cereus_status crs_descriptors_find(const crs_descriptors *d, cereus_slice name, cereus_slice *ret_gzip,
                                   cereus_error *err)
{
    static const char short_form[] = "types.", long_form[] = "google.protobuf.";
    char text[NAME_LEN_MAX + sizeof long_form];
    size_t cut = sizeof short_form - 1;
    if (name.len > cut && name.len <= NAME_LEN_MAX && memcmp(name.data, short_form, cut) == 0) {
        char *end = stpcpy(text, long_form);
        memcpy(end, name.data + cut, name.len - cut);
        name = cereus_slice_of(text, (size_t)(end - text) + name.len - cut);
    }
    for (; d; d = d->builtin) {
        const file *f = crs_strmap_get(&d->by_name, name);
        if (f) {
            *ret_gzip = cereus_slice_of(f->gzip, f->gzip_len);
            return CEREUS_OK;
        }
    }
    return crs_fail(err, CEREUS_E_NOT_FOUND, "failed to get protobuf message descriptor");
}
