#!/bin/sh
# A server at all addresses is called at each of them, directly and through a proxy at all addresses.
# second_address.sh PROGRAM LISTEN PROXY ADDRESS...
T=$1 LISTEN=$2 PROXY=$3
shift 3
ip link set lo up
for address in 10.0.0.1/24 10.0.0.2/24; do ip addr add $address dev lo; done
for address in fd00::1/64 fd00::2/64; do ip addr add $address dev lo nodad; done
for wire in native classic; do
    "$T" listen "$LISTEN:9000" --wire $wire --reply >/dev/null 2>&1 & L=$!
    "$T" proxy "$PROXY:9001" "$2:9000" >/dev/null 2>&1 & P=$!
    sleep 0.4
    for address in "$@"; do
        for port in 9000 9001; do
            timeout 12 "$T" ping "$address:$port" --wire $wire --count 3 -W 10 -q >/dev/null 2>&1
            echo "$wire $address:$port exit $?"
        done
    done
    kill $L $P
    wait $L $P 2>/dev/null
done
