//! The table of all settings.
//!
//! Each entry has the type, the default, the range and the scope of a key. The table generates the fields and setters
//! of [`Config`], the reading of TOML and of the environment, the checks, and the table in docs/configuration.md.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use tautline_proto::ContentType;
use tautline_proto::json::{JsonLimits, NonFinite};

use super::allow::{Allow, NUMBERS as ALLOW_NUMBERS};
use super::black_box::{ByteSize, FilePath, Folder};
use super::cpus::{Cpus, NUMBERS as CPU_NUMBERS};
use super::endpoint::{Endpoint, EndpointText};
use super::error::ConfigError;
use super::failsafe::Failsafe;
use super::holders::{KeyHolder, KeyPath, KeySources};
use super::local::{CardName, LocalAddress};
use super::metrics::MetricsAddress;
#[cfg(feature = "secure")]
use super::secret::SecretKey;
use super::streams::Streams;
use super::value::{DrivenBy, InboxPolicy, Mtu, Profile, Role, Setting, SourceValue, WaitPolicy, Wire};
use crate::payload::PayloadLimits;

/// Where a key has an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scope {
    role: Option<Role>,
    wire: Option<Wire>,
}

const ANYWHERE: Scope = Scope { role: None, wire: None };
const SERVERS: Scope = Scope { role: Some(Role::Server), wire: None };
const CLIENTS: Scope = Scope { role: Some(Role::Client), wire: None };
const NATIVE: Scope = Scope { role: None, wire: Some(Wire::Native) };
const CLASSIC: Scope = Scope { role: None, wire: Some(Wire::Classic) };

impl Scope {
    fn covers(self, role: Role, wire: Wire) -> bool {
        self.role.is_none_or(|only| only == role) && self.wire.is_none_or(|only| only == wire)
    }

    const fn only(self) -> &'static str {
        match (self.role, self.wire) {
            (None, None) => "everywhere",
            (Some(Role::Server), None) => "for servers",
            (Some(Role::Client), None) => "for clients",
            (None, Some(Wire::Native)) => "on the native wire",
            (None, Some(Wire::Classic)) => "on the classic wire",
            (Some(Role::Server), Some(Wire::Native)) => "for servers on the native wire",
            (Some(Role::Client), Some(Wire::Native)) => "for clients on the native wire",
            (Some(Role::Server), Some(Wire::Classic)) => "for servers on the classic wire",
            (Some(Role::Client), Some(Wire::Classic)) => "for clients on the classic wire",
        }
    }
}

/// One key of the configuration, as documentation and tools see it.
pub struct Key {
    name: &'static str,
    doc: &'static str,
    scope: Scope,
    expected: fn() -> String,
    default: fn(Wire) -> Option<String>,
    value: fn(&Config) -> Option<String>,
    check: fn(&Config) -> Result<(), ConfigError>,
    set: fn(&mut Config, &str, SourceValue<'_>) -> Result<(), ConfigError>,
}

impl Key {
    /// The name in TOML; in the environment it is `TAUTLINE_` and the name in upper case.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What the key is for, and why its default is what it is.
    #[must_use]
    pub const fn doc(&self) -> &'static str {
        self.doc
    }

    /// What its value may be, with the unit and the range.
    #[must_use]
    pub fn expected(&self) -> String {
        (self.expected)()
    }

    /// The default on this wire, as a user writes it; `None` if there is no default.
    #[must_use]
    pub fn default(&self, wire: Wire) -> Option<String> {
        (self.default)(wire)
    }

    /// Where it has an effect: "everywhere", "for servers", "on the classic wire", ...
    #[must_use]
    pub const fn scope(&self) -> &'static str {
        self.scope.only()
    }

    /// The value in `config`, as a user writes it; `None` if it is not set.
    #[must_use]
    pub fn value(&self, config: &Config) -> Option<String> {
        (self.value)(config)
    }

    /// Sets the key in `config`. An error names the key as its source does.
    pub(super) fn set(
        &self,
        config: &mut Config,
        written: &str,
        given: SourceValue<'_>,
    ) -> Result<(), ConfigError> {
        (self.set)(config, written, given)
    }

    /// Checks the scope and the range of the key, without regard to other keys.
    pub(super) fn check(&self, config: &Config, role: Role, wire: Wire) -> Result<(), ConfigError> {
        if self.value(config).is_some() && !self.scope.covers(role, wire) {
            return Err(ConfigError::NoEffect { key: self.name.to_owned(), only: self.scope.only() });
        }
        (self.check)(config)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Turns the table into [`Config`], [`Settings`] and [`KEYS`].
///
/// `plain` keys have no default, and `Settings::fill` handles them by hand. `settings` keys have a default for each
/// wire.
macro_rules! keys {
    (
        plain { $($(#[doc = $pdoc:literal])+ $plain:ident: $ptype:ty as $parg:ty, by $by:expr, $pscope:ident;)+ }
        settings {
            $($(#[doc = $doc:literal])+ $name:ident: $type:ty as $arg:ty, $scope:ident
                $(, $range:expr)? => $default:expr $(, classic $classic:expr)?;)+
        }
    ) => {
        /// The configuration of an interface: a plain value, from code, TOML, the environment, or all of them.
        ///
        /// A value that is not set has its default. Setters can be chained and never fail: [`validate`](Self::validate)
        /// checks all values together, and creating an interface calls it. A key that is set but can have no effect (a
        /// heartbeat on the classic wire) is an error.
        ///
        /// ```
        /// use std::time::Duration;
        /// use tautline::Config;
        ///
        /// let config = Config::client("plant.local:9000")
        ///     .name("controller")
        ///     .heartbeat_interval(Duration::from_millis(20));
        /// assert_eq!(config.validate(), Ok(()));
        /// ```
        #[derive(Clone, Debug, Default, PartialEq)]
        #[non_exhaustive]
        pub struct Config {
            $($(#[doc = $pdoc])+ pub $plain: Option<$ptype>,)+
            $($(#[doc = $doc])+ #[doc = ""] #[doc = "`None`: the default."] pub $name: Option<$type>,)+
            /// The settings of streams of messages that were set, by type and channel.
            pub streams: Streams,
            /// The key that [`key`](Self::key) set.
            #[cfg(feature = "secure")]
            pub key: Option<SecretKey>,
            /// Whose keys a server accepts, by name, as [`key_holder`](Self::key_holder) and the tables `[keys.NAME]` set them.
            pub key_holders: BTreeMap<String, KeyHolder>,
            /// The failsafe that [`failsafe`](Self::failsafe) set.
            pub failsafe: Option<Failsafe>,
            /// The impairments and the seed that [`impair`](Self::impair) set.
            #[cfg(feature = "sim")]
            pub impair: Option<(tautline_proto::sim::Impairments, u64)>,
        }

        impl Config {
            $($(#[doc = $pdoc])+ #[must_use] pub fn $plain(mut self, $plain: $parg) -> Self {
                self.$plain = Some(($by)($plain));
                self
            })+
            $($(#[doc = $doc])+ #[must_use] pub fn $name(mut self, $name: $arg) -> Self {
                self.$name = Some($name.into());
                self
            })+
        }

        /// A [`Config`] that was checked, with every default filled in.
        ///
        /// Keys without effect here (keys of the other role or wire) have their defaults.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct Settings {
            /// Whether the interface is a server or a client.
            pub role: Role,
            /// Where a server listens, or the server that a client calls.
            pub endpoint: Endpoint,
            /// The local address of a client; `None` means any address.
            pub bind: Option<LocalAddress>,
            /// The network card that the interface uses; `None` means any.
            pub interface: Option<CardName>,
            /// What received messages are recorded in; `None`: nothing.
            pub record: Option<FilePath>,
            $($(#[doc = $doc])+ pub $name: $type,)+
            /// The settings of streams of messages, with those of the profile and the defaults, by type and channel.
            pub streams: Streams,
            pub(crate) key_sources: KeySources,
            /// The keys that were read. `None`: the link is plain.
            #[cfg(feature = "secure")]
            pub(crate) keys: Option<tautline_proto::secure::Keys>,
            /// What is called when commands stop (at a server), or states (at a client).
            pub failsafe: Option<Failsafe>,
            /// The impairments of received datagrams, and the seed of their random decisions.
            #[cfg(feature = "sim")]
            pub impair: Option<(tautline_proto::sim::Impairments, u64)>,
        }

        impl Settings {
            /// Fills in the defaults. The values must be checked already.
            pub(super) fn fill(config: &Config, role: Role, endpoint: Endpoint) -> Self {
                let wire = config.wire.unwrap_or(DEFAULT_WIRE);
                Self {
                    role,
                    endpoint,
                    bind: config.bind.clone(),
                    interface: config.interface.clone(),
                    record: config.record.clone(),
                    $($name: config.$name.clone().unwrap_or_else(|| defaults::$name(wire)),)+
                    streams: config.streams.resolve(config.profile, wire).with_defaults(wire),
                    key_sources: config.key_sources(),
                    #[cfg(feature = "secure")]
                    keys: None,
                    failsafe: config.failsafe.clone(),
                    #[cfg(feature = "sim")]
                    impair: config.impair,
                }
            }
        }

        mod ranges {
            use super::*;
            $(pub(super) fn $plain() -> Option<RangeInclusive<<$ptype as Setting>::Size>> { None })+
            $(pub(super) fn $name() -> Option<RangeInclusive<<$type as Setting>::Size>> {
                optional!($($range)?)
            })+
        }

        mod defaults {
            use super::*;
            $(pub(super) fn $name(wire: Wire) -> $type {
                match wire { $(Wire::Classic => $classic,)? _ => $default }
            })+
        }

        /// Every key, in the order of the documentation.
        pub(super) static KEYS: &[Key] = &[
            $(key!($plain: $ptype, $pscope, concat!($($pdoc),+), |_| None),)+
            $(key!($name: $type, $scope, concat!($($doc),+), |wire| Some(Setting::show(&defaults::$name(wire)))),)+
        ];
    };
}

/// One entry of [`KEYS`].
macro_rules! key {
    ($name:ident: $type:ty, $scope:ident, $doc:expr, $default:expr) => {
        Key {
            name: stringify!($name),
            doc: $doc,
            scope: $scope,
            expected: || <$type as Setting>::expected(ranges::$name().as_ref()),
            default: $default,
            value: |config| config.$name.as_ref().map(Setting::show),
            check: |config| {
                let in_range =
                    |value: &$type| ranges::$name().is_none_or(|range| range.contains(&value.size()));
                match &config.$name {
                    Some(value) if !in_range(value) => Err(ConfigError::Invalid {
                        key: stringify!($name).to_owned(),
                        found: value.found(),
                        expected: <$type as Setting>::expected(ranges::$name().as_ref()),
                    }),
                    _ => Ok(()),
                }
            },
            set: |config, written, given| {
                let range = ranges::$name();
                let read = <$type as Setting>::read(given)
                    .filter(|value| range.as_ref().is_none_or(|range| range.contains(&value.size())));
                let Some(value) = read else {
                    return Err(ConfigError::Invalid {
                        key: written.to_owned(),
                        found: match <$type as Setting>::fault(given) {
                            Some(fault) => format!("{given}, and {fault}"),
                            None => given.to_string(),
                        },
                        expected: <$type as Setting>::expected(range.as_ref()),
                    });
                };
                config.$name = Some(value);
                Ok(())
            },
        }
    };
}

macro_rules! optional {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}

/// The wire of a configuration that sets none.
pub(super) const DEFAULT_WIRE: Wire = Wire::Native;

/// More than the payload of a message in one datagram can have: the largest datagram, which IPv6 carries.
pub(super) const MAX_IN_DATAGRAM: usize = 65_527;

/// The largest possible message, in bytes of payload. The fragments of a reliable message of this size fit in the
/// window.
const MAX_MESSAGE_SIZE: usize = PayloadLimits::WIDEST.max_size;

/// The most peers, messages in a queue and bytes of kernel buffer that a configuration may ask for.
const MAX_PEERS: usize = 65_536;
pub(super) const MAX_QUEUE: usize = 1_000_000;
const MAX_KERNEL_BUFFER: usize = 1 << 30;
const MAX_CONCURRENCY: usize = 1_000;

/// The largest IP packet.
const MAX_PACKET: usize = 65_535;

/// The highest priority of SCHED_FIFO (sched(7)).
const MAX_THREAD_PRIORITY: usize = 99;

/// A longer poll would be spinning, and would keep the core from all other threads.
const MAX_BUSY_POLL: Duration = ms(10);

const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3_600);

pub(super) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn us(count: u64) -> Duration {
    Duration::from_micros(count)
}

const fn s(count: u64) -> Duration {
    Duration::from_secs(count)
}

keys! {
    plain {
        /// Whether the interface is a server or a client. The functions that create an interface set it.
        role: Role as Role, by std::convert::identity, ANYWHERE;
        /// Where a server listens (port 0: any free port), or the server that a client calls. Without a port, the port
        /// is 8080. A server may leave the host out: ":9000" listens on every address, IPv4 and IPv6.
        endpoint: String as impl Into<EndpointText>, by EndpointText::read, ANYWHERE;
        /// The client's own address, for hosts in several networks. By default the system chooses it, and chooses again
        /// when it changes. A link-local address names its network card: fe80::1%eth0.
        bind: LocalAddress as impl Into<LocalAddress>, by Into::into, CLIENTS;
        /// The network card that the interface sends and receives by (SO_BINDTODEVICE), for hosts in several networks
        /// with the same addresses. By default the routes decide. On Windows it chooses the card for sending only.
        interface: CardName as impl Into<CardName>, by Into::into, ANYWHERE;
        /// The address at which the figures of the interface can be seen over HTTP, from when it first connects: /metrics has text for
        /// Prometheus, and / a live page. ":9465" is for this host only, "0.0.0.0:9465" for every host that reaches it. Nobody can change
        /// anything there. Off by default. Needs the Cargo feature "metrics".
        metrics: MetricsAddress as impl Into<MetricsAddress>, by Into::into, ANYWHERE;
        /// A file in which the interface records all messages that it receives, as `tautline record` does (docs/recording.md). Each
        /// connection has a file of its own: runs/plant.mcap becomes runs/plant-1795965519400.mcap, with the time in milliseconds. The
        /// library never removes these files. Off by default.
        record: FilePath as impl Into<FilePath>, by Into::into, ANYWHERE;
        /// The key file of the link: a line of base64 for each key, as `tautline keygen` makes it. The client calls with the first
        /// key, the server accepts all of them. Without keys, the link is plain. A relative path in a TOML file begins at the folder
        /// of that file (docs/security.md).
        key_file: KeyPath as impl Into<KeyPath>, by Into::into, NATIVE;
        /// A named set of settings for streams of messages. A stream's own settings override it.
        profile: Profile as Profile, by std::convert::identity, ANYWHERE;
    }
    settings {
        /// The `source` of every message that is sent, and the name that peers and logs show.
        name: String as impl Into<String>, ANYWHERE, 1..=64 => "tautline".to_owned();
        /// The wire protocol; the same at both ends. Use classic if the other end is the Python module.
        wire: Wire as Wire, ANYWHERE => DEFAULT_WIRE;
        /// Whether classic datagrams carry a CRC-32. Set it as `use_crc` at the other end. Native datagrams always
        /// carry one.
        use_crc: bool as bool, CLASSIC => true;
        /// Whether classic datagrams carry a sequence number. Set it as `use_sequence` at the other end. Without it,
        /// neither loss nor duplicates can be detected. Native datagrams always carry one.
        use_sequence: bool as bool, CLASSIC => true;
        /// How long connecting waits for what is not there yet: the endpoint's name, this host's address or network
        /// card, a route, and on the native wire the server's answer. The default is enough for a machine that boots at
        /// the same time. With 0s, connecting waits for at most 100 ms, and only for a name server. It goes on trying in
        /// the background.
        connect_timeout: Duration as Duration, ANYWHERE, Duration::ZERO..=HOUR => s(5);
        /// The time between two heartbeats. Heartbeats are sent in addition to all other traffic. They measure the
        /// round trip, and show a dead link within `liveness_timeout`.
        heartbeat_interval: Duration as Duration, NATIVE, MS..=MINUTE => ms(100);
        /// The time without any datagram of a peer after which the peer is reported silent. On the native wire it must
        /// exceed twice `heartbeat_interval`, so that the loss of one heartbeat is no alarm. The classic wire has no
        /// heartbeats: there, set it by how often users send.
        liveness_timeout: Duration as Duration, ANYWHERE, MS..=HOUR => ms(500), classic s(5);
        /// How long a server remembers a silent peer. It must exceed `liveness_timeout`. The default is longer than a
        /// restart takes.
        peer_expiry: Duration as Duration, SERVERS, MS..=HOUR => s(60);
        /// How often a reliable message is sent at most before it is abandoned. The retransmission time-out follows the
        /// round trip, and doubles up to 200ms. 20 tries outlast an interruption of some seconds, and a loss of 30 %.
        reliable_tries: usize as usize, NATIVE, 1..=1_000 => 20;
        /// The networks whose hosts may become peers of a server, such as ["10.0.0.0/24", "fd00::/8"]. Others get no answer. On the classic
        /// wire, a peer in one of them gets what is sent to all until it expires, also if it only listens.
        allow: Allow as impl Into<Allow>, SERVERS, ALLOW_NUMBERS => Allow::any();
        /// The most peers that a server knows at once. When there is no room, a silent peer makes room for a newcomer: of the network
        /// and the host with most peers, the one that was established last. If none is silent, the newcomer is refused.
        max_peers: usize as usize, SERVERS, 1..=MAX_PEERS => 1_024;
        /// The largest payload that is sent or accepted, in bytes. The default is what the largest datagram holds, so on the
        /// classic wire, which has no fragments, it refuses no message. On the native wire, a message larger than `mtu` is
        /// sent in fragments, and incomplete messages take the memory of at most two of the largest for each peer.
        max_message_size: usize as usize, ANYWHERE, 1..=MAX_MESSAGE_SIZE => MAX_IN_DATAGRAM;
        /// How deep arrays and objects may nest in a payload. Control data are flat. The limit keeps strangers from
        /// exhausting a reader by depth.
        max_depth: usize as usize, ANYWHERE, 1..=JsonLimits::MAX_DEPTH => 32;
        /// What happens to NaN and infinities in values that are sent as JSON, and in classic messages that are
        /// received. refuse: the message is refused, because a controller must not act on them. null: each becomes
        /// null. MessagePack and CBOR always refuse them.
        nonfinite: NonFinite as NonFinite, ANYWHERE => NonFinite::Refuse;
        /// How values are encoded for sending. A received message says how it is encoded. The classic wire carries only
        /// JSON. The other codecs need the Cargo feature of their name.
        codec: ContentType as ContentType, ANYWHERE => ContentType::Json;
        /// How many received messages may wait for `receive`. The default is a second of a 1 kHz stream. 0 turns the
        /// inbox off, for interfaces with handlers only.
        inbox_capacity: usize as usize, ANYWHERE, 0..=MAX_QUEUE => 1_000;
        /// What happens when the inbox is full. The default drops the oldest message: a fresh message is worth more.
        inbox_policy: InboxPolicy as InboxPolicy, ANYWHERE => InboxPolicy::DropOldest;
        /// How many bytes of memory the messages that wait for `receive` may take together, and those that wait for each
        /// handler. At least `max_message_size` and 1,024 more. When a queue is full, by number or by bytes, a peer that
        /// takes more than its share of it makes room.
        queue_bytes: usize as usize, ANYWHERE, 4_096..=MAX_KERNEL_BUFFER => 16 << 20;
        /// The size of the kernel's receive buffer to ask for, in bytes. 0 keeps the system's default. The default
        /// holds bursts that a busy core reads late. The system may grant less.
        receive_buffer: usize as usize, ANYWHERE, 0..=MAX_KERNEL_BUFFER => 4 << 20;
        /// The size of the kernel's send buffer to ask for, in bytes. 0 keeps the system's default.
        send_buffer: usize as usize, ANYWHERE, 0..=MAX_KERNEL_BUFFER => 1 << 20;
        /// How much memory the black box takes: the latest inputs of both halves of the protocol, from which `tautline incident` tells
        /// what happened and runs it again (docs/incidents.md). It is written to a file when a watchdog trips, when the connection
        /// fails, and by `dump`. "64MiB" holds some minutes of a 1 kHz loop. 0 turns it off.
        black_box: ByteSize as impl Into<ByteSize>, ANYWHERE, 0..=MAX_KERNEL_BUFFER => ByteSize::from(0);
        /// The folder for the files of the black box.
        black_box_dir: Folder as impl Into<Folder>, ANYWHERE => Folder::from(".");
        /// How long a handler may take before it is cancelled (async) or its worker is replaced (blocking). A handler
        /// can set its own limit.
        handler_time_limit: Duration as Duration, ANYWHERE, MS..=HOUR => s(5);
        /// How many messages one handler may handle at once. A handler can set its own number.
        handler_concurrency: usize as usize, ANYWHERE, 1..=MAX_CONCURRENCY => 10;
        /// How many messages may wait for one handler. A handler can set its own number.
        handler_backlog: usize as usize, ANYWHERE, 1..=MAX_QUEUE => 1_000;
        /// The whole real-time profile. It sets `thread_priority`, `lock_memory`, `low_latency_cpu` and
        /// `busy_poll`, unless they are set themselves. What the machine refuses is reported, and the link runs without
        /// it. Off by default, because it takes resources from other programs (docs/realtime.md).
        realtime: bool as bool, ANYWHERE => false;
        /// The SCHED_FIFO priority of the driver's thread; 0 keeps ordinary scheduling. With `realtime` 80: above the
        /// kernel's interrupt threads (50), below its watchdogs (99). A thread that does the driver's work while it waits
        /// (`driven_by`) keeps its own. On a caller-driven interface, the thread that calls `Driver::connect` gets it.
        thread_priority: usize as usize, ANYWHERE, 0..=MAX_THREAD_PRIORITY => 0;
        /// The cores that the driver's thread may run on. Best are cores that are kept free of other work. No default,
        /// also with `realtime`: only you know which cores are free. On a caller-driven interface, it applies to the
        /// thread that calls `Driver::connect`.
        cpus: Cpus as impl Into<Cpus>, ANYWHERE, CPU_NUMBERS => Cpus::any();
        /// Whether all memory of the process stays in RAM (mlockall), also memory that it maps later, until the process
        /// ends. So no page fault delays a message. On with `realtime`. It also keeps unused memory in RAM, such as 2
        /// MiB of stack for each thread.
        lock_memory: bool as bool, ANYWHERE => false;
        /// Whether cores are kept from deep sleep while connected (/dev/cpu_dma_latency is held at 0). It shortens
        /// every wake-up and costs power. On with `realtime`.
        low_latency_cpu: bool as bool, ANYWHERE => false;
        /// How long the kernel polls the network card when a read finds no datagram (SO_BUSY_POLL), in whole
        /// microseconds; 0s turns it off. With `realtime` 50us, as the kernel's manual recommends. No effect on cards
        /// without NAPI, and on loopback.
        busy_poll: Duration as Duration, ANYWHERE, Duration::ZERO..=MAX_BUSY_POLL => Duration::ZERO;
        /// How a thread waits for datagrams. adaptive: polls the socket for up to 100 us before it sleeps, as long as
        /// that pays and no other thread needs the core. block: sleeps at once. spin: never sleeps, and needs a core of
        /// its own.
        wait: WaitPolicy as WaitPolicy, ANYWHERE => WaitPolicy::Adaptive;
        /// Which thread does the driver's work while another thread waits for a message, an answer, a receipt or room. auto: the
        /// waiting thread, so that no thread has to wake it; the driver's thread does it between two calls, and always if
        /// there are inline handlers or `cpus` is set. thread: always the driver's thread. callers: the waiting thread, also
        /// with inline handlers, which it then calls. No effect on a caller-driven interface.
        driven_by: DrivenBy as DrivenBy, ANYWHERE => DrivenBy::Auto;
        /// Messages of a stream that follow each other within this time share datagrams and system calls. 0s sends each
        /// message at once, in its own datagram. The first 16 messages of a stream never wait, and neither do requests,
        /// answers and critical messages. The default is 0s if the interface has no driver thread.
        coalescing_delay: Duration as Duration, NATIVE, Duration::ZERO..=MS => us(20);
        /// The largest packet that is sent, in bytes, with IP and UDP headers. Messages share datagrams up to this size, and
        /// a larger message is sent in fragments. auto: what the path to each peer carries, up to 9000; the link asks the system
        /// and sends probes. A number is an upper bound: the link finds what the path carries up to it. With 1228 (IPv6:
        /// 1248) or less, it sends no probes.
        mtu: Mtu as usize, NATIVE, 576..=MAX_PACKET => Mtu::AUTO;
        /// Whether one call sends or reads many datagrams (UDP GSO and GRO), if the kernel can do that.
        offload: bool as bool, NATIVE => true;
        /// Whether datagrams are marked for the network (DSCP) and for the host's own queues (SO_PRIORITY), by the most
        /// urgent message in them: low CS1, normal CS0, high AF41, critical EF (RFC 4594, RFC 3246). Linux only. Off by
        /// default: a network that heeds marks lets messages overtake one another, and each change of the mark costs
        /// system calls.
        dscp: bool as bool, ANYWHERE => false;
    }
}
