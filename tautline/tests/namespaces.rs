//! What befalls the network under a link: cable pulled, address removed, nobody at the port. On real sockets in network
//! namespaces; skipped where those are not allowed. Prints when the link was there again, counted from when the way was
//! open again:
//!
//! ```text
//! cargo test --release -p tautline --test namespaces -- --nocapture --test-threads 1
//! ```
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout)] // figures, and why a test was skipped

mod common;
#[path = "common/namespaces.rs"]
mod namespaces;

use std::time::{Duration, Instant};

use common::until;
use namespaces::{Cable, ENDS, End};
use tautline::{
    Config, ConnectionState, Event, Events, Metadata, SendError, SocketFault, UdpInterface,
    create_udp_client, create_udp_server,
};

/// The default of `heartbeat_interval`.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// Beyond this the link has not come back by itself in any good time, however busy the machine.
const SOON: Duration = Duration::from_secs(2);

/// Shorter than `liveness_timeout`, longer than it, and longer than the kernel looks for a neighbour's address.
const OUTAGES: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_millis(1000), Duration::from_millis(4000)];

/// A link over a cable.
struct Link {
    plant: UdpInterface,
    controller: UdpInterface,
    cable: Cable,
}

impl Link {
    /// `None` where the test is skipped.
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

    /// Waits until both ends say that they are connected and a message comes through both ways.
    fn wait_until_open(&self) {
        let is_open = |a: &UdpInterface, b: &UdpInterface| {
            let sent = a.send(&1, &Metadata::command()).is_ok();
            sent && b.receive(Some(Duration::from_millis(1))).is_ok()
        };
        for interface in [&self.plant, &self.controller] {
            while interface.receive(Some(Duration::ZERO)).is_ok() {}
        }
        until("a message goes there", || is_open(&self.controller, &self.plant));
        until("a message comes back", || is_open(&self.plant, &self.controller));
        until("both say so", || {
            self.controller.connection_state() == ConnectionState::Connected
                && self.plant.peers().iter().any(|peer| peer.state == ConnectionState::Connected)
        });
    }

    /// Breaks it, lets messages be sent in vain for `outage`, mends it, and tells how long it then took to be open.
    fn break_and_mend(&self, outage: Duration, mut set: impl FnMut(&Cable, bool)) -> Duration {
        set(&self.cable, false);
        self.send_in_vain(outage);
        set(&self.cable, true);
        let mended = Instant::now();
        self.wait_until_open();
        mended.elapsed()
    }

    fn send_in_vain(&self, outage: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < outage {
            for interface in [&self.plant, &self.controller] {
                // Whatever it says, no panic and no end.
                let _ = interface.send(&0, &Metadata::status());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Which faults an end was told of.
fn told(events: &mut Events) -> Vec<SocketFault> {
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

fn report(what: &str, end: End, outage: Duration, back: Duration, faults: &[Vec<SocketFault>]) {
    let in_time = if back <= HEARTBEAT { "" } else { ", LATE" };
    println!("{what} at the {end:?} for {outage:?}: open again after {back:.1?}{in_time}; told: {faults:?}");
    assert!(back < SOON, "{what}: open again only after {back:?}");
}

/// For each end and outage.
fn each_outage(what: &str, set: impl Fn(&Cable, End, bool)) {
    let Some(link) = Link::new(what, |config| config) else { return };
    for end in ENDS {
        for outage in OUTAGES {
            let mut events = [link.plant.events(), link.controller.events()];
            let back = link.break_and_mend(outage, |cable, whole| set(cable, end, whole));
            report(what, end, outage, back, &events.each_mut().map(told));
        }
    }
    for interface in [&link.plant, &link.controller] {
        for sent in interface.peers().iter().map(|peer| peer.sent) {
            assert_eq!(sent.next_sequence, sent.datagrams, "a number for each datagram that the kernel took");
        }
    }
}

#[test]
fn a_link_goes_on_when_the_interface_was_down() {
    each_outage("interface down", Cable::set_link);
}

#[test]
fn a_link_goes_on_when_its_address_was_removed() {
    each_outage("address removed", Cable::set_address);
}

#[test]
fn a_link_goes_on_when_its_address_was_removed_beside_another() {
    let what = "address removed beside another";
    let Some(link) = Link::new(what, |config| config) else { return };
    link.cable.add_address(End::Controller, "10.77.0.3/25");
    let mut events = link.controller.events();
    let outage = Duration::from_millis(1000);
    let back = link.break_and_mend(outage, |cable, whole| {
        cable.set_address(End::Controller, whole);
        if !whole {
            let batch = link.controller.publisher(Metadata::data()).send_batch(&[1; 500]);
            assert!(batch.is_err(), "{batch:?}");
        }
    });
    let faults = told(&mut events);
    report(what, End::Controller, outage, back, std::slice::from_ref(&faults));
    // Which of the two it is depends on the kernel.
    let names = [SocketFault::AddressGone, SocketFault::NetworkUnreachable];
    assert!(names.iter().any(|name| faults.contains(name)), "{faults:?}");
}

#[test]
fn a_client_is_back_when_its_server_had_forgotten_it() {
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
fn a_client_is_back_when_nobody_had_listened_at_the_port() {
    let what = "nobody at the port";
    let Some(link) = Link::new(what, |config| config) else { return };
    for outage in OUTAGES {
        let mut events = link.controller.events();
        // Its goodbye does not arrive, so that the client goes on sending to the closed port.
        link.cable.set_link(End::Controller, false);
        link.plant.disconnect();
        link.cable.set_link(End::Controller, true);
        link.send_in_vain(outage);
        link.cable.at(End::Plant, || link.plant.connect().expect("the port is free"));
        let mended = Instant::now();
        link.wait_until_open();
        let faults = told(&mut events);
        report(what, End::Plant, outage, mended.elapsed(), std::slice::from_ref(&faults));
        assert!(faults.contains(&SocketFault::PortUnreachable), "{faults:?}");
    }
    assert!(link.controller.statistics().socket_faults.of(SocketFault::PortUnreachable) > 0);
}

#[test]
fn what_a_firewall_forbids_is_told_and_goes_on_when_allowed() {
    let what = "sending forbidden";
    let Some(link) = Link::new(what, |config| config) else { return };
    let mut events = link.controller.events();
    // "prohibit" is a route's way to refuse: EACCES.
    let prohibit = |act: &str| link.cable.route(End::Controller, &[act, "prohibit", End::Plant.address()]);
    prohibit("add");
    until("it is refused", || {
        matches!(
            link.controller.send(&1, &Metadata::command()),
            Err(SendError::Refused { fault: SocketFault::NotPermitted, .. })
        )
    });
    std::thread::sleep(2 * HEARTBEAT);
    prohibit("del");
    let mended = Instant::now();
    link.wait_until_open();
    let faults = told(&mut events);
    report(what, End::Controller, 2 * HEARTBEAT, mended.elapsed(), std::slice::from_ref(&faults));
    assert!(faults.contains(&SocketFault::NotPermitted), "{faults:?}");
}
