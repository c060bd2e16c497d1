//! The configuration of an interface: one plain value, from code, TOML, the environment, or all of them.
//!
//! Called by every folder that has settings, and by users. Uses `payload` (its limits and its codecs). It opens no file
//! and reads no variable, unless the user asks for it.
//!
//! [`Config`] holds the values that the user set. [`Settings`] holds all values, checked, with every default filled in.
//! Of several sources, the source that is applied later wins. The usual order is a TOML file, the environment, code:
//!
//! ```
//! # #[cfg(feature = "toml")] {
//! use tautline::Config;
//!
//! let config = Config::from_toml("role = \"server\"\nendpoint = \"0.0.0.0:9000\"\nmax_peers = 8")?
//!     .apply_variables([("TAUTLINE_MAX_PEERS", "16")])?
//!     .name("plant");
//! assert_eq!(config.settings()?.max_peers, 16);
//! # }
//! # Ok::<(), tautline::ConfigError>(())
//! ```

mod allow;
mod black_box;
mod cpus;
mod durations;
mod endpoint;
mod error;
mod failsafe;
mod holders;
#[cfg(feature = "sim")]
mod impair;
mod key_text;
mod keys;
mod local;
mod metrics;
mod profile;
mod protocol;
mod qos;
#[cfg(feature = "secure")]
mod secret;
mod selector;
mod sources;
mod streams;
mod value;

pub use allow::Allow;
pub use black_box::{ByteSize, FilePath, Folder};
pub use cpus::{Cpus, CpusError};
pub use durations::{DurationError, parse_duration};
pub use endpoint::{Endpoint, EndpointError, EndpointText};
pub use error::ConfigError;
pub use failsafe::{Failsafe, SilenceCause, WatchId, WatchdogChange, WatchdogEvent, WatchdogState, Watched};
pub use holders::{KeyHolder, KeyPath};
pub use keys::{Config, Key, Settings};
pub use local::{CardName, LocalAddress, LocalAddressError};
pub use metrics::MetricsAddress;
pub use qos::{History, Qos, StreamKey};
#[cfg(feature = "secure")]
pub use secret::{KeyFileError, SecretKey, SecretKeyError};
pub use selector::Selector;
pub use streams::Streams;
pub use value::{DrivenBy, InboxPolicy, Mtu, Profile, Role, WaitPolicy, Wire};

use std::time::Duration;

use tautline_proto::{ContentType, MessageType};

pub(crate) use self::durations::show_duration;
pub(crate) use self::endpoint::serves_many;
use self::keys::{DEFAULT_WIRE, KEYS};
use self::qos::STREAM_KEYS;
use crate::payload::PayloadLimits;

impl Config {
    /// Makes a configuration of a server that listens on `endpoint`, such as `0.0.0.0:9000` or `[::]:9000`. Port 0
    /// takes any free port.
    #[must_use]
    pub fn server(endpoint: impl Into<EndpointText>) -> Self {
        Self::default().role(Role::Server).endpoint(endpoint)
    }

    /// Makes a configuration of a client that calls the server at `endpoint`, such as `plant.local:9000`.
    #[must_use]
    pub fn client(endpoint: impl Into<EndpointText>) -> Self {
        Self::default().role(Role::Client).endpoint(endpoint)
    }

    /// Sets the role of the interface that is created. Returns an error if the user chose the other role.
    pub(crate) fn for_role(self, role: Role) -> Result<Self, ConfigError> {
        match self.role {
            Some(found) if found != role => Err(ConfigError::WrongRole { found, expected: role }),
            _ => Ok(self.role(role)),
        }
    }

    /// Returns every key, with its type, range, default and purpose. docs/configuration.md lists them.
    #[must_use]
    pub fn keys() -> &'static [Key] {
        KEYS
    }

    /// Returns every key that a stream of messages can have. docs/configuration.md lists them.
    #[must_use]
    pub fn stream_keys() -> &'static [StreamKey] {
        STREAM_KEYS
    }

    /// Sets how messages of a type are treated. Replaces only the values that `qos` sets.
    #[must_use]
    pub fn qos(mut self, message_type: MessageType, qos: Qos) -> Self {
        self.streams.overlay(message_type.into(), qos);
        self
    }

    /// Sets how messages on one channel of a type are treated. Replaces only the values that `qos` sets. The other
    /// values come from the type. On the classic wire there is only channel 0.
    #[must_use]
    pub fn channel_qos(mut self, message_type: MessageType, channel: u16, qos: Qos) -> Self {
        self.streams.overlay((message_type, channel).into(), qos);
        self
    }

    /// Sets the failsafe. A server calls it when commands stop, a client when states (`status`) stop; and with each other
    /// [change](WatchdogChange) of that watchdog. The time-out is the `deadline` of the stream; at a client that has none for
    /// `status`, that of `command`.
    ///
    /// A server's watchdog latches: when commands have stopped, they are dropped until
    /// [`UdpInterface::reset`](crate::UdpInterface::reset), whoever sends them. A client's recovers by itself, because it
    /// moves nothing. The setting `latch` of the stream changes that.
    ///
    /// A server with [`Profile::control`] must have a failsafe. It runs on the watchdogs' thread and must return soon; see
    /// [`UdpInterface::watch`](crate::UdpInterface::watch). Interfaces with clones of one configuration share it.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use std::sync::Arc;
    /// use tautline::{Config, Profile, WatchdogState, create_udp_server};
    ///
    /// let may_move = Arc::new(AtomicBool::new(false));
    /// let flag = Arc::clone(&may_move);
    /// let config = Config::server("127.0.0.1:0")
    ///     .profile(Profile::control())
    ///     .failsafe(move |event| flag.store(event.state() == WatchdogState::Armed, Ordering::SeqCst));
    /// let plant = create_udp_server(config)?;
    /// plant.connect()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn failsafe(mut self, failsafe: impl Fn(&WatchdogEvent) + Send + Sync + 'static) -> Self {
        self.failsafe = Some(Failsafe::new(failsafe));
        self
    }

    /// Checks everything that can be checked without a socket.
    ///
    /// # Errors
    /// Returns the first fault, with the key: the key is missing or out of its range, it has no effect for this role
    /// and wire, or it contradicts another key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.settings().map(drop)
    }

    /// Checks the configuration like [`validate`](Self::validate), and returns all values with every default filled in.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        let role = self.role.ok_or_else(|| missing("role"))?;
        let wire = self.wire.unwrap_or(DEFAULT_WIRE);
        let text = self.endpoint.as_deref().ok_or_else(|| missing("endpoint"))?;
        let endpoint = Endpoint::for_role(text.trim(), role).map_err(ConfigError::Endpoint)?;
        self.check_keys(role, wire)?;
        KEYS.iter().try_for_each(|key| key.check(self, role, wire))?;
        let mut settings = Settings::fill(self, role, endpoint);
        settings.fill_profile(self);
        settings.check_endpoint()?;
        settings.check_codec()?;
        settings.check_size()?;
        settings.check_durations()?;
        settings.check_busy_poll()?;
        settings.check_spinning()?;
        self.streams.check(self.profile, wire)?;
        settings.check_failsafe()?;
        self.check_metrics()?;
        #[cfg(feature = "secure")]
        {
            settings.keys = settings.key_sources.read()?;
        }
        #[cfg(feature = "sim")]
        impair::check(self.impair.as_ref().map(|(impairments, _)| impairments))?;
        if self.inbox_policy.is_some() && settings.inbox_capacity == 0 {
            return Err(ConfigError::NoEffect {
                key: "inbox_policy".to_owned(),
                only: "with an `inbox_capacity` over 0",
            });
        }
        Ok(settings)
    }
}

impl Config {
    fn check_metrics(&self) -> Result<(), ConfigError> {
        match &self.metrics {
            Some(_) if !cfg!(feature = "metrics") => Err(ConfigError::NoEffect {
                key: "metrics".to_owned(),
                only: "in builds with the Cargo feature \"metrics\" of the crate tautline",
            }),
            Some(text) if text.address().is_none() => Err(ConfigError::Invalid {
                key: "metrics".to_owned(),
                found: value::Setting::found(text),
                expected: <MetricsAddress as value::Setting>::expected(None),
            }),
            _ => Ok(()),
        }
    }
}

/// The bytes that a message that waits takes beside its payload, if its texts are as long as they may be on the native wire.
const LARGEST_METADATA: usize = 1_024;

fn missing_with(key: &str, expected: &str) -> ConfigError {
    ConfigError::Missing { key: key.to_owned(), expected: expected.to_owned() }
}

fn missing(key: &str) -> ConfigError {
    let expected = KEYS.iter().find(|known| known.name() == key).map_or_else(String::new, Key::expected);
    ConfigError::Missing { key: key.to_owned(), expected }
}

impl Settings {
    /// Returns the limits of sent and received payloads.
    #[must_use]
    pub const fn payload_limits(&self) -> PayloadLimits {
        PayloadLimits {
            max_size: self.max_message_size,
            max_depth: self.max_depth,
            nonfinite: self.nonfinite,
        }
    }

    /// The messages that the failsafe is about, and their time-out.
    pub(crate) fn watched_by_failsafe(&self) -> (MessageType, Option<Duration>) {
        let commands = self.streams.of_type(MessageType::Command).deadline;
        match self.role {
            Role::Server => (MessageType::Command, commands),
            Role::Client => {
                (MessageType::Status, self.streams.of_type(MessageType::Status).deadline.or(commands))
            }
        }
    }

    fn check_failsafe(&self) -> Result<(), ConfigError> {
        match (&self.failsafe, self.watched_by_failsafe()) {
            (Some(_), (of, None)) => Err(ConfigError::Missing {
                key: format!("{of}.deadline"),
                expected: "a duration, because the failsafe is called after it".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Whether connecting needs a failsafe that is not there.
    pub(crate) fn lacks_failsafe(&self, config: &Config) -> bool {
        self.failsafe.is_none() && self.role == Role::Server && config.profile == Some(Profile::Control)
    }

    /// Whether the kernel is to stamp datagrams on arrival.
    pub(crate) fn need_stamps(&self) -> bool {
        self.wire == Wire::Classic || self.streams.have_lifespans()
    }

    fn check_endpoint(&self) -> Result<(), ConfigError> {
        if self.role == Role::Client && self.endpoint.port() == 0 {
            let expected = "the port that the server listens on (port 0 is for servers)";
            return Err(invalid("endpoint", &self.endpoint, expected));
        }
        if let Some(bind) = self.bind.as_ref().filter(|bind| serves_many(bind.ip())) {
            let expected = "an address of this host, not a multicast group or a broadcast address";
            return Err(invalid("bind", bind, expected));
        }
        match &self.interface {
            Some(card) if !card.is_possible() => {
                Err(invalid("interface", &value::quoted(card.as_str()), CardName::EXPECTED))
            }
            _ => Ok(()),
        }
    }

    fn check_codec(&self) -> Result<(), ConfigError> {
        match (self.wire, self.codec) {
            (_, ContentType::Json) => Ok(()),
            (_, ContentType::Raw) => {
                let expected = "json, msgpack or cbor (to send raw bytes, send `Raw` or `Payload::raw`)";
                Err(invalid("codec", &self.codec, expected))
            }
            (Wire::Classic, _) => {
                Err(invalid("codec", &self.codec, "json, the only codec of the classic wire"))
            }
            (_, codec) if !crate::payload::is_built(codec) => Err(ConfigError::CodecNotBuilt { codec }),
            _ => Ok(()),
        }
    }

    fn check_size(&self) -> Result<(), ConfigError> {
        let least = self.max_message_size + LARGEST_METADATA;
        if self.queue_bytes < least {
            let expected = format!("at least {least}, so that the largest message fits (`max_message_size`)");
            return Err(invalid("queue_bytes", &self.queue_bytes, &expected));
        }
        if self.wire == Wire::Native || self.max_message_size <= keys::MAX_IN_DATAGRAM {
            return Ok(());
        }
        let expected =
            format!("at most {} on the classic wire, which has no fragments", keys::MAX_IN_DATAGRAM);
        Err(invalid("max_message_size", &self.max_message_size, &expected))
    }

    fn check_durations(&self) -> Result<(), ConfigError> {
        let liveness = show_duration(self.liveness_timeout);
        if self.wire == Wire::Native && self.liveness_timeout <= self.heartbeat_interval * 2 {
            let twice = show_duration(self.heartbeat_interval * 2);
            let expected = format!("more than twice `heartbeat_interval`, that is over {twice}");
            return Err(invalid("liveness_timeout", &liveness, &expected));
        }
        if self.role == Role::Server && self.peer_expiry <= self.liveness_timeout {
            let expected = format!("more than `liveness_timeout`, that is over {liveness}");
            return Err(invalid("peer_expiry", &show_duration(self.peer_expiry), &expected));
        }
        Ok(())
    }
}

fn invalid(key: &str, found: &dyn std::fmt::Display, expected: &str) -> ConfigError {
    ConfigError::Invalid { key: key.to_owned(), found: found.to_string(), expected: expected.to_owned() }
}
