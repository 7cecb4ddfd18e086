/* examples/chat/web.h: serves the demo's page: the files in web/, and the TypeScript client under /client/. */
#ifndef CHAT_WEB_H
#define CHAT_WEB_H

#include <stdbool.h>
#include <stddef.h>

/** Serve at @p address, HOST:PORT with 0 for any port. @p ws_port is what the page connects to; @p url gets its address. */
bool web_start(const char *address, const char *ws_port, char *url, size_t url_cap);
void web_stop(void);

#endif
