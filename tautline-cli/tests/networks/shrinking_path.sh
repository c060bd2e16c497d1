#!/bin/sh
# The path between two ends carries only smaller packets from some time on, beyond a router. Each second then, both ends write
# their black boxes. With "silent", the router tells nobody of packets that are too large.
# shrinking_path.sh PROGRAM PLANT told|silent FOLDER
T=$1 PLANT=$2 ROUTER=$3 FOLDER=$4
# Connects the router with the host whose process this is, by a cable and a network with these names.
connect() {
    ip link add $2 type veth peer name eth netns $1
    ip addr add 10.78.$3.2/24 dev $2; ip addr add fd78:$3::2/64 dev $2 nodad; ip link set $2 up
    nsenter -t $1 -n sh -c "ip addr add 10.78.$3.1/24 dev eth; ip addr add fd78:$3::1/64 dev eth nodad
        ip link set eth up; ip route add default via 10.78.$3.2; ip -6 route add default via fd78:$3::2"
}
ip link set lo up
unshare -n sleep 60 & C=$!
unshare -n sleep 60 & P=$!
sleep 0.3
connect $C near 1; connect $P far 2
echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
nsenter -t $P -n "$T" listen $PLANT --reply --black-box "$FOLDER/plant" >/dev/null 2>&1 & L=$!
sleep 0.5
nsenter -t $C -n "$T" ping $PLANT --rate 600 --size 1380 -q --black-box "$FOLDER/controller" >/dev/null 2>&1 & S=$!
sleep 6
if [ $ROUTER = silent ]; then
    # What the router itself sends is dropped. What it forwards is not.
    ip rule add from 10.78.1.2 blackhole; ip rule add from 10.78.2.2 blackhole; ip -6 rule add iif lo blackhole
fi
ip link set far mtu 1300; nsenter -t $P -n ip link set eth mtu 1300
for second in 1 2 3 4 5 6; do sleep 1; kill -USR2 $L $S; done
sleep 1
kill $L $S $C $P
wait
