/* tools/cereus/main.c: the cereus tool: the first argument names a command, the rest is the command's. */
#include <stdio.h>
#include <string.h>

#include "bench.h"

typedef struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *text;
} command;

static const command commands[] = {
    {"bench", crs_cmd_bench, "load a server and report rate, latency and its CPU time"},
};

static int usage(FILE *out)
{
    fputs("usage: cereus COMMAND [options]\n\n", out);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].text);
    fputs("\n`cereus COMMAND --help` tells more.\n", out);
    return out == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return usage(stderr);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    return usage(strcmp(argv[1], "--help") == 0 ? stdout : stderr);
}
