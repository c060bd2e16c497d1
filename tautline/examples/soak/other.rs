//! The handle that the parent has of one of the two processes.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// A child process. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Other {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Other {
    /// Starts a process and waits until it is connected.
    pub(crate) fn start(role: &str, address: &str, rate: f64) -> Self {
        let program = std::env::current_exe().expect("the system knows this program");
        let mut command = Command::new(program);
        command.args(["--end", role, address, &rate.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program can be started");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("piped"));
        let mut other =
            Self { child, input, output: BufReader::new(output), address: ([0, 0, 0, 0], 0).into() };
        other.address = other.line().trim().parse().expect("the first line is the address");
        other
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks the process for its counts.
    pub(crate) fn ask(&mut self) -> Value {
        self.say("report");
        serde_json::from_str(&self.line()).expect("a line of JSON")
    }

    pub(crate) fn say(&mut self, word: &str) {
        let input = self.input.as_mut().expect("the input is open until it is dropped");
        writeln!(input, "{word}").expect("the process is alive");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).expect("the process is alive");
        assert!(read > 0, "the process has ended");
        line
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // The process ends when its input ends.
        self.input = None;
        let _ = self.child.wait();
    }
}
