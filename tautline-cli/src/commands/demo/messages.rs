//! What plant and controller say to each other, and the settings both know.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::pendulum::State;

/// The plant's status message.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Sample {
    /// Counts from 0; the command that answers it carries the same number.
    pub(super) sample: u64,
    /// Since the rod was let go.
    pub(super) time_s: f64,
    #[serde(flatten)]
    pub(super) state: State,
}

/// The controller's command message.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Force {
    /// The sample that this answers.
    pub(super) sample: u64,
    /// To the right when positive.
    pub(super) force_n: f64,
}

/// What both halves and the view need to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// How long the rod is to be balanced.
    pub(super) length: Duration,
    /// Samples per second.
    pub(super) rate: u32,
    pub(super) cut: Option<Cut>,
}

/// When the controller's half is killed, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) after: Duration,
    pub(super) length: Duration,
}

/// A force outlives its command by this much at least...
const SHORTEST_HOLD: Duration = Duration::from_millis(20);
/// ...and by this many sample periods.
const HOLD_PERIODS: u32 = 3;

impl Settings {
    pub(super) fn period(&self) -> Duration {
        Duration::from_secs(1) / self.rate
    }

    /// How long the plant goes on pushing after its last command. Then the failsafe: no force.
    ///
    /// 20 ms is short against the rod's fall (in 260 ms it leans e times as far) and long against a
    /// scheduler's hiccup, which is no dead controller. At low rates three samples in a row go unanswered.
    pub(super) fn hold(&self) -> Duration {
        SHORTEST_HOLD.max(self.period() * HOLD_PERIODS)
    }
}

/// Something worth telling, and when, counted from the rod's release.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DemoEvent {
    pub(super) at: Duration,
    pub(super) what: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum EventKind {
    Released {
        lean_deg: f64,
    },
    Cut,
    /// No command for as long as the hold time.
    ForceZero {
        hold: Duration,
    },
    /// The interface itself misses the controller's signs of life.
    LinkSilent,
    Restarted,
    /// The first command after the force had gone to zero.
    CommandsBack {
        silent: Duration,
        lean_deg: f64,
    },
    /// Beyond the angle that counts as upright.
    Leaning,
    /// Within it, and for a while.
    Upright,
}

impl EventKind {
    /// Whether this is bad news, for the colours; `None` for neither.
    pub(super) fn is_bad(&self) -> Option<bool> {
        match self {
            Self::Cut | Self::ForceZero { .. } | Self::LinkSilent | Self::Leaning => Some(true),
            Self::CommandsBack { .. } | Self::Upright => Some(false),
            Self::Released { .. } | Self::Restarted => None,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Released { lean_deg } => {
                write!(f, "the controller is there: the rod, leaning {lean_deg:.0}°, is let go")
            }
            Self::Cut => f.write_str("the controller's half is killed (--cut-after)"),
            Self::ForceZero { hold } => {
                write!(f, "no command for {} ms: the plant sets the force to zero", hold.as_millis())
            }
            Self::LinkSilent => f.write_str("the link reports the controller silent"),
            Self::Restarted => f.write_str("the controller's half is started again"),
            Self::CommandsBack { silent, lean_deg } => {
                write!(f, "commands are back after {} ms, the rod leans {lean_deg:.0}°", silent.as_millis())
            }
            Self::Leaning => f.write_str("the rod leans more than 10°"),
            Self::Upright => f.write_str("the rod stands upright"),
        }
    }
}

/// What the plant tells the view, ten times a second.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) released: Instant,
    pub(super) elapsed: Duration,
    pub(super) state: State,
    pub(super) force_n: f64,
    pub(super) is_failsafe: bool,
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) rtt: crate::tools::latency::Percentiles,
    /// The latest happenings, oldest first.
    pub(super) recent: Vec<DemoEvent>,
}
