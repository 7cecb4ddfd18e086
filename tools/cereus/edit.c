/* tools/cereus/edit.c: see edit.h. The line is drawn anew after each key, on one row of the screen: of a long one the
 * part around the cursor. */
#include "edit.h"

#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/utf8.h"
#include "text.h"

enum {
    LINE_MAX_BYTES = 16 * 1024 * 1024,
    COLUMNS_DEFAULT = 80,
    COLUMNS_MIN = 20,
};

/* -- the terminal -- */

static struct termios before; /* as it was; written before the handlers are installed */
static volatile sig_atomic_t taken;

void crs_edit_restore(void)
{
    if (taken)
        tcsetattr(STDIN_FILENO, TCSANOW, &before);
    taken = 0;
}

static void on_signal(int number)
{
    crs_edit_restore(); /* tcsetattr() may be called here */
    signal(number, SIG_DFL);
    raise(number);
}

bool crs_edit_take_terminal(void)
{
    const char *term = getenv("TERM");
    if (!term || !*term || strcmp(term, "dumb") == 0 || !isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &before) != 0)
        return false;
    struct termios keys = before;
    keys.c_lflag &= (tcflag_t) ~(ICANON | ECHO | IEXTEN);
    keys.c_iflag &= (tcflag_t) ~(ICRNL | INLCR | IXON);
    keys.c_cc[VMIN] = 1;
    keys.c_cc[VTIME] = 0;
    keys.c_cc[VSUSP] = _POSIX_VDISABLE; /* who comes back would find the keys as the shell has them */
    if (tcsetattr(STDIN_FILENO, TCSANOW, &keys) != 0)
        return false;
    taken = 1;
    const int ends[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGSEGV};
    for (size_t i = 0; i < CEREUS_COUNT(ends); i++)
        signal(ends[i], on_signal);
    return true;
}

static size_t columns(void)
{
    struct winsize size = {0};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < COLUMNS_MIN)
        return COLUMNS_DEFAULT;
    return size.ws_col;
}

/* -- drawing -- */

static bool continues(uint8_t c)
{
    return (c & 0xc0) == 0x80;
}

/* Characters, each taken for one column wide. */
static size_t width(const uint8_t *text, size_t len)
{
    size_t count = 0;
    for (size_t i = 0; i < len; i++)
        count += !continues(text[i]);
    return count;
}

void crs_edit_show(const crs_edit *e)
{
    const uint8_t *text = e->line.data ? e->line.data : (const uint8_t *)"";
    size_t prompt_len = strlen(e->prompt), room = columns() - 1;
    room = room > prompt_len + 8 ? room - prompt_len : 8;
    size_t from = e->cursor, to = e->cursor, shown = 0;
    for (; from > 0 && shown + 1 < room; shown++) { /* the cursor stays in sight */
        while (continues(text[--from]) && from > 0)
            ;
    }
    for (; to < e->line.len && shown < room; shown++) {
        while (++to < e->line.len && continues(text[to]))
            ;
    }
    printf("\r\033[K%s%.*s", e->prompt, (int)(to - from), (const char *)text + from);
    size_t back = width(text + e->cursor, to - e->cursor);
    if (back)
        printf("\033[%zuD", back);
}

/* -- the line -- */

static void insert(crs_edit *e, const void *bytes, size_t len)
{
    if (crs_bytes_append(&e->line, bytes, len))
        return; /* as long as a line gets */
    uint8_t *at = e->line.data + e->cursor;
    memmove(at + len, at, e->line.len - len - e->cursor);
    memcpy(at, bytes, len);
    e->cursor += len;
}

/* Drop what is between the two. */
static void cut(crs_edit *e, size_t from, size_t to)
{
    if (from >= to)
        return;
    memmove(e->line.data + from, e->line.data + to, e->line.len - to);
    e->line.len -= to - from;
    e->cursor = from;
}

static size_t left_of(const crs_edit *e, size_t at)
{
    while (at > 0 && continues(e->line.data[--at]))
        ;
    return at;
}

static size_t right_of(const crs_edit *e, size_t at)
{
    if (at < e->line.len)
        at++;
    while (at < e->line.len && continues(e->line.data[at]))
        at++;
    return at;
}

static size_t word_before(const crs_edit *e)
{
    size_t at = e->cursor;
    while (at > 0 && e->line.data[at - 1] == ' ')
        at--;
    while (at > 0 && e->line.data[at - 1] != ' ')
        at--;
    return at;
}

static void replace(crs_edit *e, const char *text)
{
    e->line.len = e->cursor = 0;
    insert(e, text, strlen(text));
}

/* -- lines typed before -- */

void crs_edit_remember(crs_edit *e, const char *line)
{
    char **slot = &e->history[e->history_count % CRS_EDIT_HISTORY_MAX];
    crs_free(*slot);
    *slot = crs_strdup(line);
    if (*slot)
        e->history_count++;
    e->at = e->history_count;
}

static void go_back(crs_edit *e)
{
    size_t oldest = e->history_count > CRS_EDIT_HISTORY_MAX ? e->history_count - CRS_EDIT_HISTORY_MAX : 0;
    if (e->at <= oldest)
        return;
    if (e->at == e->history_count) {
        crs_free(e->unfinished);
        e->unfinished = crs_strndup(e->line.data ? (const char *)e->line.data : "", e->line.len);
    }
    e->at--;
    replace(e, e->history[e->at % CRS_EDIT_HISTORY_MAX]);
}

static void go_forth(crs_edit *e)
{
    if (e->at == e->history_count)
        return;
    e->at++;
    const char *unfinished = e->unfinished ? e->unfinished : "";
    replace(e, e->at == e->history_count ? unfinished : e->history[e->at % CRS_EDIT_HISTORY_MAX]);
}

/* -- Tab -- */

static size_t common_prefix(const crs_candidates *c)
{
    size_t len = strlen(c->words[0]);
    for (size_t i = 1; i < c->count; i++) {
        size_t same = 0;
        while (same < len && c->words[0][same] == c->words[i][same])
            same++;
        len = same;
    }
    while (len > 0 && continues((uint8_t)c->words[0][len]))
        len--;
    return len;
}

static void list_candidates(const crs_candidates *c)
{
    putchar('\n');
    for (size_t i = 0; i < c->count; i++)
        printf("%s%s", i ? "  " : "", c->words[i]);
    putchar('\n');
}

/* A server's words are shown to a terminal, so they must not command it. */
static void drop_what_is_not_plain(crs_candidates *c)
{
    size_t kept = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (crs_text_is_plain(cereus_slice_str(c->words[i])) && !strpbrk(c->words[i], "\n\t"))
            c->words[kept++] = c->words[i];
        else
            crs_free(c->words[i]);
    }
    c->count = kept;
}

static void complete(crs_edit *e)
{
    crs_candidates c = {0};
    if (!e->complete)
        return;
    e->complete(cereus_slice_of(e->line.data ? (const void *)e->line.data : "", e->cursor), &c, e->user);
    drop_what_is_not_plain(&c);
    if (c.count > 0) {
        size_t typed = e->cursor - c.start, len = common_prefix(&c);
        bool more = len > typed || (c.count == 1 && len == typed);
        if (more) {
            cut(e, c.start, e->cursor);
            insert(e, c.words[0], len);
        } else if (c.count > 1) {
            list_candidates(&c);
        }
    }
    crs_candidates_fini(&c);
}

/* -- keys -- */

static void run_sequence(crs_edit *e, const char *keys)
{
    static const struct {
        const char *keys;
        char does;
    } known[] = {{"[A", 'u'},  {"[B", 'd'},  {"[C", 'r'},  {"[D", 'l'},  {"[H", 'h'}, {"[F", 'e'},
                 {"OA", 'u'},  {"OB", 'd'},  {"OC", 'r'},  {"OD", 'l'},  {"OH", 'h'}, {"OF", 'e'},
                 {"[1~", 'h'}, {"[4~", 'e'}, {"[7~", 'h'}, {"[8~", 'e'}, {"[3~", 'x'}};
    for (size_t i = 0; i < CEREUS_COUNT(known); i++) {
        if (strcmp(known[i].keys, keys) != 0)
            continue;
        switch (known[i].does) {
        case 'u':
            go_back(e);
            break;
        case 'd':
            go_forth(e);
            break;
        case 'r':
            e->cursor = right_of(e, e->cursor);
            break;
        case 'l':
            e->cursor = left_of(e, e->cursor);
            break;
        case 'h':
            e->cursor = 0;
            break;
        case 'e':
            e->cursor = e->line.len;
            break;
        default:
            cut(e, e->cursor, right_of(e, e->cursor));
        }
    }
}

/* A byte of a key's sequence. True: it belonged to one. */
static bool feed_sequence(crs_edit *e, uint8_t byte)
{
    if (e->escape_len == 0)
        return false;
    bool first = e->escape_len == 1;
    if (e->escape_len < sizeof e->escape - 1)
        e->escape[e->escape_len++] = byte;
    bool ends = first ? byte != '[' && byte != 'O' : byte >= 0x40 && byte <= 0x7e;
    if (ends) {
        e->escape[e->escape_len] = '\0';
        e->escape_len = 0;
        run_sequence(e, (const char *)e->escape + 1);
    }
    return true;
}

crs_edit_event crs_edit_feed(crs_edit *e, uint8_t byte)
{
    enum { CTRL = 0x40 }; /* Ctrl-A is 'A' - CTRL */
    if (feed_sequence(e, byte)) {
        crs_edit_show(e);
        return CRS_EDIT_NOTHING;
    }
    switch (byte) {
    case '\r':
    case '\n':
        e->cursor = e->line.len;
        crs_edit_show(e);
        putchar('\n');
        return CRS_EDIT_LINE;
    case 'D' - CTRL:
        if (e->line.len == 0)
            return CRS_EDIT_END;
        cut(e, e->cursor, right_of(e, e->cursor));
        break;
    case '\t':
        complete(e);
        break;
    case 0x7f:
    case '\b':
        cut(e, left_of(e, e->cursor), e->cursor);
        break;
    case 'A' - CTRL:
        e->cursor = 0;
        break;
    case 'E' - CTRL:
        e->cursor = e->line.len;
        break;
    case 'B' - CTRL:
        e->cursor = left_of(e, e->cursor);
        break;
    case 'F' - CTRL:
        e->cursor = right_of(e, e->cursor);
        break;
    case 'P' - CTRL:
        go_back(e);
        break;
    case 'N' - CTRL:
        go_forth(e);
        break;
    case 'K' - CTRL:
        e->line.len = e->cursor;
        break;
    case 'U' - CTRL:
        cut(e, 0, e->cursor);
        break;
    case 'W' - CTRL:
        cut(e, word_before(e), e->cursor);
        break;
    case 'L' - CTRL:
        fputs("\033[H\033[2J", stdout);
        break;
    case 0x1b:
        e->escape[0] = byte;
        e->escape_len = 1;
        return CRS_EDIT_NOTHING;
    default:
        if (byte < ' ')
            return CRS_EDIT_NOTHING;
        insert(e, &byte, 1);
    }
    crs_edit_show(e);
    return CRS_EDIT_NOTHING;
}

void crs_edit_clear(crs_edit *e)
{
    e->line.len = e->cursor = 0;
    e->at = e->history_count;
}

void crs_edit_init(crs_edit *e, const char *prompt)
{
    *e = (crs_edit){.prompt = prompt};
    crs_bytes_init(&e->line, LINE_MAX_BYTES);
}

void crs_edit_fini(crs_edit *e)
{
    crs_bytes_fini(&e->line);
    for (size_t i = 0; i < CRS_EDIT_HISTORY_MAX; i++)
        crs_free(e->history[i]);
    crs_free(e->unfinished);
}
