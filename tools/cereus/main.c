/* tools/cereus/main.c: the cereus tool: the first argument names a command, the rest is the command's. */
#include <stdio.h>
#include <string.h>

#include <cereus/types.h>

#include "bench.h"
#include "commands.h"

static int version(int argc, char **argv)
{
    puts("cereus " CEREUS_VERSION);
    return 0;
}

static int help(int argc, char **argv);

static const crs_command commands[] = {
    {"new", crs_cmd_new, "make a game to begin with, that builds, runs and has a test", crs_usage_new},
    {"repl", crs_cmd_repl, "talk to a server, by hand or from a file", crs_usage_repl},
    {"top", crs_cmd_top, "the servers of a cluster, live", crs_usage_top},
    {"wire", crs_cmd_wire, "explain bytes of the client protocol", crs_usage_wire},
    {"bench", crs_cmd_bench, "load a server and report rate, latency and its CPU time", crs_usage_bench},
    {"config", crs_cmd_config, "check a server's settings, or print them all with where they are from",
     crs_usage_config},
    {"version", version, "print the version", NULL},
    {"help", help, "print this", NULL},
    {"completion", crs_cmd_completion, NULL, crs_usage_completion},
};

const crs_command *crs_commands(size_t *ret_count)
{
    *ret_count = CEREUS_COUNT(commands);
    return commands;
}

static int usage(FILE *out)
{
    fputs("usage: cereus COMMAND [options]\n\n", out);
    for (size_t i = 0; i < CEREUS_COUNT(commands); i++)
        if (commands[i].text)
            fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].text);
    fputs("\n`cereus COMMAND --help` tells more.\n", out);
    return out == stdout ? 0 : 2;
}

static int help(int argc, char **argv)
{
    return usage(stdout);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return usage(stderr);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return usage(stdout);
    if (strcmp(argv[1], "--version") == 0)
        return version(0, NULL);
    for (size_t i = 0; i < CEREUS_COUNT(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "cereus: no command called %s\n", argv[1]);
    return usage(stderr);
}
