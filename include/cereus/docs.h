/* cereus/docs.h: a server that describes itself: its routes with their message types, and the Protobuf descriptors of
 * these, in the form that Pitaya's command line client and `cereus repl --docs` read. Descriptors come with the
 * registration that protoc-gen-cereus generates, so for most games this is the one call
 *
 *     cereus_app_register_docs(app, "docs", &err);
 */
#ifndef CEREUS_DOCS_H
#define CEREUS_DOCS_H

#include <cereus/handler.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Register the service @p service with two methods: `docs`, which answers protos.Doc with the JSON text of
 * cereus_app_documentation(app, true), and `protos`, which takes protos.ProtoNames and answers protos.ProtoDescriptors.
 * @return as cereus_app_register(). Thread: setup.
 */
CEREUS_API cereus_status cereus_app_register_docs(cereus_app *app, const char *service, cereus_error *err);

/**
 * The same for other servers, as the remotes `docs`, which takes protos.DocMsg and answers protos.Doc, with the names of the
 * types if getProtos is set, and `descriptor`, as `protos` above: the remotes that Pitaya's demos have.
 * @return as cereus_app_register_remote(). Thread: setup.
 */
CEREUS_API cereus_status cereus_app_register_docs_remote(cereus_app *app, const char *name, cereus_error *err);

/** The two methods by themselves, for a table of the game's own. @p name lives as long as the app. */
CEREUS_API cereus_method cereus_docs_method(const char *name);
CEREUS_API cereus_method cereus_descriptors_method(const char *name);

/**
 * All routes of this server, and the remotes that other servers may call, with what they take and give:
 *
 *     {"handlers": {"chat.room.join": {"input": {"name": "string"}, "output": [{"result": "string"}, "error"]}},
 *      "remotes": {}}
 *
 * A message is an object of its fields, a list holds its element, other types go by their names in Go; a raw body is
 * "[]byte", a JSON value "interface {}", no argument null. With @p type_names each message is wrapped once more, as
 * {"*chat.JoinRequest": {...}}. A message inside itself, and one nested very deeply, is the text "*chat.JoinRequest".
 * Remotes, with the built-in ones of "sys", are listed from the start on, and only in a cluster: alone, nobody can call them.
 * One without a reply has the output ["error"], a handler without one [].
 * @return NULL: out of memory. Ownership: gives a new reference. Thread: setup, and any after the start.
 */
CEREUS_API struct json_t *cereus_app_documentation(cereus_app *app, bool type_names);

/**
 * Tell the app what is in .proto files.
 * @param set  a FileDescriptorSet, as `protoc --descriptor_set_out` writes it; copied. A file that is there already is
 *             skipped if it says the same
 * @return CEREUS_OK; CEREUS_E_MALFORMED: not a set; CEREUS_E_EXISTS: a file or message of that name is there and says
 *         something else; CEREUS_E_STATE: the app runs already; CEREUS_E_NOMEM. On failure nothing was added.
 * Thread: setup.
 */
CEREUS_API cereus_status cereus_app_add_descriptors(cereus_app *app, const void *set, size_t len, cereus_error *err);

/**
 * The FileDescriptorProto of the file that holds a message, compressed with gzip.
 * @param name      full name of a message, "chat.JoinRequest", or of a file, "chat.proto". "types.X" is
 *                  google.protobuf.X. The types of this header, protos.Error, protos.Push and those of the
 *                  remotes "sys" are always known
 * @param ret_gzip  set on CEREUS_OK; good as long as the app
 * @return CEREUS_OK; CEREUS_E_NOT_FOUND: "failed to get protobuf message descriptor"
 * Thread: setup, and any after the start.
 */
CEREUS_API cereus_status cereus_app_descriptor(cereus_app *app, const char *name, cereus_slice *ret_gzip,
                                               cereus_error *err);

#ifdef __cplusplus
}
#endif
#endif
