//! The modes: how each end is driven, and which settings differ from the defaults. A new mode is a line of [`MODES`].

use std::time::Duration;

use method::Outcome;
use tautline::{
    Config, MessageType, Metadata, Payload, Qos, Raw, Role, SecretKey, UdpInterface, WaitPolicy, Wire,
};

/// How one end is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The end is caller-driven.
    Loop,
    /// The end has a driver thread. The server's handler is inline; the client takes answers from `receive`.
    Thread,
    /// The server has a driver thread, and takes messages from `receive`: up to so many at once.
    Receive(usize),
}

/// A variant of tautline.
#[derive(Clone, Copy)]
pub(crate) struct Mode {
    name: &'static str,
    pub(crate) server: Side,
    pub(crate) client: Side,
    wire: Wire,
    /// The other settings of both ends.
    settings: fn(Config) -> Config,
    /// The number of threads that send.
    pub(crate) threads: usize,
    /// The number of messages per call.
    pub(crate) batch: usize,
    /// The largest number of messages in flight. `None` means no limit.
    pub(crate) window: Option<u64>,
    /// Whether at most [`method::window`] messages of the run's size are in flight, and the client waits for the server's reports in
    /// `receive`.
    pub(crate) is_sized: bool,
    /// Whether the clients only connect and stay, after a message each.
    pub(crate) is_idle: bool,
    /// The number of clients that send in turn, all driven by one loop. `None` means one client that only sends.
    pub(crate) clients: Option<usize>,
    /// Whether every message comes from a new client, which connects for it.
    pub(crate) is_connecting: bool,
}

/// The default settings: the server has a driver thread and an inline handler, and the client is caller-driven.
const DEFAULT: Mode = Mode {
    name: "default",
    server: Side::Thread,
    client: Side::Loop,
    wire: Wire::Native,
    settings: |config| config,
    threads: 1,
    batch: 1,
    window: None,
    is_sized: false,
    is_idle: false,
    clients: None,
    is_connecting: false,
};

/// What the README shows: both ends have a driver thread, and wait in `receive`.
const RECEIVE: Mode = Mode { name: "receive", server: Side::Receive(1), client: Side::Thread, ..DEFAULT };

const CALLER_DRIVEN: Mode = Mode { name: "caller-driven", server: Side::Loop, settings: blocking, ..DEFAULT };

/// The base of the modes for many messages: both ends have a driver thread, so that messages are coalesced.
const STREAM: Mode = Mode { name: "stream", client: Side::Thread, settings: large_buffer, ..DEFAULT };

/// More clients than any mode has.
const MAX_PEERS: usize = 16_384;

/// The number of messages of 64 bytes that one system call can send.
const BATCH: usize = 720;

const BATCH_WINDOWED: Mode =
    Mode { name: "batch-windowed", batch: BATCH, window: Some(4_096), client: Side::Loop, ..STREAM };

const CONNECTS: Mode = Mode { name: "connects", is_connecting: true, ..CALLER_DRIVEN };

const ONE_CLIENT: Mode =
    Mode { name: "clients-1", clients: Some(1), settings: rare_heartbeats, ..CALLER_DRIVEN };

const IDLE: Mode = Mode { name: "idle-1", is_idle: true, settings: blocking, ..ONE_CLIENT };

const MODES: &[Mode] = &[
    DEFAULT,
    CALLER_DRIVEN,
    Mode { name: "caller-driven-secured", settings: |config| secured(blocking(config)), ..CALLER_DRIVEN },
    Mode { name: "inline", settings: blocking, ..DEFAULT },
    Mode { name: "threads", client: Side::Thread, ..DEFAULT },
    Mode { name: "spinning", settings: |config| config.wait(WaitPolicy::Spin), ..CALLER_DRIVEN },
    Mode {
        name: "spinning-secured",
        settings: |config| secured(config.wait(WaitPolicy::Spin)),
        ..CALLER_DRIVEN
    },
    Mode { name: "realtime", settings: |config| config.realtime(true), ..DEFAULT },
    Mode { name: "classic", wire: Wire::Classic, ..CALLER_DRIVEN },
    RECEIVE,
    Mode { name: "receive-blocking", settings: blocking, ..RECEIVE },
    Mode { name: "receive-realtime", settings: |config| config.realtime(true), ..RECEIVE },
    STREAM,
    Mode { name: "inbox", server: Side::Receive(1), ..STREAM },
    Mode { name: "inbox-many", server: Side::Receive(1_000), ..STREAM },
    Mode { name: "batch", batch: BATCH, ..STREAM },
    BATCH_WINDOWED,
    Mode {
        name: "batch-windowed-secured",
        settings: |config| secured(large_buffer(config)),
        ..BATCH_WINDOWED
    },
    Mode { name: "no-offload", settings: |config| large_buffer(config).offload(false), ..STREAM },
    Mode { name: "uncoalesced", settings: without_coalescing, ..STREAM },
    Mode { name: "uncoalesced-secured", settings: |config| secured(without_coalescing(config)), ..STREAM },
    Mode { name: "four-threads", threads: 4, ..STREAM },
    Mode { name: "four-threads-uncoalesced", threads: 4, settings: without_coalescing, ..STREAM },
    Mode { name: "windowed", window: Some(256), ..CALLER_DRIVEN },
    CONNECTS,
    Mode { name: "connects-secured", settings: |config| secured(blocking(config)), ..CONNECTS },
    ONE_CLIENT,
    Mode { name: "clients-1000", clients: Some(1000), ..ONE_CLIENT },
    Mode { name: "clients-9900", clients: Some(9_900), ..ONE_CLIENT },
    IDLE,
    Mode { name: "idle-100", clients: Some(100), ..IDLE },
    Mode { name: "idle-1000", clients: Some(1_000), ..IDLE },
    Mode { name: "idle-9900", clients: Some(9_900), settings: rare_heartbeats, ..IDLE },
    Mode { name: "sized", is_sized: true, ..STREAM },
];

fn blocking(config: Config) -> Config {
    config.wait(WaitPolicy::Block)
}

/// Secures the link. Both processes know this key. It keeps nothing secret: what is measured does not depend on its value.
fn secured(config: Config) -> Config {
    config.key(SecretKey::from(*b"the known key of the comparison."))
}

/// Sets a large receive buffer. At ten million messages per second, the default buffer is full before a receiver that
/// lost its core runs again.
fn large_buffer(config: Config) -> Config {
    config.receive_buffer(16 << 20)
}

/// Turns coalescing off, so that every message is a datagram.
fn without_coalescing(config: Config) -> Config {
    large_buffer(config).coalescing_delay(Duration::ZERO)
}

/// Makes heartbeats rare, so that the figures show the cost of messages and not of ten heartbeats per second and
/// client.
fn rare_heartbeats(config: Config) -> Config {
    blocking(config).heartbeat_interval(Duration::from_secs(1)).liveness_timeout(Duration::from_secs(5))
}

impl Mode {
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let mode = MODES.iter().find(|mode| mode.name == text);
        mode.copied().ok_or_else(|| format!("{text} is not a mode of tautline").into())
    }

    pub(crate) fn configure(self, config: Config) -> Config {
        // Who does not receive has no inbox.
        let receives = matches!(self.server, Side::Receive(_))
            || self.name == "threads"
            || (self.is_sized && config.role == Some(Role::Client));
        let config = if receives { config } else { config.inbox_capacity(0) };
        let config = if self.clients.is_some() && config.role == Some(Role::Server) {
            config.max_peers(MAX_PEERS)
        } else {
            config
        };
        // Every message counts here. By default only the newest command of a stream waits.
        let config = config.qos(MessageType::Command, Qos::new().keep_all());
        (self.settings)(config.wire(self.wire))
    }

    /// Sends one message of a request/response exchange.
    pub(crate) fn send(self, interface: &UdpInterface, message: &[u8]) -> Outcome<()> {
        match self.wire {
            Wire::Native => interface.send(Raw(message), &Metadata::command()),
            Wire::Classic => interface.send(&self.payload(message)?, &Metadata::command()),
        }?;
        Ok(())
    }

    pub(crate) fn payload(self, message: &[u8]) -> Outcome<Payload> {
        if self.wire == Wire::Native {
            return Ok(Payload::raw(message));
        }
        Ok(Payload::json(std::str::from_utf8(message)?)?)
    }

    /// Returns the message inside a received payload.
    pub(crate) fn content(self, payload: &[u8]) -> &[u8] {
        match payload {
            [b'"', content @ .., b'"'] if self.wire == Wire::Classic => content,
            content => content,
        }
    }
}
