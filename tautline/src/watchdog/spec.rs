//! What a watchdog watches. What it tells is in `config/failsafe.rs`, because a configuration can hold a failsafe.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::config::Selector;
use crate::sync::latches::MAX_LATCHES;
use tautline_proto::silence::{MAX_PERIODS, Periods, Rule};
use tautline_proto::{MessageType, PeerId};

/// What to watch, and for how long it may be silent; see [`UdpInterface::watch`](crate::UdpInterface::watch).
///
/// The first expected traffic arms a watchdog, so that the ends can be started in any order; or connecting arms it
/// ([`armed_at_connect`](Self::armed_at_connect)). An armed watchdog trips when the traffic stops, whatever the reason: a
/// fault of the other end, a cut cable, a disconnect, a driver that hangs or has failed. Each silence that is too long is
/// told, also if it is over before anybody looks.
///
/// A watchdog on commands latches, unless it is for [each peer](Self::each_peer): once it has tripped, commands are dropped
/// until somebody resets it. Other watchdogs recover with the next traffic. [`latches`](Self::latches) and
/// [`recovers_by_itself`](Self::recovers_by_itself) choose.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "give it to UdpInterface::watch"]
pub struct Watchdog {
    pub(super) selector: Option<Selector>,
    pub(super) peer: Option<PeerId>,
    pub(super) identity: Option<&'static str>,
    pub(super) each_peer: bool,
    pub(super) armed_at_connect: bool,
    /// `None`: the configuration says it.
    pub(super) period: Option<Duration>,
    pub(super) misses: Option<(u32, u32)>,
    /// `None`: it latches if it is for commands, and not for each peer.
    pub(super) latches: Option<bool>,
    pub(super) reset_by: Option<ResetBy>,
}

/// The messages that reset a latch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResetBy {
    pub(super) selector: Selector,
    pub(super) source: String,
}

impl Watchdog {
    const fn new(selector: Option<Selector>, period: Option<Duration>) -> Self {
        Self {
            selector,
            peer: None,
            identity: None,
            each_peer: false,
            armed_at_connect: false,
            period,
            misses: None,
            latches: None,
            reset_by: None,
        }
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

    /// As [`messages`](Self::messages), with the `deadline` and the `misses` that the configuration sets for them now.
    pub fn configured(selector: impl Into<Selector>) -> Self {
        Self::new(Some(selector.into()), None)
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

    /// Watches only this peer. (On the native wire a restarted peer is a new peer.) If it [latches](Self::latches), its trip
    /// stops the messages of all peers.
    pub const fn of_peer(mut self, peer: PeerId) -> Self {
        self.peer = Some(peer);
        self.identity = None;
        self.each_peer = false;
        self
    }

    /// Watches only peers of this identity: those with a key of `[keys.NAME]`, whichever of them, and also after they have
    /// connected again. It trips if no such peer sends, whatever others send.
    ///
    /// The program keeps the name as long as it runs.
    pub fn of_identity(mut self, name: &str) -> Self {
        self.peer = None;
        self.identity = Some(kept(name));
        self.each_peer = false;
        self
    }

    /// Makes a watchdog for each peer that sends what is watched. When a peer has gone, its watchdog trips at once. Such a
    /// watchdog does not latch.
    pub const fn each_peer(mut self) -> Self {
        self.each_peer = true;
        self.peer = None;
        self.identity = None;
        self
    }

    /// Arms the watchdog when the interface opens its socket (for [each peer](Self::each_peer), when the peer connects), and
    /// not with the first traffic. So it also trips if nothing ever comes.
    pub const fn armed_at_connect(mut self) -> Self {
        self.armed_at_connect = true;
        self
    }

    /// Lets it latch: once it has tripped, the messages that it watches are dropped (`latched`), whoever sends them, until
    /// [`UdpInterface::reset`](crate::UdpInterface::reset) or a [message](Self::reset_by) resets it. The default on commands.
    ///
    /// Also dropped are messages that wait for a reader or a handler when it trips, and messages that were made before the
    /// reset. Messages that are dropped are no sign of life.
    pub const fn latches(mut self) -> Self {
        self.latches = Some(true);
        self
    }

    /// Lets it recover by itself, with the next traffic. The default, except on commands. What has piled up, and what
    /// anybody sends, is then acted on at once.
    pub const fn recovers_by_itself(mut self) -> Self {
        self.latches = Some(false);
        self
    }

    /// Lets a message reset the latch: of this type (and channel), and from this source. The message must have been made after the
    /// trip, and is handed out too.
    ///
    /// On a secured link whose peers have [identities](crate::PeerInfo::identity), the source is the sender's identity, which its key
    /// decides. Elsewhere it is the name of the sending interface, unless the message says otherwise. Names are not authenticated:
    /// who can send to this interface can claim any name.
    pub fn reset_by(mut self, selector: impl Into<Selector>, source: impl Into<String>) -> Self {
        self.reset_by = Some(ResetBy { selector: selector.into(), source: source.into() });
        self
    }

    /// Whether it latches, by choice or by default.
    fn does_latch(&self) -> bool {
        let is_on_commands = self.selector.is_some_and(|of| of.message_type == MessageType::Command);
        self.latches.unwrap_or(is_on_commands && !self.each_peer)
    }

    /// Returns the rule, if everything is possible.
    pub(super) fn rule(&self, period: Duration) -> Result<Rule, WatchError> {
        let latches = self.does_latch();
        if latches && (self.each_peer || self.selector.is_none()) {
            return Err(WatchError::CannotLatch);
        }
        if !latches && self.reset_by.is_some() {
            return Err(WatchError::NothingToReset);
        }
        Ok(Rule { periods: self.periods(period)?, latches })
    }

    /// Returns the periods, if everything is possible.
    fn periods(&self, period: Duration) -> Result<Periods, WatchError> {
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

/// Returns a name that lives as long as the program, so that events can be plain values. Each name is kept once.
fn kept(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    match names.get(name) {
        Some(known) => known,
        None => {
            let kept: &'static str = Box::leak(name.into());
            names.insert(kept);
            kept
        }
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
    /// It is for each peer or for any datagram, and should latch.
    CannotLatch,
    /// A message should reset it, and it does not latch.
    NothingToReset,
    /// The interface has as many watchdogs that latch as it can have.
    TooMany,
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
            Self::TooShort { period } => {
                write!(f, "a watchdog cannot have a time-out of {period:?}: expected 1us or more")
            }
            Self::Misses { may_miss, of } => write!(
                f,
                "a watchdog cannot allow {may_miss} misses in {of} periods: expected fewer misses than periods, and 2 to \
                 {MAX_PERIODS} periods"
            ),
            Self::NoDeadline { selector } => {
                write!(
                    f,
                    "the configuration has no `{}.deadline`: set it, or use Watchdog::messages with a time-out",
                    selector.message_type
                )
            }
            Self::CannotLatch => f.write_str(
                "a watchdog for each peer or for any datagram cannot latch: watch the messages of all peers, or of one",
            ),
            Self::NothingToReset => {
                f.write_str("the watchdog recovers by itself, so no message resets it: add `.latches()`")
            }
            Self::TooMany => {
                write!(
                    f,
                    "the interface has {MAX_LATCHES} watchdogs that latch, and cannot have more: call unwatch() for one of them"
                )
            }
            Self::Closed => f.write_str("the interface was cleaned up: make a new one"),
            Self::System { problem } => write!(f, "the system gives no thread for the watchdogs: {problem}"),
        }
    }
}

impl std::error::Error for WatchError {}
