#!/bin/sh
# The name "plant" means another address after a while. Prints what a ping of 50 messages at 10 Hz prints.
# With "proxy", another server is there, and the ping goes through a proxy that knows the name. Else the server itself is bound by
# the name, and loses the address that the name had.
# moving_name.sh PROGRAM WIRE OLD NEW LENGTH [proxy]
T=$1 WIRE=$2 OLD=$3 NEW=$4 LENGTH=$5 THROUGH=$6
case $OLD in *:*) NOW=nodad AT="[$OLD]" THEN="[$NEW]" ;; *) NOW= AT=$OLD THEN=$NEW ;; esac
export TAUTLINE_LIVENESS_TIMEOUT=500ms
HOSTS=$(mktemp)
echo "$OLD plant" >"$HOSTS"
mount --make-rprivate / && mount --bind "$HOSTS" /etc/hosts || exit 1
ip link set lo up
ip addr add $OLD/$LENGTH dev lo $NOW; ip addr add $NEW/$LENGTH dev lo $NOW
if [ "$THROUGH" = proxy ]; then
    "$T" listen "$AT:9000" --reply --wire $WIRE >/dev/null 2>&1 & L=$!
    TO=localhost:9001; echo "127.0.0.1 localhost" >>"$HOSTS"
    "$T" proxy $TO plant:9000 >/dev/null 2>&1 & X=$!
else
    "$T" listen plant:9000 --reply --wire $WIRE >/dev/null 2>&1 & L=$!
    TO=plant:9000
fi
sleep 0.5
timeout 20 "$T" ping $TO --wire $WIRE --rate 10 --count 50 -q --timeout 200ms & P=$!
sleep 1.5
if [ "$THROUGH" = proxy ]; then
    # It does not say goodbye.
    kill -KILL $L
    "$T" listen "$THEN:9000" --reply --wire $WIRE >/dev/null 2>&1 & L=$!
else
    ip addr del $OLD/$LENGTH dev lo
fi
{ echo "$NEW plant"; echo "127.0.0.1 localhost"; } >"$HOSTS"
wait $P
kill $L $X
rm "$HOSTS"
