/* examples/chat/web.h: serves the demo's page: the files in web/, and the TypeScript client under /client/. */
#ifndef CHAT_WEB_H
#define CHAT_WEB_H

#include <stdbool.h>
#include <stddef.h>

/** Serve at @p address, HOST:PORT with 0 for any port; @p url gets the page's address. @p query is what the page is told:
 * `port=` where the game is, `type=` the server type that has the chat, when it is not the one that pages connect to. */
bool web_start(const char *address, const char *query, char *url, size_t url_cap);
void web_stop(void);

#endif
