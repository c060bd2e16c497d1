//! The modes: what each end does, and what is set other than by default. A new one is a line of [`MODES`].

use std::time::Duration;

use method::Outcome;
use tautline::{Config, Metadata, Payload, UdpInterface, WaitPolicy, Wire};

/// How one end is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The caller's loop is the driver.
    Loop,
    /// A driver thread of the library's own; the server's handler is inline, the client takes answers from `receive`.
    Thread,
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
    /// How many messages are sent with one call.
    pub(crate) batch: usize,
    /// How many messages may be under way at once; anything, if nothing is said.
    pub(crate) window: Option<u64>,
    /// How many clients send in turn, all of them driven by this loop; else there is one that only sends.
    pub(crate) clients: Option<usize>,
}

/// Everything as it comes: a driver thread and an inline handler at the server, the client's own loop, adaptive waiting.
const DEFAULT: Mode = Mode {
    name: "default",
    server: Side::Thread,
    client: Side::Loop,
    wire: Wire::Native,
    settings: |config| config,
    threads: 1,
    batch: 1,
    window: None,
    clients: None,
};

const CALLER_DRIVEN: Mode = Mode { name: "caller-driven", server: Side::Loop, settings: blocking, ..DEFAULT };

/// What many messages are sent with: a driver thread at both ends, so that the gate is there.
const STREAM: Mode = Mode { name: "stream", client: Side::Thread, settings: large_buffer, ..DEFAULT };

/// How many messages of 64 bytes one call of the kernel can send.
const BATCH: usize = 720;

const ONE_CLIENT: Mode =
    Mode { name: "clients-1", clients: Some(1), settings: rare_heartbeats, ..CALLER_DRIVEN };

const MODES: &[Mode] = &[
    DEFAULT,
    CALLER_DRIVEN,
    Mode { name: "inline", settings: blocking, ..DEFAULT },
    Mode { name: "threads", client: Side::Thread, ..DEFAULT },
    Mode { name: "spinning", settings: |config| config.wait(WaitPolicy::Spin), ..CALLER_DRIVEN },
    Mode { name: "realtime", settings: |config| config.realtime(true), ..DEFAULT },
    Mode { name: "classic", wire: Wire::Classic, ..CALLER_DRIVEN },
    STREAM,
    Mode { name: "batch", batch: BATCH, ..STREAM },
    Mode { name: "batch-windowed", batch: BATCH, window: Some(4_096), client: Side::Loop, ..STREAM },
    Mode { name: "no-offload", settings: |config| large_buffer(config).offload(false), ..STREAM },
    Mode { name: "gate-0", settings: gate_off, ..STREAM },
    Mode { name: "four-threads", threads: 4, ..STREAM },
    Mode { name: "four-threads-gate-0", threads: 4, settings: gate_off, ..STREAM },
    Mode { name: "windowed", window: Some(256), ..CALLER_DRIVEN },
    ONE_CLIENT,
    Mode { name: "clients-1000", clients: Some(1000), ..ONE_CLIENT },
];

fn blocking(config: Config) -> Config {
    config.wait(WaitPolicy::Block)
}

/// A core of this machine may be away for longer than the default buffer lasts at ten million messages a second.
fn large_buffer(config: Config) -> Config {
    config.receive_buffer(16 << 20)
}

/// Every message is a datagram.
fn gate_off(config: Config) -> Config {
    large_buffer(config).gate(Duration::ZERO)
}

/// What a message costs is to be seen, not what ten heartbeats a second of each client cost.
fn rare_heartbeats(config: Config) -> Config {
    blocking(config).heartbeat_interval(Duration::from_secs(1)).liveness_timeout(Duration::from_secs(5))
}

impl Mode {
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let mode = MODES.iter().find(|mode| mode.name == text);
        mode.copied().ok_or_else(|| format!("{text}: no mode of tautline").into())
    }

    pub(crate) fn configure(self, config: Config) -> Config {
        // Nothing waits in an inbox, except where that is what is measured.
        let config = if self.name == "threads" { config } else { config.inbox_capacity(0) };
        (self.settings)(config.wire(self.wire))
    }

    /// Sends one message of a dialogue.
    pub(crate) fn send(self, interface: &UdpInterface, message: &[u8]) -> Outcome<()> {
        match self.wire {
            Wire::Native => interface.send_raw(message, &Metadata::command()),
            Wire::Classic => interface.send_payload(&self.payload(message)?, &Metadata::command()),
        }?;
        Ok(())
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
