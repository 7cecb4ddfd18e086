#!/bin/sh
# A file in the repository that a program prints.
#     scripts/update_generated.sh FILE COMMAND...          write it
#     scripts/update_generated.sh --check FILE COMMAND...  is it what the program prints today?
set -eu
check=no
if [ "$1" = --check ]; then
    check=yes
    shift
fi
file=$1
shift
fresh=$(mktemp)
trap 'rm -f "$fresh"' EXIT
"$@" >"$fresh"
if [ $check = no ]; then
    cp "$fresh" "$file"
elif ! diff -u "$file" "$fresh"; then
    echo "$file is stale: build the target update_$(basename "$1" | sed 's/^gen_//')"
    exit 1
fi
