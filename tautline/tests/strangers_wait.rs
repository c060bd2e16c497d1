//! Strangers that call at the same time: a turn serves one of them, and what peers have sent comes first. On both wires.
#![cfg(target_os = "linux")] // every 127.x.y.z is an address of the host

mod common;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use common::{WIRES, address, client, client_config, sealed, server_config, until};
use tautline::{Config, DropReason, Metadata, UdpInterface, Wire};
use tautline_proto::SessionId;
use tautline_proto::wire::native::{Control, Header, begin_datagram, seal, write_control};

/// Fewer than a turn reads.
const STRANGERS: u8 = 20;

/// More than can wait, of one host and of all.
const CROWD: u64 = 400;

fn stranger(number: u8) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::new(127, 7, 7, number), 0)).expect("of this host");
    socket.set_nonblocking(true).expect("a socket");
    socket
}

fn hello(session: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    begin_datagram(&mut bytes);
    write_control(&mut bytes, &Control::Hello);
    let session = SessionId::from_bits(session);
    seal(&mut bytes, Header { session, sequence: 0, from_server: false });
    bytes
}

/// A stranger's first datagram.
fn first(wire: Wire, number: u8) -> Vec<u8> {
    match wire {
        Wire::Native => hello(u64::from(number) + 1),
        Wire::Classic => sealed(0, 1.5, &format!("{number}")),
    }
}

/// How many strangers were served: on the native wire each gets a token, on the classic wire each is a peer.
fn served(plant: &UdpInterface, strangers: &[UdpSocket], wire: Wire) -> usize {
    match wire {
        Wire::Native => strangers.iter().filter(|socket| socket.peek(&mut [0; 100]).is_ok()).count(),
        Wire::Classic => plant.peers().len() - 1,
    }
}

/// A plant that this thread drives, and its controller, which is connected and has been heard.
fn pair(wire: Wire) -> (UdpInterface, tautline::Driver, UdpInterface) {
    let (plant, mut driver) = UdpInterface::caller_driven(server_config(wire)).expect("valid");
    plant.connect().expect("a free port");
    let controller = std::thread::scope(|scope| {
        let connecting = scope.spawn(|| client(client_config(&plant)));
        while !connecting.is_finished() {
            driver.turn(Some(Duration::from_millis(1)));
        }
        connecting.join().expect("no panic")
    });
    controller.send(&0, &Metadata::command()).expect("a server");
    until("the controller is heard", || {
        driver.turn(Some(Duration::from_millis(1)));
        plant.receive(Some(Duration::ZERO)).is_ok()
    });
    while driver.turn(Some(Duration::ZERO)) > 0 {}
    // Strangers get a tenth of the time, and to serve one counts as a millisecond at most.
    std::thread::sleep(Duration::from_millis(10));
    (plant, driver, controller)
}

fn send(to: SocketAddr, socket: &UdpSocket, datagram: &[u8]) {
    socket.send_to(datagram, to).expect("loopback");
}

#[test]
fn what_a_peer_has_sent_waits_for_one_stranger_at_most() {
    for wire in WIRES {
        let (plant, mut driver, controller) = pair(wire);
        let strangers: Vec<_> = (1..=STRANGERS).map(stranger).collect();
        for (number, socket) in (0..).zip(&strangers) {
            send(address(&plant), socket, &first(wire, number));
        }
        controller.send(&42, &Metadata::command()).expect("a server");
        let mut seen = Vec::new();
        driver.turn_with(Some(Duration::ZERO), &mut |message| {
            seen.extend(message.decode::<u64>());
        });
        assert!(seen.contains(&42), "{wire:?}: the first turn handles the command: {seen:?}");
        assert_eq!(served(&plant, &strangers, wire), 1, "{wire:?}");
        let mut turns = 1;
        until("all are served", || {
            driver.turn(Some(Duration::from_millis(1)));
            turns += 1;
            let served = served(&plant, &strangers, wire);
            assert!(served <= turns, "{wire:?}: one in each turn");
            served == usize::from(STRANGERS)
        });
        assert_eq!(plant.statistics().datagrams_dropped.iter().count(), 0, "{wire:?}");
    }
}

#[test]
fn strangers_that_wait_are_answered_from_the_address_that_they_called() {
    let config = Config::server("0.0.0.0:0");
    let (plant, mut driver) = UdpInterface::caller_driven(config).expect("valid");
    plant.connect().expect("a free port");
    let called = SocketAddr::from(([127, 0, 0, 2], address(&plant).port()));
    // More than the socket remembers beside its peers. Connected sockets take no answer from another address.
    let strangers: Vec<_> = (1..=60).map(stranger).collect();
    for (number, socket) in (0..).zip(&strangers) {
        socket.connect(called).expect("loopback");
        socket.send(&first(Wire::Native, number)).expect("loopback");
    }
    until("all are answered", || {
        driver.turn(Some(Duration::from_millis(1)));
        served(&plant, &strangers, Wire::Native) == strangers.len()
    });
}

#[test]
fn what_a_stranger_sends_is_handed_out_in_its_order() {
    let (plant, mut driver, _controller) = pair(Wire::Classic);
    let strangers: Vec<_> = (1..=3).map(stranger).collect();
    for number in 0..5 {
        for socket in &strangers {
            send(address(&plant), socket, &sealed(number, 1.5, &format!("{number}")));
        }
    }
    let mut seen = Vec::new();
    let mut turn = |wait| {
        driver.turn_with(Some(wait), &mut |message| {
            seen.push((message.address(), message.decode::<u32>().expect("a number")));
        });
        seen.len()
    };
    for more in 5..50 {
        // Some are peers now, and the datagrams of others wait.
        turn(Duration::ZERO);
        for socket in &strangers {
            send(address(&plant), socket, &sealed(more, 1.5, &format!("{more}")));
        }
    }
    until("all have come", || turn(Duration::from_millis(1)) >= 3 * 50);
    for socket in &strangers {
        let from = socket.local_addr().expect("bound");
        let numbers = seen.iter().filter(|(sender, _)| *sender == from).map(|&(_, number)| number);
        assert!(numbers.eq(0..50), "{seen:?}");
    }
}

#[test]
fn strangers_that_cannot_wait_are_dropped_and_counted_and_leave_room_for_other_hosts() {
    let (plant, mut driver, controller) = pair(Wire::Native);
    let (socket, other) = (stranger(1), stranger(2));
    for session in 0..CROWD {
        send(address(&plant), &socket, &hello(session + 1));
        // The kernel's buffer is small.
        if session % 100 == 0 {
            driver.turn(Some(Duration::ZERO));
        }
    }
    send(address(&plant), &other, &hello(CROWD + 1));
    let mut answered = 0;
    until("each is answered or dropped", || {
        driver.turn(Some(Duration::from_millis(1)));
        while socket.recv_from(&mut [0; 100]).is_ok() {
            answered += 1;
        }
        let all = plant.statistics();
        let dropped = all.datagrams_dropped.of(DropReason::Overloaded);
        assert!(answered + dropped + all.kernel_drops <= CROWD, "{all:?}");
        answered + dropped + all.kernel_drops == CROWD
    });
    let all = plant.statistics();
    assert!(all.datagrams_dropped.of(DropReason::Overloaded) > 0 && answered >= 64, "{all:?}");
    until("the other host is answered too", || {
        driver.turn(Some(Duration::from_millis(1)));
        other.recv_from(&mut [0; 100]).is_ok()
    });
    controller.send(&42, &Metadata::command()).expect("a server");
    until("the command comes", || {
        driver.turn(Some(Duration::from_millis(1)));
        plant.receive(Some(Duration::ZERO)).is_ok()
    });
}
