//! The other end: the peer that the user named, or a child process of this program.
//!
//! The child ends when its standard input closes. So it cannot outlive this process, however this process ends.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tautline::{Endpoint, Role};

use super::client::Taking;
use super::settings::SettingsArgs;
use crate::tools::exit::Failure;
use crate::tools::itself;
use crate::tools::link::check;

/// How long a child may take to end. After this time it is killed.
const CHILD_ENDS_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct OtherEnd {
    pub(super) endpoint: Endpoint,
    child: Option<Child>,
}

impl OtherEnd {
    /// Returns the peer, or starts a child with the same settings. `baseline` asks the child for a raw socket too.
    pub(super) fn find(
        peer: Option<&Endpoint>,
        settings: &SettingsArgs,
        baseline: bool,
        taking: Taking,
    ) -> Result<Self, Failure> {
        match peer {
            Some(peer) => Ok(Self { endpoint: peer.clone(), child: None }),
            None => Self::start(settings, baseline, taking),
        }
    }

    fn start(settings: &SettingsArgs, baseline: bool, taking: Taking) -> Result<Self, Failure> {
        // Checks the settings here, so that the error is printed once and with the right exit code.
        for role in [Role::Server, Role::Client] {
            check(&settings.config(role, true, taking)?.endpoint("127.0.0.1:9"))?;
        }
        let failed =
            |error: std::io::Error| Failure::failed(format!("cannot start the serving end: {error}"));
        let mut command = itself::command().map_err(failed)?;
        command.args(["bench", "serve", "127.0.0.1:0", "--child"]).args(settings.words());
        command.args((taking == Taking::Receive).then_some("--receive"));
        command.args(baseline.then_some("--baseline")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let mut address = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut address).map_err(failed)?;
        }
        let endpoint = address
            .trim()
            .parse()
            .map_err(|_| Failure::failed("the serving end did not start: see its error message above"));
        // Created before the answer is checked, so that `drop` waits for the child in any case.
        let mut end = Self { endpoint: "127.0.0.1".parse().expect("an endpoint"), child: Some(child) };
        end.endpoint = endpoint?;
        Ok(end)
    }

    pub(super) fn is_child(&self) -> bool {
        self.child.is_some()
    }
}

impl Drop for OtherEnd {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        drop(child.stdin.take());
        let deadline = Instant::now() + CHILD_ENDS_WITHIN;
        while Instant::now() < deadline {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}
