#!/bin/sh
# What examples/modules runs beside the server: says something now and then, and good-bye when it is asked to end.
trap 'echo "the bell is silent"; exit 0' TERM
echo "the bell hangs, pid $$"
while :; do
    sleep 60 &
    wait $!
    echo "ding"
done
