//! One of the two processes, as the one that started them sees it.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// Ends with whoever holds it.
#[derive(Debug)]
pub(crate) struct Other {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Other {
    /// Starts one and waits until it is connected.
    pub(crate) fn start(role: &str, address: &str, rate: f64) -> Self {
        let program = std::env::current_exe().expect("the system knows it");
        let mut command = Command::new(program);
        command.args(["--end", role, address, &rate.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it can be started");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("piped"));
        let mut other =
            Self { child, input, output: BufReader::new(output), address: ([0, 0, 0, 0], 0).into() };
        other.address = other.line().trim().parse().expect("its first line is its address");
        other
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says of itself now.
    pub(crate) fn ask(&mut self) -> Value {
        self.say("report");
        serde_json::from_str(&self.line()).expect("a line of JSON")
    }

    pub(crate) fn say(&mut self, word: &str) {
        let input = self.input.as_mut().expect("open until it is dropped");
        writeln!(input, "{word}").expect("it is alive");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).expect("it is alive");
        assert!(read > 0, "one end has died");
        line
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // The end of its input is the end of it.
        self.input = None;
        let _ = self.child.wait();
    }
}
