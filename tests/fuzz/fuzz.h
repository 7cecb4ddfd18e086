/* tests/fuzz/fuzz.h: what the fuzz targets share. A target is one function that libFuzzer calls with bytes of its
 * choice, and that replay_main.c calls with files; it aborts when something that must hold does not. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cereus/types.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(cond)                                                              \
    do {                                                                              \
        if (!(cond)) {                                                                \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #cond); \
            abort();                                                                  \
        }                                                                             \
    } while (0)

/** A copy on the heap of exactly @p len bytes, so that the sanitizer sees one byte too many. Free it with free(). */
static inline uint8_t *fuzz_copy(const void *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    FUZZ_CHECK(copy);
    if (len)
        memcpy(copy, data, len);
    return copy;
}

#endif
