//! Strangers flood a server's port from many addresses, while the server has a link at 1 kHz.
//!
//! A short flood runs with all tests. A million datagrams at 100,000 a second run with
//!
//! ```text
//! cargo test --release -p tautline --test flood -- million --ignored --nocapture
//! ```
#![cfg(target_os = "linux")] // has /proc, and every 127.x.y.z is an address of the host
#![allow(clippy::print_stdout)] // figures

#[path = "common/children.rs"]
mod children;
mod common;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{address, client, client_config, server, server_config, until};
use tautline::{Metadata, ReceiveError, Statistics, UdpInterface, Wire};
use tautline_proto::SessionId;
use tautline_proto::wire::native::{Control, Header, Heartbeat, Token, begin_datagram, seal, write_control};

/// The time between two messages of each end of the link.
const PERIOD: Duration = Duration::from_millis(1);

/// The number of datagrams that come from one address of a stranger.
const EACH: u64 = 100;

/// The most that memory may grow, in bytes.
const MOST_GROWTH: usize = 1 << 20;

/// The requested size of the server's socket buffer, in bytes.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Returns the resident memory, in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux has this file");
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
    kilobytes.and_then(|count| count.trim().parse::<usize>().ok()).expect("the format of proc(5)") * 1024
}

/// Returns one datagram of each kind that strangers send.
fn kinds() -> Vec<Vec<u8>> {
    let datagram = |frames: &[Control<'_>]| {
        let mut bytes = Vec::new();
        begin_datagram(&mut bytes);
        frames.iter().for_each(|frame| write_control(&mut bytes, frame));
        seal(&mut bytes, Header { session: SessionId::from_bits(77), sequence: 0, from_server: false });
        bytes
    };
    let token = Token { issued_ms: 1, proof: 2 };
    let hello = datagram(&[Control::Hello]);
    let heartbeat = datagram(&[Control::Heartbeat(Heartbeat::default())]);
    let (mut wrong_crc, mut wrong_version) = (heartbeat.clone(), heartbeat.clone());
    *wrong_crc.last_mut().expect("not empty") ^= 1;
    wrong_version[2] = 9;
    vec![
        datagram(&[Control::Echo { token, name: "stranger" }]),
        datagram(&[Control::Close]),
        datagram(&[Control::UnknownSession]),
        heartbeat[..10].to_vec(),
        common::sealed(1, 1.0, "1"),
        b"junk".to_vec(),
        Vec::new(),
        vec![0xe7; 1200],
        wrong_crc,
        wrong_version,
        heartbeat,
        hello,
    ]
}

/// The child process: sends datagrams at a steady rate, from new addresses again and again. Its order is the port, the
/// number of datagrams, and the rate.
#[test]
#[ignore = "a child of the other tests"]
fn strangers() {
    let Some(order) = children::order() else { return };
    let numbers: Vec<u64> = order.split(' ').map(|number| number.parse().expect("a number")).collect();
    let [port, count, rate] = numbers[..] else { panic!("three numbers") };
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).expect("a port")));
    let kinds = kinds();
    let begun = Instant::now();
    let mut socket = None;
    for number in 0..count {
        if number % EACH == 0 {
            #[allow(clippy::cast_possible_truncation)] // a byte each
            let [a, b, c] = [8, 16, 24].map(|bits| ((number * 2_654_435_761) >> bits) as u8);
            socket = Some(UdpSocket::bind((Ipv4Addr::new(127, a, b, c.max(2)), 0)).expect("of this host"));
        }
        let due = Duration::from_nanos(number * 1_000_000_000 / rate);
        while begun.elapsed() < due {
            std::hint::spin_loop();
        }
        let kind = usize::try_from(number).expect("small") % kinds.len();
        // An error is possible: an address may be used again, and an answer to its former socket was refused.
        let _ = socket.as_ref().expect("the first datagram makes the socket").send_to(&kinds[kind], to);
    }
    println!("sent {count} in {:.2?}", begun.elapsed());
}

/// Sends until the test is over. Returns the number of messages that were sent.
fn keep_sending(from: &UdpInterface, over: &AtomicBool) -> u64 {
    let begun = Instant::now();
    let mut sent = 0;
    for number in 1u32.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        sent += u64::from(from.send(&number, &Metadata::command()).is_ok());
        std::thread::sleep((PERIOD * number).saturating_sub(begun.elapsed()));
    }
    sent
}

fn keep_receiving(at: &UdpInterface, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        match at.receive(Some(PERIOD)) {
            Ok(_) | Err(ReceiveError::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Floods a server that has a link. Returns how much memory grew, in bytes.
fn flood(count: u64, rate: u64) -> usize {
    let server = server(server_config(Wire::Native).receive_buffer(RECEIVE_BUFFER));
    // Each message has its own datagram.
    let client = client(client_config(&server).coalescing_delay(Duration::ZERO));
    let over = AtomicBool::new(false);
    let mut grown = 0;
    std::thread::scope(|scope| {
        let ends = [&server, &client];
        for end in ends {
            scope.spawn(|| keep_receiving(end, &over));
        }
        let sending = ends.map(|end| scope.spawn(|| keep_sending(end, &over)));
        std::thread::sleep(Duration::from_secs(1));
        let before = (resident(), server.statistics());
        let mut strangers =
            children::start("strangers", &format!("{} {count} {rate}", address(&server).port()));
        let began = Instant::now();
        while strangers.0.try_wait().expect("our child").is_none() {
            grown = grown.max(resident().saturating_sub(before.0));
            std::thread::sleep(Duration::from_millis(20));
        }
        let took = began.elapsed();
        // After a second, each missing datagram has arrived or counts as lost.
        std::thread::sleep(Duration::from_millis(1200));
        grown = grown.max(resident().saturating_sub(before.0));
        over.store(true, Ordering::Relaxed);
        let sent = sending.map(|thread| thread.join().expect("no panic"));
        report(&before.1, &server.statistics(), (count, took), grown);
        check(&server, &client, sent);
    });
    grown
}

fn report(before: &Statistics, after: &Statistics, (count, took): (u64, Duration), grown: usize) {
    println!(
        "{count} datagrams of strangers in {took:.2?}: {} dropped under a reason, {} by the kernel (receive buffer \
         granted: {:?} bytes); memory grew by {} kB",
        after.datagrams_dropped.total() - before.datagrams_dropped.total(),
        after.kernel_drops - before.kernel_drops,
        after.receive_buffer,
        grown / 1024
    );
    println!("the link: {} messages received, {} lost", after.messages_received, after.lost);
    println!("dropped: {}", serde_json::to_string(&after).expect("plain values"));
}

/// Checks that the link is connected and has lost only what the kernel dropped.
fn check(server: &UdpInterface, client: &UdpInterface, [by_server, by_client]: [u64; 2]) {
    until("all messages are received or lost", || {
        let (here, there) = (server.statistics(), client.statistics());
        here.messages_received + here.lost + here.missing >= by_client
            && there.messages_received + there.lost + there.missing >= by_server
    });
    let (here, there) = (server.statistics(), client.statistics());
    assert!(
        here.lost <= here.kernel_drops,
        "{} lost, {} dropped by the kernel",
        here.lost,
        here.kernel_drops
    );
    assert!(there.lost <= there.kernel_drops, "{} lost, {} by the kernel", there.lost, there.kernel_drops);
    assert_eq!((here.peers, there.peers), (1, 1), "no stranger became a peer");
    assert_eq!((here.timeout_errors, there.timeout_errors), (0, 0), "no peer fell silent");
    let here = server.statistics();
    assert_eq!((here.inbox.dropped.total(), here.messages_dropped.total()), (0, 0));
}

#[test]
fn a_link_survives_a_flood_of_strangers() {
    flood(20_000, 20_000);
}

#[test]
#[ignore = "the full length, in release"]
fn a_million_datagrams_of_strangers_cost_no_memory() {
    let grown = flood(1_000_000, 100_000);
    assert!(grown <= MOST_GROWTH, "memory grew by {grown} bytes");
}
