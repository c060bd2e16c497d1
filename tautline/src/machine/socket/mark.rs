//! How datagrams are marked, so that the network and the kernel's queues know which are urgent.

use tautline_proto::Priority;

/// A mark of datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The differentiated services code point (RFC 2474), which routers, switches and radios go by.
    pub(super) dscp: u8,
    /// Linux' priority of a packet in the host's own queues (SO_PRIORITY; TC_PRIO_* of linux/pkt_sched.h): 2 behind, 0 with
    /// and 6 before all that is ordinary, 4 for those who give queues to priorities themselves. No more than 6
    /// is to be had without privilege. Set by itself, because what the kernel derives from AF41 is 2: behind everything.
    pub(super) queue: u8,
}

impl Mark {
    /// CS1 for what may wait (RFC 4594 §4.10, "low-priority data"), CS0 for the ordinary, AF41 for what goes first
    /// (RFC 2597; RFC 4594 §4.5), EF for what must not wait (RFC 3246).
    pub(super) const fn of(priority: Priority) -> Self {
        match priority {
            Priority::Low => Self { dscp: 8, queue: 2 },
            Priority::High => Self { dscp: 34, queue: 4 },
            Priority::Critical => Self { dscp: 46, queue: 6 },
            _ => Self { dscp: 0, queue: 0 },
        }
    }
}
