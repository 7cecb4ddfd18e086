#!/bin/sh
# Make a static library for users: everything of the first archive, and what it needs of the others, in one object with
# all names but the public ones made local. So our inner names meet nobody else's in a program, not even those of another
# of our libraries.
#     make_static.sh OUTPUT PUBLIC_NAMES ARCHIVE [ARCHIVE...]     PUBLIC_NAMES: 'cereus_*'
set -eu
output=$1 names=$2 whole=$3
shift 3
ld -r -o "$output.o" --whole-archive "$whole" --no-whole-archive "$@"
objcopy --wildcard --keep-global-symbol="$names" "$output.o"
rm -f "$output"
ar rcsD "$output" "$output.o"
rm -f "$output.o"
