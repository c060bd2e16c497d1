//! Reports datagrams that the kernel dropped because they were not read fast enough. A turn looks at most once a second: each
//! look is a system call.

use std::time::Duration;

use tautline_proto::Instant as Steady;

use super::Turner;
use crate::machine::socket::Granted;
use crate::shared::events::{CausedBy, Event};

/// The least time between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// What was reported so far of the kernel's drops.
pub(super) struct Overflow {
    looked: Option<Steady>,
    told: u64,
    granted: Granted,
}

impl Overflow {
    pub(super) const fn new(granted: Granted) -> Self {
        Self { looked: None, told: 0, granted }
    }

    /// Whether it is time for a look. The look then counts as done.
    fn is_due(&mut self, now: Steady) -> bool {
        let is_due = self.looked.is_none_or(|looked| now.since(looked) >= PERIOD);
        if is_due {
            self.looked = Some(now);
        }
        is_due
    }
}

impl Turner {
    /// Looks if it is time, and reports what the kernel has dropped since the last look.
    #[inline]
    pub(super) fn look_at_overflow(&mut self, now: Steady) {
        if self.overflow.is_due(now) {
            self.tell_of_overflow();
        }
    }

    #[cold]
    fn tell_of_overflow(&mut self) {
        let drops = self.socket.kernel_drops();
        let dropped = drops - std::mem::replace(&mut self.overflow.told, drops);
        if dropped == 0 {
            return;
        }
        let receive_buffer = self.overflow.granted.receive_buffer;
        if let Some(left_out) = self.may_log() {
            tracing::warn!(
                dropped,
                receive_buffer,
                left_out,
                "the kernel dropped datagrams because its receive buffer was full: read faster, or raise \
                 `receive_buffer` and the system's limit (sysctl net.core.rmem_max)"
            );
        }
        let event = Event::KernelDropped { dropped, receive_buffer };
        self.shared.status.events.publish_by(&event, CausedBy::Stranger);
    }
}
