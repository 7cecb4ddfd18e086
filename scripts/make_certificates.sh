#!/bin/sh
# Makes what tests of TLS need, in the folder given: server.crt and server.key, other.crt and other.key (another pair),
# locked.key (server.key behind a password), expired.crt and expired.key.
set -eu
cd "$1"
for name in server other; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=$name" \
        -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" -keyout $name.key -out $name.crt 2>/dev/null
done
openssl req -new -key other.key -subj /CN=expired -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" |
    openssl x509 -req -signkey other.key -copy_extensions copy -days -1 -out expired.crt 2>/dev/null
cp other.key expired.key
openssl ec -in server.key -aes128 -passout pass:secret -out locked.key 2>/dev/null
