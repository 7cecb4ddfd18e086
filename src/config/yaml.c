/* config/yaml.c: settings from a YAML file, and so from a JSON one. The tree that libyaml makes is walked once; the
 * path of keys that leads to a value is its name, so nested maps and dotted keys mean the same. Size, depth and number
 * of values are bounded: aliases can make a small file a huge or an endless tree. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <yaml.h>

#include "config/config_priv.h"
#include "config/value.h"

#define FILE_MAX   (256u << 10) /* bytes; libyaml's time grows with the square of the number of anchors */
#define DEPTH_MAX  32
#define VALUES_MAX 65536
#define PLACE_CAP  200 /* room for file:line:column */

typedef struct walk {
    crs_load *load;
    yaml_document_t *doc;
    const char *file; /* for people */
    size_t values;    /* nodes visited */
    char path[CRS_CONFIG_KEY_MAX + 1];
} walk;

static const char *place(const char *file, yaml_mark_t mark, char out[PLACE_CAP])
{
    size_t len = strlen(file);
    const char *tail = len > 150 ? file + len - 150 : file; /* the end of a path says more than its beginning */
    snprintf(out, PLACE_CAP, "%s:%zu:%zu", tail, mark.line + 1, mark.column + 1);
    return out;
}

static cereus_status fail_at(const walk *w, const yaml_node_t *node, cereus_status st, const char *what,
                             cereus_error *err)
{
    char at[PLACE_CAP], shown[CRS_CONFIG_SHOWN_CAP];
    place(w->file, node->start_mark, at);
    if (w->path[0] == '\0')
        return crs_load_wrong_file(w->load, st, at, err, "%s", what);
    return crs_load_wrong(w->load, st, at, err, "%s: %s", crs_config_shown(w->path, shown), what);
}

/* The text of a scalar; NULL: it has a NUL in it. */
static const char *scalar_text(const yaml_node_t *node)
{
    const char *text = (const char *)node->data.scalar.value;
    return strlen(text) == node->data.scalar.length ? text : NULL;
}

static bool is_plain(const yaml_node_t *node)
{
    return node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

/* A key that is there without a value is not set. */
static bool is_null(const yaml_node_t *node)
{
    static const char *const names[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; node->type == YAML_SCALAR_NODE && is_plain(node) && i < CEREUS_COUNT(names); i++) {
        if (strcmp((const char *)node->data.scalar.value, names[i]) == 0)
            return true;
    }
    return false;
}

static bool is_plain_number(const yaml_node_t *node)
{
    int64_t number;
    return is_plain(node) && crs_parse_int((const char *)node->data.scalar.value, &number) == NULL;
}

static cereus_status walk_node(walk *w, const yaml_node_t *node, size_t depth, cereus_error *err);

/* One step down under the name @p key, and back. */
static cereus_status walk_child(walk *w, const char *key, const yaml_node_t *key_node, const yaml_node_t *child,
                                size_t depth, cereus_error *err)
{
    size_t len = strlen(w->path);
    int more = snprintf(w->path + len, sizeof w->path - len, "%s%s", len ? "." : "", key);
    bool fits = more >= 0 && (size_t)more < sizeof w->path - len;
    cereus_status st = fits ? walk_node(w, child, depth + 1, err) : CEREUS_E_INVALID;
    w->path[len] = '\0';
    return fits ? st : fail_at(w, key_node, st, "the key is too long", err);
}

static cereus_status walk_pair(walk *w, const yaml_node_pair_t *pair, size_t depth, cereus_error *err)
{
    const yaml_node_t *name = yaml_document_get_node(w->doc, pair->key);
    const char *text = name->type == YAML_SCALAR_NODE ? scalar_text(name) : NULL;
    if (!text)
        return fail_at(w, name, CEREUS_E_INVALID, "a key must be a word", err);
    if (strcmp(text, "<<") == 0 && is_plain(name))
        return fail_at(w, name, CEREUS_E_INVALID, "merge keys (<<) are not supported", err);
    return walk_child(w, text, name, yaml_document_get_node(w->doc, pair->value), depth, err);
}

static cereus_status walk_map(walk *w, const yaml_node_t *node, size_t depth, cereus_error *err)
{
    char key[CRS_CONFIG_KEY_MAX + 1];
    crs_name_kind kind = crs_config_lower(w->path, key) ? crs_config_find(key, NULL) : CRS_NAME_UNKNOWN;
    if ((kind == CRS_NAME_SETTING || kind == CRS_NAME_ALIAS) && !crs_config_is_prefix(key)) /* as cereus.cluster is */
        return fail_at(w, node, CEREUS_E_INVALID, "takes one value, not a map", err);
    for (const yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++)
        CEREUS_TRY(crs_load_go_on(w->load, walk_pair(w, p, depth, err)));
    return CEREUS_OK;
}

static cereus_status store(walk *w, const yaml_node_t *node, const crs_raw *raw, cereus_error *err)
{
    char at[PLACE_CAP];
    return crs_load_store(w->load, w->path, raw, place(w->file, node->start_mark, at), err);
}

/* A list of words is one value. A list of anything else is a map whose keys are 0, 1, 2 ... */
static cereus_status walk_list(walk *w, const yaml_node_t *node, size_t depth, cereus_error *err)
{
    const yaml_node_item_t *items = node->data.sequence.items.start;
    size_t count = (size_t)(node->data.sequence.items.top - items);
    bool words = true;
    for (size_t i = 0; i < count; i++)
        words = words && yaml_document_get_node(w->doc, items[i])->type == YAML_SCALAR_NODE;
    if (!words) {
        for (size_t i = 0; i < count; i++) {
            char index[24];
            snprintf(index, sizeof index, "%zu", i);
            cereus_status st = walk_child(w, index, node, yaml_document_get_node(w->doc, items[i]), depth, err);
            CEREUS_TRY(crs_load_go_on(w->load, st));
        }
        return CEREUS_OK;
    }

    const char **texts = crs_malloc((count + 1) * sizeof *texts);
    if (!texts)
        return crs_config_no_memory(err);
    cereus_status st = CEREUS_OK;
    for (size_t i = 0; i < count && !st; i++) {
        const yaml_node_t *item = yaml_document_get_node(w->doc, items[i]);
        texts[i] = scalar_text(item);
        if (!texts[i])
            st = fail_at(w, item, CEREUS_E_INVALID, "there is a NUL in the text", err);
    }
    w->values += count;
    if (!st)
        st = store(w, node, &(crs_raw){.items = texts, .item_count = count}, err);
    crs_free(texts);
    return st;
}

static cereus_status walk_node(walk *w, const yaml_node_t *node, size_t depth, cereus_error *err)
{
    if (depth > DEPTH_MAX)
        return fail_at(w, node, CEREUS_E_MALFORMED, "nested too deep", err);
    if (w->values++ > VALUES_MAX)
        return fail_at(w, node, CEREUS_E_TOO_LONG, "too many values in one file", err);
    if (is_null(node))
        return CEREUS_OK;
    if (node->type == YAML_MAPPING_NODE)
        return walk_map(w, node, depth, err);
    if (depth == 0)
        return fail_at(w, node, CEREUS_E_MALFORMED, "not settings: KEY: VALUE lines are expected", err);
    if (node->type == YAML_SEQUENCE_NODE)
        return walk_list(w, node, depth, err);
    const char *text = scalar_text(node);
    if (!text)
        return fail_at(w, node, CEREUS_E_INVALID, "there is a NUL in the text", err);
    return store(w, node, &(crs_raw){.text = text, .plain_number = is_plain_number(node)}, err);
}

/* -- the file -- */

static cereus_status read_file(crs_load *load, const char *path, crs_bytes *out, cereus_error *err)
{
    char shown[CRS_CONFIG_SHOWN_CAP];
    crs_config_shown(path, shown);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return crs_load_wrong_file(load, CEREUS_E_IO, shown, err, "cannot be opened: %s", strerror(errno));
    cereus_status st = CEREUS_OK;
    ssize_t n = 1;
    while (!st && n > 0) {
        uint8_t block[4096];
        n = read(fd, block, sizeof block);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n < 0)
            st = crs_load_wrong_file(load, CEREUS_E_IO, shown, err, "cannot be read: %s", strerror(errno));
        else if ((st = crs_bytes_append(out, block, (size_t)n)) == CEREUS_E_TOO_LONG)
            crs_load_wrong_file(load, st, shown, err, "larger than %u bytes", FILE_MAX);
        else if (st)
            crs_config_no_memory(err);
    }
    close(fd);
    return st;
}

/* libyaml gives an offset in place of a mark when the bytes are not UTF-8. */
static yaml_mark_t mark_of(cereus_slice text, size_t offset)
{
    yaml_mark_t mark = {0};
    for (size_t i = 0; i < text.len && i < offset; i++) {
        mark.column = text.data[i] == '\n' ? 0 : mark.column + 1;
        mark.line += text.data[i] == '\n';
    }
    return mark;
}

static cereus_status parser_failed(crs_load *load, const yaml_parser_t *parser, const char *file, cereus_slice text,
                                   cereus_error *err)
{
    char at[PLACE_CAP];
    if (parser->error == YAML_MEMORY_ERROR)
        return crs_config_no_memory(err);
    bool reader = parser->error == YAML_READER_ERROR;
    yaml_mark_t mark = reader ? mark_of(text, parser->problem_offset) : parser->problem_mark;
    return crs_load_wrong_file(load, CEREUS_E_MALFORMED, place(file, mark, at), err, "not YAML: %s",
                               parser->problem ? parser->problem : "unreadable");
}

static cereus_status walk_document(crs_load *load, yaml_document_t *doc, const char *file, cereus_error *err)
{
    walk w = {.load = load, .doc = doc, .file = file};
    yaml_node_t *root = yaml_document_get_root_node(doc);
    return root ? walk_node(&w, root, 0, err) : CEREUS_OK;
}

static cereus_status parser_init(yaml_parser_t *parser, cereus_slice text, cereus_error *err)
{
    if (!yaml_parser_initialize(parser))
        return crs_config_no_memory(err);
    yaml_parser_set_input_string(parser, text.data, text.len);
    return CEREUS_OK;
}

/* Go through the text without keeping anything. libyaml needs hours for a megabyte of open brackets, so depth is looked
 * at before it may build a tree; on the way every mistake of syntax is found. */
static cereus_status check_depth(crs_load *load, cereus_slice text, const char *file, cereus_error *err)
{
    yaml_parser_t parser;
    yaml_event_t event;
    char at[PLACE_CAP];
    CEREUS_TRY(parser_init(&parser, text, err));
    cereus_status st = CEREUS_OK;
    size_t depth = 0;
    for (bool more = true; more && !st;) {
        if (!yaml_parser_parse(&parser, &event)) {
            st = parser_failed(load, &parser, file, text, err);
            break;
        }
        more = event.type != YAML_STREAM_END_EVENT;
        depth += event.type == YAML_MAPPING_START_EVENT || event.type == YAML_SEQUENCE_START_EVENT;
        depth -= event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT;
        if (depth > DEPTH_MAX)
            st = crs_load_wrong_file(load, CEREUS_E_MALFORMED, place(file, event.start_mark, at), err,
                                     "nested too deep");
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return st;
}

static cereus_status load_text(crs_load *load, cereus_slice text, const char *file, cereus_error *err)
{
    yaml_parser_t parser;
    yaml_document_t doc;
    char at[PLACE_CAP];
    CEREUS_TRY(check_depth(load, text, file, err));
    CEREUS_TRY(parser_init(&parser, text, err));
    cereus_status st = CEREUS_OK;
    bool more = true;
    for (size_t documents = 0; more && !st; documents++) {
        if (!yaml_parser_load(&parser, &doc)) {
            st = parser_failed(load, &parser, file, text, err);
            break;
        }
        more = yaml_document_get_root_node(&doc) != NULL;
        if (more && documents > 0)
            st = crs_load_wrong_file(load, CEREUS_E_MALFORMED, place(file, doc.start_mark, at), err,
                                     "a second document in one file");
        else
            st = walk_document(load, &doc, file, err);
        yaml_document_delete(&doc);
    }
    yaml_parser_delete(&parser);
    return st;
}

cereus_status cereus_config_load_file(cereus_config *cfg, const char *path, cereus_error *err)
{
    CRS_ASSERT(cfg && path);
    char shown[CRS_CONFIG_SHOWN_CAP];
    crs_bytes bytes;
    crs_bytes_init(&bytes, FILE_MAX);
    crs_load load = crs_load_begin(cfg, CRS_RANK_FILE);
    cereus_status st = read_file(&load, path, &bytes, err);
    if (!st)
        st = load_text(&load, crs_bytes_slice(&bytes), path, err);
    crs_bytes_fini(&bytes);
    if (!st)
        st = crs_load_end(&load, crs_config_shown(path, shown), err);
    return st;
}
