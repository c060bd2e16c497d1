//! The modes: what each end does, and what is set other than by default. A new one is a line of [`MODES`].

use std::time::Duration;

use method::Outcome;
use tautline::{Config, Payload, Wire};

/// How one end is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The caller's loop is the driver, and waits in the kernel.
    Loop,
    /// The caller's loop is the driver, and never waits.
    SpinningLoop,
    /// A driver thread of the library's own; the server's handler is inline, the client takes answers from `receive`.
    Thread,
}

impl Side {
    /// How long a turn waits, at most.
    pub(crate) fn wait(self, most: Duration) -> Duration {
        if self == Self::SpinningLoop { Duration::ZERO } else { most }
    }
}

/// A variant of tautline.
#[derive(Clone, Copy)]
pub(crate) struct Mode {
    name: &'static str,
    pub(crate) server: Side,
    pub(crate) client: Side,
    wire: Wire,
    /// What else is set, at both ends.
    settings: fn(Config) -> Config,
    /// How many threads send.
    pub(crate) threads: usize,
    /// How many messages may be under way at once; anything, if nothing is said.
    pub(crate) window: Option<u64>,
    /// How many clients send in turn, all of them driven by this loop; else there is one that only sends.
    pub(crate) clients: Option<usize>,
}

const CALLER_DRIVEN: Mode = Mode {
    name: "caller-driven",
    server: Side::Loop,
    client: Side::Loop,
    wire: Wire::Native,
    settings: |config| config,
    threads: 1,
    window: None,
    clients: None,
};

const INLINE: Mode = Mode { name: "inline", server: Side::Thread, ..CALLER_DRIVEN };

const ONE_CLIENT: Mode =
    Mode { name: "clients-1", clients: Some(1), settings: rare_heartbeats, ..CALLER_DRIVEN };

const MODES: &[Mode] = &[
    CALLER_DRIVEN,
    INLINE,
    Mode { name: "threads", client: Side::Thread, ..INLINE },
    Mode { name: "spinning", server: Side::SpinningLoop, client: Side::SpinningLoop, ..CALLER_DRIVEN },
    Mode { name: "classic", wire: Wire::Classic, ..CALLER_DRIVEN },
    Mode { name: "four-threads", threads: 4, ..INLINE },
    Mode { name: "windowed", window: Some(256), ..CALLER_DRIVEN },
    ONE_CLIENT,
    Mode { name: "clients-1000", clients: Some(1000), ..ONE_CLIENT },
];

/// What a message costs is to be seen, not what ten heartbeats a second of each client cost.
fn rare_heartbeats(config: Config) -> Config {
    config.heartbeat_interval(Duration::from_secs(1)).liveness_timeout(Duration::from_secs(5))
}

impl Mode {
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let mode = MODES.iter().find(|mode| mode.name == text);
        mode.copied().ok_or_else(|| format!("{text}: no mode of tautline").into())
    }

    pub(crate) fn configure(self, config: Config) -> Config {
        // Nothing waits in an inbox, except where that is what is measured.
        let config = if self.client == Side::Thread { config } else { config.inbox_capacity(0) };
        (self.settings)(config.wire(self.wire))
    }

    pub(crate) fn payload(self, message: &[u8]) -> Outcome<Payload> {
        if self.wire == Wire::Native {
            return Ok(Payload::raw(message));
        }
        Ok(Payload::json(std::str::from_utf8(message)?)?)
    }

    /// What the other end was given to send.
    pub(crate) fn content(self, payload: &[u8]) -> &[u8] {
        match payload {
            [b'"', content @ .., b'"'] if self.wire == Wire::Classic => content,
            content => content,
        }
    }
}
