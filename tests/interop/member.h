/* tests/interop/member.h: what both servers of this folder do alike: be a member of a cluster with etcd and NATS, started by
 * flags, ended by a signal. On the public interface only. */
#ifndef TESTS_INTEROP_MEMBER_H
#define TESTS_INTEROP_MEMBER_H

#include <cereus/cereus.h>

enum { EXIT_USAGE = 2 };

typedef struct member_flags {
    const char *program; /* for complaints */
    const char *type;
    const char *id; /* NULL: a random one */
    bool frontend;
    const char *port; /* of the TCP listener of a frontend */
    const char *etcd; /* NULL: what the environment says, else the defaults; as the next four */
    const char *nats;
    const char *prefix;
    const char *serializer;
    const char *groups; /* where they are kept: memory or etcd */
    bool grpc;
    const char *grpc_port;
    bool debug;
    const char **sets; /* KEY=VALUE, applied last */
    size_t set_count;
    const char **metas; /* K=V */
    size_t meta_count;
} member_flags;

/** Say what is wrong with the command line. Returns EXIT_USAGE. */
int member_complain(const member_flags *flags, const char *what, const char *detail);

/** Make the app, call @p prepare to register what it serves, run it until a signal says to end; @p up is called when it is
 * registered. @return the exit code */
int member_run(const member_flags *flags, cereus_status (*prepare)(cereus_app *app, cereus_error *err),
               void (*up)(cereus_app *app));

#endif
