#!/usr/bin/env python3
"""Writes the seeds of all targets to corpus/, from the recorded datagrams of both wires."""

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
    """Some operations of the endpoint target: the settings, then the datagram, a wait, and the datagram again."""
    feed = bytes([0, len(datagram) & 0xFF, len(datagram) >> 8]) + datagram
    return bytes([wire]) + feed + bytes([4, 20]) + feed + bytes([6, 0, 5, 0])


def settings():
    """Yields every key with its default, from the rows of docs/configuration.md."""
    page = (HERE.parent / "docs" / "configuration.md").read_text()
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 4 and cells[1].startswith("`"):
            default = cells[3].split("`")
            yield cells[1].strip("`"), default[1] if len(default) > 1 else "1"


def write_settings():
    for key, value in settings():
        toml = value if value in ("true", "false") or value.isdigit() else f'"{value}"'
        write("config", key + "_toml", f'role = "server"\nendpoint = "h:1"\n{key} = {toml}\n'.encode())
        write("config", key + "_text", f"ROLE=client\nENDPOINT=h:1\n{key.upper()}={value}\n".encode())
        stream = f'role = "server"\nendpoint = "[::1]:9"\n[command]\n{key} = {toml}\n[command.3]\n{key} = {toml}\n'
        write("config", key + "_stream", stream.encode())


def write_worlds():
    """Some steps of the delivery target: messages of each kind in both directions, then datagrams delivered, lost, repeated."""
    sends = b"".join(bytes([10, kind << 1 | end]) for kind in range(6) for end in range(2))
    for begin in range(2):
        for name, after in [("deliver", [5, 0] * 40), ("lose", [7, 3, 5, 0, 8, 0] * 8), ("repeat", [6, 1, 0, 2] * 9)]:
            write("delivery", f"{name}_{begin}", bytes([begin]) + bytes([5, 0] * 8) + sends + bytes(after))
        for name, crash in [("restart", 14), ("close", 15)]:
            steps = bytes([crash, 0, 5, 0, 5, 0, crash, 1, 8, 0, 0, 1, 6, 0, 8, 0])
            write("delivery", f"{name}_{begin}", bytes([begin]) + sends[:12] + steps * 3)


def write_fragments():
    # Far more fragments than may be kept, of ordered messages behind a message that never comes.
    behind = [bytes([1, 2, 2 * k, 0, 2 * k, index, 2, 0x17, 0x70]) for k in range(1, 60) for index in range(2)]
    write("reassembly", "behind_one_that_never_comes", b"".join(behind))
    write("reassembly", "one_of_none", bytes([1, 0, 0, 0, 0, 0, 0, 3, 0]))
    for kind in range(3):
        fragments = b"".join(bytes([1, kind, 0, 0, 0, index, 3, 3, 0]) for index in range(3))
        behind = b"".join(bytes([1, kind, 9, 0, 2, index, 2, 3, 0]) for index in range(2))
        write("reassembly", f"fragments_{kind}", fragments + behind + bytes([7, 200]))
        write("reassembly", f"messages_{kind}", bytes([4, kind, 0, 0, 0, 5, 4, kind, 2, 0, 1, 5, 6, 0, 3, 7, 9]))


def write_secured():
    for entry in json.loads((DATA / "secured_datagrams.json").read_text()):
        body = bytes.fromhex(entry["hex"])[20:-4][:255]
        for operation in range(16):
            write("handshake", f"{entry['name']}_{operation}", bytes([operation, len(body)]) + body)
    # Frames about new keys, a close, a heartbeat, and waits between them.
    ask, close = bytes([15, 0, 0, 1, 1]), bytes([3, 0, 0, 1, 1])
    begin = bytes([15, 0, 0, 58, 2]) + bytes(57)
    for name, frames in [("ask", ask), ("begin", begin), ("close", close), ("both", ask + begin)]:
        for operation in range(4):
            step = bytes([operation, len(frames)]) + frames
            write("opening", f"{name}_{operation}", step + bytes([12, 1, 200]) + step + bytes([14, 0, 15, 0, 10, 1, 1]))


def main():
    for name, datagram in goldens():
        write("wire", name, datagram)
        if name.startswith("native_"):
            frames = datagram[16:-4][:255]
            write("reassembly", name, bytes([0, len(frames)]) + frames)
        for wire in range(4):
            write("endpoint", f"{name}_{wire}", operations(wire, datagram))
    write_settings()
    write_worlds()
    write_fragments()
    write_secured()
    write("window", "in_order", bytes([1, 1, 1, 1, 1, 1]))
    write("window", "gaps_and_waits", bytes([5, 250, 130, 1, 200, 60, 3, 128]))


main()
