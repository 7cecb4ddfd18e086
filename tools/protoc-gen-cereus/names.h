/* tools/protoc-gen-cereus/names.h: names of a .proto as the names of C: ours in snake_case, and those that protoc-gen-c
 * gives to messages, which have to come out exactly as it writes them. All results are the arena's; NULL: out of memory.
 */
#ifndef CRS_PROTOGEN_NAMES_H
#define CRS_PROTOGEN_NAMES_H

#include "base/arena.h"

/** JoinRoom, joinRoom, JOINRoom, join_room: "join_room". What is neither letter nor digit, a dot say, becomes '_'. */
char *crs_name_snake(crs_arena *a, const char *name);
/** JoinRoom, join_room: "joinroom", as a Pitaya server calls the routes of its methods. */
char *crs_name_flat(crs_arena *a, const char *name);
/** The struct that protoc-gen-c makes of a message: package "my.chat", name "Room.user": "My__Chat__Room__User". */
char *crs_name_c_type(crs_arena *a, const char *package, const char *name);
/** Its descriptor: "my__chat__room__user__descriptor". */
char *crs_name_c_descriptor(crs_arena *a, const char *package, const char *name);
/** A file's name inside an include guard, as protoc-gen-c writes it: "a/chat.proto": "a_2fchat_2eproto". */
char *crs_name_guard(crs_arena *a, const char *file);

/** Letters, digits and '_', no digit in front; with @p dots several of those joined by dots. */
bool crs_name_is_identifier(const char *name, bool dots);
/** Can @p name not name a member of a struct in C? */
bool crs_name_is_taken_by_c(const char *name);

#endif
