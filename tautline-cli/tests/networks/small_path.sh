#!/bin/sh
# A path smaller than Ethernet's: streams and batches, then large messages, directly and through a proxy.
# small_path.sh PROGRAM MTU HOST
T=$1 MTU=$2 HOST=$3
ip link set lo mtu "$MTU" up
# Prints what a bench of this wire finds.
bench() {
    "$T" bench serve "$HOST:9002" --wire $1 >/dev/null 2>&1 & S=$!
    sleep 0.4
    "$T" bench throughput "$HOST:9002" --seconds 0.3 --json "--wire" "$@" 2>&1
    kill $S
    wait $S 2>/dev/null
}
bench native
bench native --batch 40
bench classic
for wire in native classic; do
    "$T" listen "$HOST:9000" --wire $wire --reply >/dev/null 2>&1 & L=$!
    "$T" proxy "$HOST:9001" "$HOST:9000" >/dev/null 2>&1 & P=$!
    sleep 0.4
    for port in 9000 9001; do
        timeout 12 "$T" ping "$HOST:$port" --wire $wire --count 20 --size 3000 --quiet --json 2>&1
    done
    kill $L $P
    wait $L $P 2>/dev/null
done
