//! Who takes part.

/// How a peer's program comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Program {
    /// A package of this workspace.
    Package(&'static str),
    /// A script for `python3`, relative to `bench/`.
    Python(&'static str),
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
    /// Whether it runs in the smoke test.
    pub(crate) in_smoke: bool,
}

/// The measure, and the first in every round.
pub(crate) const RAW: usize = 0;

const fn package(
    name: &'static str,
    package: &'static str,
    mode: &'static str,
    library: &'static str,
    what: &'static str,
) -> Contestant {
    Contestant { name, program: Program::Package(package), mode, library, what, in_smoke: false }
}

/// In the order of a round. The raw socket comes twice, so that the noise of the machine is seen.
pub(crate) const CONTESTANTS: &[Contestant] = &[
    Contestant {
        in_smoke: true,
        ..package("raw", "peer-raw", "blocking", "", "std's UDP socket, blocking; nothing checked or counted")
    },
    Contestant {
        in_smoke: true,
        ..package(
            "tautline, caller-driven",
            "peer-tautline",
            "caller-driven",
            "tautline",
            "native wire, raw payload; the callers' loops are the drivers, blocking wait",
        )
    },
    package(
        "tautline, inline handler",
        "peer-tautline",
        "inline",
        "tautline",
        "native wire; the server's driver thread answers in an inline handler, the client is caller-driven",
    ),
    package(
        "tautline, threads",
        "peer-tautline",
        "threads",
        "tautline",
        "native wire; driver threads at both ends, the client takes answers from `receive`",
    ),
    package(
        "tautline, classic",
        "peer-tautline",
        "classic",
        "tautline",
        "the Python module's JSON wire, caller-driven",
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
    package(
        "MAVLink",
        "peer-mavlink",
        "",
        "mavlink",
        "MAVLink 2 TUNNEL messages over UDP, checksummed; 64 B only",
    ),
    package(
        "ZeroMQ",
        "peer-zeromq",
        "",
        "zeromq",
        "TCP, reliable; the Rust crate, not libzmq; REQ/REP and PUSH/PULL; one thread",
    ),
    package("raw, spinning", "peer-raw", "spinning", "", "the raw socket, never sleeping"),
    package(
        "tautline, spinning",
        "peer-tautline",
        "spinning",
        "tautline",
        "native wire, caller-driven, never sleeping",
    ),
];
