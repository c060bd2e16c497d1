//! The report of the real-time profile that users see: its parts and their outcomes.

use std::fmt;

use serde::{Serialize, Serializer};

/// A part of what an interface asks of the machine so that messages are on time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RealtimePart {
    /// The driver thread's SCHED_FIFO priority: `thread_priority`.
    ThreadPriority,
    /// The cores that the driver thread may run on: `cpus`.
    Cpus,
    /// Locking the memory of the process in RAM: `lock_memory`.
    LockMemory,
    /// Keeping cores from deep sleep: `low_latency_cpu`.
    LowLatencyCpu,
    /// Busy polling of the network card by the kernel: `busy_poll`.
    BusyPoll,
    /// The kernel's buffer for receiving: `receive_buffer`.
    ReceiveBuffer,
    /// The kernel's buffer for sending: `send_buffer`.
    SendBuffer,
    /// Datagrams marked by priority: `dscp`.
    Dscp,
    /// Many datagrams in one system call: `offload`. A sandbox may refuse it.
    Offload,
    /// The kernel's stamps of when datagrams arrive, once something needs them. A sandbox may refuse them.
    KernelTimestamps,
    /// Answers from the address that was called, at a server on all addresses. A sandbox may refuse it.
    CalledAddress,
    /// Waiting until a time, and not to the next millisecond: `wait`. A sandbox may refuse it.
    Wait,
}

impl RealtimePart {
    /// Every part, in the order of reports.
    pub const ALL: [Self; 12] = [
        Self::ThreadPriority,
        Self::Cpus,
        Self::LockMemory,
        Self::LowLatencyCpu,
        Self::BusyPoll,
        Self::ReceiveBuffer,
        Self::SendBuffer,
        Self::Dscp,
        Self::Offload,
        Self::KernelTimestamps,
        Self::CalledAddress,
        Self::Wait,
    ];

    /// The configuration key that asks for it; `called_address` has none.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ThreadPriority => "thread_priority",
            Self::Cpus => "cpus",
            Self::LockMemory => "lock_memory",
            Self::LowLatencyCpu => "low_latency_cpu",
            Self::BusyPoll => "busy_poll",
            Self::ReceiveBuffer => "receive_buffer",
            Self::SendBuffer => "send_buffer",
            Self::Dscp => "dscp",
            Self::Offload => "offload",
            Self::KernelTimestamps => "kernel_timestamps",
            Self::CalledAddress => "called_address",
            Self::Wait => "wait",
        }
    }

    /// Whether it belongs to the driver's thread. The other parts belong to the process or the socket.
    pub(super) const fn is_of_thread(self) -> bool {
        matches!(self, Self::ThreadPriority | Self::Cpus)
    }
}

impl fmt::Display for RealtimePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for RealtimePart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The outcome of one part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PartOutcome {
    /// The configuration leaves it to the system.
    #[default]
    NotAsked,
    /// Asked for, and not tried yet: the interface is not connected, or it is caller-driven and
    /// [`Driver::connect`](crate::Driver::connect), which tells the thread, was not called.
    Pending,
    /// The machine grants it.
    Granted {
        /// What exactly is granted.
        granted: String,
    },
    /// The machine refuses it, or grants only a part. The link runs without it.
    Refused {
        /// Why it is refused.
        problem: String,
        /// The command or the change that allows it.
        remedy: String,
    },
}

/// One part: what was asked for, and the outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PartReport {
    /// The part.
    pub part: RealtimePart,
    /// What was asked for, as the configuration writes it; `None` if nothing was.
    pub asked: Option<String>,
    /// The outcome.
    #[serde(flatten)]
    pub outcome: PartOutcome,
}

/// What an interface asked of the machine, and what it got. A plain value: it does not change afterwards. See
/// [`UdpInterface::realtime_report`](crate::UdpInterface::realtime_report).
///
/// Serialises as a list of the parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct RealtimeReport {
    /// Invariant: every part once, in the order of [`RealtimePart::ALL`].
    pub(super) parts: Vec<PartReport>,
}

impl RealtimeReport {
    /// Every part, in the order of [`RealtimePart::ALL`].
    #[must_use]
    pub fn parts(&self) -> &[PartReport] {
        &self.parts
    }

    /// One part.
    #[must_use]
    pub fn part(&self, part: RealtimePart) -> &PartReport {
        self.parts.iter().find(|report| report.part == part).expect("a report has every part")
    }

    /// The parts that the machine refused.
    pub fn refused(&self) -> impl Iterator<Item = &PartReport> {
        self.parts.iter().filter(|report| matches!(report.outcome, PartOutcome::Refused { .. }))
    }
}

impl Default for RealtimeReport {
    /// A report of a configuration that asks for nothing.
    fn default() -> Self {
        let report = |part| PartReport { part, asked: None, outcome: PartOutcome::NotAsked };
        Self { parts: RealtimePart::ALL.map(report).to_vec() }
    }
}
