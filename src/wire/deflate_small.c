/* wire/deflate_small.c: deflate (RFC 1951) in its zlib wrapper (RFC 1950) for one small body at a time. For a body of 100
 * bytes zlib spends most of its time around the bytes: clearing tables, keeping a window for data that never comes,
 * counting and sorting alphabets of 286 symbols of which 30 occur. What is small stays small here:
 *
 *   find_tokens()   one look back per position; entries of earlier bodies are told by their value, nothing is cleared
 *   make_codes()    counts are known: which codes, fixed or made to measure, need how many bits? Work grows with the
 *                   symbols that occur
 *   write_stream()  the size is known before the first byte is written, so nothing is checked while writing
 *
 * Unlike zlib it takes each match as it comes, knows one candidate for it, and never cuts a body into blocks. Waiting for
 * a better match, or remembering the positions inside one, was measured: 1 % shorter, 20 to 40 % slower at 512 bytes. */
#include "wire/deflate_small.h"

#include <endian.h>
#include <string.h>
#include <zlib.h>

enum {
    HEAD_LEN = 2,
    CHECKSUM_LEN = 4,
    MATCH_MIN = 3,
    MATCH_MAX = 258,
    LOOK_LEN = 4, /* bytes read to look at three */
    HASH_BITS = 10,

    END_OF_BLOCK = 256,
    LENGTH_FIRST = 257, /* the symbol for MATCH_MIN */
    LENGTH_LAST = 285,  /* the symbol for MATCH_MAX; unlike those before it, it has no extra bits */
    SYMBOLS = 288,      /* the last two never occur, but take part in the fixed codes */
    DISTANCES = 20,     /* codes of distances up to 1024 */
    WIDTHS = 19,        /* symbols that describe codes by their widths; count[19] is always 0, for list_used() */
    WIDTH_AGAIN = 16,
    WIDTH_ZEROS = 17,
    WIDTH_MANY_ZEROS = 18,
    BLOCK_HEAD_BITS = 3,
    FIXED_DISTANCE_WIDTH = 5,
    CODE_MAX = 15,      /* bits; what zlib accepts */
    WIDTH_CODE_MAX = 7, /* bits, for codes of widths */
    DEPTH_MAX = WIDTHS, /* of any tree: 14 by the counts, 18 for widths */
};

typedef struct code {
    uint16_t bits;  /* the first bit on the wire is the least significant one */
    uint16_t width; /* bits in use */
} code;

typedef struct alphabet {
    unsigned used_count;
    uint16_t used[SYMBOLS]; /* symbols with a count, ascending */
    uint16_t count[SYMBOLS];
    code codes[SYMBOLS];              /* good for used symbols */
    uint16_t of_width[DEPTH_MAX + 1]; /* how many symbols have codes so long */
} alphabet;

/* A literal is its byte. A match is its length's symbol and extra bits and its distance's code and extra bits. */
typedef uint32_t token;
enum { TOKEN_LENGTH_EXTRA = 9, TOKEN_DISTANCE = 14, TOKEN_DISTANCE_EXTRA = 19 };

struct crs_deflate_small {
    uint32_t base;                 /* what position 0 of this body is called in `seen`; less is from earlier bodies */
    uint16_t seen[1 << HASH_BITS]; /* base + the position where three bytes with this hash began last */
    code fixed_symbols[SYMBOLS], fixed_distances[DISTANCES]; /* set once by new() */
    /* from here on about the current body only */
    unsigned token_count;
    token tokens[CRS_DEFLATE_SMALL_MAX];
    alphabet symbols, distances, widths;
    bool fixed;           /* the fixed codes are shorter than those of `symbols` and `distances` */
    unsigned width_count; /* of width_order, what is described */
    unsigned item_count;
    uint16_t items[SYMBOLS + DISTANCES]; /* widths of all codes in runs: symbol of `widths`, extra bits from bit 5 on */
};

/* ---- codes ---- */

static const uint8_t reversed[256] = {
#define R2(n) (n), (n) + 128, (n) + 64, (n) + 192
#define R4(n) R2(n), R2((n) + 32), R2((n) + 16), R2((n) + 48)
#define R6(n) R4(n), R4((n) + 8), R4((n) + 4), R4((n) + 12)
    R6(0),
    R6(2),
    R6(1),
    R6(3),
#undef R6
#undef R4
#undef R2
};

/** List which of the first @p symbols, rounded up to fours, have a count; and two at least: an alphabet of one symbol makes
 * a code that is not complete, which not everyone reads. */
static void list_used(alphabet *a, unsigned symbols)
{
    unsigned n = 0;
    for (unsigned s = 0; s < symbols; s += 4) {
        uint64_t four;
        memcpy(&four, &a->count[s], sizeof four);
        if (four == 0)
            continue;
        for (unsigned i = s; i < s + 4; i++) { /* no branch: it would be guessed wrong */
            a->used[n] = (uint16_t)i;
            n += a->count[i] > 0;
        }
    }
    if (n == 0)
        a->used[n++] = 0;
    if (n == 1) {
        uint16_t only = a->used[0];
        a->used[0] = 0;
        a->used[1] = CRS_MAX(only, 1);
        n = 2;
    }
    a->used_count = n;
}

/** Sort used symbols by their counts, ascending: those below BUCKETS fall into place, few are above. */
static void sort_used(const alphabet *a, uint16_t *sorted)
{
    enum { BUCKETS = 32 };
    uint16_t end[BUCKETS] = {0};
    for (unsigned i = 0; i < a->used_count; i++)
        end[CRS_MIN(a->count[a->used[i]], BUCKETS - 1)]++;
    for (unsigned b = 1; b < BUCKETS; b++)
        end[b] = (uint16_t)(end[b] + end[b - 1]);
    unsigned tail = end[BUCKETS - 2];
    for (unsigned i = a->used_count; i-- > 0;)
        sorted[--end[CRS_MIN(a->count[a->used[i]], BUCKETS - 1)]] = a->used[i];
    for (unsigned i = tail; i < a->used_count; i++) {
        uint16_t symbol = sorted[i];
        unsigned to = i;
        for (; to > tail && a->count[sorted[to - 1]] > a->count[symbol]; to--)
            sorted[to] = sorted[to - 1];
        sorted[to] = symbol;
    }
}

/**
 * Huffman's widths for the used symbols. Returns the greatest: as a tree of depth n takes counts that sum up to the
 * Fibonacci number n + 2, and there are 1024 tokens and an end at most, that is 14; for the 19 widths, 18.
 */
static unsigned measure(alphabet *a)
{
    enum { NEVER = UINT16_MAX }; /* more than any sum */
    uint16_t sorted[SYMBOLS], leaf_count[SYMBOLS + 2], sum[SYMBOLS + 1], parent[SYMBOLS + 1];
    unsigned n = a->used_count, leaf = 0, inner = 0;
    sort_used(a, sorted);
    for (unsigned i = 0; i < n; i++)
        leaf_count[i] = a->count[sorted[i]];
    leaf_count[n] = leaf_count[n + 1] = NEVER;
    sum[0] = NEVER;
    /* The two smallest become one, until one is left. Leaves and sums are queues in ascending order; again no branch */
    for (unsigned node = 0; node < n - 1; node++) {
        sum[node + 1] = NEVER;
        bool leaves = leaf_count[leaf + 1] <= sum[inner], inners = sum[inner + 1] < leaf_count[leaf];
        unsigned mixed = leaf_count[leaf] + sum[inner];
        mixed = leaves ? leaf_count[leaf] + leaf_count[leaf + 1] : mixed;
        mixed = inners ? sum[inner] + sum[inner + 1] : mixed;
        parent[inner] = parent[inner + 1] = (uint16_t)node; /* written again if it was not their turn */
        sum[node] = (uint16_t)mixed;
        leaf += 1u + leaves - inners;
        inner += 1u + inners - leaves;
    }
    /* Depth by depth from the root: where there is no inner node there is a leaf, and the rarest symbols get the deepest.
     * Children were added before parents and in the same order, so that those of one depth are neighbours. */
    unsigned width = 0, to_do = n, places = 2, low = n - 2;
    memset(a->of_width, 0, sizeof a->of_width);
    while (to_do > 0) {
        unsigned next_low = low;
        while (next_low > 0 && parent[next_low - 1] >= low)
            next_low--;
        unsigned inners = low - next_low, leaves = places - inners;
        a->of_width[++width] = (uint16_t)leaves;
        for (; leaves > 0; leaves--)
            a->codes[sorted[--to_do]].width = (uint16_t)width;
        places = 2 * inners;
        low = next_low;
    }
    return width;
}

/** RFC 1951 3.2.2: the widths determine the codes. */
static void assign_bits(alphabet *a)
{
    unsigned next[CODE_MAX + 1], first = 0;
    for (unsigned width = 1; width <= CODE_MAX; width++) {
        next[width] = first;
        first = (first + a->of_width[width]) << 1;
    }
    for (unsigned i = 0; i < a->used_count; i++) {
        code *c = &a->codes[a->used[i]];
        unsigned bits = next[c->width]++;
        c->bits = (uint16_t)((reversed[bits & 0xff] << 8 | reversed[bits >> 8]) >> (16 - c->width));
    }
}

/* ---- from bytes to tokens ---- */

/** The three bytes at @p p, which has LOOK_LEN. */
static inline uint32_t three_at(const uint8_t *p)
{
    uint32_t four;
    memcpy(&four, p, sizeof four);
    return le32toh(four) & 0xffffff;
}

static inline uint16_t *seen_at(crs_deflate_small *d, uint32_t three)
{
    return &d->seen[three * 0x9e3779b1u >> (32 - HASH_BITS)];
}

static inline unsigned length_extra_bits(unsigned symbol)
{
    return symbol < LENGTH_FIRST + 8 || symbol == LENGTH_LAST ? 0 : (symbol - LENGTH_FIRST) / 4 - 1;
}

static inline unsigned distance_extra_bits(unsigned distance_code)
{
    return distance_code < 4 ? 0 : distance_code / 2 - 1;
}

/* Codes of lengths come in groups of four, codes of distances in groups of two; in each group one bit more follows
 * (RFC 1951 3.2.5). So a code is a number of extra bits and the leading bits of (value - least value). */
static inline token match_token(crs_deflate_small *d, unsigned len, unsigned distance)
{
    unsigned rest = len - MATCH_MIN, extra = 29 - (unsigned)__builtin_clz(rest | 4);
    unsigned symbol = LENGTH_FIRST + 4 * extra + (rest >> extra);
    rest &= (1u << extra) - 1;
    if (len == MATCH_MAX) {
        symbol = LENGTH_LAST;
        rest = 0;
    }
    token t = symbol | rest << TOKEN_LENGTH_EXTRA;

    rest = distance - 1;
    extra = 30 - (unsigned)__builtin_clz(rest | 2);
    unsigned distance_code = 2 * extra + (rest >> extra);
    rest &= (1u << extra) - 1;
    d->symbols.count[symbol]++;
    d->distances.count[distance_code]++;
    return t | distance_code << TOKEN_DISTANCE | rest << TOKEN_DISTANCE_EXTRA;
}

static inline unsigned match_len(const uint8_t *data, unsigned from, unsigned at, unsigned len)
{
    unsigned n = MATCH_MIN, max = CRS_MIN(len - at, MATCH_MAX);
    while (n < max && data[from + n] == data[at + n])
        n++;
    return n;
}

static void find_tokens(crs_deflate_small *d, const uint8_t *data, unsigned len)
{
    memset(d->symbols.count, 0, sizeof d->symbols.count);
    memset(d->distances.count, 0, DISTANCES * sizeof d->distances.count[0]);
    if (d->base == 0 || d->base + len > UINT16_MAX) {
        memset(d->seen, 0, sizeof d->seen);
        d->base = 1;
    }
    token *next = d->tokens;
    unsigned at = 0;
    while (at + LOOK_LEN <= len) {
        uint32_t three = three_at(data + at);
        uint16_t *seen = seen_at(d, three);
        unsigned from = *seen - d->base; /* enormous if of an earlier body */
        *seen = (uint16_t)(d->base + at);
        if (from < at && three_at(data + from) == three) {
            unsigned end = at + match_len(data, from, at, len);
            *next++ = match_token(d, end - at, at - from);
            at = end;
        } else {
            d->symbols.count[data[at]]++;
            *next++ = data[at++];
        }
    }
    for (; at < len; at++) {
        d->symbols.count[data[at]]++;
        *next++ = data[at];
    }
    d->token_count = (unsigned)(next - d->tokens);
    d->symbols.count[END_OF_BLOCK] = 1;
    d->base += len;
}

/* ---- which codes ---- */

static void add_item(crs_deflate_small *d, unsigned symbol, unsigned extra)
{
    d->items[d->item_count++] = (uint16_t)(symbol | extra << 5);
    d->widths.count[symbol]++;
}

static void add_zeros(crs_deflate_small *d, unsigned n)
{
    for (; n >= 11; n -= CRS_MIN(n, 138))
        add_item(d, WIDTH_MANY_ZEROS, CRS_MIN(n, 138) - 11);
    if (n >= 3) {
        add_item(d, WIDTH_ZEROS, n - 3);
        return;
    }
    for (; n > 0; n--)
        add_item(d, 0, 0);
}

/** The widths of all symbols up to the last used one, in runs. */
static void add_widths(crs_deflate_small *d, const alphabet *a)
{
    unsigned next = 0;
    for (unsigned i = 0; i < a->used_count;) {
        unsigned symbol = a->used[i], width = a->codes[symbol].width, run = 1;
        while (i + run < a->used_count && a->used[i + run] == symbol + run && a->codes[a->used[i + run]].width == width)
            run++;
        i += run;
        add_zeros(d, symbol - next);
        next = symbol + run;
        add_item(d, width, 0);
        for (run--; run >= 3; run -= CRS_MIN(run, 6))
            add_item(d, WIDTH_AGAIN, CRS_MIN(run, 6) - 3);
        for (; run > 0; run--)
            add_item(d, width, 0);
    }
}

static inline unsigned width_extra_bits(unsigned item_symbol)
{
    return item_symbol < WIDTH_AGAIN ? 0 : item_symbol == WIDTH_AGAIN ? 2 : item_symbol == WIDTH_ZEROS ? 3 : 7;
}

/* The order in which the codes for widths are described; often those at the end are not used. */
static const uint8_t width_order[WIDTHS] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};

/** Describe the measured codes (RFC 1951 3.2.7). Returns the number of bits that takes. */
static unsigned describe(crs_deflate_small *d)
{
    alphabet *a = &d->widths;
    memset(a->count, 0, WIDTHS * sizeof a->count[0]);
    memset(a->codes, 0, WIDTHS * sizeof a->codes[0]);
    d->item_count = 0;
    add_widths(d, &d->symbols);
    add_widths(d, &d->distances);
    list_used(a, WIDTHS);
    while (measure(a) > WIDTH_CODE_MAX) /* flatter counts make a flatter tree */
        for (unsigned i = 0; i < a->used_count; i++)
            a->count[a->used[i]] = (uint16_t)((a->count[a->used[i]] + 1) / 2);
    d->width_count = WIDTHS;
    while (a->codes[width_order[d->width_count - 1]].width == 0)
        d->width_count--;
    unsigned bits = 5 + 5 + 4 + 3 * d->width_count;
    for (unsigned i = 0; i < d->item_count; i++) {
        unsigned symbol = d->items[i] & 0x1f;
        bits += a->codes[symbol].width + width_extra_bits(symbol);
    }
    return bits;
}

static unsigned fixed_width(unsigned symbol)
{
    return symbol < 144 ? 8 : symbol < 256 ? 9 : symbol < 280 ? 7 : 8;
}

static unsigned measured_bits(const alphabet *a)
{
    unsigned bits = 0;
    for (unsigned i = 0; i < a->used_count; i++)
        bits += (unsigned)a->count[a->used[i]] * a->codes[a->used[i]].width;
    return bits;
}

/**
 * What measured codes take at least, without making them. If the i-th symbol occurs c(i) times, and all together n times,
 * no code takes less than n * log2(n * n / (c(1)^2 + c(2)^2 + ...)) bits: that is Renyi's entropy of order two, which
 * Shannon's is never below. To describe the codes takes 50 bits, and 4 for each used symbol until half of all are used;
 * that is from experience, and in 180,000 bodies it was once too much, by 1 % of the result.
 */
static unsigned measured_bits_min(const alphabet *a, unsigned n, unsigned squares)
{
    unsigned spread = (n * n << 8) / squares; /* as many symbols would be, if all came equally often; times 256 */
    unsigned whole = 31 - (unsigned)__builtin_clz(spread), part = (spread << (31 - whole) & 0x7fffffff) >> 23;
    return (n * ((whole - 8) << 8 | part) >> 8) + 50 + 4 * CRS_MIN(a->used_count, SYMBOLS / 2);
}

/** Choose codes. Returns the bits of the block, more than @p max if it is not going to be less. */
static unsigned make_codes(crs_deflate_small *d, unsigned max)
{
    list_used(&d->symbols, SYMBOLS);
    list_used(&d->distances, DISTANCES);
    unsigned extra = BLOCK_HEAD_BITS, fixed = 0, squares = 0;
    for (unsigned i = 0; i < d->symbols.used_count; i++) {
        unsigned symbol = d->symbols.used[i], count = d->symbols.count[symbol];
        fixed += count * fixed_width(symbol);
        squares += count * count;
        if (symbol >= LENGTH_FIRST)
            extra += count * length_extra_bits(symbol);
    }
    for (unsigned i = 0; i < d->distances.used_count; i++) {
        unsigned distance_code = d->distances.used[i], count = d->distances.count[distance_code];
        fixed += count * FIXED_DISTANCE_WIDTH;
        extra += count * distance_extra_bits(distance_code);
    }
    d->fixed = true;
    unsigned made_min = measured_bits_min(&d->symbols, d->token_count + 1, squares);
    if (made_min >= fixed || extra + made_min > max)
        return extra + fixed;
    measure(&d->symbols);
    measure(&d->distances);
    unsigned made = describe(d) + measured_bits(&d->symbols) + measured_bits(&d->distances);
    d->fixed = fixed <= made;
    return extra + CRS_MIN(fixed, made);
}

/* ---- on the wire ---- */

typedef struct bit_writer {
    uint64_t bits; /* the oldest is the least significant one */
    unsigned count;
    uint8_t *next;
} bit_writer;

/** Append up to 32 bits; there is room for all that will be put. */
static inline void put(bit_writer *w, uint32_t bits, unsigned count)
{
    w->bits |= (uint64_t)bits << w->count;
    w->count += count;
    if (w->count < 32)
        return;
    uint32_t four = htole32((uint32_t)w->bits);
    memcpy(w->next, &four, sizeof four);
    w->next += sizeof four;
    w->bits >>= 32;
    w->count -= 32;
}

static inline void put_code(bit_writer *w, code c)
{
    put(w, c.bits, c.width);
}

/** A code and the extra bits that follow it, CODE_MAX and 8 at most. */
static inline void put_code_and(bit_writer *w, code c, uint32_t extra, unsigned extra_bits)
{
    put(w, c.bits | extra << c.width, c.width + extra_bits);
}

static void put_description(const crs_deflate_small *d, bit_writer *w)
{
    put(w, d->symbols.used[d->symbols.used_count - 1] + 1 - 257u, 5);
    put(w, d->distances.used[d->distances.used_count - 1] + 1 - 1u, 5);
    put(w, d->width_count - 4, 4);
    for (unsigned i = 0; i < d->width_count; i++)
        put(w, d->widths.codes[width_order[i]].width, 3);
    for (unsigned i = 0; i < d->item_count; i++) {
        unsigned symbol = d->items[i] & 0x1f;
        put_code_and(w, d->widths.codes[symbol], d->items[i] >> 5, width_extra_bits(symbol));
    }
}

static void put_tokens(const crs_deflate_small *d, const code *symbols, const code *distances, bit_writer *w)
{
    for (unsigned i = 0; i < d->token_count; i++) {
        token t = d->tokens[i];
        if (t < END_OF_BLOCK) {
            put_code(w, symbols[t]);
            continue;
        }
        unsigned symbol = t & ((1u << TOKEN_LENGTH_EXTRA) - 1), distance = t >> TOKEN_DISTANCE & 0x1f;
        put_code_and(w, symbols[symbol], t >> TOKEN_LENGTH_EXTRA & 0x1f, length_extra_bits(symbol));
        put_code_and(w, distances[distance], t >> TOKEN_DISTANCE_EXTRA, distance_extra_bits(distance));
    }
    put_code(w, symbols[END_OF_BLOCK]);
}

static size_t write_stream(crs_deflate_small *d, cereus_slice in, uint8_t *out)
{
    out[0] = 0x78;
    out[1] = 0x9c;
    bit_writer w = {.next = out + HEAD_LEN};
    put(&w, 1, 1); /* the last block */
    put(&w, d->fixed ? 1 : 2, 2);
    if (d->fixed) {
        put_tokens(d, d->fixed_symbols, d->fixed_distances, &w);
    } else {
        assign_bits(&d->symbols);
        assign_bits(&d->distances);
        assign_bits(&d->widths);
        put_description(d, &w);
        put_tokens(d, d->symbols.codes, d->distances.codes, &w);
    }
    for (unsigned done = 0; done < w.count; done += 8)
        *w.next++ = (uint8_t)(w.bits >> done);
    uint32_t sum = (uint32_t)adler32(1, in.data, (uInt)in.len);
    for (unsigned i = 0; i < CHECKSUM_LEN; i++)
        *w.next++ = (uint8_t)(sum >> (24 - 8 * i));
    return (size_t)(w.next - out);
}

size_t crs_deflate_small_run(crs_deflate_small *d, cereus_slice in, uint8_t *out, size_t out_cap)
{
    CRS_ASSERT(in.len <= CRS_DEFLATE_SMALL_MAX);
    if (in.len <= HEAD_LEN + CHECKSUM_LEN)
        return 0;
    find_tokens(d, in.data, (unsigned)in.len);
    size_t around = HEAD_LEN + CHECKSUM_LEN;
    size_t len = around + (make_codes(d, 8 * (unsigned)(in.len - 1 - around)) + 7) / 8;
    if (len >= in.len || len > out_cap)
        return 0;
    size_t written = write_stream(d, in, out);
    CRS_ASSERT(written == len);
    return written;
}

static void add_fixed(alphabet *a, unsigned symbol, unsigned width)
{
    a->used[a->used_count++] = (uint16_t)symbol;
    a->codes[symbol].width = (uint16_t)width;
    a->of_width[width]++;
}

crs_deflate_small *crs_deflate_small_new(void)
{
    crs_deflate_small *d = crs_zalloc(sizeof *d);
    if (!d)
        return NULL;
    for (unsigned s = 0; s < SYMBOLS; s++)
        add_fixed(&d->symbols, s, fixed_width(s));
    for (unsigned s = 0; s < DISTANCES; s++)
        add_fixed(&d->distances, s, FIXED_DISTANCE_WIDTH);
    assign_bits(&d->symbols);
    assign_bits(&d->distances);
    memcpy(d->fixed_symbols, d->symbols.codes, sizeof d->fixed_symbols);
    memcpy(d->fixed_distances, d->distances.codes, sizeof d->fixed_distances);
    return d;
}

crs_deflate_small *crs_deflate_small_free(crs_deflate_small *d)
{
    crs_free(d);
    return NULL;
}
