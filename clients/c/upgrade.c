/* clients/c/upgrade.c: see upgrade.h. Strict where it decides whether this is our server, deaf to all other headers. */
#include "upgrade.h"

#include <strings.h>

void crs_client_upgrade_key(const uint8_t bytes[16], char ret_key[CRS_WS_KEY_LEN])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < 16; i += 3) {
        uint32_t v = (uint32_t)bytes[i] << 16;
        if (i + 1 < 16)
            v |= (uint32_t)bytes[i + 1] << 8 | bytes[i + 2];
        for (size_t k = 0; k < 4; k++)
            ret_key[i / 3 * 4 + k] = digits[v >> (18 - 6 * k) & 63];
    }
    ret_key[22] = ret_key[23] = '='; /* of the last group only one byte counts */
}

cereus_status crs_client_upgrade_request(const char *path, const char *authority, const char key[CRS_WS_KEY_LEN],
                                         crs_bytes *out)
{
    return crs_bytes_printf(out,
                            "GET %s HTTP/1.1\r\n"
                            "Host: %s\r\n"
                            "Upgrade: websocket\r\n"
                            "Connection: Upgrade\r\n"
                            "Sec-WebSocket-Key: %.*s\r\n"
                            "Sec-WebSocket-Version: 13\r\n"
                            "\r\n",
                            path, authority, CRS_WS_KEY_LEN, key);
}

static bool text_is(cereus_slice text, const char *word)
{
    return text.len == strlen(word) && strncasecmp((const char *)text.data, word, text.len) == 0;
}

static cereus_slice trim(cereus_slice text)
{
    while (text.len && (*text.data == ' ' || *text.data == '\t')) {
        text.data++;
        text.len--;
    }
    while (text.len && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
        text.len--;
    return text;
}

/* Is @p word one of the comma-separated words of @p list? */
static bool list_has(cereus_slice list, const char *word)
{
    for (;;) {
        const uint8_t *comma = memchr(list.data, ',', list.len);
        size_t len = comma ? (size_t)(comma - list.data) : list.len;
        if (text_is(trim(cereus_slice_of(list.data, len)), word))
            return true;
        if (!comma)
            return false;
        list = cereus_slice_of(comma + 1, list.len - len - 1);
    }
}

/* One line from the front of `in`, without its CRLF. */
static bool take_line(cereus_slice *in, cereus_slice *ret_line)
{
    const uint8_t *end = memmem(in->data, in->len, "\r\n", 2);
    if (!end)
        return false;
    size_t len = (size_t)(end - in->data);
    *ret_line = cereus_slice_of(in->data, len);
    *in = cereus_slice_of(end + 2, in->len - len - 2);
    return true;
}

static cereus_status check_status_line(cereus_slice line, cereus_error *err)
{
    const uint8_t *p = line.data;
    bool sound = line.len >= 12 && memcmp(p, "HTTP/1.", 7) == 0 && (p[7] == '0' || p[7] == '1') && p[8] == ' ' &&
                 (line.len == 12 || p[12] == ' ');
    int code = 0;
    for (size_t i = 9; sound && i < 12; i++) {
        sound = p[i] >= '0' && p[i] <= '9';
        code = code * 10 + (p[i] - '0');
    }
    if (!sound)
        return crs_fail(err, CEREUS_E_MALFORMED, "the server does not speak WebSocket");
    if (code != 101)
        return crs_fail(err, code >= 500 ? CEREUS_E_UNAVAILABLE : CEREUS_E_FAILED,
                        "the server refused the WebSocket upgrade with status %d", code);
    return CEREUS_OK;
}

cereus_status crs_client_upgrade_answer(cereus_slice in, const char key[CRS_WS_KEY_LEN], size_t *ret_used,
                                        cereus_error *err)
{
    /* told early: a game server that is not HTTP may send a few bytes of its own and wait */
    if (memcmp(in.data, "HTTP/", CRS_MIN(in.len, (size_t)5)) != 0)
        return crs_fail(err, CEREUS_E_MALFORMED, "the server does not speak WebSocket");
    const uint8_t *end = memmem(in.data, CRS_MIN(in.len, (size_t)CRS_CLIENT_UPGRADE_HEAD_MAX), "\r\n\r\n", 4);
    if (!end)
        return in.len < CRS_CLIENT_UPGRADE_HEAD_MAX
                   ? CEREUS_E_AGAIN
                   : crs_fail(err, CEREUS_E_MALFORMED, "the server's answer to the upgrade is too long");
    size_t used = (size_t)(end - in.data) + 4;
    cereus_slice rest = cereus_slice_of(in.data, used), line;
    if (!take_line(&rest, &line))
        return crs_fail(err, CEREUS_E_MALFORMED, "the server does not speak WebSocket");
    CEREUS_TRY(check_status_line(line, err));

    char accept[CRS_WS_ACCEPT_LEN];
    crs_ws_accept_key(key, accept);
    bool upgrade = false, connection = false, accepted = false;
    while (take_line(&rest, &line) && line.len) {
        const uint8_t *colon = memchr(line.data, ':', line.len);
        if (!colon)
            return crs_fail(err, CEREUS_E_MALFORMED, "the server's answer to the upgrade has a broken header");
        size_t name_len = (size_t)(colon - line.data);
        cereus_slice name = cereus_slice_of(line.data, name_len);
        cereus_slice value = trim(cereus_slice_of(colon + 1, line.len - name_len - 1));
        if (text_is(name, "Upgrade"))
            upgrade = text_is(value, "websocket");
        else if (text_is(name, "Connection"))
            connection = connection || list_has(value, "upgrade");
        else if (text_is(name, "Sec-WebSocket-Accept"))
            accepted = crs_slice_eq(value, cereus_slice_of(accept, sizeof accept));
        else if (text_is(name, "Sec-WebSocket-Extensions") || text_is(name, "Sec-WebSocket-Protocol"))
            return crs_fail(err, CEREUS_E_MALFORMED, "the server chose an extension nobody offered");
    }
    if (!upgrade || !connection || !accepted)
        return crs_fail(err, CEREUS_E_MALFORMED, "the server's answer to the upgrade lacks %s",
                        !upgrade      ? "Upgrade"
                        : !connection ? "Connection"
                                      : "the right Sec-WebSocket-Accept");
    *ret_used = used;
    return CEREUS_OK;
}
