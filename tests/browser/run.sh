#!/bin/sh
# Builds the TypeScript client if its sources are newer than dist/, then runs the given node:test files. Exit code 77,
# which Meson counts as skipped, if what that takes is not installed.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)

skip() {
    echo "skipped: $1"
    exit 77
}
command -v node >/dev/null || skip "no node"
[ -x "$root/clients/typescript/node_modules/.bin/tsc" ] || skip "run npm ci in clients/typescript"
"$root/scripts/build_client.sh"
exec node --test "$@"
