//! With `dscp` on, datagrams are marked by priority. The tests read the marks where the datagrams arrive.
#![allow(unsafe_code)] // raw socket options
#![cfg(target_os = "linux")]

mod common;

use std::mem::zeroed;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use common::{TIME_LIMIT, address, client, client_config, next, server, server_config};
use rustix::net::sockopt;
use tautline::{Config, Metadata, Outcome, PartOutcome, Payload, Priority, RealtimePart, UdpInterface, Wire};

/// The mark (DSCP) of each priority.
const MARKS: [(Priority, u8); 4] =
    [(Priority::Low, 8), (Priority::Normal, 0), (Priority::High, 34), (Priority::Critical, 46)];

/// Returns a socket on which the marks of received datagrams can be read.
fn receiver(local: &str) -> UdpSocket {
    let socket = UdpSocket::bind(local).unwrap();
    socket.set_read_timeout(Some(TIME_LIMIT)).unwrap();
    match socket.local_addr().unwrap().is_ipv6() {
        true => sockopt::set_ipv6_recvtclass(&socket, true).unwrap(),
        false => sockopt::set_ip_recvtos(&socket, true).unwrap(),
    }
    socket
}

/// Reads a datagram; returns its length and its mark.
fn read(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, u8)> {
    let mut control = [0u64; 16];
    let mut parts = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: an all-zero msghdr is an empty message header. `parts` and `control` describe memory that outlives the call.
    // The control data is read as ip(7) and ipv6(7) describe it: a byte for IPv4, an int for IPv6.
    unsafe {
        let mut header: libc::msghdr = zeroed();
        header.msg_iov = &raw mut parts;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        let len = usize::try_from(libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, 0)).ok()?;
        let message = libc::CMSG_FIRSTHDR(&raw const header);
        assert!(!message.is_null(), "the kernel reports the mark of each datagram");
        // IPv4 delivers one byte, IPv6 an int.
        let field = match (*message).cmsg_level {
            libc::IPPROTO_IP => *libc::CMSG_DATA(message),
            _ => libc::CMSG_DATA(message).cast::<libc::c_int>().read_unaligned().try_into().unwrap(),
        };
        Some((len, field >> 2))
    }
}

fn mark(socket: &UdpSocket) -> u8 {
    read(socket, &mut [0; 2048]).expect("a datagram comes").1
}

fn classic(to: &UdpSocket) -> Config {
    Config::client(to.local_addr().unwrap()).wire(Wire::Classic)
}

fn send(client: &UdpInterface, priority: Priority) {
    client.send(&1, &Metadata::command().priority(priority)).unwrap();
}

#[test]
fn each_datagram_is_marked_by_its_priority() {
    for local in ["127.0.0.1:0", "[::1]:0"] {
        let receiver = receiver(local);
        let client = client(classic(&receiver).dscp(true));
        let outcome = client.realtime_report().part(RealtimePart::Dscp).outcome.clone();
        assert!(matches!(outcome, PartOutcome::Granted { .. }), "{outcome:?}");
        for (priority, expected) in MARKS.into_iter().chain(MARKS.into_iter().rev()) {
            for _ in 0..2 {
                send(&client, priority);
                assert_eq!(mark(&receiver), expected, "{local} {priority}");
            }
        }
        let all: Vec<_> = (0..3).collect();
        client.publisher(Metadata::data().priority(Priority::High)).send_batch(&all).unwrap();
        assert_eq!([mark(&receiver), mark(&receiver), mark(&receiver)], [34; 3]);
    }
}

#[test]
fn without_dscp_no_datagram_is_marked() {
    let receiver = receiver("127.0.0.1:0");
    let client = client(classic(&receiver));
    for (priority, _) in MARKS {
        send(&client, priority);
        assert_eq!(mark(&receiver), 0, "{priority}");
    }
    assert_eq!(client.realtime_report().part(RealtimePart::Dscp).outcome, PartOutcome::NotAsked);
}

/// Returns the priority of the socket's packets in the queues of this host (SO_PRIORITY).
fn queue(socket: RawFd) -> libc::c_int {
    let mut value: libc::c_int = -1;
    let mut size = libc::socklen_t::try_from(size_of_val(&value)).unwrap();
    // SAFETY: the pointer and the size describe `value`.
    let read = unsafe {
        let (level, option) = (libc::SOL_SOCKET, libc::SO_PRIORITY);
        libc::getsockopt(socket, level, option, (&raw mut value).cast(), &raw mut size)
    };
    assert_eq!(read, 0);
    value
}

#[test]
fn an_urgent_message_has_a_higher_priority_in_the_queues_of_the_host() {
    let receiver = receiver("127.0.0.1:0");
    let (client, mut driver) = UdpInterface::caller_driven(classic(&receiver).dscp(true)).unwrap();
    driver.connect().unwrap();
    let socket = driver.socket().unwrap();
    let queues = MARKS.map(|(priority, _)| {
        send(&client, priority);
        queue(socket.as_fd().as_raw_fd())
    });
    assert_eq!(queues, [2, 0, 4, 6]);
}

/// Starts a relay to the server. Returns its address, and the marks of all datagrams that the client sends.
fn marks_relay(server: SocketAddr) -> (SocketAddr, Receiver<u8>) {
    let (near, far) = (receiver("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0").unwrap());
    let (address, (seen, marks)) = (near.local_addr().unwrap(), channel());
    far.connect(server).unwrap();
    near.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    far.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        // The first datagram tells the client's address. Its mark is not read.
        let (len, client) = loop {
            if let Ok(first) = near.recv_from(&mut buffer) {
                break first;
            }
        };
        near.connect(client).unwrap();
        far.send(&buffer[..len]).unwrap();
        loop {
            if let Some((len, mark)) = read(&near, &mut buffer) {
                // The mark goes out before the datagram, so that a test that has the message finds its mark.
                if seen.send(mark).is_err() {
                    return;
                }
                let _ = far.send(&buffer[..len]);
            }
            if let Ok(len) = far.recv(&mut buffer) {
                let _ = near.send(&buffer[..len]);
            }
        }
    });
    (address, marks)
}

#[test]
fn heartbeats_between_urgent_messages_are_not_marked() {
    let server = server(server_config(Wire::Native));
    let (relay, marks) = marks_relay(address(&server));
    let config = client_config(&server).endpoint(relay.to_string());
    let client = client(config.dscp(true).liveness_timeout(Duration::from_secs(60)));
    for _ in 0..3 {
        send(&client, Priority::Critical);
        next(&server);
        let is_next = |expected| assert!((0..1000).any(|_| marks.recv_timeout(TIME_LIMIT) == Ok(expected)));
        is_next(46);
        is_next(0);
    }
}

#[test]
fn a_coalesced_stream_is_marked() {
    let server = server(server_config(Wire::Native));
    let (relay, marks) = marks_relay(address(&server));
    let config = client_config(&server).endpoint(relay.to_string());
    let config = config.liveness_timeout(Duration::from_secs(60)).heartbeat_interval(Duration::from_secs(20));
    let client = client(config.dscp(true).coalescing_delay(Duration::from_millis(1)));
    (0..200).for_each(|_| send(&client, Priority::High));
    client.flush();
    (0..200).for_each(|_| drop(next(&server)));
    let datagrams = client.statistics().datagrams_sent;
    assert!(datagrams < 100, "{datagrams}");
    let marked: Vec<_> = marks.try_iter().collect();
    assert!(marked.iter().filter(|&&mark| mark == 34).count() >= 17, "{marked:?}");
    assert!(marked.iter().all(|mark| [0, 34].contains(mark)), "{marked:?}");
}

#[test]
fn every_fragment_of_a_reliable_message_has_its_mark_beside_other_messages() {
    let server = server(server_config(Wire::Native));
    let (relay, marks) = marks_relay(address(&server));
    let config = client_config(&server).endpoint(relay.to_string());
    let config = config.liveness_timeout(Duration::from_secs(60)).heartbeat_interval(Duration::from_secs(20));
    let client = client(config.dscp(true));
    let bulk = Payload::raw(vec![7; 60_000]);
    let low = Metadata::data().priority(Priority::Low);
    let receipt = client.publisher(low.clone()).send_reliable(&bulk).unwrap();
    // The sender writes the first datagrams of the message, the driver writes the others.
    send(&client, Priority::Critical);
    assert_eq!(receipt.wait(Some(TIME_LIMIT)), Some(Outcome::Delivered));
    next(&server);
    next(&server);
    let marked: Vec<_> = marks.try_iter().collect();
    let with = |mark| marked.iter().filter(|&&other| other == mark).count();
    assert_eq!(with(46), 1, "{marked:?}");
    assert!(with(8) >= 60_000 / 1_472, "{marked:?}");
}
