//! Runs the real program. The tests wait for a line or an exit, not for a fixed time.
#![allow(dead_code, reason = "each test file uses its part")]
#![cfg_attr(windows, allow(unsafe_code))] // to send Ctrl-Break

pub(crate) mod golden;
pub(crate) mod python;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;

/// The exit code and the output of a finished run.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// What `platforms/wine` calls in place of this build's program: the path of Wine, a space, and the program for Windows.
fn under_test() -> Option<(String, String)> {
    let words = std::env::var("UNDER_TEST").ok()?;
    words.split_once(' ').map(|(wine, program)| (wine.to_owned(), program.to_owned()))
}

/// Returns a command for the program with these arguments. It does not inherit TAUTLINE_* variables.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = match under_test() {
        Some((wine, program)) => {
            let mut command = Command::new(wine);
            command.arg(program);
            command
        }
        None => Command::new(env!("CARGO_BIN_EXE_tautline")),
    };
    command.args(args);
    // A group of its own: Windows sends Ctrl-Break to groups.
    #[cfg(windows)]
    std::os::windows::process::CommandExt::creation_flags(&mut command, CREATE_NEW_PROCESS_GROUP);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TAUTLINE_")) {
        command.env_remove(name);
    }
    command
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Finished {
    finish(command(args).stdin(Stdio::null()))
}

/// Runs the program to its end with `input` on standard input.
pub(crate) fn run_with_input(args: &[&str], input: &[u8]) -> Finished {
    let mut child = started(command(args).stdin(Stdio::piped()));
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input); // fails if the program ends early
    });
    let finished = finished(child);
    writer.join().expect("writing does not panic");
    finished
}

/// Runs a prepared command to its end.
pub(crate) fn finish(command: &mut Command) -> Finished {
    finished(started(command))
}

fn started(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary is built")
}

#[cfg(windows)]
const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;

/// The time limit of a run. A run that takes longer is killed, and the test fails.
const LIMIT: Duration = Duration::from_secs(180);

/// Waits for the end of a run, and returns its results.
pub(crate) fn finished(child: Child) -> Finished {
    let id = child.id();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = receiver.recv_timeout(LIMIT) else {
        signal("-KILL", id);
        panic!("it did not end within {LIMIT:?}");
    };
    let output = output.expect("its output can be read");
    Finished {
        code: output.status.code().expect("it exits by itself"),
        stdout: String::from_utf8(output.stdout).expect("stdout is text"),
        stderr: String::from_utf8(output.stderr).expect("stderr is text"),
    }
}

/// Wine takes SIGINT for Ctrl-C, and dies of SIGTERM and SIGHUP.
#[cfg(unix)]
pub(crate) fn signal(name: &str, id: u32) {
    let name = if under_test().is_some() && ["-TERM", "-HUP"].contains(&name) { "-INT" } else { name };
    let status = Command::new("kill").args([name, &id.to_string()]).status().expect("there is a kill");
    assert!(status.success());
}

/// Windows has two: Ctrl-Break asks the program to end, and taskkill ends it.
#[cfg(windows)]
pub(crate) fn signal(name: &str, id: u32) {
    const CTRL_BREAK: u32 = 1;
    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GenerateConsoleCtrlEvent(event: u32, group: u32) -> i32;
    }
    if name == "-KILL" {
        let status = Command::new("taskkill").args(["/F", "/PID", &id.to_string()]).status();
        assert!(status.expect("Windows has it").success());
        return;
    }
    assert!(["-INT", "-TERM"].contains(&name), "Windows has no {name}");
    // SAFETY: no memory is passed.
    let sent = unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK, id) };
    assert_ne!(sent, 0, "{}", std::io::Error::last_os_error());
}

/// Whether this process ignores SIGINT. The programs that it starts then ignore it too.
pub(crate) fn ignores_interrupts() -> bool {
    const SIGINT: u32 = 2;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (SIGINT - 1) & 1 == 1)
}

/// Parses the last line of a text as JSON.
pub(crate) fn last_json(text: &str) -> serde_json::Value {
    let line = text.lines().last().expect("there is a line");
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
}

/// Starts the program and does not wait for its end.
pub(crate) fn start(args: &[&str]) -> Child {
    started(command(args).stdin(Stdio::null()))
}

/// Waits until a process has installed its handler for Ctrl-C. Before that, a signal would kill it.
#[cfg(windows)]
pub(crate) fn wait_until_it_catches_ctrl_c(_: &Child) {
    // Windows does not tell when it has. It takes some milliseconds, on a busy machine some seconds.
    std::thread::sleep(Duration::from_secs(5));
}

/// Waits until a process has installed its handler for Ctrl-C. Before that, a signal would kill it.
#[cfg(not(windows))]
pub(crate) fn wait_until_it_catches_ctrl_c(child: &Child) {
    if under_test().is_some() {
        // Wine does not tell either. On a busy machine it takes some seconds to start a program.
        std::thread::sleep(Duration::from_secs(15));
    }
    wait_until("it catches Ctrl-C", || {
        let path = format!("/proc/{}/status", child.id());
        let status = std::fs::read_to_string(path).expect("it runs, on Linux");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("it is listed");
        u64::from_str_radix(caught.trim(), 16).expect("it is a mask") & 0b10 != 0
    });
}

/// Waits for the end of a killed child process, and of the process with the id `other`.
pub(crate) fn wait_until_gone(mut killed: Child, other: &str) {
    killed.wait().expect("it is a child of this process");
    wait_until("the other process ends", || {
        // The process that inherits it may collect it late, so a zombie also counts as gone.
        let status = std::fs::read_to_string(format!("/proc/{other}/status")).unwrap_or_default();
        status.is_empty() || status.contains("State:\tZ")
    });
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + LIMIT;
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "timed out while waiting until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A running `listen` or another subcommand that listens. It is killed when dropped.
pub(crate) struct Listener {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: BufReader<ChildStderr>,
    /// The address that it listens on.
    pub(crate) address: String,
}

impl Listener {
    /// Starts `listen` on a free port and waits until it prints its address.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", args)
    }

    pub(crate) fn start_at(endpoint: &str, args: &[&str]) -> Self {
        Self::run(&[&["listen", endpoint], args].concat())
    }

    /// Starts any subcommand that prints the address that it listens on.
    pub(crate) fn run(args: &[&str]) -> Self {
        Self::of(&mut command(args))
    }

    /// Starts a prepared command of such a subcommand.
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = started(command.stdin(Stdio::null()));
        let stdout = child.stdout.take().map(BufReader::new);
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut line = String::new();
        stderr.read_line(&mut line).expect("stderr is text");
        // With --json, the line is JSON.
        let json = serde_json::from_str::<serde_json::Value>(&line);
        let json = json.ok().and_then(|line| Some(line["listening"].as_str()?.to_owned()));
        let text = line.trim().strip_prefix("listening on ").map(str::to_owned);
        let address = json.or(text).unwrap_or_else(|| panic!("{line}"));
        Self { child, stdout, stderr, address }
    }

    /// Returns the next line of stdout as JSON.
    pub(crate) fn message(&mut self) -> serde_json::Value {
        serde_json::from_str(&self.line()).expect("it is JSON")
    }

    /// Returns the next line of stdout.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.stdout.as_mut().expect("it is open");
        stdout.read_line(&mut line).expect("stdout is text");
        line
    }

    /// Returns the next line of stderr.
    pub(crate) fn note(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).expect("stderr is text");
        line
    }

    /// Closes the reading end of stdout, as `head` does.
    pub(crate) fn close_stdout(&mut self) {
        self.stdout = None;
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub(crate) fn interrupt(&mut self) {
        self.signal("-INT");
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(name, self.id());
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end. Returns the exit code and the rest of stderr.
    pub(crate) fn end(mut self) -> (i32, String) {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.stderr, &mut rest).expect("stderr is text");
        let status = self.child.wait().expect("it is a child of this process");
        (status.code().expect("it exits by itself"), rest)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder for one test, removed at its end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    /// Creates it. `name` is one that no other test of this file has.
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("tautline-{}-{}-{name}", env!("CARGO_CRATE_NAME"), std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    /// Writes a file in it, and returns its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file in it");
        path.to_str().expect("the path is text").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
