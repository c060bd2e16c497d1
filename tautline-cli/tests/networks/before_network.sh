#!/bin/sh
# Both ends start while there is nothing but a loopback that is down. The network comes after one second.
# before_network.sh PROGRAM WIRE ADDRESS LENGTH
T=$1 WIRE=$2 ADDRESS=$3 LENGTH=$4
case $ADDRESS in *:*) NOW=nodad HOST="[$ADDRESS]" ;; *) NOW= HOST=$ADDRESS ;; esac
"$T" listen "$HOST:9000" --wire $WIRE --count 1 & L=$!
(sleep 1; ip link set lo up; ip addr add $ADDRESS/$LENGTH dev lo $NOW) &
if [ $WIRE = classic ]; then
    # That wire cannot tell whether anybody listens yet.
    sleep 2
fi
"$T" send "$HOST:9000" '{"early": true}' --wire $WIRE
echo "exit $?"
sleep 0.5
kill $L 2>/dev/null
