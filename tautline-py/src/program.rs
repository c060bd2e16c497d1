//! The program `tautline` for `python -m tautline`.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the program `tautline` with the command line `words`, and returns its exit code. `itself` is the command line that
/// calls this function in another process.
#[pyfunction]
pub(crate) fn run_program(py: Python<'_>, words: Vec<OsString>, itself: Vec<OsString>) -> u8 {
    py.detach(|| tautline_cli::run(words, Some(itself)))
}
