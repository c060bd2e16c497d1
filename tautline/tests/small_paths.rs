//! Paths that carry only small packets: nothing is lost to its size, for the native wire in datagrams that fit, for the
//! classic wire in IP fragments.
//!
//! The tests use real sockets in network namespaces, and are skipped where those are not allowed:
//!
//! ```text
//! cargo test --release -p tautline --test small_paths -- --nocapture --test-threads 1
//! ```
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout)] // figures, and why a test was skipped

mod common;
#[path = "common/hosts.rs"]
mod hosts;
#[path = "common/routed.rs"]
mod routed;

use std::time::{Duration, Instant};

use common::{TIME_LIMIT, WIRES, until};
use routed::{Host, PLANT, Routed};
use tautline::{
    Config, Metadata, PeerInfo, Publisher, UdpInterface, Wire, create_udp_client, create_udp_server,
};

/// A message larger than any datagram here.
const LARGE: usize = 5_000;

/// How long a black hole may last. The tests wait twice as long, because the machine may be busy.
const BLACK_HOLE: Duration = Duration::from_secs(2);

/// A plant and its controller, with a router between them.
struct Link {
    plant: UdpInterface,
    controller: UdpInterface,
    network: Routed,
}

/// What an end sends in one go: first a stream of small messages, then batches, then large messages.
const STREAM: usize = 400;
const BATCHES: usize = 10;
const BATCH: usize = 400;
const LARGE_ONES: usize = 40;

impl Link {
    /// Connects the two over a path of this many bytes. Returns `None` if the test is skipped.
    fn new(test: &str, wire: Wire, address: &str, mtu: usize) -> Option<Self> {
        let network = Routed::lay(test)?;
        network.set_mtu(mtu);
        let endpoint =
            if address.contains(':') { format!("[{address}]:9000") } else { format!("{address}:9000") };
        let capacity = 2 * (STREAM + BATCHES * BATCH + LARGE_ONES);
        let config = |config: Config| config.wire(wire).inbox_capacity(capacity);
        let plant = network.at(Host::Plant, || {
            let plant = create_udp_server(config(Config::server(&*endpoint))).expect("a valid configuration");
            plant.connect().expect("a free port");
            plant
        });
        let controller = network.at(Host::Controller, || {
            let controller =
                create_udp_client(config(Config::client(&*endpoint))).expect("a valid configuration");
            controller.connect().expect("the server answers");
            controller
        });
        // A plant of the classic wire knows its controller by the first message.
        controller.send(&0, &Metadata::status()).expect("it is connected");
        until("the plant knows its controller", || plant.receive(Some(Duration::ZERO)).is_ok());
        Some(Self { plant, controller, network })
    }

    /// Sends in both directions, and checks that everything arrives.
    fn assert_nothing_is_lost(&self, when: &str) {
        for (from, to, name) in [
            (&self.controller, &self.plant, "to the plant"),
            (&self.plant, &self.controller, "to the controller"),
        ] {
            let (sent, arrived) = exchange(from, to);
            assert_eq!(arrived, sent, "{when}, {name}: {:#?} {:#?}", from.statistics(), to.statistics());
        }
    }

    /// The size that each end has found, or `None` for the classic wire.
    fn found(&self) -> [Option<usize>; 2] {
        [&self.plant, &self.controller].map(|end| end.peers().first().and_then(PeerInfo::path_mtu))
    }

    /// Each number that an end has sent was received, is missing or lost, or was a probe's.
    fn check_sums(&self) {
        for (from, to) in [(&self.controller, &self.plant), (&self.plant, &self.controller)] {
            until("the sum is right", || {
                // In this order: what is on its way meanwhile is not received yet.
                let received = to.peers()[0].received;
                let sum = received.datagrams + received.missing + received.lost + received.probes_lost;
                let sent = from.peers()[0].sent.datagrams;
                sum <= sent && sum == received.expected_sequence && sent - sum <= 1
            });
        }
    }

    /// Waits until both ends have found the size of the path, to a few bytes. Prints it beside the true one.
    fn wait_until_found(&self, what: &str, mtu: usize) {
        let begun = Instant::now();
        let is_found = |found: Option<usize>| found.is_some_and(|found| found <= mtu && mtu - found < 16);
        until("the size of the path is found", || self.found().into_iter().all(is_found));
        println!("{what}: found {:?} of {mtu} after {:.1?}", self.found(), begun.elapsed());
    }

    /// Sends large messages until one arrives: the path has changed, and the first may be lost. Returns how long it took.
    fn wait_until_large_ones_arrive(&self) -> Duration {
        let changed = Instant::now();
        for (from, to) in [(&self.controller, &self.plant), (&self.plant, &self.controller)] {
            until("a large message arrives", || {
                let large = from.publisher(Metadata::status()).to(from.peers()[0].address);
                large.send(&"x".repeat(LARGE)).expect("it is connected");
                to.receive(Some(Duration::from_millis(2))).is_ok()
            });
        }
        let took = changed.elapsed();
        // The rest of what was sent.
        for end in [&self.plant, &self.controller] {
            while end.receive(Some(Duration::from_millis(50))).is_ok() {}
        }
        took
    }
}

/// Sends from one end to the other. Returns the numbers of messages: small and large, sent and arrived.
fn exchange(from: &UdpInterface, to: &UdpInterface) -> ([usize; 2], [usize; 2]) {
    let classic = from.config().settings().expect("it is valid").wire == Wire::Classic;
    let (small, large) = ("x".repeat(40), "x".repeat(LARGE));
    let is_large = |len: usize| usize::from(len >= LARGE);
    let mut sent = [0; 2];
    // Not to all: a plant leaves out peers of the classic wire that it has not heard lately.
    let peer = from.peers()[0].address;
    let [data, status] = [Metadata::data(), Metadata::status()].map(|meta| from.publisher(meta).to(peer));
    let mut send = |text: &str, publisher: &Publisher| {
        publisher.send(text).expect("nothing is refused");
        sent[is_large(text.len())] += 1;
    };
    (0..STREAM).for_each(|_| send(&small, &data));
    for _ in 0..LARGE_ONES {
        send(&large, &status);
        // So many large ones that no receive buffer overflows.
        std::thread::sleep(Duration::from_micros(200));
    }
    for _ in 0..if classic { 1 } else { BATCHES } {
        status.send_batch((0..BATCH).map(|_| small.as_str())).expect("nothing is refused");
        sent[0] += BATCH;
        std::thread::sleep(Duration::from_micros(500));
    }
    from.flush();
    let mut arrived = [0; 2];
    let deadline = Instant::now() + TIME_LIMIT / 4;
    while arrived != sent && Instant::now() < deadline {
        if let Ok(message) = to.receive(Some(Duration::from_millis(100))) {
            arrived[is_large(message.payload().len())] += 1;
        }
    }
    (sent, arrived)
}

#[test]
fn nothing_is_lost_on_paths_of_any_size() {
    for wire in WIRES {
        for address in PLANT {
            for mtu in [1_280, 1_400, 9_000] {
                let what = format!("{wire}, {address}, a path of {mtu} bytes");
                let Some(link) = Link::new(&what, wire, address, mtu) else { return };
                link.assert_nothing_is_lost(&what);
                if wire == Wire::Native {
                    link.wait_until_found(&what, mtu);
                    link.assert_nothing_is_lost(&what);
                }
            }
        }
    }
}

#[test]
fn nothing_is_lost_once_the_network_card_has_become_smaller() {
    for wire in WIRES {
        for address in PLANT {
            let what = format!("{wire}, {address}, a card that shrinks");
            let Some(link) = Link::new(&what, wire, address, 1_500) else { return };
            link.assert_nothing_is_lost(&what);
            if wire == Wire::Native {
                link.wait_until_found(&what, 1_500);
            }
            link.network.set_mtu(1_400);
            link.assert_nothing_is_lost(&what);
        }
    }
}

#[test]
fn nothing_is_lost_once_the_router_has_told_of_a_smaller_path() {
    for wire in WIRES {
        for address in PLANT {
            let what = format!("{wire}, {address}, a path that shrinks beyond a router");
            let Some(link) = Link::new(&what, wire, address, 1_500) else { return };
            if wire == Wire::Native {
                link.wait_until_found(&what, 1_500);
            }
            link.network.set_far_mtu(1_300);
            let took = link.wait_until_large_ones_arrive();
            println!("{what}: large messages arrive again after {took:.1?}");
            link.assert_nothing_is_lost(&what);
        }
    }
}

/// Nobody is told, so the datagrams of the classic wire must not forbid routers to fragment them. IPv6 has no such routers.
#[test]
fn a_path_that_shrinks_and_tells_nobody_is_noticed_within_two_seconds() {
    for (wire, address) in [(Wire::Native, PLANT[0]), (Wire::Native, PLANT[1]), (Wire::Classic, PLANT[0])] {
        let what = format!("{wire}, {address}, a black hole");
        let Some(link) = Link::new(&what, wire, address, 1_500) else { return };
        if wire == Wire::Native {
            link.wait_until_found(&what, 1_500);
        }
        link.network.set_told(false);
        link.network.set_far_mtu(1_300);
        let took = link.wait_until_large_ones_arrive();
        println!("{what}: large messages arrive again after {took:.1?}");
        assert!(took < 2 * BLACK_HOLE, "{took:?}");
        link.assert_nothing_is_lost(&what);
        if wire == Wire::Native {
            link.wait_until_found(&what, 1_300);
            link.assert_nothing_is_lost(&what);
            link.check_sums();
            // The plant's own network card refuses what is too large. The controller's probes are lost on the way.
            assert!(link.plant.statistics().probes_lost > 0);
        }
    }
}

/// The system remembers for ten minutes what a router has told it. The link tries larger sizes after one minute all the same.
#[test]
#[ignore = "takes more than a minute for each of two families"]
fn a_path_that_grows_again_is_used_again() {
    for address in PLANT {
        let what = format!("{address}, a path that grows again");
        let Some(link) = Link::new(&what, Wire::Native, address, 1_500) else { return };
        link.wait_until_found(&what, 1_500);
        link.network.set_far_mtu(1_300);
        link.wait_until_large_ones_arrive();
        link.wait_until_found(&what, 1_300);
        link.network.set_far_mtu(1_500);
        let begun = Instant::now();
        while link.found() != [Some(1_500); 2] {
            assert!(begun.elapsed() < Duration::from_secs(75), "{what}: {:?}", link.found());
            link.assert_nothing_is_lost(&what);
            std::thread::sleep(Duration::from_millis(100));
        }
        println!("{what}: used again after {:.1?}", begun.elapsed());
        link.assert_nothing_is_lost(&what);
    }
}
