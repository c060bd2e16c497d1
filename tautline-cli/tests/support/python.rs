//! A Python for the tests that check what the program writes with the packages that its users have.
#![allow(clippy::print_stderr, reason = "says what is skipped")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use super::{Finished, finish};

/// Runs a script of tests/python with a Python that can import `packages`. `None`, with a line that says so, if there is none.
pub(crate) fn script(packages: &[&str], name: &str, arguments: &[&str]) -> Option<Finished> {
    let python = with(packages)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name);
    let mut command = Command::new(python);
    Some(finish(command.env("PYTHONDONTWRITEBYTECODE", "1").arg(script).args(arguments).stdin(Stdio::null())))
}

/// Returns a Python that can import `packages`: the system's, or that of a virtual environment that this makes. `None`, with a line
/// that says so, if there is none.
pub(crate) fn with(packages: &[&str]) -> Option<PathBuf> {
    // Tests of one file run at the same time, and need the same environment.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().expect("making it does not panic");
    let import = format!("import {}", packages.join(", "));
    let has = |python: &Path| quietly(Command::new(python).args(["-c", &import]));
    let system = PathBuf::from("python3");
    if has(&system) {
        return Some(system);
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-{}", packages.join("-")));
    let own = folder.join("bin/python3");
    if !has(&own) {
        quietly(Command::new(&system).args(["-m", "venv"]).arg(&folder));
        quietly(Command::new(&own).args(["-m", "pip", "install", "--quiet"]).args(packages));
    }
    let found = has(&own).then_some(own);
    if found.is_none() {
        eprintln!("skipped: this needs python3 with the packages {}", packages.join(", "));
    }
    found
}

fn quietly(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
