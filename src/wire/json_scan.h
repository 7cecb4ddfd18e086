/* wire/json_scan.h: walking over JSON text in place: strict RFC 8259 syntax, nothing allocated, no recursion. What Go
 * does beyond the syntax (lone surrogates, number formats) is here too, because Pitaya's JSON is Go's. */
#ifndef CRS_WIRE_JSON_SCAN_H
#define CRS_WIRE_JSON_SCAN_H

#include "base/buf.h"

enum {
    CRS_JSON_DEPTH_MAX = 64,
    CRS_JSON_DOUBLE_LEN_MAX = 32, /* -1.7976931348623157e+308, with some room */
};

typedef struct crs_json_scan {
    const uint8_t *at, *end;
} crs_json_scan;

/** Skip white space; false: nothing comes after it. Otherwise *s->at is the next byte of interest. */
bool crs_json_skip_space(crs_json_scan *s);

/** Skip white space and then @p byte; false: something else is there, and s->at points to it. */
bool crs_json_skip_byte(crs_json_scan *s, uint8_t byte);

/**
 * Skip white space and one string, checking escapes and control characters, not UTF-8.
 * @param ret_raw  what is between the quotes, escapes untouched
 */
bool crs_json_skip_string(crs_json_scan *s, cereus_slice *ret_raw);

/** Skip white space and one value of any kind, in it at most @p depth_max (up to CRS_JSON_DEPTH_MAX) containers deep.
 * @param doubles_only  also false when a number in it is past the range of a double */
bool crs_json_skip_value(crs_json_scan *s, unsigned depth_max, bool doubles_only);

/** Undo the escapes of @p raw, which has passed crs_json_skip_string(). A surrogate without its other half becomes
 * U+FFFD.
 * @param out  room for raw.len bytes. @return bytes written. */
size_t crs_json_unescape(cereus_slice raw, uint8_t *out);

/** The double nearest to @p text, which is a JSON number; false: past the range of a double. No locale is involved. */
bool crs_json_double(cereus_slice text, double *ret_value);

/** Write the shortest text that reads back as @p value (finite), in Go's form: 0.1, 1000, 1e+21, 1e-7. @return its
 * length. */
size_t crs_json_print_double(double value, char out[CRS_JSON_DOUBLE_LEN_MAX]);

#endif
