//! Builds every peer separately, so that a peer that cannot be built does not affect the others.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use crate::peers::{CONTESTANTS, Contestant, Program};

const PYTHON_IS_NEW_ENOUGH: &str =
    "import sys; sys.exit(None if sys.version_info >= (3, 11) else 'Python 3.11 or newer is needed')";

/// Builds the wanted contestants. Returns the reasons of failures by the contestant's index. A package is built once,
/// even if it has several modes.
pub(crate) fn build(
    bench: &Path,
    programs: &Path,
    is_wanted: impl Fn(&Contestant) -> bool,
) -> HashMap<usize, String> {
    let mut built: HashMap<Program, Option<String>> = HashMap::new();
    let mut failures = HashMap::new();
    for (index, contestant) in CONTESTANTS.iter().enumerate().filter(|(_, contestant)| is_wanted(contestant))
    {
        let failure = built
            .entry(contestant.program)
            .or_insert_with(|| build_one(bench, programs, contestant.program).err());
        failures.extend(failure.clone().map(|why| (index, why)));
    }
    failures
}

fn build_one(bench: &Path, programs: &Path, program: Program) -> Result<(), String> {
    let mut command = match program {
        Program::Package(package) => cargo(programs, &["-p", package]),
        Program::Apart { directory, .. } => {
            cargo(programs, &["--manifest-path", &format!("{directory}/Cargo.toml")])
        }
        Program::Python(_) => {
            let mut command = Command::new("python3");
            command.args(["-c", PYTHON_IS_NEW_ENOUGH]);
            command
        }
    };
    eprintln!("building {}", program.name());
    let done = command.current_dir(bench).output().map_err(|error| error.to_string())?;
    if done.status.success() {
        return Ok(());
    }
    Err(reason(&String::from_utf8_lossy(&done.stderr), program.needs()))
}

/// Returns a cargo command that builds into the target folder of the runner, so that all programs are in one folder.
fn cargo(programs: &Path, which: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--locked", "--quiet"]).args(which);
    if let Some(target) = programs.parent() {
        command.arg("--target-dir").arg(target);
    }
    command
}

/// Returns one line with what the package needs and the first error message.
fn reason(said: &str, needs: &str) -> String {
    let first = said.lines().find(|line| line.starts_with("error")).or_else(|| said.lines().next());
    let first = first.unwrap_or("cannot be built");
    if needs.is_empty() { first.to_owned() } else { format!("it needs {needs} ({first})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_names_first_what_a_package_needs() {
        assert_eq!(reason("warning: x\nerror: no cmake\nmore", "cmake"), "it needs cmake (error: no cmake)");
        assert_eq!(reason("odd\nmore", ""), "odd");
        assert_eq!(reason("", ""), "cannot be built");
    }
}
