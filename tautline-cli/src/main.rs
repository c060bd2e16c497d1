//! Runs the program `tautline`, which the library beside this file is.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    tautline_cli::run(std::env::args_os(), None).into()
}
