//! Who takes part, and in what.

use crate::kinds::Kind;

/// How a peer's program comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Program {
    /// A package of this workspace.
    Package(&'static str),
    /// A package that is a workspace of its own, relative to `bench/`, and what its build needs.
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

    /// What must be installed before it can be built, beyond a C compiler.
    pub(crate) const fn needs(self) -> &'static str {
        if let Self::Apart { needs, .. } = self { needs } else { "" }
    }
}

/// In which tables a contestant stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    /// Everywhere but in `ManyPeers`.
    Everything,
    /// Messages up to this size.
    UpTo(usize),
    /// Not the round trips.
    Throughput,
    /// The round trips alone.
    RoundTrips,
    /// What many clients cost.
    ManyPeers,
}

/// A line of the tables.
#[derive(Debug)]
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    pub(crate) mode: &'static str,
    /// The crate whose version is named; empty if there is none.
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
            (part, Kind::ManyPeers { .. }) => part == Part::ManyPeers,
            (Part::UpTo(most), Kind::Throughput { size, .. }) => size <= most,
            (Part::Throughput, kind) => !kind.is_round_trips(),
            (Part::RoundTrips, kind) => kind.is_round_trips(),
            (Part::ManyPeers, _) => false,
            (Part::Everything | Part::UpTo(_), _) => true,
        }
    }

    /// Whether others of `kind` are compared with it: the raw socket, or one client of the same program.
    pub(crate) fn is_measure(&self, kind: Kind) -> bool {
        if matches!(kind, Kind::ManyPeers { .. }) { self.mode == ONE_CLIENT } else { self.name == "raw" }
    }

    /// Whether `other` is what it is compared with.
    pub(crate) fn is_measured_by(&self, other: &Self, kind: Kind) -> bool {
        let is_own = self.program == other.program || !matches!(kind, Kind::ManyPeers { .. });
        other.is_measure(kind) && is_own
    }
}

/// The mode of the one that many clients are compared with.
const ONE_CLIENT: &str = "clients-1";

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

/// In the order of a round. The raw socket comes twice, so that the noise of the machine is seen.
pub(crate) const CONTESTANTS: &[Contestant] = &[
    Contestant {
        in_smoke: true,
        ..package("raw", "peer-raw", "blocking", "", "std's UDP socket, blocking; nothing checked or counted")
    },
    Contestant {
        in_smoke: true,
        ..tautline_trips(
            "tautline, blocking",
            "caller-driven",
            "native wire, raw payload; the callers' loops are the drivers, `wait = block`",
        )
    },
    tautline_trips(
        "tautline, blocking, inline handler",
        "inline",
        "as blocking; the server's driver thread answers in an inline handler",
    ),
    tautline_trips(
        "tautline, default",
        "default",
        "as it comes (`wait = adaptive`): the server's driver thread answers, the client's loop is its driver",
    ),
    tautline_trips(
        "tautline, threads",
        "threads",
        "as default; a driver thread at the client too, which takes answers from `receive`",
    ),
    tautline_trips("tautline, real-time profile", "realtime", "as default, with `realtime = true`"),
    package(
        "tautline, classic",
        "peer-tautline",
        "classic",
        "tautline",
        "the Python module's JSON wire; the callers' loops are the drivers, `wait = block`",
    ),
    tautline_stream(
        "tautline, send",
        "stream",
        "a message per call; `receive_buffer` 16 MiB, everything else as it comes: gate, GSO, GRO",
    ),
    tautline_stream("tautline, send_batch", "batch", "720 messages per call, else as send"),
    tautline_stream(
        "tautline, send_batch, windowed",
        "batch-windowed",
        "as send_batch; at most 4,096 messages are outstanding (of 64 bytes: 256 datagrams), the server tells its count",
    ),
    tautline_stream("tautline, without offload", "no-offload", "as send, with `offload = false`"),
    tautline_stream(
        "tautline, a datagram each",
        "gate-0",
        "as send, with `gate = 0s`: every message is a datagram and a system call",
    ),
    tautline_stream(
        "tautline, four threads",
        "four-threads",
        "as send, by four threads through one interface",
    ),
    tautline_stream(
        "tautline, four threads, a datagram each",
        "four-threads-gate-0",
        "as a datagram each, by four threads",
    ),
    package("tokio UdpSocket", "peer-tokio", "", "tokio", "a bare socket on a runtime of one thread"),
    package(
        "raw, again",
        "peer-raw",
        "blocking",
        "",
        "the same as raw: how far it is from 1.00 is the noise",
    ),
    Contestant {
        name: "Python asyncio",
        program: Program::Python("peers/python/peer.py"),
        mode: "",
        library: "",
        what: "a stand-in of the classic wire: JSON, sequence and CRC, standard library alone",
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
    package("ENet", "peer-enet", "", "rusty_enet", "unreliable packets; waits in poll(2)"),
    Contestant {
        part: Part::UpTo(128),
        ..package(
            "MAVLink",
            "peer-mavlink",
            "",
            "mavlink",
            "MAVLink 2 TUNNEL messages over UDP, checksummed; they hold 128 bytes",
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
        ..package("Zenoh", "", "tcp", "zenoh", "one link over TCP; two peers without router and scouting")
    },
    Contestant {
        program: ZENOH,
        ..package("Zenoh, UDP", "", "udp", "zenoh", "the same over UDP; what the link loses is lost")
    },
    Contestant {
        program: AERON,
        ..package(
            "Aeron",
            "",
            "threads",
            "rusteron-media-driver",
            "UDP, reliable, flow controlled; a media driver with its default threads at each end",
        )
    },
    Contestant {
        program: AERON,
        ..package(
            "Aeron, invoker",
            "",
            "invoker",
            "rusteron-media-driver",
            "the same, but the program's own loop runs media driver and conductor, never sleeping",
        )
    },
    Contestant {
        program: CYCLONE,
        ..package(
            "Cyclone DDS",
            "",
            "",
            "cyclors",
            "reliable, everything kept; the library's threads receive, the program waits in a wait set",
        )
    },
    package("raw, spinning", "peer-raw", "spinning", "", "the raw socket, never sleeping"),
    tautline_trips("tautline, spinning", "spinning", "as blocking, with `wait = spin`: never sleeping"),
    Contestant {
        part: Part::Throughput,
        in_smoke: true,
        ..package(
            "tautline, windowed",
            "peer-tautline",
            "windowed",
            "tautline",
            "as blocking, every message a datagram; at most 256 are outstanding, the server tells its count",
        )
    },
    Contestant {
        part: Part::ManyPeers,
        in_smoke: true,
        ..package("raw, 1 client", "peer-raw", ONE_CLIENT, "", "as raw; nothing but the kernel's own cost")
    },
    Contestant {
        part: Part::ManyPeers,
        in_smoke: true,
        ..package(
            "raw, 1,000 clients",
            "peer-raw",
            "clients-1000",
            "",
            "as the line above, from 1,000 sockets",
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
            "as blocking, with a heartbeat per second",
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
            "as the line above; the clients share a process, and send in turn",
        )
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{KINDS, SMOKE};

    #[test]
    fn every_table_has_its_measure() {
        for kind in KINDS.iter().chain(SMOKE) {
            for contestant in CONTESTANTS.iter().filter(|it| it.takes_part(*kind)) {
                let is_its = |other: &&Contestant| contestant.is_measured_by(other, *kind);
                let measures: Vec<&Contestant> = CONTESTANTS.iter().filter(is_its).collect();
                assert_eq!(measures.len(), 1, "{} in {}", contestant.name, kind.name());
                assert!(measures[0].takes_part(*kind) && measures[0].in_smoke);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_not_asked_for() {
        let mavlink = CONTESTANTS.iter().find(|it| it.name == "MAVLink").unwrap();
        let takes_part = |size| mavlink.takes_part(Kind::Throughput { seconds: 1.0, size });
        assert_eq!([takes_part(64), takes_part(256)], [true, false]);
    }
}
