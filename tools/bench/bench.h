/* tools/bench/bench.h: `cereus bench`, the load generator, as a command of the cereus tool. */
#ifndef CRS_BENCH_BENCH_H
#define CRS_BENCH_BENCH_H

/**
 * Run `cereus bench` with what follows on the command line; argv[0] is the name for messages. Prints a table and, as
 * the last line of standard output, the figures as one JSON object.
 * @return 0; 1: the run failed, or there were errors during it; 2: bad options
 */
int crs_cmd_bench(int argc, char **argv);
/** What its --help prints. */
extern const char crs_usage_bench[];

#endif
