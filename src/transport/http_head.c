/* transport/http_head.c: line by line, each line judged when its end is there. The order of the checks at the end of
 * the head is that of the reference (Go's net/http, then its WebSocket library), because it decides which refusal a
 * client sees. */
#include "transport/http_head.h"

#include "base/sha1.h"

#include <stdio.h>
#include <strings.h>
#include <time.h>

/** What the lines so far have said. */
typedef struct request {
    crs_ws_upgrade *up;
    bool is_get, is_head, is_http10;
    bool upgrade, connection_upgrade, version_13; /* the tokens that make it an upgrade */
    bool connection_close;
    bool body; /* announced */
    size_t host_count, key_count;
    cereus_slice key;
} request;

static cereus_status refuse(crs_ws_upgrade *up, crs_ws_answer answer, const char *why)
{
    up->answer = answer;
    up->why = why;
    return CEREUS_E_MALFORMED;
}

/* -- characters -- */

/** RFC 9110 5.6.2 */
static bool is_token_char(uint8_t c)
{
    uint8_t lower = c | 0x20;
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           (c != '\0' && strchr("!#$%&'*+.^_`|~", c) != NULL);
}

/** As Go's: what RFC 3986 allows in an authority. */
static bool is_host_char(uint8_t c)
{
    uint8_t lower = c | 0x20;
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!$%&()*+,-.:;='[]_~", c) != NULL);
}

static bool is_base64_char(uint8_t c)
{
    uint8_t lower = c | 0x20;
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

static bool all(cereus_slice s, bool (*is)(uint8_t))
{
    for (size_t i = 0; i < s.len; i++) {
        if (!is(s.data[i]))
            return false;
    }
    return true;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static cereus_slice trim(cereus_slice s)
{
    while (s.len && is_blank(s.data[0]))
        s = cereus_slice_of(s.data + 1, s.len - 1);
    while (s.len && is_blank(s.data[s.len - 1]))
        s.len--;
    return s;
}

static bool eq_nocase(cereus_slice s, const char *text)
{
    return s.len == strlen(text) && strncasecmp((const char *)s.data, text, s.len) == 0;
}

static bool eq(cereus_slice s, const char *text)
{
    return crs_slice_eq(s, cereus_slice_str(text));
}

/** Cut @p s at the first @p sep: returns what is before it, and leaves what is behind it, or nothing, in *ret_rest. */
static cereus_slice cut(cereus_slice s, char sep, cereus_slice *ret_rest)
{
    const uint8_t *at = s.len ? memchr(s.data, sep, s.len) : NULL;
    size_t len = at ? (size_t)(at - s.data) : s.len;
    *ret_rest = at ? cereus_slice_of(at + 1, s.len - len - 1) : cereus_slice_of(NULL, 0);
    return cereus_slice_of(s.data, len);
}

/** Is @p token in the comma-separated @p list? */
static bool has_token(cereus_slice list, const char *token)
{
    while (list.data) {
        if (eq_nocase(trim(cut(list, ',', &list)), token))
            return true;
    }
    return false;
}

/* -- lines -- */

static cereus_status request_line(request *rq, cereus_slice line)
{
    cereus_slice rest, version;
    cereus_slice method = cut(line, ' ', &rest);
    cereus_slice target = cut(rest, ' ', &version);
    if (method.len == 0 || !all(method, is_token_char) || !version.data)
        return refuse(rq->up, CRS_WS_REFUSE_MALFORMED, "no HTTP request line");
    if (version.len != 8 || memcmp(version.data, "HTTP/", 5) != 0 || version.data[5] < '0' || version.data[5] > '9' ||
        version.data[6] != '.' || version.data[7] < '0' || version.data[7] > '9')
        return refuse(rq->up, CRS_WS_REFUSE_MALFORMED, "no HTTP version");
    rq->is_http10 = eq(version, "HTTP/1.0");
    if (!rq->is_http10 && !eq(version, "HTTP/1.1"))
        return refuse(rq->up, CRS_WS_REFUSE_VERSION, "HTTP version neither 1.0 nor 1.1");
    /* a path, or the same with scheme and host in front as proxies get it (RFC 9112 3.2.1, 3.2.2) */
    if (target.len == 0 || (target.data[0] != '/' && memmem(target.data, target.len, "://", 3) == NULL))
        return refuse(rq->up, CRS_WS_REFUSE_MALFORMED, "request target is no path");
    rq->is_get = eq(method, "GET");
    rq->is_head = eq(method, "HEAD");
    rq->up->target = target;
    return CEREUS_OK;
}

static cereus_status header_line(request *rq, cereus_slice line)
{
    cereus_slice value;
    cereus_slice name = cut(line, ':', &value);
    /* a folded line begins with a blank, which is no token */
    if (name.len == 0 || !all(name, is_token_char) || !value.data)
        return refuse(rq->up, CRS_WS_REFUSE_MALFORMED, "header line without a name");
    value = trim(value);
    if (eq_nocase(name, "Host")) {
        rq->host_count++;
        rq->up->host = value;
        if (rq->host_count > 1)
            return refuse(rq->up, CRS_WS_REFUSE_MALFORMED, "more than one Host header");
        if (!all(value, is_host_char))
            return refuse(rq->up, CRS_WS_REFUSE_BAD_HOST, "malformed Host header");
    } else if (eq_nocase(name, "Upgrade")) {
        rq->upgrade |= has_token(value, "websocket");
    } else if (eq_nocase(name, "Connection")) {
        rq->connection_upgrade |= has_token(value, "upgrade");
        rq->connection_close |= has_token(value, "close");
    } else if (eq_nocase(name, "Sec-WebSocket-Version")) {
        rq->version_13 |= has_token(value, "13");
    } else if (eq_nocase(name, "Sec-WebSocket-Key")) {
        rq->key_count++;
        rq->key = value;
    } else if (eq_nocase(name, "Origin")) {
        rq->up->origin = value;
    } else if (eq_nocase(name, "Content-Length")) {
        rq->body |= !eq(value, "0");
    } else if (eq_nocase(name, "Transfer-Encoding")) {
        rq->body = true;
    }
    return CEREUS_OK;
}

/** RFC 6455 4.1: base64 of 16 bytes. The last character carries two bits; like the reference, we do not look at the
 * rest. */
static bool is_key(cereus_slice key)
{
    return key.len == CRS_WS_KEY_LEN && all(cereus_slice_of(key.data, 22), is_base64_char) &&
           memcmp(key.data + 22, "==", 2) == 0;
}

/** The head is whole and well-formed: what does it ask for? */
static void decide(request *rq)
{
    crs_ws_upgrade *up = rq->up;
    if (rq->host_count == 0 && !rq->is_http10) {
        refuse(up, CRS_WS_REFUSE_NO_HOST, "no Host header");
        return;
    }
    /* we do not read bodies, and an answer to HEAD must not have the one that ours have: both end with the connection
     */
    up->keep_alive = !rq->body && !rq->is_head && !rq->is_http10 && !rq->connection_close;
    if (!rq->connection_upgrade) {
        refuse(up, CRS_WS_REFUSE_NO_UPGRADE, "Connection header without upgrade");
    } else if (!rq->upgrade) {
        refuse(up, CRS_WS_REFUSE_NO_UPGRADE, "Upgrade header without websocket");
    } else if (!rq->is_get) {
        refuse(up, CRS_WS_REFUSE_METHOD, "upgrade with another method than GET");
    } else if (!rq->version_13) {
        refuse(up, CRS_WS_REFUSE_NO_UPGRADE, "Sec-WebSocket-Version is not 13");
    } else if (rq->key_count != 1 || !is_key(rq->key)) {
        refuse(up, CRS_WS_REFUSE_NO_UPGRADE, "Sec-WebSocket-Key is not 16 bytes in base64");
    } else if (rq->body) {
        refuse(up, CRS_WS_REFUSE_NO_UPGRADE, "upgrade with a body"); /* its bytes would be taken for frames */
    } else {
        memcpy(up->key, rq->key.data, CRS_WS_KEY_LEN);
        up->keep_alive = true;
    }
}

/** @p line without its CRLF, @p index 0 for the request line. */
static cereus_status any_line(request *rq, cereus_slice line, size_t index)
{
    for (size_t i = 0; i < line.len; i++) {
        bool tab = line.data[i] == '\t' && index > 0;
        if ((line.data[i] < 0x20 && !tab) || line.data[i] == 0x7f)
            return refuse(rq->up, CRS_WS_REFUSE_MALFORMED, "control character");
    }
    if (index == 0)
        return request_line(rq, line);
    if (index > CRS_HTTP_HEADERS_MAX)
        return refuse(rq->up, CRS_WS_REFUSE_TOO_LONG, "too many headers");
    return header_line(rq, line);
}

cereus_status crs_http_head_parse(cereus_slice in, size_t head_max, crs_ws_upgrade *ret, size_t *ret_used)
{
    crs_ws_upgrade up = {.answer = CRS_WS_ACCEPT, .why = ""};
    request rq = {.up = &up};
    cereus_status st = CEREUS_OK;
    size_t at = 0, visible = CRS_MIN(in.len, head_max);
    for (size_t index = 0; st == CEREUS_OK; index++) {
        const uint8_t *line = at < visible ? in.data + at : NULL;
        const uint8_t *lf = line ? memchr(line, '\n', visible - at) : NULL;
        if (!lf) {
            if (in.len <= head_max)
                return CEREUS_E_AGAIN;
            st = refuse(&up, CRS_WS_REFUSE_TOO_LONG, "head too long");
            break;
        }
        size_t len = (size_t)(lf - line);
        at += len + 1;
        if (len == 0 || line[len - 1] != '\r') {
            st = refuse(&up, CRS_WS_REFUSE_MALFORMED, "line end without CR");
        } else if (len == 1 && index > 0) {
            decide(&rq);
            break;
        } else {
            st = any_line(&rq, cereus_slice_of(line, len - 1), index);
        }
    }
    *ret_used = up.keep_alive ? at : in.len;
    *ret = up;
    return CEREUS_OK;
}

/* -- answers -- */

void crs_ws_accept_key(const char key[CRS_WS_KEY_LEN], char out[CRS_WS_ACCEPT_LEN])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 1.3 */
    uint8_t text[CRS_WS_KEY_LEN + sizeof guid - 1];
    memcpy(text, key, CRS_WS_KEY_LEN);
    memcpy(text + CRS_WS_KEY_LEN, guid, sizeof guid - 1);
    uint8_t digest[CRS_SHA1_LEN];
    crs_sha1(cereus_slice_of(text, sizeof text), digest);
    crs_base64(cereus_slice_of(digest, sizeof digest), out);
}

void crs_ws_accept_response(const char key[CRS_WS_KEY_LEN], char out[CRS_WS_ACCEPT_RESPONSE_LEN])
{
    static const char before[] = "HTTP/1.1 101 Switching Protocols\r\n"
                                 "Upgrade: websocket\r\n"
                                 "Connection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: ";
    enum { BEFORE_LEN = sizeof before - 1 };
    _Static_assert(BEFORE_LEN + CRS_WS_ACCEPT_LEN + 4 == CRS_WS_ACCEPT_RESPONSE_LEN, "two line ends behind it");
    char accept[CRS_WS_ACCEPT_LEN];
    crs_ws_accept_key(key, accept);
    memcpy(out, before, BEFORE_LEN);
    memcpy(out + BEFORE_LEN, accept, CRS_WS_ACCEPT_LEN);
    memcpy(out + BEFORE_LEN + CRS_WS_ACCEPT_LEN, "\r\n\r\n", 4);
}

/** RFC 9110 5.6.7, whatever the locale: "Mon, 23 Nov 2026 23:03:59 GMT" */
static void http_date(int64_t unix_s, char out[30])
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t t = (time_t)unix_s;
    struct tm tm;
    bool known = gmtime_r(&t, &tm) != NULL;
    CRS_ASSERT(known && unix_s >= 0 && tm.tm_year + 1900 <= 9999);
    snprintf(out, 30, "%s, %02u %s %04u %02u:%02u:%02u GMT", days[tm.tm_wday], (unsigned)tm.tm_mday % 100,
             months[tm.tm_mon], (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
             (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
}

size_t crs_ws_refusal(crs_ws_answer answer, bool keep_alive, int64_t unix_s, char out[CRS_WS_REFUSAL_MAX])
{
    /* The reference has two voices: its HTTP server, which speaks before it has understood the request and always hangs
     * up, puts the detail into the status line; its WebSocket library, which answers a sound request, names the
     * version. */
    static const struct {
        const char *status, *detail;
        bool sound; /* the request was */
    } rows[] = {
        [CRS_WS_REFUSE_NO_UPGRADE] = {"400 Bad Request", "", true},
        [CRS_WS_REFUSE_METHOD] = {"405 Method Not Allowed", "", true},
        [CRS_WS_REFUSE_ORIGIN] = {"403 Forbidden", "", true},
        [CRS_WS_REFUSE_MALFORMED] = {"400 Bad Request", "", false},
        [CRS_WS_REFUSE_NO_HOST] = {"400 Bad Request", ": missing required Host header", false},
        [CRS_WS_REFUSE_BAD_HOST] = {"400 Bad Request", ": malformed Host header", false},
        [CRS_WS_REFUSE_TOO_LONG] = {"431 Request Header Fields Too Large", "", false},
        [CRS_WS_REFUSE_VERSION] = {"505 HTTP Version Not Supported", ": unsupported protocol version", false},
    };
    CRS_ASSERT(answer > CRS_WS_ACCEPT && answer < CEREUS_COUNT(rows));
    const char *status = rows[answer].status, *detail = rows[answer].detail;
    int n;
    if (rows[answer].sound) {
        char date[30];
        http_date(unix_s, date);
        const char *text = status + 4; /* behind the number */
        n = snprintf(out, CRS_WS_REFUSAL_MAX,
                     "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nSec-Websocket-Version: 13\r\n"
                     "X-Content-Type-Options: nosniff\r\nDate: %s\r\nContent-Length: %zu\r\n%s\r\n%s\n",
                     status, date, strlen(text) + 1, keep_alive ? "" : "Connection: close\r\n", text);
    } else {
        n = snprintf(out, CRS_WS_REFUSAL_MAX,
                     "HTTP/1.1 %s%s\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n%s%s",
                     status, detail, status, detail);
    }
    CRS_ASSERT(n > 0 && n < CRS_WS_REFUSAL_MAX);
    return (size_t)n;
}
