#!/bin/sh
# All ends start while there is nothing but a loopback that is down. The network comes after two seconds, so that ends on a busy machine wait long enough to say so.
# With "proxy" behind it, the message goes through a proxy at the same address.
# With "prohibit", the loopback is up, and until the network comes, a route forbids to send to the address.
# before_network.sh PROGRAM WIRE ADDRESS LENGTH [proxy | prohibit]
T=$1 WIRE=$2 ADDRESS=$3 LENGTH=$4 THROUGH=$5 P=
if [ "$THROUGH" = prohibit ]; then ip link set lo up; ip route add prohibit $ADDRESS; fi
case $ADDRESS in *:*) NOW=nodad HOST="[$ADDRESS]" ;; *) NOW= HOST=$ADDRESS ;; esac
"$T" listen "$HOST:9000" --wire $WIRE --count 1 & L=$!
TO="$HOST:9000"
if [ "$THROUGH" = proxy ]; then TO="$HOST:9001"; "$T" proxy $TO "$HOST:9000" & P=$!; fi
(sleep 2; ip route del prohibit $ADDRESS 2>/dev/null; ip link set lo up; ip addr add $ADDRESS/$LENGTH dev lo $NOW) &
if [ $WIRE = classic ]; then
    # That wire cannot tell whether anybody listens yet.
    sleep 3
fi
"$T" send "$TO" '{"early": true}' --wire $WIRE
echo "exit $?"
sleep 0.5
kill $L $P 2>/dev/null
