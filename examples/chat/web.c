/* examples/chat/web.c: a few static files over HTTP, by libmicrohttpd, on a thread of its own. */
#include "web.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct MHD_Daemon *daemon_handle;
static char page_query[64];

static const char *type_of(const char *path)
{
    static const char *const types[][2] = {
        {".html", "text/html; charset=utf-8"}, {".js", "text/javascript; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},   {".svg", "image/svg+xml"},
        {".map", "application/json"},
    };
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++) {
        if (strcmp(dot, types[i][0]) == 0)
            return types[i][1];
    }
    return "application/octet-stream";
}

static enum MHD_Result answer(struct MHD_Connection *conn, unsigned code, struct MHD_Response *response)
{
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "Cache-Control", "no-cache");
    enum MHD_Result ok = MHD_queue_response(conn, code, response);
    MHD_destroy_response(response);
    return ok;
}

static enum MHD_Result say(struct MHD_Connection *conn, unsigned code, const char *text)
{
    return answer(conn, code, MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_PERSISTENT));
}

/** The page itself: "/" brings the query along, so that the page knows where to connect. */
static enum MHD_Result redirect(struct MHD_Connection *conn)
{
    char location[2 + sizeof page_query];
    snprintf(location, sizeof location, "/?%s", page_query);
    static char nothing[1];
    struct MHD_Response *response = MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
    if (response)
        MHD_add_response_header(response, "Location", location);
    return answer(conn, MHD_HTTP_FOUND, response);
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *conn, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_len, void **state)
{
    (void)user, (void)version, (void)upload, (void)upload_len, (void)state;
    if (strcmp(method, "GET") != 0)
        return say(conn, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET\n");
    if (strstr(url, "..") || strchr(url, '\\'))
        return say(conn, MHD_HTTP_NOT_FOUND, "not found\n");
    if (strcmp(url, "/") == 0) {
        if (!MHD_lookup_connection_value(conn, MHD_GET_ARGUMENT_KIND, "port"))
            return redirect(conn);
        url = "/index.html";
    }
    char path[1024];
    bool client = strncmp(url, "/client/", 8) == 0;
    snprintf(path, sizeof path, "%s/%s", client ? CHAT_CLIENT_DIR : CHAT_WEB_DIR, url + (client ? 8 : 1));
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        if (fd >= 0)
            close(fd);
        return say(conn, MHD_HTTP_NOT_FOUND,
                   client ? "not found: is the TypeScript client built? make demo does it\n" : "not found\n");
    }
    struct MHD_Response *response = MHD_create_response_from_fd((uint64_t)st.st_size, fd);
    if (response)
        MHD_add_response_header(response, "Content-Type", type_of(path));
    return answer(conn, MHD_HTTP_OK, response);
}

bool web_start(const char *address, const char *query, char *url, size_t url_cap)
{
    char host[64];
    const char *colon = strrchr(address, ':');
    size_t len = colon ? (size_t)(colon - address) : 0;
    struct sockaddr_in in = {.sin_family = AF_INET};
    if (!colon || len >= sizeof host)
        return false;
    memcpy(host, address, len);
    host[len] = '\0';
    in.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, host, &in.sin_addr) != 1)
        return false;
    snprintf(page_query, sizeof page_query, "%s", query);
    daemon_handle =
        MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, on_request, NULL, MHD_OPTION_SOCK_ADDR,
                         (struct sockaddr *)&in, MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u, MHD_OPTION_END);
    if (!daemon_handle)
        return false;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon_handle, MHD_DAEMON_INFO_BIND_PORT);
    snprintf(url, url_cap, "http://%s:%u/", host, info ? info->port : (unsigned)atoi(colon + 1));
    return true;
}

void web_stop(void)
{
    if (daemon_handle)
        MHD_stop_daemon(daemon_handle);
    daemon_handle = NULL;
}
