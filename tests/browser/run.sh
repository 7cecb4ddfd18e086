#!/bin/sh
# Builds the TypeScript client if its sources are newer than dist/, then runs the given node:test files. Exit code 77,
# which Meson counts as skipped, if what that takes is not installed.
set -eu
client=$(cd "$(dirname "$0")/../../clients/typescript" && pwd)

skip() {
    echo "skipped: $1"
    exit 77
}
command -v node >/dev/null || skip "no node"
[ -x "$client/node_modules/.bin/tsc" ] || skip "run npm ci in clients/typescript"

# Tests run in parallel and share dist/: the first builds, the others wait and find it done.
(
    flock 9
    if [ ! -e "$client/dist/.built" ] || [ -n "$(find "$client/src" "$client"/*.json -newer "$client/dist/.built")" ]; then
        cd "$client"
        node_modules/.bin/tsc -p tsconfig.json
        node_modules/.bin/tsc -p tsconfig.node.json
        touch dist/.built
    fi
) 9>"$client/node_modules/.lock"

exec node --test "$@"
