//! What a watchdog watches, and what it reports.

use std::fmt;
use std::time::{Duration, Instant};

use super::periods::{MAX_PERIODS, Periods};
use crate::config::Selector;
use tautline_proto::{MessageType, PeerId};

/// What to watch, and for how long it may be silent; see [`UdpInterface::watch`](crate::UdpInterface::watch).
///
/// The first expected traffic arms a watchdog, so that the ends can be started in any order; or connecting arms it
/// ([`armed_at_connect`](Self::armed_at_connect)). An armed watchdog trips when the traffic stops, whatever the reason: a
/// fault of the other end, a cut cable, a disconnect, a driver that hangs or has failed. The next traffic makes it
/// recover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "give it to UdpInterface::watch"]
pub struct Watchdog {
    pub(super) selector: Option<Selector>,
    pub(super) peer: Option<PeerId>,
    pub(super) each_peer: bool,
    pub(super) armed_at_connect: bool,
    /// `None`: the configuration says it.
    pub(super) period: Option<Duration>,
    pub(super) misses: Option<(u32, u32)>,
}

impl Watchdog {
    const fn new(selector: Option<Selector>, period: Option<Duration>) -> Self {
        Self { selector, peer: None, each_peer: false, armed_at_connect: false, period, misses: None }
    }

    /// Watches for any valid datagram: trips when none came for `timeout`, 1 us or more.
    ///
    /// On the native wire heartbeats count, so set `timeout` above `heartbeat_interval` unless other traffic is denser. On a
    /// server the datagrams of any peer count, unless the watchdog is for [one peer](Self::of_peer) or for
    /// [each peer](Self::each_peer).
    pub const fn peer(timeout: Duration) -> Self {
        Self::new(None, Some(timeout))
    }

    /// Watches for messages of a type, or of one channel of a type: trips when none came for a `period`, 1 us or more.
    ///
    /// Only messages that are handed out count. On a server the messages of any peer count, unless the watchdog is for
    /// [one peer](Self::of_peer) or for [each peer](Self::each_peer).
    pub fn messages(selector: impl Into<Selector>, period: Duration) -> Self {
        Self::new(Some(selector.into()), Some(period))
    }

    /// As [`messages`](Self::messages), with the `deadline` and the `misses` that the configuration sets for them now, and
    /// for [each peer](Self::each_peer).
    pub fn configured(selector: impl Into<Selector>) -> Self {
        Self { each_peer: true, ..Self::new(Some(selector.into()), None) }
    }

    /// Watches only this channel of the type. Without effect on [`peer`](Self::peer).
    pub const fn channel(mut self, channel: u16) -> Self {
        if let Some(selector) = self.selector {
            self.selector = Some(Selector { message_type: selector.message_type, channel: Some(channel) });
        }
        self
    }

    /// Allows `may_miss` of any `of` periods in a row to pass without a message, and trips at the next missed period (weakly
    /// hard, after Bernat, Burns and Llamosí, 2001). `of` is 2 to 64 and more than `may_miss`.
    ///
    /// A period ends with a message, or after its length without one. A message that comes less than half a period after
    /// the message that ended a period belongs to that period. The watchdog recovers with a message, once at most `may_miss`
    /// of the latest `of` periods were missed.
    pub const fn misses(mut self, may_miss: u32, of: u32) -> Self {
        self.misses = Some((may_miss, of));
        self
    }

    /// Watches only this peer. (On the native wire a restarted peer is a new peer.)
    pub const fn of_peer(mut self, peer: PeerId) -> Self {
        self.peer = Some(peer);
        self.each_peer = false;
        self
    }

    /// Makes a watchdog for each peer when it connects. When a peer has gone, its watchdog trips once more, when it is due.
    pub const fn each_peer(mut self) -> Self {
        self.each_peer = true;
        self.peer = None;
        self
    }

    /// Arms the watchdog when the interface opens its socket (for [each peer](Self::each_peer), when the peer connects), and
    /// not with the first traffic. So it also trips if nothing ever comes.
    pub const fn armed_at_connect(mut self) -> Self {
        self.armed_at_connect = true;
        self
    }

    /// Returns the periods, if everything is possible.
    pub(super) fn periods(&self, period: Duration) -> Result<Periods, WatchError> {
        if period < Duration::from_micros(1) {
            return Err(WatchError::TooShort { period });
        }
        let length_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        let Some((may_miss, of)) = self.misses else { return Ok(Periods::strict(length_ns)) };
        if may_miss >= of || !(2..=MAX_PERIODS).contains(&of) {
            return Err(WatchError::Misses { may_miss, of });
        }
        Ok(Periods { length_ns, may_miss, of })
    }
}

/// Why a watchdog cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchError {
    /// The time is below 1 us.
    TooShort {
        /// The time that was asked for.
        period: Duration,
    },
    /// The numbers of periods make no condition.
    Misses {
        /// The number of periods that may be missed.
        may_miss: u32,
        /// The number of periods in a row.
        of: u32,
    },
    /// The configuration has no `deadline` for these messages.
    NoDeadline {
        /// The messages.
        selector: Selector,
    },
    /// The interface was cleaned up.
    Closed,
    /// The system does not start a thread.
    System {
        /// The system's description.
        problem: String,
    },
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { period } => write!(f, "a watchdog of {period:?}: expected 1us or more"),
            Self::Misses { may_miss, of } => write!(
                f,
                "{may_miss} misses of {of} periods: expected fewer misses than periods, and 2 to {MAX_PERIODS} periods"
            ),
            Self::NoDeadline { selector } => {
                write!(f, "the configuration has no `{}.deadline`", selector.message_type)
            }
            Self::Closed => f.write_str("the interface was cleaned up"),
            Self::System { problem } => write!(f, "no thread for watchdogs: {problem}"),
        }
    }
}

impl std::error::Error for WatchError {}

/// The id of a watchdog of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub(super) u64);

/// What a watchdog watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Watched {
    /// The messages; `None` if any valid datagram counts.
    pub selector: Option<Selector>,
    /// The peer; `None` if all peers count.
    pub peer: Option<PeerId>,
}

impl Watched {
    /// The type of the messages, if messages are watched.
    #[must_use]
    pub fn message_type(&self) -> Option<MessageType> {
        self.selector.map(|selector| selector.message_type)
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.selector {
            None => f.write_str("anything")?,
            Some(Selector { message_type, channel: None }) => write!(f, "{message_type}")?,
            Some(Selector { message_type, channel: Some(channel) }) => write!(f, "{message_type}.{channel}")?,
        }
        self.peer.map_or(Ok(()), |peer| write!(f, " of {peer}"))
    }
}

/// A watchdog has tripped or recovered. A plain value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchdogEvent {
    /// The watchdog.
    pub watch: WatchId,
    /// What it watches.
    pub watched: Watched,
    /// When this was noticed.
    pub at: Instant,
    /// When the last traffic came, by the driver's clock: when the turn that read it began to read. `None` if nothing ever
    /// came.
    pub last: Option<Instant>,
    /// What happened.
    pub change: WatchdogChange,
}

impl WatchdogEvent {
    /// Whether it tripped. Otherwise it recovered.
    #[must_use]
    pub const fn is_tripped(&self) -> bool {
        matches!(self.change, WatchdogChange::Tripped { .. })
    }
}

/// What happened to a watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchdogChange {
    /// The expected traffic has stopped.
    Tripped {
        /// How much later than due this was noticed. Zero if the interface was cleaned up before that.
        late: Duration,
        /// The number of counted periods that were missed: 1 unless some may be missed.
        missed: u32,
    },
    /// The expected traffic is back.
    Recovered {
        /// The time since it tripped.
        after: Duration,
    },
}
