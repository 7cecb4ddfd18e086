/* config/value.h: the texts that values are written as. A parser returns NULL and sets its output, or leaves it alone
 * and returns what is wrong, as the end of a sentence that begins with the text: `"5" needs a unit, like 5s`. */
#ifndef CRS_CONFIG_VALUE_H
#define CRS_CONFIG_VALUE_H

#include "base/base.h"

/** true, false and their short forms, as Go reads them. */
const char *crs_parse_bool(const char *text, bool *ret_value);
/** A decimal whole number with an optional sign. */
const char *crs_parse_int(const char *text, int64_t *ret_value);
/** As Go writes them: 300ms, 1.5s, 1h30m, with ns, us, ms, s, m, h; 0 needs no unit. Parts of a ms are rounded up. */
const char *crs_parse_duration_ms(const char *text, int64_t *ret_ms);
/** Bytes: a whole number, alone or with B, KiB, MiB or GiB. */
const char *crs_parse_size(const char *text, int64_t *ret_bytes);

/** Room for what those below write. */
#define CRS_VALUE_TEXT_CAP 32
/** The shortest exact form: 90000 is "90s", 1500 is "1500ms". Returns @p out. */
const char *crs_format_duration_ms(int64_t ms, char out[CRS_VALUE_TEXT_CAP]);
/** As Go's Duration.String(): 90000 is "1m30s", 1500 is "1.5s". Returns @p out. */
const char *crs_format_go_duration_ms(int64_t ms, char out[CRS_VALUE_TEXT_CAP]);
const char *crs_format_size(int64_t bytes, char out[CRS_VALUE_TEXT_CAP]);

/** How many letters must be changed, put in, or taken out to make @p a into @p b. Looks at the first 127 of each. */
size_t crs_edit_distance(const char *a, const char *b);

#endif
