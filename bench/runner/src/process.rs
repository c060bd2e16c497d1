//! Starts the processes of the peers, reads their output, and ends them in any case.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde::de::DeserializeOwned;

/// How long a server may take until it is ready, and until it reports at its end.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// How long to wait after the last message was sent, so that messages in flight arrive.
const DRAIN: Duration = Duration::from_millis(300);

/// One peer process. It is killed when dropped.
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    /// Starts `command`.
    pub(crate) fn start(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or("has no output")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let read = BufReader::new(stdout).lines().map_while(Result::ok);
            read.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
        });
        Ok(Self { child, stdin, lines })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads the next line of its output.
    pub(crate) fn line<T: DeserializeOwned>(&mut self, within: Duration) -> Result<T, String> {
        let line = self.lines.recv_timeout(within).map_err(|_| self.last_words())?;
        serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))
    }

    /// Reads the first line of a server.
    pub(crate) fn ready<T: DeserializeOwned>(&mut self) -> Result<T, String> {
        self.line(TIME_LIMIT)
    }

    /// Lets a server end, and reads its report.
    pub(crate) fn finish<T: DeserializeOwned>(mut self) -> Result<T, String> {
        std::thread::sleep(DRAIN);
        drop(self.stdin.take());
        self.line(TIME_LIMIT)
    }

    /// Returns the reason for a missing line: the first line of stderr, or a time-out.
    fn last_words(&mut self) -> String {
        let _ = self.child.kill();
        let said = self.child.stderr.take().and_then(|stderr| BufReader::new(stderr).lines().next()?.ok());
        said.unwrap_or_else(|| "no output in time".to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Kills this child process only. If it has ended already, this only collects its exit status.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
