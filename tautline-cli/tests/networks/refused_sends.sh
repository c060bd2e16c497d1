# Pipes LINES lines into `send` over a path of MTU bytes, at most RATE a second (0: as fast as it goes), and runs WHAT
# after 0.4 s. Usage: sh refused_sends.sh PROGRAM ADDRESS LINES MTU RATE WHAT
T=$1; ADDRESS=$2; LINES=$3; MTU=$4; RATE=$5; WHAT=$6
F=$(mktemp)
ip link set lo mtu "$MTU" up
# Until the IPv6 address can be used.
for _ in 1 2 3 4 5 6 7 8 9 10; do ip -6 address show dev lo | grep -q tentative || break; sleep 0.1; done
"$T" listen "$ADDRESS" >"$F" 2>/dev/null & L=$!
sleep 0.5
if [ "$RATE" = 0 ]; then RATE=; else RATE="--rate $RATE"; fi
[ -z "$WHAT" ] || { sleep 0.4; eval "$WHAT"; } &
yes '{"q":[0.1,0.2,0.3,0.4,0.5,0.6],"t":123456}' | head -"$LINES" | "$T" send "$ADDRESS" --json $RATE 2>"$F.errors"
echo "{\"exit\": $?, \"lines_of_errors\": $(grep -c ^error "$F.errors")}"
sleep 0.5; kill -INT $L; wait $L
echo "{\"arrived\": $(grep -c '"t": *123456' "$F")}"
cat "$F.errors"
rm "$F" "$F.errors"
