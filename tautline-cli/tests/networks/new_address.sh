#!/bin/sh
# The address of the client's machine changes while the link is up. Prints what a ping of 50 messages at 10 Hz prints.
# With "proxy" behind it, the ping goes through a proxy on the client's machine.
# new_address.sh PROGRAM WIRE SERVER OLD NEW LENGTH [proxy]
T=$1 WIRE=$2 SERVER=$3 OLD=$4/$6 NEW=$5/$6 LENGTH=$6
# IPv6 addresses are to be there at once; and silence is noticed as early on both wires.
case $SERVER in *:*) NOW=nodad HOST="[$SERVER]" ;; *) NOW= HOST=$SERVER ;; esac
export TAUTLINE_LIVENESS_TIMEOUT=500ms
ip link set lo up
ip link add va0 type veth peer name vb0
unshare -n sleep 30 & N=$!
sleep 0.3
ip link set vb0 netns $N
ip addr add $OLD dev va0 $NOW; ip link set va0 up
nsenter -t $N -n sh -c "ip link set lo up; ip addr add $SERVER/$LENGTH dev vb0 $NOW; ip link set vb0 up"
nsenter -t $N -n "$T" listen "$HOST:9000" --reply --wire $WIRE >/dev/null 2>&1 & L=$!
TO="$HOST:9000" X=
if [ "$7" = proxy ]; then TO=127.0.0.1:9001; "$T" proxy $TO "$HOST:9000" --json >/dev/null 2>&1 & X=$!; fi
sleep 0.5
timeout 20 "$T" ping "$TO" --wire $WIRE --rate 10 --count 50 -q --timeout 200ms & P=$!
sleep 1.5
ip addr del $OLD dev va0; ip addr add $NEW dev va0 $NOW
wait $P
kill $L $N $X
