/* tools/protoc-gen-cereus/model.h: what a request of protoc says, as far as a header of ours depends on it: services,
 * methods, pushes, each with its C names. Everything in it is checked: names are identifiers and free,
 * routes fit on the wire, types exist. All of it lives in the arena that it was made in.
 */
#ifndef CRS_PROTOGEN_MODEL_H
#define CRS_PROTOGEN_MODEL_H

#include <cereus/handler.h>
#include <cereus/rules.h>

#include "base/arena.h"
#include "base/buf.h"

/** A message as protoc-gen-c writes it. */
typedef struct crs_gen_type {
    const char *name;       /* "chat.JoinRequest" */
    const char *c_type;     /* "Chat__JoinRequest" */
    const char *descriptor; /* "chat__join_request__descriptor" */
    const char *header;     /* "chat.pb-c.h" */
} crs_gen_type;

typedef struct crs_gen_method {
    const char *name;        /* "Join" */
    const char *member;      /* "join" */
    const char *thunk;       /* "chat_room_call_join_" */
    const char *route;       /* "join" */
    const char *rpc_fn;      /* "chat_room_join_rpc"; NULL: clients call it */
    const char *rpc_route;   /* "chat.room.join"; NULL likewise */
    const char *comment;     /* from the .proto; NULL: none */
    const crs_gen_type *in;  /* NULL: the body is ignored */
    const crs_gen_type *out; /* NULL: a notify */
    bool concurrent;
} crs_gen_method;

typedef struct crs_gen_service {
    const char *name;        /* "Room" */
    const char *type;        /* "chat_room_service" */
    const char *register_fn; /* "chat_room_register", with "_remote" if it is for servers */
    const char *route;       /* "room" */
    const char *comment;     /* NULL: none */
    const char *server;      /* of one for servers: their type; NULL: for clients */
    bool has_home;
    cereus_home home;
    crs_gen_method *methods;
    size_t method_count; /* 1 or more */
} crs_gen_service;

typedef struct crs_gen_push {
    const char *fn, *group_fn, *users_fn; /* "chat_push_on_new_user", with "_group", with "_users" */
    const char *route;                    /* "onNewUser" */
    const char *comment;                  /* of the message; NULL: none */
    const crs_gen_type *type;
} crs_gen_push;

/** The rules of a message's fields. */
typedef struct crs_gen_rules {
    const crs_gen_type *type;
    cereus_rule *rules;
    size_t count; /* 1 or more */
} crs_gen_rules;

/** What the file's messages look like: a FileDescriptorSet of it and of the files whose types it uses, as clients need it:
 * without comments, services and the options of plug-ins; imported are the files whose types are used. */
typedef struct crs_gen_describe {
    const char *fn; /* "a_chat_proto_describe" */
    cereus_slice set;
    crs_gen_rules *rules; /* of all its messages that have some */
    size_t rules_count;
} crs_gen_describe;

typedef struct crs_gen_file {
    const char *proto;  /* "a/chat.proto" */
    const char *output; /* "a/chat.cereus.h" */
    const char *header; /* "a/chat.pb-c.h" */
    const char *guard;
    crs_gen_service *services;
    size_t service_count;
    crs_gen_push *pushes;
    size_t push_count;
    crs_gen_describe describe;
} crs_gen_file;

/**
 * Read and check a request.
 * @param request    what protoc wrote to our standard input
 * @param mistakes   appended to: what is wrong with the .proto files, a line each without a newline at the very end;
 *                   then there are no files
 * @param ret_files  set on CEREUS_OK
 * @return CEREUS_OK, also with mistakes; CEREUS_E_MALFORMED: not a request as protoc writes it; CEREUS_E_NOMEM
 * Ownership: *ret_files is the arena's.
 */
cereus_status crs_gen_read(cereus_slice request, crs_arena *arena, crs_bytes *mistakes, crs_gen_file **ret_files,
                           size_t *ret_count, cereus_error *err);

#endif
