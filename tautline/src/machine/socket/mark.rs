//! The marks of datagrams, by which the network and the kernel's queues know which are urgent.

use tautline_proto::Priority;

/// The mark of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The differentiated services code point (RFC 2474), which routers, switches and radios use.
    pub(super) dscp: u8,
    /// The priority of a packet in the host's own queues on Linux (SO_PRIORITY; TC_PRIO_* of linux/pkt_sched.h): 2 is behind
    /// ordinary packets, 0 with them, 6 before them; 4 is for users who assign queues to priorities. More than 6 needs a
    /// privilege. Set explicitly, because the kernel derives 2 from AF41, which is behind everything.
    pub(super) queue: u8,
}

impl Mark {
    /// Low: CS1 (RFC 4594 §4.10, "low-priority data"). Normal: CS0. High: AF41 (RFC 2597; RFC 4594 §4.5). Critical: EF
    /// (RFC 3246).
    pub(super) const fn of(priority: Priority) -> Self {
        match priority {
            Priority::Low => Self { dscp: 8, queue: 2 },
            Priority::High => Self { dscp: 34, queue: 4 },
            Priority::Critical => Self { dscp: 46, queue: 6 },
            _ => Self { dscp: 0, queue: 0 },
        }
    }
}
