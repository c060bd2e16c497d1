"""Two Python processes over loopback: round trips of 64 bytes of tautline beside other libraries, and messages a second beside a
stand-in of the Python module, in turns.

    pip install ./tautline-py pyzmq eclipse-zenoh cyclonedds
    python tautline-py/bench/run.py [--rounds 5] [--messages 2000] [--seconds 2] [NAME ...]

Prints two tables. A library that is not installed is left out. Each library runs in every round, so that a busy moment of the machine meets all of them.
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys

from peers import PEERS, STREAMS

PEER = str(pathlib.Path(__file__).with_name("peers.py"))


def measure(name: str, messages: int) -> list[int]:
    """Runs one client against one server."""
    server = subprocess.Popen(
        [sys.executable, PEER, name, "server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        arguments = [sys.executable, PEER, name, "client", address, str(messages)]
        result = subprocess.run(arguments, capture_output=True, text=True, timeout=60 + messages / 100)
        if result.returncode != 0:
            raise RuntimeError(result.stderr)
        return [int(line) for line in result.stdout.split()]
    finally:
        server.kill()
        server.wait()


def stream(name: str, seconds: int) -> tuple[int, int, int]:
    """Runs one sender against one receiver. Returns how many were sent and received, and how many were received in a second."""
    server = subprocess.Popen([sys.executable, PEER, name, "server"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        arguments = [sys.executable, PEER, name, "client", address, str(seconds)]
        sent = int(subprocess.run(arguments, capture_output=True, text=True, timeout=60 + seconds, check=True).stdout)
        received, rate = map(int, server.stdout.readline().split())
        return sent, received, rate
    finally:
        server.kill()
        server.wait()


def percentile(times: list[int], part: float) -> float:
    """In microseconds."""
    return sorted(times)[min(len(times) - 1, int(len(times) * part))] / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("names", nargs="*", default=[*PEERS, *STREAMS], metavar="NAME")
    options = parser.parse_args()
    round_trips([name for name in options.names if name in PEERS], options)
    streams([name for name in options.names if name in STREAMS], options)


def round_trips(names: list[str], options: argparse.Namespace) -> None:
    times: dict[str, list[int]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in list(times):
            try:
                times[name] += measure(name, options.messages)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(f"{name} is left out: {str(error).strip().splitlines()[-1:]}", file=sys.stderr)
                del times[name]
    print("| round trip, 64 bytes | p50 | p99 | p99.9 |\n|---|---:|---:|---:|")
    for name, found in times.items():
        parts = " | ".join(f"{percentile(found, part):.1f} µs" for part in (0.5, 0.99, 0.999))
        print(f"| {name} | {parts} |")


def streams(names: list[str], options: argparse.Namespace) -> None:
    found: dict[str, list[tuple[int, int, int]]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            found[name].append(stream(name, options.seconds))
    print("\n| messages a second | median | sent | received |\n|---|---:|---:|---:|")
    for name, runs in found.items():
        sent, received, rate = sorted(runs, key=lambda run: run[2])[len(runs) // 2]
        print(f"| {name} | {rate:,} | {sent:,} | {received:,} |")


if __name__ == "__main__":
    main()
