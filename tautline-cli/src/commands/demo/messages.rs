//! The messages between plant and controller, their common settings, and the events of a run.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::pendulum::State;

/// The plant's status message.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Sample {
    /// The number of the sample, from 0. The command that answers it carries the same number.
    pub(super) sample: u64,
    /// The time since the rod was released.
    pub(super) time_s: f64,
    #[serde(flatten)]
    pub(super) state: State,
}

/// The controller's command message.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Force {
    /// The number of the sample that this command answers.
    pub(super) sample: u64,
    /// The force. A positive force points to the right.
    pub(super) force_n: f64,
}

/// The settings that plant, controller and view share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// The length of the demo.
    pub(super) length: Duration,
    /// Samples per second.
    pub(super) rate: u32,
    pub(super) cut: Option<Cut>,
    /// The time without commands after which the failsafe stops the motor.
    pub(super) timeout: Duration,
    /// How long after a stop the motor is enabled by hand; `None` for never.
    pub(super) re_enable: Option<Duration>,
}

/// When the controller is killed, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) after: Duration,
    pub(super) length: Duration,
}

/// What the motor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MotorState {
    /// It obeys commands.
    Running,
    /// It was stopped because commands had stopped. It obeys no command.
    Stopped,
    /// It was enabled after a stop, and waits for the first command.
    Enabled,
}

/// The number of sample periods for which a force is held at least.
const HOLD_PERIODS: u32 = 3;

impl Settings {
    pub(super) fn period(&self) -> Duration {
        Duration::from_secs(1) / self.rate
    }

    /// Returns how long the plant holds the force of its last command. After this time the failsafe stops the motor.
    ///
    /// The default of 50 ms is short compared with the rod's fall: its angle grows by a factor e in 260 ms. It is long compared
    /// with a short delay by the scheduler. At low rates the hold time lasts three samples.
    pub(super) fn hold(&self) -> Duration {
        self.timeout.max(self.period() * HOLD_PERIODS)
    }
}

/// An event, and its time since the rod's release.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DemoEvent {
    pub(super) at: Duration,
    pub(super) what: EventKind,
}

/// The kind of an event.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum EventKind {
    Released {
        lean_deg: f64,
    },
    Cut,
    /// Commands had stopped, and the failsafe stopped the motor.
    Stopped {
        silent: Duration,
    },
    /// Commands had stopped, and the drive stopped the motor before a failsafe did.
    StoppedByDrive {
        silent: Duration,
    },
    /// The motor was enabled by hand after a stop.
    Enabled,
    /// The interface reports that the controller is silent.
    LinkSilent,
    Restarted,
    /// The first command after a stop was obeyed.
    CommandsBack {
        silent: Duration,
        lean_deg: f64,
    },
    /// The rod leans beyond the angle that counts as upright.
    Leaning,
    /// The rod has fallen: it leans beyond 90°.
    Fallen,
    /// The rod has been within the angle that counts as upright for a while.
    Upright,
}

impl EventKind {
    /// Whether this is bad news (`true`) or good news (`false`), for the colour. `None` if it is neither.
    pub(super) fn is_bad(&self) -> Option<bool> {
        match self {
            Self::Cut | Self::Stopped { .. } | Self::StoppedByDrive { .. } => Some(true),
            Self::LinkSilent | Self::Leaning | Self::Fallen => Some(true),
            Self::CommandsBack { .. } | Self::Upright => Some(false),
            Self::Released { .. } | Self::Restarted | Self::Enabled => None,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Released { lean_deg } => {
                write!(f, "the controller is ready: the rod is released at {lean_deg:.0}°")
            }
            Self::Cut => f.write_str("the controller is killed (--cut-after)"),
            Self::Stopped { silent } => {
                write!(f, "no command for {} ms: the failsafe stops the motor", silent.as_millis())
            }
            Self::StoppedByDrive { silent } => {
                write!(f, "no command for {} ms: the drive stops the motor by itself", silent.as_millis())
            }
            Self::Enabled => f.write_str("the motor is enabled by hand (--re-enable)"),
            Self::LinkSilent => f.write_str("the link reports that the controller is silent"),
            Self::Restarted => f.write_str("the controller is started again"),
            Self::CommandsBack { silent, lean_deg } => {
                write!(
                    f,
                    "commands move the motor again after {} ms; the rod leans {lean_deg:.0}°",
                    silent.as_millis()
                )
            }
            Self::Leaning => f.write_str("the rod leans more than 10°"),
            Self::Fallen => f.write_str("the rod has fallen: it leans more than 90°"),
            Self::Upright => f.write_str("the rod stands upright"),
        }
    }
}

/// The state of the plant for the view, ten times per second.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) released: Instant,
    pub(super) elapsed: Duration,
    pub(super) state: State,
    pub(super) force_n: f64,
    pub(super) motor: MotorState,
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) rtt: crate::tools::latency::Percentiles,
    /// The latest events, oldest first.
    pub(super) recent: Vec<DemoEvent>,
}
