/* tools/cereus/commands.h: the commands of the cereus tool that live here; `bench` is in tools/bench. Each gets what
 * follows on the command line, argv[0] being its name, and returns the exit code; 2 means bad options. */
#ifndef CRS_TOOL_COMMANDS_H
#define CRS_TOOL_COMMANDS_H

#include <stddef.h>

/** A command: what runs, what `cereus help` says of it, and what its own --help prints, where completions find its flags
 * too: in lines that begin with a dash. */
typedef struct crs_command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *text;  /* NULL: not listed */
    const char *usage; /* NULL: no flags */
} crs_command;

/** All of them. */
const crs_command *crs_commands(size_t *ret_count);

extern const char crs_usage_repl[], crs_usage_wire[], crs_usage_config[], crs_usage_new[], crs_usage_completion[],
    crs_usage_top[];

/** Talk to a server by hand or from a file. 1: a command of a file failed. */
int crs_cmd_repl(int argc, char **argv);

/** Explain bytes of the client protocol. 1: they break it. */
int crs_cmd_wire(int argc, char **argv);

/** Check files of settings, or print all settings. 1: they are wrong. */
int crs_cmd_config(int argc, char **argv);

/** Write a game to begin with. 1: the folder exists, or cannot be written. */
int crs_cmd_new(int argc, char **argv);

/** Show the servers of this machine. 1: there are none (--once). */
int crs_cmd_top(int argc, char **argv);

/** Print the completions of a shell. */
int crs_cmd_completion(int argc, char **argv);

#endif
