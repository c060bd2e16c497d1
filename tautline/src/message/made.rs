//! When the data of a message were made, in either of the two clocks that users have.

use std::time::{Instant, SystemTime};

use crate::machine::clock::{to_wall, wall_now};
use tautline_proto::WallTime;

/// When the data of a message were made: a time of the steady clock, or of the system's wall clock. See
/// [`Metadata::made_at`](crate::Metadata::made_at).
///
/// ```
/// use std::time::{Instant, SystemTime};
/// use tautline::{MadeAt, Metadata};
///
/// let sampled = Instant::now();
/// assert_eq!(Metadata::status().made_at(sampled).made, Some(MadeAt::Steady(sampled)));
/// // A camera's driver gives wall-clock times.
/// assert!(matches!(Metadata::status().made_at(SystemTime::now()).made, Some(MadeAt::Wall(_))));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MadeAt {
    /// A time of the steady clock. Use it where you can: nobody sets this clock.
    Steady(Instant),
    /// A time of the system's wall clock. If the clock is set between this time and the sending, the age is wrong by that.
    Wall(WallTime),
}

impl From<Instant> for MadeAt {
    fn from(at: Instant) -> Self {
        Self::Steady(at)
    }
}

impl From<SystemTime> for MadeAt {
    fn from(at: SystemTime) -> Self {
        Self::Wall(to_wall(at))
    }
}

impl From<WallTime> for MadeAt {
    fn from(at: WallTime) -> Self {
        Self::Wall(at)
    }
}

impl MadeAt {
    /// The age at this moment, in nanoseconds. Not negative: a time in the future counts as now.
    pub(crate) fn age_ns(self) -> u64 {
        match self {
            Self::Steady(at) => u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX),
            Self::Wall(at) => u64::try_from(wall_now().nanos_since(at)).unwrap_or(0),
        }
    }
}
