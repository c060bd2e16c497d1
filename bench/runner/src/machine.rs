//! Describes the machine and the versions to which the figures belong.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::peers::{Contestant, Program};

/// Returns one line each for date, commit, processor, kernel, load, compiler and Python.
pub(crate) fn describe(bench: &Path) -> Vec<(&'static str, String)> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = first_words("/proc/loadavg", 3);
    vec![
        ("date", output(bench, "date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ("commit", commit(bench)),
        ("processor", format!("{}, {cores} cores", processor())),
        ("kernel", format!("Linux {}", first_words("/proc/sys/kernel/osrelease", 1))),
        ("load average before the run", load),
        ("compiler", output(bench, "rustc", &["--version"])),
        ("Python", output(bench, "python3", &["--version"])),
    ]
}

/// Returns the locked version of a contestant's library. For tautline it is the version of this tree.
pub(crate) fn version(bench: &Path, contestant: &Contestant) -> Option<String> {
    let directory = if let Program::Apart { directory, .. } = contestant.program { directory } else { "." };
    let lock = fs::read_to_string(bench.join(directory).join("Cargo.lock")).ok()?;
    let library = contestant.library;
    let package =
        lock.split("[[package]]").find(|package| package.contains(&format!("name = \"{library}\"\n")))?;
    let line = package.lines().find_map(|line| line.strip_prefix("version = "))?;
    Some(line.trim_matches('"').to_owned())
}

fn commit(bench: &Path) -> String {
    let commit = output(bench, "git", &["rev-parse", "--short=12", "HEAD"]);
    let changed = output(
        bench,
        "git",
        &["--no-optional-locks", "status", "--porcelain", "--", "../tautline/src", "../tautline-proto/src"],
    );
    if changed.is_empty() {
        commit
    } else {
        format!("{commit}, and changes to the library that are not committed")
    }
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find(|line| line.starts_with("model name"));
    model.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown processor").to_owned()
}

fn first_words(file: &str, count: usize) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().take(count).collect::<Vec<_>>().join(" ")
}

fn output(directory: &Path, program: &str, arguments: &[&str]) -> String {
    let run = Command::new(program).args(arguments).current_dir(directory).output();
    run.map_or_else(
        |_| "not installed".to_owned(),
        |done| String::from_utf8_lossy(&done.stdout).trim().to_owned(),
    )
}
