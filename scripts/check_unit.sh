#!/bin/sh
# Is the systemd unit template well-formed? systemd-analyze reads it as the manager would, under the name of an instance and
# with a program that exists on this machine.
#     scripts/check_unit.sh UNIT
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|; /^Documentation=/d' "$1" >"$folder/cereus@game.service"
grep -q '^ExecStart=/bin/true --config /etc/cereus/%i.yaml$' "$folder/cereus@game.service"
out=$(systemd-analyze verify --man=no "$folder/cereus@game.service" 2>&1) || { echo "$out"; exit 1; }
# unknown settings are only warned about; other units of the machine are not our business
if echo "$out" | grep -F "$folder"; then exit 1; fi
