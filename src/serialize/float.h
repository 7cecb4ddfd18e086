/* serialize/float.h: decimal text <-> floating point, exact in both directions and the same in every locale. */
#ifndef CRS_SERIALIZE_FLOAT_H
#define CRS_SERIALIZE_FLOAT_H

#include "serialize/mem.h"

enum { CRS_FLOAT_TEXT_MAX = 32 };

/** A number as written: value = mantissa * 10^exponent. */
typedef struct crs_decimal {
    const char *text; /* matches JSON's grammar of numbers */
    size_t len;
    uint64_t mantissa; /* its digits without sign and point, when there are at most 19 */
    int digits;        /* count of them, leading zeros included */
    int exponent;
    bool negative;
} crs_decimal;

/** The nearest double, or with @p single the nearest float. False: beyond the largest one, or (*ret is NaN) no memory.
 */
bool crs_decimal_to_float(const crs_decimal *d, bool single, crs_mem *mem, double *ret);

/** The shortest text that reads back as the finite @p v (as a float: with @p single), laid out as Go's encoding/json
 * does: plain from 1e-6 up to below 1e21, else 1e-7, 1.5e+21. Returns its length. */
size_t crs_float_text(char out[CRS_FLOAT_TEXT_MAX], double v, bool single);

#endif
