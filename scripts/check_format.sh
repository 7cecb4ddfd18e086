#!/bin/sh
# Is every C file laid out as .clang-format says? Exit 77 (skipped) without the one version that all of us use: others
# lay out differently.
#     scripts/check_format.sh          report
#     scripts/check_format.sh --fix    rewrite the files
set -eu
cd "$(dirname "$0")/.."
tool=clang-format-14
if ! command -v $tool >/dev/null 2>&1; then
    echo "skipped: $tool is not installed"
    exit 77
fi
how="--dry-run -Werror"
[ "${1:-}" = --fix ] && how=-i
# shellcheck disable=SC2086 # $how is one or two options
find include src tests tools examples clients/c testkit daemon cli bench \( -name build -o -name node_modules \) -prune -o \
    \( -name '*.c' -o -name '*.h' \) -print0 2>/dev/null | xargs -0 -r $tool $how
