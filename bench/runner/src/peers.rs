//! The contestants, and the tables in which they take part.

use std::sync::LazyLock;

use crate::kinds::Kind;

/// How to get a peer's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Program {
    /// A package of this workspace.
    Package(&'static str),
    /// A package that is a separate workspace: its folder relative to `bench/`, and what its build needs.
    Apart { package: &'static str, directory: &'static str, needs: &'static str },
    /// A script for `python3`, relative to `bench/`.
    Python(&'static str),
}

impl Program {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Package(name) | Self::Apart { package: name, .. } | Self::Python(name) => name,
        }
    }

    /// Returns what the build needs in addition to a C compiler.
    pub(crate) const fn needs(self) -> &'static str {
        if let Self::Apart { needs, .. } = self { needs } else { "" }
    }
}

/// The tables in which a contestant takes part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    /// All tables but those with contestants of their own.
    Everything,
    /// The same, with messages up to this size.
    UpTo(usize),
    /// The tables of throughput.
    Throughput,
    /// The tables of round trips.
    RoundTrips,
    /// The table of sizes. The size of the messages.
    Sizes(usize),
    /// The table of reliable messages.
    Reliable,
    /// The table of the cost of many clients.
    ManyPeers,
    /// The table of the cost of idle clients.
    Idle,
    /// The table of the cost of connecting.
    Connecting,
}

/// A contestant: a line of the tables.
#[derive(Clone, Debug)]
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    pub(crate) mode: &'static str,
    /// The crate whose version the page shows. Empty if there is none.
    pub(crate) library: &'static str,
    pub(crate) what: &'static str,
    pub(crate) part: Part,
    /// Whether it runs in the smoke test.
    pub(crate) in_smoke: bool,
}

impl Contestant {
    /// Whether it has a line in `kind`'s table.
    pub(crate) fn takes_part(&self, kind: Kind) -> bool {
        match (self.part, kind) {
            (part, Kind::Sizes { .. }) => matches!(part, Part::Sizes(_)),
            (part, Kind::Reliable { .. }) => part == Part::Reliable,
            (part, Kind::ManyPeers { .. }) => part == Part::ManyPeers,
            (part, Kind::Idle { .. }) => part == Part::Idle,
            (part, Kind::Connecting { .. }) => part == Part::Connecting,
            (Part::UpTo(most), Kind::Throughput { size, .. }) => size <= most,
            (Part::Throughput, kind) => !kind.is_round_trips(),
            (Part::RoundTrips, kind) => kind.is_round_trips(),
            (Part::Everything | Part::UpTo(_), _) => true,
            _ => false,
        }
    }

    /// The size of its messages, if that is not the table's.
    pub(crate) const fn size(&self) -> Option<usize> {
        if let Part::Sizes(size) = self.part { Some(size) } else { None }
    }

    /// How many clients its mode has.
    pub(crate) fn clients(&self) -> f64 {
        self.mode.rsplit('-').next().and_then(|count| count.parse().ok()).unwrap_or(1.0)
    }

    /// Whether it is the reference of `kind`: the raw socket, one client of the same program, or the plain link.
    pub(crate) fn is_reference(&self, kind: Kind) -> bool {
        match kind {
            Kind::Sizes { .. } => self.program == RAW,
            Kind::Reliable { .. } => self.program == TAUTLINE,
            Kind::ManyPeers { .. } => self.mode == ONE_CLIENT,
            Kind::Idle { .. } => self.mode == ONE_IDLE,
            Kind::Connecting { .. } => self.mode == PLAIN_CONNECTS,
            _ => self.name == "raw",
        }
    }

    /// Whether `other` is the reference with which it is compared.
    pub(crate) fn is_compared_with(&self, other: &Self, kind: Kind) -> bool {
        let is_like = match kind {
            Kind::Sizes { .. } => self.part == other.part,
            Kind::Reliable { .. } => self.mode == other.mode,
            Kind::ManyPeers { .. } | Kind::Idle { .. } => self.program == other.program,
            _ => true,
        };
        other.takes_part(kind) && other.is_reference(kind) && is_like
    }
}

/// The mode of the reference for many clients.
const ONE_CLIENT: &str = "clients-1";

/// The mode of the reference for idle clients.
const ONE_IDLE: &str = "idle-1";

/// The mode of the reference for connecting.
const PLAIN_CONNECTS: &str = "connects";

const fn package(
    name: &'static str,
    package: &'static str,
    mode: &'static str,
    library: &'static str,
    what: &'static str,
) -> Contestant {
    let (program, part) = (Program::Package(package), Part::Everything);
    Contestant { name, program, mode, library, what, part, in_smoke: false }
}

const fn tautline_trips(name: &'static str, mode: &'static str, what: &'static str) -> Contestant {
    Contestant { part: Part::RoundTrips, ..package(name, "peer-tautline", mode, "tautline", what) }
}

const fn tautline_stream(name: &'static str, mode: &'static str, what: &'static str) -> Contestant {
    Contestant { part: Part::Throughput, ..package(name, "peer-tautline", mode, "tautline", what) }
}

const AERON: Program = Program::Apart {
    package: "peer-aeron",
    directory: "peers/aeron",
    needs: "cmake 3.30 or newer (PyPI has it), libclang-dev, uuid-dev, libbsd-dev",
};

const CYCLONE: Program =
    Program::Apart { package: "peer-cyclone", directory: "peers/cyclone", needs: "cmake, libclang-dev" };

const ZENOH: Program = Program::Apart { package: "peer-zenoh", directory: "peers/zenoh", needs: "" };

const RAW: Program = Program::Package("peer-raw");

const TAUTLINE: Program = Program::Package("peer-tautline");

/// The name and the program of a row of reliable messages, and whether the smoke test has it.
const RELIABLE: [(&str, Program, bool); 3] = [
    ("tautline", TAUTLINE, true),
    ("ENet", Program::Package("peer-enet"), false),
    ("quinn", Program::Package("peer-quinn"), false),
];

/// The loss in percent, as in the name and in the mode.
const LOSSES: [(&str, &str); 3] = [("0 %", "reliable-0"), ("1 %", "reliable-1"), ("10 %", "reliable-10")];

/// The sizes of messages, and whether the smoke test has them.
const SIZES: [(usize, bool); 11] = [
    (16, true),
    (64, false),
    (256, false),
    (1_024, false),
    (1_400, true),
    (1_500, false),
    (4_096, false),
    (8_192, false),
    (16_384, false),
    (32_768, false),
    (60_000, true),
];

/// The size with whose CPU time for a byte that of the others is compared: a message that fills a datagram.
pub(crate) const WHOLE_DATAGRAM: usize = 1_400;

/// All contestants, in the order of a round.
pub(crate) static CONTESTANTS: LazyLock<Vec<Contestant>> = LazyLock::new(|| {
    let mut all = NAMED.to_vec();
    for (size, in_smoke) in SIZES {
        for (library, program) in [("raw", RAW), ("tautline", TAUTLINE)] {
            let (name, part) = (leak(format!("{library}, {size} B")), Part::Sizes(size));
            let what = match program {
                RAW => {
                    "like raw; the server tells what has come, and at most a megabyte is under way (16 to 4,096 messages)"
                }
                _ => {
                    "the same with `send`, of which the driver's threads make datagrams; default settings, but a `receive_buffer` of 16 MiB, as raw has"
                }
            };
            let (mode, library) = ("sized", if program == RAW { "" } else { "tautline" });
            all.push(Contestant { name, program, mode, library, what, part, in_smoke });
        }
    }
    for (percent, mode) in LOSSES {
        for (library, program, in_smoke) in RELIABLE {
            let (name, part) = (leak(format!("{library}, {percent} lost")), Part::Reliable);
            let (library, what) = match library {
                "tautline" => (
                    "tautline",
                    "`send_reliable` and `wait_for_room`, default settings; each end loses so many of the datagrams that it reads",
                ),
                "ENet" => ("rusty_enet", "reliable packets on one channel; the same loss"),
                _ => ("quinn", "one stream, a length before each message; the same loss"),
            };
            all.push(Contestant { name, program, mode, library, what, part, in_smoke });
        }
    }
    all
});

/// The name lives as long as the program.
fn leak(name: String) -> &'static str {
    Box::leak(name.into_boxed_str())
}

/// The contestants with names of their own. The raw socket is measured twice, to show the noise of the machine.
const NAMED: &[Contestant] = &[
    Contestant {
        in_smoke: true,
        ..package(
            "raw",
            "peer-raw",
            "blocking",
            "",
            "std's UDP socket, blocking; it checks and counts nothing",
        )
    },
    Contestant {
        in_smoke: true,
        ..tautline_trips(
            "tautline, blocking",
            "caller-driven",
            "native wire, raw payload; both ends are caller-driven, with `wait = block`",
        )
    },
    Contestant {
        in_smoke: true,
        ..tautline_trips(
            "tautline, blocking, secured",
            "caller-driven-secured",
            "like blocking, with a key at both ends: every datagram is encrypted and authenticated",
        )
    },
    tautline_trips(
        "tautline, blocking, inline handler",
        "inline",
        "like blocking, but the server's driver thread answers in an inline handler",
    ),
    tautline_trips(
        "tautline, default",
        "default",
        "default settings (`wait = adaptive`): the server's driver thread answers; the client is caller-driven",
    ),
    tautline_trips(
        "tautline, threads",
        "threads",
        "like default, but the client has a driver thread too and takes answers from `receive`",
    ),
    tautline_trips(
        "tautline, receive",
        "receive",
        "default settings, both ends have a driver thread and wait in `receive`, as the README shows it",
    ),
    tautline_trips("tautline, receive, blocking", "receive-blocking", "like receive, with `wait = block`"),
    tautline_trips(
        "tautline, receive, real-time profile",
        "receive-realtime",
        "like receive, with `realtime = true`",
    ),
    tautline_trips("tautline, real-time profile", "realtime", "like default, with `realtime = true`"),
    package(
        "tautline, classic",
        "peer-tautline",
        "classic",
        "tautline",
        "the Python module's JSON wire; both ends are caller-driven, with `wait = block`",
    ),
    tautline_stream(
        "tautline, send",
        "stream",
        "one message per call; `receive_buffer` is 16 MiB, all else is default: coalescing, GSO, GRO",
    ),
    tautline_stream("tautline, send_batch", "batch", "like send, with 720 messages per call"),
    tautline_stream(
        "tautline, send_batch, windowed",
        "batch-windowed",
        "like send_batch, with at most 4,096 messages in flight (256 datagrams of 64-byte messages); the server reports its count",
    ),
    tautline_stream(
        "tautline, send_batch, windowed, secured",
        "batch-windowed-secured",
        "like send_batch, windowed, with a key at both ends",
    ),
    tautline_stream(
        "tautline, send, receive",
        "inbox",
        "like send, but the server takes messages from `receive`",
    ),
    tautline_stream(
        "tautline, send, receive_many",
        "inbox-many",
        "like send, but the server takes messages from `receive_many`, up to 1,000 at once",
    ),
    tautline_stream("tautline, without offload", "no-offload", "like send, with `offload = false`"),
    tautline_stream(
        "tautline, a datagram each",
        "uncoalesced",
        "like send, with `coalescing_delay = 0s`: every message is a datagram and a system call",
    ),
    tautline_stream(
        "tautline, a datagram each, secured",
        "uncoalesced-secured",
        "like a datagram each, with a key at both ends",
    ),
    tautline_stream(
        "tautline, four threads",
        "four-threads",
        "like send, from four threads through one interface",
    ),
    tautline_stream(
        "tautline, four threads, a datagram each",
        "four-threads-uncoalesced",
        "like a datagram each, from four threads; one system call sends what waits for it (GSO)",
    ),
    package("tokio UdpSocket", "peer-tokio", "", "tokio", "a bare socket on a runtime of one thread"),
    package(
        "raw, again",
        "peer-raw",
        "blocking",
        "",
        "the same as raw; its difference from 1.00 is the noise",
    ),
    Contestant {
        name: "Python asyncio",
        program: Program::Python("peers/python/peer.py"),
        mode: "",
        library: "",
        what: "a stand-in for the classic wire: JSON, sequence and CRC, standard library only",
        part: Part::Everything,
        in_smoke: false,
    },
    package(
        "quinn datagrams",
        "peer-quinn",
        "",
        "quinn",
        "QUIC datagrams: encrypted, congestion controlled, packed; one thread",
    ),
    package("ENet", "peer-enet", "", "rusty_enet", "unreliable packets; it waits in poll(2)"),
    Contestant {
        part: Part::UpTo(128),
        ..package(
            "MAVLink",
            "peer-mavlink",
            "",
            "mavlink",
            "MAVLink 2 TUNNEL messages over UDP, with checksum; they hold up to 128 bytes",
        )
    },
    package(
        "ZeroMQ",
        "peer-zeromq",
        "",
        "zeromq",
        "TCP, reliable; the Rust crate, not libzmq; REQ/REP and PUSH/PULL; one thread",
    ),
    Contestant {
        program: ZENOH,
        ..package("Zenoh", "", "tcp", "zenoh", "two peers with one TCP link, without router and scouting")
    },
    Contestant {
        program: ZENOH,
        ..package("Zenoh, UDP", "", "udp", "zenoh", "the same over UDP, which is not reliable")
    },
    Contestant {
        program: AERON,
        ..package(
            "Aeron",
            "",
            "threads",
            "rusteron-media-driver",
            "UDP, reliable, flow controlled; each end has a media driver with its default threads",
        )
    },
    Contestant {
        program: AERON,
        ..package(
            "Aeron, invoker",
            "",
            "invoker",
            "rusteron-media-driver",
            "the same, but the program's loop runs media driver and conductor and never sleeps",
        )
    },
    Contestant {
        program: CYCLONE,
        ..package(
            "Cyclone DDS",
            "",
            "",
            "cyclors",
            "reliable, keeps all samples; the library's threads receive, the program waits in a wait set",
        )
    },
    package("raw, spinning", "peer-raw", "spinning", "", "the raw socket; it never sleeps"),
    tautline_trips("tautline, spinning", "spinning", "like blocking, with `wait = spin`; it never sleeps"),
    tautline_trips(
        "tautline, spinning, secured",
        "spinning-secured",
        "like spinning, with a key at both ends",
    ),
    Contestant {
        part: Part::Throughput,
        in_smoke: true,
        ..package(
            "tautline, windowed",
            "peer-tautline",
            "windowed",
            "tautline",
            "like blocking, one message per datagram, at most 256 in flight; the server reports its count",
        )
    },
    Contestant {
        part: Part::ManyPeers,
        in_smoke: true,
        ..package(
            "raw, 1 client",
            "peer-raw",
            ONE_CLIENT,
            "",
            "like raw; it shows the cost of the kernel alone",
        )
    },
    Contestant {
        part: Part::ManyPeers,
        in_smoke: true,
        ..package(
            "raw, 1,000 clients",
            "peer-raw",
            "clients-1000",
            "",
            "like the line above, from 1,000 sockets",
        )
    },
    Contestant {
        part: Part::ManyPeers,
        in_smoke: true,
        ..package(
            "tautline, 1 client",
            "peer-tautline",
            ONE_CLIENT,
            "tautline",
            "like blocking, with one heartbeat per second",
        )
    },
    Contestant {
        part: Part::ManyPeers,
        in_smoke: true,
        ..package(
            "tautline, 1,000 clients",
            "peer-tautline",
            "clients-1000",
            "tautline",
            "like the line above; the clients share a process and send in turn",
        )
    },
    Contestant {
        part: Part::ManyPeers,
        ..package(
            "raw, 9,900 clients",
            "peer-raw",
            "clients-9900",
            "",
            "like the line above, from 9,900 sockets",
        )
    },
    Contestant {
        part: Part::ManyPeers,
        ..package(
            "tautline, 9,900 clients",
            "peer-tautline",
            "clients-9900",
            "tautline",
            "like the line above, from 9,900 clients",
        )
    },
    Contestant {
        part: Part::Idle,
        in_smoke: true,
        ..package(
            "raw, 1 idle client",
            "peer-raw",
            ONE_IDLE,
            "",
            "each end sends a datagram of 40 bytes ten times a second; it shows the cost of the kernel alone",
        )
    },
    Contestant {
        part: Part::Idle,
        in_smoke: true,
        ..package("raw, 1,000 idle clients", "peer-raw", "idle-1000", "", "the same, from 1,000 sockets")
    },
    Contestant {
        part: Part::Idle,
        in_smoke: true,
        ..package(
            "tautline, 1 idle client",
            "peer-tautline",
            ONE_IDLE,
            "tautline",
            "default heartbeats (ten a second), `wait = block`; the CPU time includes what the measurement itself needs",
        )
    },
    Contestant {
        part: Part::Idle,
        ..package("tautline, 100 idle clients", "peer-tautline", "idle-100", "tautline", "the same")
    },
    Contestant {
        part: Part::Idle,
        in_smoke: true,
        ..package("tautline, 1,000 idle clients", "peer-tautline", "idle-1000", "tautline", "the same")
    },
    Contestant {
        part: Part::Idle,
        ..package(
            "tautline, 9,900 idle clients",
            "peer-tautline",
            "idle-9900",
            "tautline",
            "the same, with one heartbeat a second",
        )
    },
    Contestant {
        part: Part::Connecting,
        in_smoke: true,
        ..package(
            "tautline, connect",
            "peer-tautline",
            PLAIN_CONNECTS,
            "tautline",
            "like blocking; the client opens a socket, connects, sends one message and closes",
        )
    },
    Contestant {
        part: Part::Connecting,
        in_smoke: true,
        ..package(
            "tautline, connect, secured",
            "peer-tautline",
            "connects-secured",
            "tautline",
            "like the line above, with a key at both ends",
        )
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{KINDS, SMOKE};

    #[test]
    fn every_contestant_has_one_reference() {
        for kind in KINDS.iter().chain(SMOKE) {
            for contestant in CONTESTANTS.iter().filter(|it| it.takes_part(*kind)) {
                let is_its = |other: &&Contestant| contestant.is_compared_with(other, *kind);
                let measures: Vec<&Contestant> = CONTESTANTS.iter().filter(is_its).collect();
                assert_eq!(measures.len(), 1, "{} in {}", contestant.name, kind.name());
                assert!(measures[0].takes_part(*kind));
                assert!(measures[0].in_smoke || !contestant.in_smoke);
            }
        }
    }

    #[test]
    fn a_contestant_with_a_size_limit_skips_larger_messages() {
        let mavlink = CONTESTANTS.iter().find(|it| it.name == "MAVLink").unwrap();
        let takes_part = |size| mavlink.takes_part(Kind::Throughput { seconds: 1.0, size });
        assert_eq!([takes_part(64), takes_part(256)], [true, false]);
    }
}
