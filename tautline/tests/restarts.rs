//! A peer is killed and started again, many times. The tests measure how soon the first message of its new life is
//! delivered, and check that no message of an old life comes afterwards.
//!
//! A few restarts run with all tests. A thousand restarts of each role run with
//!
//! ```text
//! cargo test --release -p tautline --test restarts -- thousand --ignored --nocapture --test-threads 1
//! ```
//!
//! On a busy machine, put `chrt -f 10` before the command. Each life is a new process, so delays of the scheduler count.
#![allow(clippy::print_stdout)] // figures

#[path = "common/children.rs"]
mod children;
mod common;

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use common::{TIME_LIMIT, address, server, server_config};
use tautline::{Config, Message, Metadata, SendError, UdpInterface, Wire, create_udp_client};

/// The time that the first message may take beyond one and a half round trips.
const GRACE: Duration = Duration::from_millis(10);

/// The time between two messages of each end.
const PERIOD: Duration = Duration::from_millis(1);

/// Returns the time in microseconds. Both processes read the same clock, which nobody sets meanwhile.
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_micros()).expect("before the year 586,000")
}

/// Returns a free port, for an end to use in each of its lives.
fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("bound").port()
}

/// The content of a message: the number of the life, and for a client the time of its first hello.
type Tag = (u64, u64);

fn tag(message: &Message) -> Tag {
    message.decode().expect("a tag was sent")
}

/// Prints the measured times. Returns how many of them are beyond the bound.
fn report(role: &str, mut times: Vec<Duration>, rtt: Duration) -> usize {
    times.sort_unstable();
    let at = |share: f64| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a place in the list
        let place = ((times.len() - 1) as f64 * share).round() as usize;
        times[place]
    };
    let bound = rtt * 3 / 2 + GRACE;
    let late = times.iter().filter(|&&time| time > bound).count();
    println!(
        "{} restarts of the {role}: first message delivered after {:.1?} (median), {:.1?} (90 %), {:.1?} (99 %), {:.1?} \
         (worst); bound {bound:.1?} with a round trip of {rtt:.1?} (0 where the lives were too short to measure it): {late} beyond it",
        times.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    late
}

/// Returns the smallest round trip that the interface has measured.
fn round_trip(interface: &UdpInterface) -> Duration {
    interface.statistics().path.map_or(Duration::ZERO, |path| path.rtt_min)
}

/// Kills a client again and again. Returns how many first messages came too late.
fn clients(lives: u64) -> usize {
    let server = server(server_config(Wire::Native));
    let port = free_port();
    let mut times = Vec::new();
    let mut newest = 0;
    let mut rtt = Duration::ZERO;
    for life in 1..=lives {
        let order = format!("{life} {port} {}", address(&server).port());
        let _child = children::start("a_client", &order);
        let begun = Instant::now();
        let mut heard = 0;
        // Each life is killed at another moment.
        while heard < 5 + life % 7 {
            let message = server.receive(Some(TIME_LIMIT)).expect("the client sends");
            let arrived = now_us();
            let (from, hello) = tag(&message);
            assert!(from >= newest, "a message of life {from} after one of life {newest}");
            if from == life {
                if newest < life {
                    newest = life;
                    times.push(Duration::from_micros(arrived.saturating_sub(hello)));
                }
                heard += 1;
            }
            assert!(begun.elapsed() < TIME_LIMIT, "life {life} is not heard");
        }
        rtt = rtt.max(round_trip(&server));
    }
    report("client", times, rtt)
}

/// The child process: a client that sends until it is killed.
#[test]
#[ignore = "a child of the other tests"]
fn a_client() {
    let Some(order) = children::order() else { return };
    let numbers: Vec<u64> = order.split(' ').map(|number| number.parse().expect("a number")).collect();
    let [life, port, to] = numbers[..] else { panic!("three numbers") };
    let port = u16::try_from(port).expect("a port");
    let config = Config::client(format!("127.0.0.1:{to}")).bind(([127, 0, 0, 1], port));
    let client = create_udp_client(config.connect_timeout(Duration::ZERO)).expect("a valid configuration");
    // `connect` sends the first hello.
    let tag: Tag = (life, now_us());
    client.connect().expect("the port is free again");
    loop {
        match client.send(&tag, &Metadata::command()) {
            // The server has not answered yet. The first message can go out as soon as its answer is here.
            Err(SendError::NoPeers) => std::thread::yield_now(),
            _ => std::thread::sleep(PERIOD),
        }
    }
}

/// Kills a server again and again. Returns how many first messages came too late.
fn servers(lives: u64) -> usize {
    let port = free_port();
    let first = children::start("a_server", &format!("1 {port}"));
    let client = create_udp_client(Config::client(format!("127.0.0.1:{port}")).connect_timeout(TIME_LIMIT));
    let client = client.expect("a valid configuration");
    client.connect().expect("the server answers");
    let (over, newest) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut times = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // This fails while the server is away.
                let _ = client.send(&(0, 0), &Metadata::command());
                std::thread::sleep(PERIOD);
            }
        });
        let receiving = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let Ok(message) = client.receive(Some(PERIOD)) else { continue };
                let before = newest.fetch_max(tag(&message).0, Ordering::Relaxed);
                assert!(tag(&message).0 >= before, "{message:?} after one of life {before}");
            }
        });
        let mut child = first;
        for life in 1..=lives {
            let time = first_message(&mut child);
            if life > 1 {
                times.push(time);
            }
            // Each life is killed at another moment.
            std::thread::sleep(Duration::from_millis(life % 13));
            drop(child);
            child = children::start("a_server", &format!("{} {port}", life + 1));
        }
        over.store(true, Ordering::Relaxed);
        receiving.join().expect("no message of an old life");
    });
    assert!(newest.load(Ordering::Relaxed) > lives / 2, "the client heard of the new lives");
    report("server", times, round_trip(&client))
}

/// Reads from the server's output how long it waited for its first message.
fn first_message(child: &mut children::Running) -> Duration {
    let output = child.0.stdout.as_mut().expect("piped");
    for line in BufReader::new(output).lines() {
        let line = line.expect("the server is alive");
        // The test harness may have printed text before it on the same line.
        if let Some((_, us)) = line.split_once("first message after ") {
            return Duration::from_micros(us.parse().expect("a number"));
        }
    }
    panic!("the server ended without a message");
}

/// The child process: a server that prints when it got its first message, and then sends until it is killed.
#[test]
#[ignore = "a child of the other tests"]
fn a_server() {
    let Some(order) = children::order() else { return };
    let (life, port) = order.split_once(' ').expect("two numbers");
    let life: u64 = life.parse().expect("a number");
    let server = server(Config::server(format!("127.0.0.1:{port}")));
    let ready = Instant::now();
    server.receive(None).expect("a client calls");
    println!("first message after {}", ready.elapsed().as_micros());
    loop {
        let _ = server.send(&(life, 0u64), &Metadata::status());
        std::thread::sleep(PERIOD);
    }
}

#[test]
fn a_killed_client_is_heard_in_its_new_life_only() {
    clients(15);
}

#[test]
fn a_killed_server_is_found_and_heard_in_its_new_life_only() {
    servers(15);
}

#[test]
#[ignore = "the full length, in release"]
fn a_client_killed_a_thousand_times_is_heard_in_time() {
    assert_eq!(clients(1000), 0);
}

#[test]
#[ignore = "the full length, in release"]
fn a_server_killed_a_thousand_times_is_found_in_time() {
    assert_eq!(servers(1000), 0);
}
