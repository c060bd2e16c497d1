"""`python -m tautline`: the program `tautline`, if it is installed."""

from __future__ import annotations

import os
import shutil
import sys


def main() -> None:
    program = shutil.which("tautline")
    if program is None:
        sys.exit(
            "the program `tautline` is not installed. It is written in Rust: run `cargo install --path tautline-cli` in the "
            "repository"
        )
    os.execv(program, ["tautline", *sys.argv[1:]])


if __name__ == "__main__":
    main()
