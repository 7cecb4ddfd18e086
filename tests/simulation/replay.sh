#!/bin/sh
# Does a seed do the same again, to the byte, in another process?
#     replay.sh SIMULATION
set -eu
for seed in 2 3 6; do
    first=$("$1" --trace $seed)
    again=$("$1" --trace $seed)
    [ "$first" = "$again" ] || { echo "seed $seed: $first, and then $again"; exit 1; }
    [ "$first" != "${before:-}" ] || { echo "seed $seed does what the one before did"; exit 1; }
    before=$first
done
