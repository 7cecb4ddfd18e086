/* tools/cereus/commands.h: the commands of the cereus tool that live here; `bench` is in tools/bench. Each gets what
 * follows on the command line, argv[0] being its name, and returns the exit code; 2 means bad options. */
#ifndef CRS_TOOL_COMMANDS_H
#define CRS_TOOL_COMMANDS_H

/** Talk to a server by hand or from a file. 1: a command of a file failed. */
int crs_cmd_repl(int argc, char **argv);

/** Explain bytes of the client protocol. 1: they break it. */
int crs_cmd_wire(int argc, char **argv);

/** Check files of settings, or print all settings. 1: they are wrong. */
int crs_cmd_config(int argc, char **argv);

#endif
