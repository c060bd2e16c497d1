"""`doctor()`: what this machine grants to a real-time link, as the program `tautline doctor` measures it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from ._errors import TautlineError


def doctor(rate: float | None = None, *, config: str | None = None) -> dict[str, Any]:
    """Measures what this machine grants to a real-time link. Takes 6 to 10 seconds.

    `rate` is the rate of the control loop in hertz, 0.01 to 20,000. With it, `["verdict"]["verdict"]` is `"fit"`, `"tight"`
    or `"unfit"`. `config` is the path of a TOML file; the machine is asked for the parts of the real-time profile that it
    sets. Without it, for all of them.

    Returns the object that `python -m tautline doctor --json` prints. `python -m tautline doctor --help` explains it. The
    measurement runs in a process of its own, so the settings of this process stay as they are.

    Raises `TautlineError` if the machine cannot be measured, for example because `rate` is out of its range.
    """
    if rate is not None and not isinstance(rate, (int, float)):
        raise TypeError(f"rate: a number of hertz is expected, such as 1000, not {rate!r}")
    command = [sys.executable, "-m", "tautline", "doctor", "--json"]
    command += [] if rate is None else ["--rate", f"{rate:.6f}Hz"]
    command += [] if config is None else ["--config", config]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if not result.stdout:
        sentence, *_ = result.stderr.removeprefix("error: ").split("\n\n")
        raise TautlineError(sentence.strip())
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer
