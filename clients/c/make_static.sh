#!/bin/sh
# Make the static client library: everything of the client and what it needs of the core in one object, all names but
# the public ones made local, so that it can be linked next to libcereus.a.
#     make_static.sh OUTPUT CLIENT_ARCHIVE CORE_ARCHIVE
set -eu
object=$1.o
ld -r -o "$object" --whole-archive "$2" --no-whole-archive "$3"
objcopy --wildcard --keep-global-symbol='cereus_client_*' "$object"
rm -f "$1"
ar rcs "$1" "$object"
rm -f "$object"
