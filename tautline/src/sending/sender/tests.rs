//! What senders leave to others, and what a batch tells of several peers.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use tautline_proto::Now;
use tautline_proto::endpoint::{Role, Start, WireFormat, endpoint};

use super::*;
use crate::interface::caller_driven::Driver;
use crate::sending::handover::MAX_RUN;
use crate::tests::{CLASSIC, classic_datagram, endpoint_config};
use crate::{Config, Priority, Raw, UdpInterface};

/// A server, and a client with a gate that is in the middle of a stream while nobody watches the gate.
fn streaming() -> (UdpInterface, UdpInterface, Driver) {
    let server = UdpInterface::new(Config::server("127.0.0.1:0")).unwrap();
    server.connect().unwrap();
    let address = server.local_address().unwrap();
    let config = Config::client(address).coalescing_delay(Duration::from_millis(1));
    let (client, mut driver) = UdpInterface::caller_driven(config).unwrap();
    driver.connect().unwrap();
    for _ in 0..40 {
        client.send(Raw(b"stream"), &Metadata::default()).unwrap();
    }
    // The first turn sends what waits, and the others find that no more comes.
    for _ in 0..3 {
        driver.turn(Some(Duration::ZERO));
    }
    (server, client, driver)
}

/// Sends on another thread, while this one has the line.
fn send_meanwhile(client: &UdpInterface, count: usize, bytes: &[u8], priority: Priority) {
    let metadata = Metadata::default().priority(priority);
    let send = || (0..count).for_each(|_| _ = client.send(Raw(bytes), &metadata).unwrap());
    thread::scope(|scope| scope.spawn(send).join().unwrap());
}

#[test]
fn what_others_leave_at_the_gate_while_a_reliable_message_is_sent_is_watched() {
    let (_server, client, _driver) = streaming();
    client.shared().sender.with_line(|_| send_meanwhile(&client, 1, b"late", Priority::Normal));
    assert!(!client.shared().sender.coalescer_signals.need_a_watch(), "the driver was woken");
}

#[test]
fn what_the_driver_itself_leaves_at_the_gate_is_watched() {
    let (_server, client, mut driver) = streaming();
    client.shared().sender.transmit.exclusively(|_| {
        // As many as one run writes do not fit the gate's datagrams.
        send_meanwhile(&client, MAX_RUN, &[0; 1500], Priority::High);
        send_meanwhile(&client, 1, b"late", Priority::Normal);
    });
    assert!(client.shared().sender.transmit.is_contended());
    driver.turn(Some(Duration::ZERO));
    assert!(!client.shared().sender.transmit.is_contended());
    assert!(!client.shared().sender.coalescer_signals.need_a_watch(), "there is another turn at once");
}

/// A classic server, a client that reads, and one at an address where the kernel refuses to send without a permission.
fn server_of_two() -> (UdpInterface, UdpSocket) {
    let server = UdpInterface::new(Config::server("127.0.0.1:0").wire(Wire::Classic)).unwrap();
    server.connect().unwrap();
    let good = UdpSocket::bind("127.0.0.1:0").unwrap();
    good.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let refused = SocketAddr::from((Ipv4Addr::BROADCAST, 9));
    let wire = WireFormat::Classic(CLASSIC);
    let mut config = endpoint_config();
    config.role = Role::Server;
    config.wire = wire;
    config.max_peers = 2;
    let (mut inbound, _) = endpoint(config, Start::default());
    for address in [good.local_addr().unwrap(), refused] {
        inbound
            .handle(Now::default(), address, &classic_datagram(), &mut Vec::new())
            .expect("it is in order");
        while let Some(command) = inbound.poll_command() {
            server.shared().sender.transmit.exclusively(|line| line.command(command, Now::default()));
        }
    }
    (server, good)
}

/// How many messages were sent and how many were not.
fn counts(error: &SendError) -> (usize, usize) {
    let SendError::Partly { sent, failed, .. } = error else { panic!("{error}") };
    (*sent, *failed)
}

#[test]
fn a_peer_that_cannot_be_sent_to_keeps_a_batch_from_no_other() {
    let (server, good) = server_of_two();
    let error = server.publisher(Metadata::data()).send_batch(&[1; 10]).unwrap_err();
    assert_eq!(counts(&error), (10, 10), "{error}");
    let mut came = 0;
    // The last one says that there are no more.
    server.send("end", &Metadata::data()).unwrap_err();
    let mut buffer = [0; 2048];
    while !good.recv(&mut buffer).map(|len| buffer[..len].windows(3).any(|part| part == b"end")).unwrap() {
        came += 1;
    }
    assert_eq!(came, 10);
    let error = server.publisher(Metadata::data()).send_batch(&[1.0, 2.0, f64::NAN, 4.0]).unwrap_err();
    assert_eq!(counts(&error), (2, 6), "{error}");
}

#[test]
fn what_becomes_of_a_batch_is_counted_once_per_peer() {
    let (server, _good) = server_of_two();
    let link = server.shared().sender.link.load_full().unwrap();
    let partly = |sent, failed| SendError::Partly { sent, failed, first: Box::new(SendError::Busy) };
    let told = |outcomes: &[Result<Sent, SendError>], target| {
        let mut job = Job::default();
        job.terms.target = target;
        let mut batch = Batch::new(&server.shared().sender, &link, &mut job);
        let each = |outcome: &Result<Sent, SendError>| batch.count(100, outcome.clone().map_err(Into::into));
        let stopped = outcomes.iter().try_for_each(each);
        batch.outcome(stopped, || 400).map_err(|failed| failed.error)
    };
    let one = Target::Address(SocketAddr::from(([127, 0, 0, 1], 9)));
    let written = Ok(Sent::Written);
    // Two peers: a pack reaches one of them, whole or in part; the others are tried.
    let some = [written.clone(), Err(partly(100, 100)), Err(partly(30, 170)), written.clone()];
    assert_eq!(told(&some, Target::All), Err(partly(200 + 100 + 30 + 200, 100 + 170)));
    // One peer: it gets the first ones up to the failure.
    assert_eq!(told(&[written.clone(), Err(partly(40, 60)), written], one), Err(partly(140, 260)));
    assert_eq!(told(&[Err(SendError::NoPeers)], Target::All), Err(SendError::NoPeers));
}

#[test]
fn what_others_leave_to_a_line_that_closes_is_counted() {
    let (_server, client, _driver) = streaming();
    let (shared, left) = (client.shared(), 5 * MAX_RUN);
    let link = shared.sender.link.load_full();
    shared.shut_line_by(|line| {
        // By those who had the link before.
        shared.set_link(link);
        send_meanwhile(&client, left, b"late", Priority::Normal);
        shared.set_link(None);
        line.close()
    });
    assert!(!shared.sender.transmit.is_contended());
    assert_eq!(shared.sender.counters.queued.value(), left as u64);
}
