#!/bin/sh
# Builds and measures; writes docs/performance.md. Arguments go to scripts/bench.py: --quick, --row NAME, ...
set -eu
cd "$(dirname "$0")/.."
[ -f build/build.ninja ] || meson setup build
ninja -C build --quiet
case " $* " in
*" --row "* | *" --list "*) exec scripts/bench.py "$@" ;;
*) exec scripts/bench.py --write docs/performance.md "$@" ;;
esac
