//! What a watchdog watches, and what it says.

use std::fmt;
use std::time::{Duration, Instant};

use super::periods::{MAX_PERIODS, Periods};
use crate::config::Selector;
use tautline_proto::{MessageType, PeerId};

/// What is to be watched, and for how long it may be silent; see [`UdpInterface::watch`](crate::UdpInterface::watch).
///
/// A watchdog is armed by the first sign of life, so that ends can be started in any order, or by connecting
/// ([`armed_at_connect`](Self::armed_at_connect)). Armed, it trips whenever signs of life stop, whatever the reason: the
/// other end's fault or a cut cable, a disconnect, a driver that hangs or has failed. The next sign of life ends
/// that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "give it to UdpInterface::watch"]
pub struct Watchdog {
    pub(super) selector: Option<Selector>,
    pub(super) peer: Option<PeerId>,
    pub(super) each_peer: bool,
    pub(super) armed_at_connect: bool,
    /// `None`: as the configuration says.
    pub(super) period: Option<Duration>,
    pub(super) misses: Option<(u32, u32)>,
}

impl Watchdog {
    const fn new(selector: Option<Selector>, period: Option<Duration>) -> Self {
        Self { selector, peer: None, each_peer: false, armed_at_connect: false, period, misses: None }
    }

    /// Trips when no valid datagram has come for `timeout`, 1 us or more; on the native wire heartbeats are some, so set
    /// it above `heartbeat_interval` unless more is sent than those. A client hears its server alone; on a server any peer
    /// feeds it, unless it is for [one](Self::of_peer) or [each](Self::each_peer).
    pub const fn peer(timeout: Duration) -> Self {
        Self::new(None, Some(timeout))
    }

    /// Trips when no message of this type, or of this channel of it, has come for a `period`, 1 us or more. Only messages that
    /// are handed out feed it. Of any peer, unless it is for [one](Self::of_peer) or [each](Self::each_peer).
    pub fn messages(selector: impl Into<Selector>, period: Duration) -> Self {
        Self::new(Some(selector.into()), Some(period))
    }

    /// As [`messages`](Self::messages), with the `deadline` and the `misses` that the configuration has for them now, and
    /// for [each peer](Self::each_peer) by itself.
    pub fn configured(selector: impl Into<Selector>) -> Self {
        Self { each_peer: true, ..Self::new(Some(selector.into()), None) }
    }

    /// As [`messages`](Self::messages) of a type, on this channel alone. Without effect on [`peer`](Self::peer).
    pub const fn channel(mut self, channel: u16) -> Self {
        if let Some(selector) = self.selector {
            self.selector = Some(Selector { message_type: selector.message_type, channel: Some(channel) });
        }
        self
    }

    /// Lets `may_miss` of any `of` periods in a row pass without a message, and trips with the next (weakly hard, after
    /// Bernat, Burns and Llamosí, 2001): `of` is 2 to 64 and more than `may_miss`. A period ends with a message, or after its
    /// length without one; messages that come less than half a period after the one that ended a period belong to it.
    /// It recovers with a message, once no more than `may_miss` of the latest `of` periods were missed.
    pub const fn misses(mut self, may_miss: u32, of: u32) -> Self {
        self.misses = Some((may_miss, of));
        self
    }

    /// Only this peer feeds it. (On the native wire a restarted peer is a new one.)
    pub const fn of_peer(mut self, peer: PeerId) -> Self {
        self.peer = Some(peer);
        self.each_peer = false;
        self
    }

    /// A watchdog for each peer, from when it connects; that of a peer that is gone trips once more, when it is due.
    pub const fn each_peer(mut self) -> Self {
        self.each_peer = true;
        self.peer = None;
        self
    }

    /// Armed as soon as the interface opens its socket (for [each peer](Self::each_peer), as soon as that connects) instead
    /// of by the first sign of life: trips also when nothing ever comes.
    pub const fn armed_at_connect(mut self) -> Self {
        self.armed_at_connect = true;
        self
    }

    /// The periods, where everything is possible.
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

/// Why something cannot be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchError {
    /// The time is below 1 us.
    TooShort {
        /// What was asked for.
        period: Duration,
    },
    /// So many of so many periods are no condition.
    Misses {
        /// How many may be missed.
        may_miss: u32,
        /// Of how many.
        of: u32,
    },
    /// The configuration has no `deadline` for these messages.
    NoDeadline {
        /// The messages.
        selector: Selector,
    },
    /// The interface was cleaned up.
    Closed,
    /// The system gives no thread.
    System {
        /// Its words.
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

/// A watchdog of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub(super) u64);

/// What a watchdog watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Watched {
    /// Which messages; `None` where any valid datagram is a sign of life.
    pub selector: Option<Selector>,
    /// Whose; `None` where it is anyone's.
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

/// A watchdog has tripped, or has recovered. A plain value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchdogEvent {
    /// The watchdog.
    pub watch: WatchId,
    /// What it watches.
    pub watched: Watched,
    /// When this was noticed.
    pub at: Instant,
    /// The last sign of life, by the driver's clock: when the turn that brought it began to read. `None` if there never was
    /// one.
    pub last: Option<Instant>,
    /// What happened.
    pub change: WatchdogChange,
}

impl WatchdogEvent {
    /// Whether it tripped; otherwise it recovered.
    #[must_use]
    pub const fn is_tripped(&self) -> bool {
        matches!(self.change, WatchdogChange::Tripped { .. })
    }
}

/// What happened to a watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchdogChange {
    /// Signs of life have stopped.
    Tripped {
        /// How much later than due this was noticed. Zero where the interface was cleaned up before it was due.
        late: Duration,
        /// How many of the periods that count were missed: 1 unless some may be.
        missed: u32,
    },
    /// They are back.
    Recovered {
        /// The time since it tripped.
        after: Duration,
    },
}
