#!/bin/sh
# Does the shared library export cereus_ symbols and nothing else?
#     scripts/check_exports.sh LIBRARY
set -eu
names=$(nm -D --defined-only "$1" | awk '{ print $3 }')
if ! printf '%s\n' "$names" | grep -q '^cereus_'; then
    echo "$1 exports no cereus_ symbol at all"
    exit 1
fi
# the address sanitizer exports marks of its own
others=$(printf '%s\n' "$names" | grep -v -e '^cereus_' -e '^__odr_asan' -e '^$' || true)
if [ -n "$others" ]; then
    printf 'exported, but not part of the API:\n%s\n' "$others"
    exit 1
fi
