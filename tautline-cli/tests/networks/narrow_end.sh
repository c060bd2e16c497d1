#!/bin/sh
# From some time on, the client's card takes only small packets. Then the server's card has no room for larger ones: the system
# refuses them with ENOBUFS, and does not tell the size.
# narrow_end.sh PROGRAM WIRE SERVER CLIENT LENGTH
T=$1 WIRE=$2 SERVER=$3 CLIENT=$4 LENGTH=$5
case $SERVER in *:*) NOW=nodad HOST="[$SERVER]" ;; *) NOW= HOST=$SERVER ;; esac
ip link set lo up
unshare -n sleep 60 & N=$!
sleep 0.3
ip link add narrow mtu 9000 type veth peer name wide mtu 9000 netns $N
ip addr add $CLIENT/$LENGTH dev narrow $NOW; ip link set narrow up
nsenter -t $N -n sh -c "ip addr add $SERVER/$LENGTH dev wide $NOW; ip link set wide up"
nsenter -t $N -n "$T" listen $HOST:9000 --wire $WIRE --reply >/dev/null 2>&1 & L=$!
sleep 0.5
"$T" ping $HOST:9000 --wire $WIRE --rate 50 --count 300 --size 3000 -q &
sleep 1.5
ip link set narrow mtu 1300
wait $!
kill $L $N
