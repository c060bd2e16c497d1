#!/bin/sh
# Pipes LINES lines into `send` over a path of MTU bytes, at most RATE a second (0: as fast as it goes), and runs WHAT
# after 0.4 s. With "proxy" behind it, they go through a proxy.
# refused_sends.sh PROGRAM WIRE HOST LINES MTU RATE WHAT [proxy]
T=$1 WIRE=$2 HOST=$3 LINES=$4 MTU=$5 RATE=$6 WHAT=$7 THROUGH=$8 P=
F=$(mktemp)
ip link set lo mtu "$MTU" up
# Until the IPv6 address can be used.
for _ in 1 2 3 4 5 6 7 8 9 10; do ip -6 address show dev lo | grep -q tentative || break; sleep 0.1; done
"$T" listen "$HOST:9000" --wire $WIRE >"$F" 2>/dev/null & L=$!
TO="$HOST:9000"
if [ "$THROUGH" = proxy ]; then TO="$HOST:9001"; "$T" proxy $TO "$HOST:9000" >/dev/null 2>&1 & P=$!; fi
sleep 0.5
if [ "$RATE" = 0 ]; then RATE=; else RATE="--rate $RATE"; fi
[ -z "$WHAT" ] || { sleep 0.4; eval "$WHAT"; } &
yes '{"q":[0.1,0.2,0.3,0.4,0.5,0.6],"t":123456}' | head -"$LINES" | "$T" send "$TO" --wire $WIRE --json $RATE 2>"$F.errors"
echo "{\"exit\": $?, \"lines_of_errors\": $(grep -c ^error "$F.errors")}"
sleep 0.5; kill -INT $L; wait $L; [ -z "$P" ] || kill $P
echo "{\"arrived\": $(grep -c '"t": *123456' "$F")}"
cat "$F.errors"
rm "$F" "$F.errors"
