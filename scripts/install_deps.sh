#!/bin/sh
# Installs the Debian packages that are missing, and nothing else.
#     scripts/install_deps.sh build [test] [bench]
set -eu
packages_build="gcc g++ make meson ninja-build pkg-config python3 git libuv1-dev libboost-context-dev libprotobuf-c-dev
    protobuf-c-compiler protobuf-compiler libprotobuf-dev libprotoc-dev zlib1g-dev libssl-dev libyaml-dev libjansson-dev
    libmicrohttpd-dev libnats-dev libnghttp2-dev libcmocka-dev"
packages_test="clang-format-14 bsdextrautils chromium cmake debhelper dpkg-dev etcd-server fakeroot fish groff-base man-db
    nats-server openssl procps python3-venv systemd zsh"

packages_bench="nats-server openssl"

wanted=""
for set in "$@"; do
    case $set in
    build) wanted="$wanted $packages_build" ;;
    test) wanted="$wanted $packages_test" ;;
    bench) wanted="$wanted $packages_bench" ;;
    *) echo "install_deps.sh: no set called $set" >&2; exit 2 ;;
    esac
done
missing=""
for package in $wanted; do
    dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
# a Node.js from elsewhere is as good as Debian's, and the two do not get along
command -v node >/dev/null || missing="$missing nodejs"
command -v npm >/dev/null || missing="$missing npm"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then sudo=""; else sudo="sudo"; fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q >/dev/null
# shellcheck disable=SC2086 # a list of words
$sudo apt-get install -y -q --no-install-recommends $missing >/dev/null
