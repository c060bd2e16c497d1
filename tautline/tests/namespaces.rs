//! The network under a link fails: the cable is pulled, an address is removed, nobody listens at the port.
//!
//! The tests use real sockets in network namespaces, and are skipped where those are not allowed. They print how long the
//! link needed to work again after the network was whole again:
//!
//! ```text
//! cargo test --release -p tautline --test namespaces -- --nocapture --test-threads 1
//! ```
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout)] // figures, and why a test was skipped

mod common;
#[path = "common/hosts.rs"]
mod hosts;
#[path = "common/namespaces.rs"]
mod namespaces;

use std::time::{Duration, Instant};

use common::until;
use namespaces::{Cable, ENDS, End};
use tautline::{
    Config, ConnectionState, Event, Events, Metadata, SendError, Sent, SocketFault, UdpInterface,
    create_udp_client, create_udp_server,
};

/// The default of `heartbeat_interval`.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// A test fails if the link needs longer than this to work again. This is generous, because the machine may be busy.
const SOON: Duration = Duration::from_secs(2);

/// The lengths of the outages: shorter than `liveness_timeout`, longer, and longer than the kernel searches for a
/// neighbour's address.
const OUTAGES: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_millis(1000), Duration::from_millis(4000)];

/// A server and a client at the two ends of a cable.
struct Link {
    plant: UdpInterface,
    controller: UdpInterface,
    cable: Cable,
}

impl Link {
    /// Connects the two. Returns `None` if the test is skipped.
    fn new(test: &str, server: impl FnOnce(Config) -> Config) -> Option<Self> {
        let cable = Cable::lay(test)?;
        let endpoint = format!("{}:9000", End::Plant.address());
        let config = server(Config::server(&*endpoint).name("plant"));
        let plant = cable.at(End::Plant, || {
            let plant = create_udp_server(config).expect("a valid configuration");
            plant.connect().expect("a free port");
            plant
        });
        let controller = cable.at(End::Controller, || {
            let config = Config::client(&*endpoint).name("controller");
            let controller = create_udp_client(config).expect("a valid configuration");
            controller.connect().expect("the server answers");
            controller
        });
        let link = Self { plant, controller, cable };
        link.wait_until_open();
        Some(link)
    }

    /// Waits until both ends are connected and a message arrives in each direction.
    fn wait_until_open(&self) {
        let is_open = |a: &UdpInterface, b: &UdpInterface| {
            let sent = a.send(&1, &Metadata::command()).is_ok();
            sent && b.receive(Some(Duration::from_millis(1))).is_ok()
        };
        for interface in [&self.plant, &self.controller] {
            while interface.receive(Some(Duration::ZERO)).is_ok() {}
        }
        until("a message arrives at the plant", || is_open(&self.controller, &self.plant));
        until("a message arrives at the controller", || is_open(&self.plant, &self.controller));
        until("both ends are connected", || {
            self.controller.connection_state() == ConnectionState::Connected
                && self.plant.peers().iter().any(|peer| peer.state == ConnectionState::Connected)
        });
    }

    /// Breaks the network, sends for `outage`, and mends the network. Returns how long the link then needed to work again.
    fn break_and_mend(&self, outage: Duration, mut set: impl FnMut(&Cable, bool)) -> Duration {
        set(&self.cable, false);
        self.send_during(outage);
        set(&self.cable, true);
        let mended = Instant::now();
        self.wait_until_open();
        mended.elapsed()
    }

    fn send_during(&self, outage: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < outage {
            for interface in [&self.plant, &self.controller] {
                // Errors are expected. The call must not panic or block for ever.
                let _ = interface.send(&0, &Metadata::status());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Returns the faults in the events of an end.
fn faults_in(events: &mut Events) -> Vec<SocketFault> {
    let mut faults = Vec::new();
    while let Some(event) = events.next(Some(Duration::ZERO)) {
        let (Event::PeerUnreachable { fault, .. }
        | Event::SocketFailed { fault, .. }
        | Event::SendFailed { error: SendError::Refused { fault, .. } }) = event
        else {
            continue;
        };
        if !faults.contains(&fault) {
            faults.push(fault);
        }
    }
    faults
}

/// The fault of an error of sending.
fn fault_of(error: &SendError) -> Option<SocketFault> {
    match error {
        SendError::Refused { fault, .. } => Some(*fault),
        SendError::Partly { first, .. } => fault_of(first),
        _ => None,
    }
}

fn report(what: &str, end: End, outage: Duration, back: Duration, faults: &[Vec<SocketFault>]) {
    let in_time = if back <= HEARTBEAT { "" } else { ", LATE" };
    println!(
        "{what} at the {end:?} for {outage:?}: open again after {back:.1?}{in_time}; faults: {faults:?}"
    );
    assert!(back < SOON, "{what}: open again only after {back:?}");
}

/// Breaks and mends the network with `set`, at each end and for each length of outage.
fn each_outage(what: &str, set: impl Fn(&Cable, End, bool)) {
    let Some(link) = Link::new(what, |config| config) else { return };
    for end in ENDS {
        for outage in OUTAGES {
            let mut events = [link.plant.events(), link.controller.events()];
            let back = link.break_and_mend(outage, |cable, whole| set(cable, end, whole));
            report(what, end, outage, back, &events.each_mut().map(faults_in));
        }
    }
    for interface in [&link.plant, &link.controller] {
        for sent in interface.peers().iter().map(|peer| peer.sent) {
            assert_eq!(
                sent.next_sequence, sent.datagrams,
                "one sequence number for each datagram that the kernel took"
            );
        }
    }
}

#[test]
fn a_link_works_again_after_the_network_interface_was_down() {
    each_outage("interface down", Cable::set_link);
}

#[test]
fn a_link_works_again_after_its_address_was_removed() {
    each_outage("address removed", Cable::set_address);
}

#[test]
fn a_link_works_again_after_one_of_two_addresses_was_removed() {
    let what = "address removed beside another";
    let Some(link) = Link::new(what, |config| config) else { return };
    link.cable.add_address(End::Controller, "10.77.0.3/25");
    let mut events = link.controller.events();
    let outage = Duration::from_millis(1000);
    let mut refused = None;
    let back = link.break_and_mend(outage, |cable, whole| {
        cable.set_address(End::Controller, whole);
        if !whole {
            let batch = link.controller.publisher(Metadata::data()).send_batch(&[1; 500]);
            // While the driver has the line, the batch is queued, and its refusal is an event. Else the client has the other address
            // before one of its heartbeats is refused.
            assert!(batch.is_err() || batch == Ok(Sent::Queued), "{batch:?}");
            refused = batch.err();
        }
    });
    let mut faults = faults_in(&mut events);
    faults.extend(refused.and_then(|error| fault_of(&error)));
    report(what, End::Controller, outage, back, std::slice::from_ref(&faults));
    // The version of the kernel decides which of the two faults it is.
    let names = [SocketFault::AddressGone, SocketFault::NetworkUnreachable];
    assert!(names.iter().any(|name| faults.contains(name)), "{faults:?}");
}

#[test]
fn a_client_reconnects_after_its_server_has_removed_it() {
    let what = "interface down until the server forgot";
    let forgetful = |config: Config| {
        config.peer_expiry(Duration::from_millis(600)).liveness_timeout(Duration::from_millis(500))
    };
    let Some(link) = Link::new(what, forgetful) else { return };
    let outage = Duration::from_millis(1500);
    let back = link.break_and_mend(outage, |cable, whole| cable.set_link(End::Controller, whole));
    report(what, End::Controller, outage, back, &[]);
}

#[test]
fn a_client_reconnects_after_nobody_listened_at_the_port() {
    let what = "nobody at the port";
    let Some(link) = Link::new(what, |config| config) else { return };
    for outage in OUTAGES {
        let mut events = link.controller.events();
        // The server's goodbye does not arrive, so the client goes on sending to the closed port.
        link.cable.set_link(End::Controller, false);
        link.plant.disconnect();
        link.cable.set_link(End::Controller, true);
        link.send_during(outage);
        link.cable.at(End::Plant, || link.plant.connect().expect("the port is free"));
        let mended = Instant::now();
        link.wait_until_open();
        let faults = faults_in(&mut events);
        report(what, End::Plant, outage, mended.elapsed(), std::slice::from_ref(&faults));
        assert!(faults.contains(&SocketFault::PortUnreachable), "{faults:?}");
    }
    assert!(link.controller.statistics().socket_faults.of(SocketFault::PortUnreachable) > 0);
}

#[test]
fn a_forbidden_route_is_reported_and_the_link_works_again_when_it_is_allowed() {
    let what = "sending forbidden";
    let Some(link) = Link::new(what, |config| config) else { return };
    let mut events = link.controller.events();
    // A route of type "prohibit" makes the kernel refuse with EACCES.
    let prohibit = |act: &str| link.cable.route(End::Controller, &[act, "prohibit", End::Plant.address()]);
    prohibit("add");
    until("sending is refused", || {
        matches!(
            link.controller.send(&1, &Metadata::command()),
            Err(SendError::Refused { fault: SocketFault::NotPermitted, .. })
        )
    });
    let refused = Instant::now();
    let mut faults = Vec::new();
    until("a heartbeat is refused", || {
        faults.extend(faults_in(&mut events));
        faults.contains(&SocketFault::NotPermitted)
    });
    prohibit("del");
    let mended = Instant::now();
    link.wait_until_open();
    report(what, End::Controller, mended - refused, mended.elapsed(), &[faults]);
}
