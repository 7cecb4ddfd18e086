#!/bin/sh
# Does a library export cereus_ symbols (or those with another prefix) and nothing else?
#     scripts/check_exports.sh LIBRARY [PREFIX]
set -eu
prefix=${2:-cereus_}
case $1 in
*.a) names=$(nm -g --defined-only "$1" | awk 'NF == 3 { print $3 }') ;;
*) names=$(nm -D --defined-only "$1" | awk '$2 != "A" { print $3 }') # A: the version node itself
    if printf '%s\n' "$names" | grep -v -e '^__odr_asan' -e '^$' | grep -qv '@@CEREUS_'; then
        echo "$1 exports names without a version; is its map linked in?"
        exit 1
    fi
    ;;
esac
if ! printf '%s\n' "$names" | grep -q "^$prefix"; then
    echo "$1 exports no $prefix symbol at all"
    exit 1
fi
# the address sanitizer exports marks of its own
others=$(printf '%s\n' "$names" | grep -v -e "^$prefix" -e '^__odr_asan' -e '^$' || true)
if [ -n "$others" ]; then
    printf 'exported, but not part of the API:\n%s\n' "$others"
    exit 1
fi
