/* tests/support/cluster.h: servers of a cluster in the test's process, over real sockets: they meet in a directory of the test's
 * own. */
#ifndef TEST_CLUSTER_H
#define TEST_CLUSTER_H

#include "test.h"

#include <cereus/cereus.h>
#include <cereus/cluster.h>
#include <cereus/test.h>
#include <unistd.h>

static char test_dir[64];

static inline int test_make_dir(void **state)
{
    strcpy(test_dir, "/tmp/cereus-test-XXXXXX");
    return mkdtemp(test_dir) ? 0 : -1;
}

static inline int test_remove_dir(void **state)
{
    return rmdir(test_dir); /* fails when a server has left something behind */
}

/** A server to be set up further and started. */
static inline cereus_test_app *test_member(const char *type, const char *id, bool frontend)
{
    cereus_app *app = cereus_app_new(&(cereus_app_options){.type = type, .frontend = frontend, .cluster = true});
    cereus_test_app *t = cereus_test_new(app, CEREUS_TEST_SOCKETS);
    cereus_test_set(t, "cereus.id", id);
    cereus_test_set(t, "cereus.cluster.dir", test_dir);
    cereus_test_set(t, "cereus.log.level", "warn");
    return t;
}

#endif
