"""The programs of the README, of docs/python.md and in examples/ run."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest
from conftest import PATIENCE

import tautline

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = ROOT / "tautline-py" / "examples"


def programs(page: pathlib.Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run(program: str) -> str:
    """Runs a program, which must end with success and warn of nothing. Returns what it printed."""
    arguments = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE)
    # In its debug mode, asyncio tells of steps that take longer than 0.1 s. On a busy machine any step may.
    warnings = [line for line in result.stderr.splitlines() if not line.startswith("Executing <")]
    assert result.returncode == 0 and not warnings, result.stderr
    return result.stdout


def headed_programs(page: pathlib.Path) -> list[Any]:
    """The programs of a page, each with the heading above it."""
    heading, found = "", []
    for match in re.finditer(r"^## (.*?)$|^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        heading = match[1] or heading
        if match[2]:
            found.append(pytest.param(match[2], id=heading))
    assert len(found) == len(programs(page))
    return found


@pytest.mark.parametrize("program", headed_programs(ROOT / "docs" / "python.md"))
def test_a_program_of_the_guide(program: str) -> None:
    assert run(program)


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example(example: str) -> None:
    program = (EXAMPLES / example).read_text(encoding="utf-8").replace("127.0.0.1:9000", free_address())
    if "\ndef test_" in program:
        program += "\ntest_no_command_older_than_20_ms_is_acted_on()\nprint('passed')\n"
    assert run(program)


def test_the_first_screen_of_the_readme() -> None:
    """The controller in Python asks the plant beside it, which is written in Rust; here a plant in Python stands for it."""
    first, second = programs(ROOT / "README.md")
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split(first)[0].splitlines()) < 60
    with tautline.serve("127.0.0.1:0", name="plant") as plant:
        plant.handler("command")(lambda message, reply: reply("done"))
        assert plant.local_address
        assert run(first.replace("127.0.0.1:9000", plant.local_address)) == "done\n"
    assert second == (EXAMPLES / "hello.py").read_text(encoding="utf-8").split('"""\n\n', 1)[1]


def test_the_benchmarks_run() -> None:
    program = str(ROOT / "tautline-py" / "bench" / "run.py")
    few = ["--rounds", "1", "--messages", "50", "--seconds", "1", "socket", "tautline", "tautline-asyncio", "stream-raw"]
    result = subprocess.run([sys.executable, program, *few], capture_output=True, text=True, timeout=4 * PATIENCE)
    assert result.returncode == 0 and not result.stderr, result.stderr
    rows = ["Blocking sockets", "tautline, native wire", "tautline in asyncio", "64 raw bytes"]
    assert all(f"| {row}" in result.stdout for row in rows) and "at most 1.5 of the sockets" in result.stdout


def free_address() -> str:
    with tautline.serve("127.0.0.1:0") as link:
        assert link.local_address is not None
        return link.local_address
