"""Two Python processes over loopback: round trips of 64 bytes of tautline beside other libraries, and messages a second beside a
stand-in of the Python module, in turns.

    pip install ./tautline-py pyzmq eclipse-zenoh cyclonedds
    python tautline-py/bench/run.py [--rounds 5] [--messages 2000] [--seconds 2] [NAME ...]

Prints two tables for docs/benchmarks.md, with the goals beside. A library that is not installed is left out. Each library runs in every
round, so that a busy moment of the machine meets all of them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
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


def title(peer: type) -> str:
    """What a row is called: the first sentence about the library, with its version if it is another one's."""
    text = (peer.__doc__ or "").strip().rstrip(".")
    package = PACKAGES.get(peer.__name__)
    return f"{text} {importlib.metadata.version(package)}" if package else text


PACKAGES = {"Zmq": "pyzmq", "Zenoh": "eclipse-zenoh", "Dds": "cyclonedds"}

Percentiles = tuple[float, float, float]


def round_trips(names: list[str], options: argparse.Namespace) -> None:
    times: dict[str, list[int]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in list(times):
            try:
                times[name] += measure(name, options.messages)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(f"{name} is left out: {str(error).strip().splitlines()[-1:]}", file=sys.stderr)
                del times[name]
    found = {name: tuple(percentile(part, at) for at in (0.5, 0.99, 0.999)) for name, part in times.items()}
    print("| round trip, 64 bytes raw | p50 | p99 | p99.9 | goal | met |\n|---|---:|---:|---:|---|---|")
    for name, (p50, p99, p999) in found.items():
        goal, is_met = goal_of_round_trip(name, found)
        print(f"| {title(PEERS[name])} | {p50:.1f} µs | {p99:.1f} µs | {p999:.1f} µs | {goal} | {is_met} |")


def goal_of_round_trip(name: str, found: dict[str, Percentiles]) -> tuple[str, str]:
    """The goal of a row, how far it is reached, and whether it is."""
    if name == "tautline" and "socket" in found:
        ratios = [ours / theirs for ours, theirs in zip(found[name], found["socket"])][:2]
        others = [found[other] for other in ("pyzmq", "zenoh", "cyclonedds", "asyncio") if other in found]
        is_ahead = all(ours <= theirs for other in others for ours, theirs in zip(found[name][:2], other))
        goal = "p50 and p99 at most 1.5 of the sockets: {:.2f}, {:.2f}; ahead of the other libraries: {}".format(
            *ratios, yes(is_ahead)
        )
        return goal, yes(max(ratios) <= 1.5 and is_ahead)
    if name == "tautline-asyncio-1khz" and "asyncio-1khz" in found:
        ratio = found[name][1] / found["asyncio-1khz"][1]
        return f"p99 at most that of asyncio: {ratio:.2f}", yes(ratio <= 1)
    return "", ""


def yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def streams(names: list[str], options: argparse.Namespace) -> None:
    found: dict[str, list[tuple[int, int, int]]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            found[name].append(stream(name, options.seconds))
    print("\n| messages a second | median | sent | received | goal | met |\n|---|---:|---:|---:|---|---|")
    middle = {name: sorted(runs, key=lambda run: run[2])[len(runs) // 2] for name, runs in found.items()}
    for name, (sent, received, rate) in middle.items():
        goal, is_met = goal_of_stream(name, {name: run[2] for name, run in middle.items()})
        print(f"| {title(STREAMS[name])} | {rate:,} | {sent:,} | {received:,} | {goal} | {is_met} |")


def goal_of_stream(name: str, rates: dict[str, int]) -> tuple[str, str]:
    """The goal of a row, how far it is reached, and whether it is."""
    if name == "stream-raw":
        return "1,000,000", yes(rates[name] >= 1_000_000)
    factor = {"stream-drop-in": 5, "stream-tautline": 10}.get(name)
    if factor is None or "stream-stand-in" not in rates:
        return "", ""
    times = rates[name] / max(1, rates["stream-stand-in"])
    return f"{factor} times the stand-in: {times:.1f}", yes(times >= factor)


if __name__ == "__main__":
    main()
