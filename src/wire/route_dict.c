/* wire/route_dict.c: one heap block per route, found three ways: by text through a string map, by code through a small
 * open-addressed table, by rank through an array in byte order. Adding is slow, looking up touches one or two lines. */
#include "wire/route_dict.h"

#include "base/strmap.h"
#include "wire/message.h"

enum { BY_CODE_BITS_MIN = 4 };

typedef struct route_entry {
    uint16_t code;
    uint8_t len;
    uint8_t text[];
} route_entry;

struct crs_route_dict {
    crs_strmap by_route;   /* values are entries */
    route_entry **by_code; /* 1 << by_code_bits slots, at most half in use; NULL before the first route */
    unsigned by_code_bits;
    route_entry **by_order; /* sorted by bytes, count in use */
    size_t by_order_cap;
    size_t count;
};

crs_route_dict *crs_route_dict_new(void)
{
    return crs_zalloc(sizeof(crs_route_dict));
}

crs_route_dict *crs_route_dict_free(crs_route_dict *dict)
{
    if (!dict)
        return NULL;
    for (size_t i = 0; i < dict->count; i++)
        crs_free(dict->by_order[i]);
    crs_free(dict->by_order);
    crs_free(dict->by_code);
    crs_strmap_fini(&dict->by_route);
    crs_free(dict);
    return NULL;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static cereus_slice trim(cereus_slice s)
{
    while (s.len && is_blank(s.data[0])) {
        s.data++;
        s.len--;
    }
    while (s.len && is_blank(s.data[s.len - 1]))
        s.len--;
    return s;
}

/* The slot that holds @p code, or the free one where it belongs. Multiplying spreads the runs of neighbours that codes
 * usually come in. */
static inline route_entry **code_slot(route_entry **slots, unsigned bits, uint16_t code)
{
    size_t mask = ((size_t)1 << bits) - 1;
    size_t i = (code * 0x9e3779b1u) >> (32 - bits);
    while (slots[i] && slots[i]->code != code)
        i = (i + 1) & mask;
    return &slots[i];
}

static cereus_status reserve_by_code(crs_route_dict *dict)
{
    if (dict->by_code && (dict->count + 1) * 2 <= (size_t)1 << dict->by_code_bits)
        return CEREUS_OK;
    unsigned bits = dict->by_code ? dict->by_code_bits + 1 : BY_CODE_BITS_MIN;
    route_entry **slots = crs_zalloc(sizeof *slots << bits);
    if (!slots)
        return CEREUS_E_NOMEM;
    for (size_t i = 0; i < dict->count; i++)
        *code_slot(slots, bits, dict->by_order[i]->code) = dict->by_order[i];
    crs_free(dict->by_code);
    dict->by_code = slots;
    dict->by_code_bits = bits;
    return CEREUS_OK;
}

static cereus_status reserve_by_order(crs_route_dict *dict)
{
    if (dict->count < dict->by_order_cap)
        return CEREUS_OK;
    size_t cap = dict->by_order_cap ? dict->by_order_cap * 2 : 8;
    route_entry **order = crs_realloc(dict->by_order, cap * sizeof *order);
    if (!order)
        return CEREUS_E_NOMEM;
    dict->by_order = order;
    dict->by_order_cap = cap;
    return CEREUS_OK;
}

/* How many routes sort before @p route. */
static size_t rank(const crs_route_dict *dict, cereus_slice route)
{
    size_t low = 0, high = dict->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const route_entry *e = dict->by_order[mid];
        int diff = memcmp(e->text, route.data, CRS_MIN(e->len, route.len));
        if (diff < 0 || (diff == 0 && e->len < route.len))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

cereus_status crs_route_dict_add(crs_route_dict *dict, cereus_slice route, uint16_t code, cereus_error *err)
{
    route = trim(route);
    if (route.len == 0)
        return crs_fail(err, CEREUS_E_INVALID, "route of code %d is blank", code);
    if (route.len > CRS_ROUTE_LEN_MAX)
        return crs_fail(err, CEREUS_E_TOO_LONG, "route of code %d is longer than %d bytes", code, CRS_ROUTE_LEN_MAX);
    uint16_t known_code;
    cereus_slice known_route;
    if (crs_route_dict_code(dict, route, &known_code) || crs_route_dict_route(dict, code, &known_route))
        return crs_fail(err, CEREUS_E_EXISTS, "duplicated route(route: %.*s, code: %d)", (int)route.len,
                        (const char *)route.data, code);

    route_entry *e = NULL;
    if (reserve_by_code(dict) || reserve_by_order(dict))
        goto no_memory;
    e = crs_malloc(sizeof *e + route.len);
    if (!e)
        goto no_memory;
    e->code = code;
    e->len = (uint8_t)route.len;
    memcpy(e->text, route.data, route.len);
    if (crs_strmap_put(&dict->by_route, route, e, NULL))
        goto no_memory;

    *code_slot(dict->by_code, dict->by_code_bits, code) = e; /* from here on nothing can fail */
    size_t at = rank(dict, route);
    memmove(dict->by_order + at + 1, dict->by_order + at, (dict->count - at) * sizeof *dict->by_order);
    dict->by_order[at] = e;
    dict->count++;
    return CEREUS_OK;
no_memory:
    crs_free(e);
    return crs_fail(err, CEREUS_E_NOMEM, "route dictionary");
}

size_t crs_route_dict_count(const crs_route_dict *dict)
{
    return dict ? dict->count : 0;
}

bool crs_route_dict_code(const crs_route_dict *dict, cereus_slice route, uint16_t *ret_code)
{
    if (crs_route_dict_count(dict) == 0)
        return false;
    const route_entry *e = crs_strmap_get(&dict->by_route, route);
    if (!e)
        return false;
    *ret_code = e->code;
    return true;
}

bool crs_route_dict_route(const crs_route_dict *dict, uint16_t code, cereus_slice *ret_route)
{
    if (crs_route_dict_count(dict) == 0)
        return false;
    const route_entry *e = *code_slot(dict->by_code, dict->by_code_bits, code);
    if (!e)
        return false;
    *ret_route = cereus_slice_of(e->text, e->len);
    return true;
}

void crs_route_dict_at(const crs_route_dict *dict, size_t index, cereus_slice *ret_route, uint16_t *ret_code)
{
    CRS_ASSERT(index < crs_route_dict_count(dict));
    const route_entry *e = dict->by_order[index];
    *ret_route = cereus_slice_of(e->text, e->len);
    *ret_code = e->code;
}
