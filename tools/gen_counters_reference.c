/* tools/gen_counters_reference.c: prints docs/reference/counters.md from src/base/metrics.def. */
#include <stdio.h>

#include "base/counters.h"

int main(void)
{
    puts("# Counters\n\n"
         "What a server counts, summed over its loops. Read one with `cereus_app_counter(app, \"name\")`.\n"
         "This page is made from `src/base/metrics.def`: `ninja -C build update_counters_reference`.\n\n"
         "| name | counts |\n|---|---|");
    for (size_t i = 0; crs_counter_name(i); i++)
        printf("| `%s` | %s |\n", crs_counter_name(i), crs_counter_text(i));
    return 0;
}
