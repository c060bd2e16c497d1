#!/usr/bin/env python3
"""Writes the seeds of all targets to corpus/, from the golden datagrams of both wires."""

import json
import pathlib

HERE = pathlib.Path(__file__).parent
DATA = HERE.parent / "tautline-proto" / "tests" / "data"


def goldens():
    for entry in json.loads((DATA / "native_datagrams.json").read_text()):
        yield "native_" + entry["name"], bytes.fromhex(entry["hex"])
    for entry in json.loads((DATA / "classic_vectors.json").read_text())["vectors"]:
        yield "classic_" + entry["name"], bytes.fromhex(entry["hex"])


def write(target, name, seed):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(seed)


def operations(wire, datagram):
    """A few operations of the endpoint target: settings, then the datagram whole, in between waits."""
    feed = bytes([0, len(datagram) & 0xFF, len(datagram) >> 8]) + datagram
    return bytes([wire]) + feed + bytes([4, 20]) + feed + bytes([6, 0, 5, 0])


def main():
    for name, datagram in goldens():
        write("wire", name, datagram)
        for wire in range(4):
            write("endpoint", f"{name}_{wire}", operations(wire, datagram))
    write("window", "in_order", bytes([1, 1, 1, 1, 1, 1]))
    write("window", "gaps_and_waits", bytes([5, 250, 130, 1, 200, 60, 3, 128]))


main()
