//! Reports datagrams that the kernel dropped because they were not read fast enough. Each look is a system call.

use super::Turner;
use crate::machine::socket::Granted;
use crate::shared::events::Event;
use crate::shared::subscribers::CausedBy;

/// What was reported so far of the kernel's drops.
pub(super) struct Overflow {
    told: u64,
    granted: Granted,
}

impl Overflow {
    pub(super) const fn new(granted: Granted) -> Self {
        Self { told: 0, granted }
    }
}

impl Turner {
    /// Reports what the kernel has dropped since the last look.
    pub(super) fn tell_of_overflow(&mut self) {
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
        self.publish(&event, CausedBy::Stranger);
    }
}
