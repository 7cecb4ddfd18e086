/* base/pattern.h: regular expressions that cannot be made to run for long. The syntax is what Go's regexp and most
 * others share: literals, `.`, [a-z] and [^a-z], \d \w \s and their capitals, \ before punctuation, ^ $, ( ) and (?: ),
 * |, * + ? {n} {n,} {n,m}. A pattern without ^ and $ is looked for anywhere in the text. Texts are UTF-8 and a `.` is a
 * code point (never a line end).
 *
 * All ways to match are followed at once, so the time is at most the length of the text times that of the pattern,
 * nothing recurses, and no memory is taken while matching: this may run on a fiber, on what a client has sent. */
#ifndef CRS_BASE_PATTERN_H
#define CRS_BASE_PATTERN_H

#include "base/base.h"

enum {
    CRS_PATTERN_TEXT_MAX = 1024, /* bytes of a pattern */
    CRS_PATTERN_OPS_MAX = 1000,  /* steps it is made of; x{100} is a hundred */
    CRS_PATTERN_SCRATCH_MAX = 10 * CRS_PATTERN_OPS_MAX + 4,
};

typedef struct crs_pattern crs_pattern;

/** @return CEREUS_OK; CEREUS_E_INVALID: @p err says what is wrong and where; CEREUS_E_NOMEM. Ownership: gives. */
CEREUS_MUST_USE cereus_status crs_pattern_compile(const char *text, crs_pattern **ret_pattern, cereus_error *err);
/** NULL is fine. Returns NULL. */
crs_pattern *crs_pattern_free(crs_pattern *p);

/** The most steps that a match with a text of @p text_len bytes takes. */
size_t crs_pattern_steps(const crs_pattern *p, size_t text_len);
/** Does @p text match? @p scratch: CRS_PATTERN_SCRATCH_MAX bytes, aligned for uint32_t, to work in. Thread: any. */
bool crs_pattern_matches(const crs_pattern *p, cereus_slice text, void *scratch);

#endif
