//! What the network reports of messages that nobody receives, and how many those may be. On the classic wire no server has to give a
//! sign of life, so such reports (ICMP) are all that is known.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tautline::{SocketFault, UdpInterface};

/// The time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A report comes within this time. On a local network it takes less than 1 ms.
pub(super) const REPORT_WITHIN: Duration = Duration::from_millis(20);
/// Messages arrive again when there was no report for this time: hosts limit their reports, Linux to one a second.
const OVER_AFTER: Duration = Duration::from_secs(2);

/// What the network reports when a message did not arrive.
const FAULTS: [SocketFault; 3] =
    [SocketFault::PortUnreachable, SocketFault::HostUnreachable, SocketFault::NetworkUnreachable];

/// Keeps count of the messages that may be lost.
#[derive(Debug)]
pub(super) struct Reports {
    /// How many reports there were at the last look.
    seen: u64,
    /// How often the system refused a message at once for such a reason. That is no report: nothing was sent.
    refused: u64,
    /// When it looked, and how many messages were sent before: the looks of the last [`REPORT_WITHIN`], and the one before them.
    looks: VecDeque<(Instant, u64)>,
    /// The messages that may be lost, by how many were sent before them, and when the latest report of them came.
    doubtful: Option<Doubtful>,
    /// How many messages may be lost of which no more reports come.
    lost: u64,
}

#[derive(Clone, Copy, Debug)]
struct Doubtful {
    from: u64,
    to: u64,
    reported: Instant,
}

impl Reports {
    pub(super) fn new() -> Self {
        Self { seen: 0, refused: 0, looks: VecDeque::from([(Instant::now(), 0)]), doubtful: None, lost: 0 }
    }

    /// Looks for reports, from time to time. `sent` messages were sent before.
    pub(super) fn look(&mut self, interface: &UdpInterface, sent: u64) {
        let now = Instant::now();
        if self.looks.back().is_none_or(|(last, _)| now.saturating_duration_since(*last) >= LOOK_EVERY) {
            self.look_now(interface, sent, now);
        }
    }

    /// Notes that the system has refused a message at once.
    pub(super) fn refused(&mut self, fault: SocketFault) {
        self.refused += u64::from(FAULTS.contains(&fault));
    }

    fn look_now(&mut self, interface: &UdpInterface, sent: u64, now: Instant) {
        let is_old = |(at, _): &(Instant, u64)| now.saturating_duration_since(*at) >= REPORT_WITHIN;
        while self.looks.get(1).is_some_and(is_old) {
            self.looks.pop_front();
        }
        let faults = interface.statistics().socket_faults;
        let reports = FAULTS.into_iter().map(|fault| faults.of(fault)).sum::<u64>();
        let reports = reports.saturating_sub(self.refused);
        if reports > self.seen {
            let before = self.looks.front().map_or(0, |(_, sent)| *sent);
            let from = self.doubtful.map_or(before, |doubtful| doubtful.from);
            self.doubtful = Some(Doubtful { from, to: sent, reported: now });
        } else if let Some(Doubtful { from, to, reported }) = self.doubtful
            && now.saturating_duration_since(reported) >= OVER_AFTER
        {
            self.lost += to - from;
            self.doubtful = None;
        }
        self.seen = reports;
        self.looks.push_back((now, sent));
    }

    /// Returns how many of `sent` messages may be lost. Each report is about a message of its own.
    pub(super) fn unheard(&mut self, interface: &UdpInterface, sent: u64) -> u64 {
        self.look_now(interface, sent, Instant::now());
        let doubtful = self.doubtful.map_or(0, |doubtful| sent - doubtful.from);
        (self.lost + doubtful).max(self.seen).min(sent)
    }
}
