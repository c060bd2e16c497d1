//! The kinds of measurement. Each has a table, a heading, and a name for the command line.

use std::time::Duration;

use Placement::{Pinned, Unpinned};

/// One kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Round trips, one after the other. `is_beside_neighbour` adds a process that is always busy.
    PingPong { messages: usize, is_beside_neighbour: bool, place: Placement },
    /// Round trips, paced at a rate.
    Paced { messages: usize, rate: u32, place: Placement },
    /// As many messages as one client can send.
    Throughput { seconds: f64, size: usize },
    /// As many messages as one client can send, with a bounded number under way, of each size, over a path of 1,500 bytes.
    Sizes { seconds: f64 },
    /// As many reliable messages as one client can send, on networks that lose datagrams.
    Reliable { seconds: f64, size: usize },
    /// The server's CPU time and memory while clients are connected and send nothing.
    Idle { seconds: f64 },
    /// The server's CPU time at the same total rate, from one client and from many clients.
    ManyPeers { seconds: f64, rate: u32 },
    /// The CPU time of a new link: a client connects, sends one message and closes, again and again.
    Connecting { seconds: f64 },
}

/// Where the processes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Each on a core of its own.
    Pinned,
    /// Both ends in one process, where the scheduler puts their threads, as those of most programs.
    Unpinned,
}

/// The kinds in the order of the page.
pub(crate) const KINDS: &[Kind] = &[
    Kind::PingPong { messages: 5000, is_beside_neighbour: false, place: Pinned },
    Kind::PingPong { messages: 5000, is_beside_neighbour: true, place: Pinned },
    Kind::Paced { messages: 1000, rate: 1000, place: Pinned },
    Kind::PingPong { messages: 5000, is_beside_neighbour: false, place: Unpinned },
    Kind::Paced { messages: 1000, rate: 1000, place: Unpinned },
    Kind::Throughput { seconds: 1.0, size: 64 },
    Kind::Throughput { seconds: 1.0, size: 256 },
    Kind::Throughput { seconds: 1.0, size: 1400 },
    Kind::Sizes { seconds: 1.0 },
    Kind::Reliable { seconds: 2.0, size: 64 },
    Kind::ManyPeers { seconds: 2.0, rate: 50_000 },
    Kind::Idle { seconds: 3.0 },
    Kind::Connecting { seconds: 1.0 },
];

/// The kinds of the smoke test. Each takes a fraction of a second.
pub(crate) const SMOKE: &[Kind] = &[
    Kind::PingPong { messages: 200, is_beside_neighbour: false, place: Pinned },
    Kind::PingPong { messages: 200, is_beside_neighbour: true, place: Pinned },
    Kind::Paced { messages: 100, rate: 1000, place: Pinned },
    Kind::Paced { messages: 100, rate: 1000, place: Unpinned },
    Kind::Throughput { seconds: 0.1, size: 64 },
    Kind::Throughput { seconds: 0.1, size: 1400 },
    Kind::Sizes { seconds: 0.1 },
    Kind::Reliable { seconds: 0.1, size: 64 },
    Kind::ManyPeers { seconds: 0.2, rate: 20_000 },
    Kind::Idle { seconds: 0.2 },
    Kind::Connecting { seconds: 0.1 },
];

impl Placement {
    const fn in_title(self) -> &'static str {
        match self {
            Pinned => "",
            Unpinned => ", unpinned, in one process",
        }
    }
}

impl Kind {
    /// Returns the name for `--only` and for the file of the plot.
    pub(crate) fn name(self) -> String {
        match self {
            Self::PingPong { is_beside_neighbour: true, .. } => "busy-neighbour".to_owned(),
            Self::PingPong { place: Pinned, .. } => "ping-pong".to_owned(),
            Self::PingPong { place: Unpinned, .. } => "unpinned".to_owned(),
            Self::Paced { place: Pinned, .. } => "paced".to_owned(),
            Self::Paced { place: Unpinned, .. } => "unpinned-paced".to_owned(),
            Self::Throughput { size, .. } => format!("throughput-{size}"),
            Self::Sizes { .. } => "sizes".to_owned(),
            Self::Reliable { .. } => "reliable".to_owned(),
            Self::ManyPeers { .. } => "many-peers".to_owned(),
            Self::Idle { .. } => "idle-peers".to_owned(),
            Self::Connecting { .. } => "connecting".to_owned(),
        }
    }

    /// Returns the heading of the table.
    pub(crate) fn title(self) -> String {
        match self {
            Self::PingPong { messages, is_beside_neighbour, place } => {
                let beside = if is_beside_neighbour { ", beside a busy neighbour" } else { place.in_title() };
                format!("Round trips of 64 bytes, one after the other{beside} ({messages} per round)")
            }
            Self::Paced { messages, rate, place } => {
                let place = place.in_title();
                format!("Round trips of 64 bytes, paced at {rate} Hz{place} ({messages} per round)")
            }
            Self::Throughput { seconds, size } => {
                format!("Messages of {size} bytes, as many as one client can send ({seconds} s per round)")
            }
            Self::Sizes { seconds } => {
                format!("Messages of 16 to 60,000 bytes over a path of 1,500 bytes ({seconds} s per round)")
            }
            Self::Reliable { seconds, size } => {
                format!(
                    "Reliable messages of {size} bytes, as many as one client can send ({seconds} s per round)"
                )
            }
            Self::Idle { seconds } => {
                format!("The cost of clients that are connected and send nothing ({seconds} s per round)")
            }
            Self::ManyPeers { seconds, rate } => {
                format!(
                    "The cost of many clients: {rate} messages of 64 bytes per second ({seconds} s per round)"
                )
            }
            Self::Connecting { seconds } => {
                format!(
                    "The cost of connecting: a new link for each message of 64 bytes ({seconds} s per round)"
                )
            }
        }
    }

    /// Whether both ends are in one process.
    pub(crate) const fn is_together(self) -> bool {
        !self.is_pinned()
    }

    /// Whether the table must show in its rows what the others say in their headings: how much is sent, or from how many.
    pub(crate) const fn has_own_contestants(self) -> bool {
        matches!(
            self,
            Self::Sizes { .. }
                | Self::Reliable { .. }
                | Self::ManyPeers { .. }
                | Self::Idle { .. }
                | Self::Connecting { .. }
        )
    }

    /// Whether each process is kept on a core of its own.
    pub(crate) const fn is_pinned(self) -> bool {
        !matches!(self, Self::PingPong { place: Unpinned, .. } | Self::Paced { place: Unpinned, .. })
    }

    /// Returns the commands for the server and the client.
    pub(crate) const fn verbs(self) -> [&'static str; 2] {
        if self.is_round_trips() { ["echo", "latency"] } else { ["sink", "throughput"] }
    }

    /// Whether this kind measures round trips. The others count messages.
    pub(crate) const fn is_round_trips(self) -> bool {
        matches!(self, Self::PingPong { .. } | Self::Paced { .. })
    }

    /// Returns the client's options. `size`: the size of the contestant's messages, if the contestants differ in it.
    pub(crate) fn arguments(self, size: Option<usize>) -> Vec<String> {
        let text = match self {
            Self::PingPong { messages, .. } => format!("--messages {messages} --size 64"),
            Self::Paced { messages, rate, .. } => format!("--messages {messages} --size 64 --rate {rate}"),
            Self::Throughput { seconds, size } | Self::Reliable { seconds, size } => {
                format!("--seconds {seconds} --size {size}")
            }
            Self::Sizes { seconds } => format!("--seconds {seconds} --size {}", size.unwrap_or(1)),
            Self::Idle { seconds } => format!("--seconds {seconds} --size 64"),
            Self::ManyPeers { seconds, rate } => format!("--seconds {seconds} --size 64 --rate {rate}"),
            Self::Connecting { seconds } => format!("--seconds {seconds} --size 64"),
        };
        text.split(' ').map(str::to_owned).collect()
    }

    /// Returns how long the measurement itself takes.
    pub(crate) fn length(self) -> Duration {
        match self {
            Self::PingPong { .. } => Duration::ZERO,
            Self::Paced { messages, rate, .. } => Duration::from_secs_f64(messages as f64 / f64::from(rate)),
            Self::Throughput { seconds, .. }
            | Self::Sizes { seconds }
            | Self::Reliable { seconds, .. }
            | Self::Idle { seconds }
            | Self::ManyPeers { seconds, .. }
            | Self::Connecting { seconds } => Duration::from_secs_f64(seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_unique_name() {
        for kinds in [KINDS, SMOKE] {
            let mut names: Vec<String> = kinds.iter().map(|kind| kind.name()).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), kinds.len());
        }
    }
}
