//! Says what the program waits for, if it waits for longer than a moment, and when its server is away. Used by all
//! subcommands that connect.

use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use tautline::{ConnectionState, UdpInterface};

use crate::tools::output;

/// A wait that is shorter needs no explanation.
const SOON: Duration = Duration::from_millis(300);

/// A wait that is explained once.
#[derive(Debug)]
pub(crate) struct Waiting {
    since: Instant,
    is_told: bool,
}

impl Waiting {
    pub(crate) fn since(since: Instant) -> Self {
        Self { since, is_told: false }
    }

    /// Says once that the program waits for `what`, if it has waited for more than a moment.
    pub(crate) fn look(&mut self, what: impl fmt::Display) {
        if !self.is_told && self.since.elapsed() >= SOON {
            self.is_told = true;
            say(what);
        }
    }
}

/// Whether the server of a client is away.
#[derive(Debug, Default)]
pub(crate) struct ServerAway(bool);

impl ServerAway {
    /// Says when the server has fallen silent or left, and when it is back.
    pub(crate) fn look(&mut self, interface: &UdpInterface) {
        match (self.0, interface.connection_state()) {
            (false, ConnectionState::Reconnecting) => {
                output::warn("the server is away: it is called until it is back");
            }
            (true, ConnectionState::Connected) => output::note("the server is back"),
            _ => return,
        }
        self.0 = !self.0;
    }
}

/// Runs `wait`, and says what it waits for if that takes longer than a moment.
pub(crate) fn while_waiting<T>(what: impl fmt::Display, wait: impl FnOnce() -> T) -> T {
    let what = what.to_string();
    let (is_waiting, ended) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if ended.recv_timeout(SOON) == Err(RecvTimeoutError::Timeout) {
            say(what);
        }
    });
    let result = wait();
    drop(is_waiting);
    result
}

fn say(what: impl fmt::Display) {
    // While a picture is drawn, the note would appear only after it.
    if output::holds_lines_back() {
        return;
    }
    output::note(format_args!("waiting for {what} ..."));
}
