//! What strangers may cost: how many become peers, and until when all are dropped.

use core::time::Duration;

use crate::snapshot::saved;
use crate::time::Instant;

/// What strangers may cost now.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// Handshakes of strangers are dropped until then.
    pub(super) refused_until: Instant,
    /// Whether the outputs that wait were caused by a stranger.
    pub(super) were_served: bool,
    /// How many peers were admitted since `counted_from`.
    admitted: u32,
    counted_from: Instant,
}

/// The most strangers that a server admits in [`ADMISSION_PERIOD`]. This limit works before the server has measured what
/// they cost.
const MAX_ADMITTED: u32 = 32;
const ADMISSION_PERIOD: Duration = Duration::from_millis(50);

impl Strangers {
    /// Counts one more admission, if one more may come now.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        if now.since(self.counted_from) >= ADMISSION_PERIOD {
            (self.counted_from, self.admitted) = (now, 0);
        }
        self.admitted += 1;
        self.admitted <= MAX_ADMITTED
    }
}

saved!(Strangers { refused_until, admitted, counted_from } else { were_served: false });
