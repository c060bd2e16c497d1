"""`python -m tautline` is the program `tautline`, and `doctor()` asks it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from conftest import PATIENCE

import tautline

PROGRAM = [sys.executable, "-m", "tautline"]


def test_the_program_speaks_with_a_link_of_this_process() -> None:
    with tautline.serve("127.0.0.1:0") as link:
        assert link.local_address is not None
        sent = subprocess.run([*PROGRAM, "send", link.local_address, '{"force": 1.5}'], timeout=PATIENCE)
        assert sent.returncode == 0
        assert link.receive(timeout=PATIENCE).data == {"force": 1.5}


def test_it_returns_the_exit_code_of_the_program() -> None:
    wrong = subprocess.run([*PROGRAM, "listen", "9000"], capture_output=True, text=True, timeout=PATIENCE)
    assert wrong.returncode == 2 and "error:" in wrong.stderr


def test_ctrl_c_ends_it_as_it_ends_the_program() -> None:
    arguments = [*PROGRAM, "listen", "127.0.0.1:0"]
    # Windows sends Ctrl-Break to a group of processes, and Ctrl-C to no single one.
    if sys.platform == "win32":
        ctrl_c, flags = signal.CTRL_BREAK_EVENT, subprocess.CREATE_NEW_PROCESS_GROUP
    else:
        ctrl_c, flags = signal.SIGINT, 0
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, creationflags=flags
    ) as listener:
        assert listener.stderr is not None
        assert "listening" in listener.stderr.readline()
        listener.send_signal(ctrl_c)
        rest = listener.stderr.read()
    assert listener.returncode == 0 and "Traceback" not in rest, rest


def test_the_benchmark_starts_its_other_end() -> None:
    arguments = [*PROGRAM, "bench", "latency", "--seconds", "0.2", "--json"]
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)


def test_doctor_returns_what_the_program_measures() -> None:
    found = tautline.doctor(rate=500)
    assert found["verdict"]["rate_hz"] == 500
    assert {part["part"] for part in found["profile"]} >= {"thread_priority", "lock_memory"}


def test_doctor_says_what_is_wrong() -> None:
    with pytest.raises(tautline.TautlineError, match="0.01 to 20000"):
        tautline.doctor(rate=1e6)
