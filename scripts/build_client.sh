#!/bin/sh
# Builds the TypeScript client into clients/typescript/dist, unless that is newer than its sources.
set -eu
cd "$(dirname "$0")/../clients/typescript"
[ -x node_modules/.bin/tsc ] && [ ! package-lock.json -nt node_modules ] || { npm ci --silent && touch node_modules; }
(
    flock 9 # the browser tests do the same
    if [ ! -e dist/.built ] || [ -n "$(find src ./*.json -newer dist/.built)" ]; then
        node_modules/.bin/tsc -p tsconfig.json
        node_modules/.bin/tsc -p tsconfig.node.json
        touch dist/.built
    fi
) 9>node_modules/.lock
