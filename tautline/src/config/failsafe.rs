//! What a watchdog tells a failsafe, and the failsafe that a configuration holds. The watchdogs themselves are in
//! `watchdog`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::selector::Selector;
use tautline_proto::{MessageType, PeerId};

/// The id of a watchdog of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub(crate) u64);

/// What a watchdog watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Watched {
    /// The messages; `None` if any valid datagram counts.
    pub selector: Option<Selector>,
    /// The peer; `None` if all peers count.
    pub peer: Option<PeerId>,
    /// The identity whose peers count; `None` if it does not matter.
    pub identity: Option<&'static str>,
}

impl Watched {
    pub(crate) const fn new(selector: Option<Selector>, peer: Option<PeerId>) -> Self {
        Self { selector, peer, identity: None }
    }

    /// Returns the type of the messages, if messages are watched.
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
        self.identity.map_or(Ok(()), |identity| write!(f, " of {identity}"))?;
        self.peer.map_or(Ok(()), |peer| write!(f, " of {peer}"))
    }
}

/// The state of a watchdog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WatchdogState {
    /// No expected traffic has come yet, or none since the watchdog was reset.
    #[default]
    Waiting,
    /// The expected traffic comes.
    Armed,
    /// The expected traffic has stopped. If the watchdog latches, its messages are dropped from now on, whoever sends them.
    Tripped,
}

/// Who was late when expected traffic did not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SilenceCause {
    /// The sender: it sent nothing meanwhile. Its time stamps and datagram numbers say so.
    Sender,
    /// The path: something was sent in time, and was lost or arrived late. Or it was too old when it arrived.
    Path,
    /// This process: something arrived in time, and was read late. On systems that do not tell when datagrams arrive, this
    /// also stands for the path.
    ThisProcess,
}

impl SilenceCause {
    pub(crate) const fn from_number(number: u64) -> Self {
        match number {
            0 => Self::Sender,
            1 => Self::Path,
            _ => Self::ThisProcess,
        }
    }
}

impl fmt::Display for SilenceCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sender => "the sender was silent",
            Self::Path => "the path was late",
            Self::ThisProcess => "this process was late",
        })
    }
}

/// What happened to a watchdog. A plain value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchdogEvent {
    /// The watchdog.
    pub watch: WatchId,
    /// What it watches.
    pub watched: Watched,
    /// When it happened: when the silence was noticed, or when the traffic came that ended it.
    pub at: Instant,
    /// When the last expected traffic before that was read. `None` if none had come.
    pub last: Option<Instant>,
    /// What happened.
    pub change: WatchdogChange,
}

impl WatchdogEvent {
    /// Returns the state of the watchdog after this. It is [`Armed`](WatchdogState::Armed) if and only if the expected
    /// traffic comes and is handed out.
    #[must_use]
    pub const fn state(&self) -> WatchdogState {
        match self.change {
            WatchdogChange::Armed | WatchdogChange::Recovered { .. } => WatchdogState::Armed,
            WatchdogChange::Tripped { .. } | WatchdogChange::Refusing { .. } => WatchdogState::Tripped,
            WatchdogChange::Reset => WatchdogState::Waiting,
        }
    }
}

/// What happened to a watchdog.
///
/// They come in order: `Armed`, `Tripped`, `Recovered`, `Tripped`, and so on. If the watchdog latches: `Armed`, `Tripped`,
/// `Refusing` (if traffic comes), `Reset`, `Armed`. A watchdog that connecting armed may trip before it was `Armed` once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchdogChange {
    /// The first expected traffic has come: the first of all, or the first after a reset.
    Armed,
    /// The expected traffic has stopped for longer than it may. If the watchdog latches, its messages are dropped from now
    /// on, until it is reset.
    Tripped {
        /// How much later than due this was noticed. Zero if the interface was cleaned up before that.
        late: Duration,
        /// The number of counted periods that were missed: 1 unless some may be missed.
        missed: u32,
    },
    /// The expected traffic is back, and is handed out.
    Recovered {
        /// The length of the silence: from the last expected traffic before it to the first after it.
        silence: Duration,
        /// Who was late.
        cause: SilenceCause,
        /// How many silences this stands for: 1, or more if the failsafe could not be called for each because it took too
        /// long. Then `silence` is the longest of them.
        silences: u64,
    },
    /// The expected traffic is back, but the watchdog latches: its messages are dropped until it is reset
    /// ([`UdpInterface::reset`](crate::UdpInterface::reset)). Told once for each trip.
    Refusing {
        /// The length of the silence: from the last expected traffic before it to the first message that was dropped.
        silence: Duration,
        /// Who was late.
        cause: SilenceCause,
    },
    /// It was reset, and waits for the expected traffic. Messages that were made before the reset are still dropped.
    Reset,
}

/// The failsafe of a configuration; see [`Config::failsafe`](crate::Config::failsafe).
#[derive(Clone)]
pub struct Failsafe(Arc<dyn Fn(&WatchdogEvent) + Send + Sync>);

impl Failsafe {
    /// Makes a failsafe. Clones share the closure.
    pub(crate) fn new(failsafe: impl Fn(&WatchdogEvent) + Send + Sync + 'static) -> Self {
        Self(Arc::new(failsafe))
    }

    pub(crate) fn call(&self, event: &WatchdogEvent) {
        (self.0)(event);
    }
}

/// Equal if they share the closure.
impl PartialEq for Failsafe {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Failsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failsafe").finish_non_exhaustive()
    }
}
