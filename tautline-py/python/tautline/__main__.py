"""`python -m tautline`: the program `tautline`. `python -m tautline --help` says what it does."""

from __future__ import annotations

import signal
import sys

from ._native import run_program


def main() -> None:
    # Ctrl-C belongs to the program. Python would raise KeyboardInterrupt once it has ended.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(run_program(["tautline", *sys.argv[1:]], [sys.executable, "-m", "tautline"]))


if __name__ == "__main__":
    main()
