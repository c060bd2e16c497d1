//! Measures how much saturated retransmissions of reliable messages delay best-effort messages.
//!
//! A short version runs with all tests. The full version runs with
//!
//! ```text
//! cargo test --release -p tautline --test beside_resends -- --ignored --nocapture
//! ```

#![allow(clippy::print_stdout)] // figures

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{address, server, server_config, until};
use tautline::{
    Config, Delivery, Handler, MessageType, Metadata, Raw, SendError, UdpInterface, Wire, create_udp_client,
};

/// One of this many datagrams to the server is lost.
const LOSS: u32 = 3;

/// A thread that carries datagrams between one client and the server, and loses some of them.
struct LossyPath {
    address: SocketAddr,
    /// Nothing is lost while this is false, so that the two can connect.
    loses: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<u64>>,
}

impl LossyPath {
    fn to(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a positive time");
        let address = socket.local_addr().expect("bound");
        let (loses, ends): (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
        let (losing, ending) = (Arc::clone(&loses), Arc::clone(&ends));
        let carry = move || {
            let (mut buffer, mut client, mut dice, mut lost) = ([0; 65_536], None, 1_u32, 0);
            while !ending.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                if from == server {
                    client.map(|client| socket.send_to(&buffer[..len], client));
                    continue;
                }
                client = Some(from);
                // A linear congruential generator is good enough for losses.
                dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if losing.load(Ordering::Relaxed) && (dice >> 16).is_multiple_of(LOSS) {
                    lost += 1;
                } else {
                    let _ = socket.send_to(&buffer[..len], server);
                }
            }
            lost
        };
        Self { address, loses, ends, thread: Some(thread::spawn(carry)) }
    }

    /// Ends the thread and returns the number of lost datagrams.
    fn end(&mut self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.take().map_or(0, |thread| thread.join().expect("it does not panic"))
    }
}

/// Sends best-effort messages for `time` and returns, sorted, how long each took from before `send` to the handler. With
/// `fill`, reliable messages fill the window meanwhile.
fn delays(
    (server, client): (&UdpInterface, &UdpInterface),
    origin: Instant,
    time: Duration,
    fill: bool,
) -> Vec<Duration> {
    let delays: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let (began, seen) = (origin.elapsed(), Arc::clone(&delays));
    server.register_message_handler(
        MessageType::Status,
        Handler::inline(move |message, _| {
            let sent = message.payload().try_into().map(u64::from_le_bytes).expect("eight bytes");
            let sent = Duration::from_nanos(sent);
            // On a busy machine, messages of the call before may come now.
            if sent >= began {
                seen.lock().expect("no panic").push(origin.elapsed() - sent);
            }
        }),
    );
    while origin.elapsed() - began < time {
        if fill {
            fill_window(client);
        }
        let now = u64::try_from(origin.elapsed().as_nanos()).expect("not so long");
        client.send(Raw(&now.to_le_bytes()), &Metadata::status()).expect("sent");
        thread::sleep(Duration::from_millis(1));
    }
    server.unregister_message_handler(MessageType::Status);
    let mut delays = std::mem::take(&mut *delays.lock().expect("no panic"));
    delays.sort_unstable();
    delays
}

/// Sends reliable messages until the window is full, at most 100.
fn fill_window(client: &UdpInterface) {
    let metadata = Metadata::configuration().delivery(Delivery::Reliable);
    let refused = (0..100).find_map(|_| client.send(Raw(&[0; 1000]), &metadata).err());
    assert!(matches!(refused, None | Some(SendError::WindowFull { .. })), "{refused:?}");
}

fn beside_resends(time: Duration) {
    let server = server(server_config(Wire::Native));
    server.register_message_handler(MessageType::Configuration, Handler::inline(|_, _| {}));
    let mut path = LossyPath::to(address(&server));
    let config = Config::client(path.address).reliable_tries(1000);
    let client = create_udp_client(config).expect("a valid configuration");
    client.connect().expect("the server answers");
    path.loses.store(true, Ordering::Relaxed);
    println!("best effort at 1 kHz over a path that loses one datagram in {LOSS}, from send to handler:");
    let origin = Instant::now();
    for (what, fill) in [("alone", false), ("beside saturated resends", true)] {
        let delays = delays((&server, &client), origin, time, fill);
        assert!(!delays.is_empty(), "some messages arrive");
        let at = |per_mille: usize| delays[(delays.len() - 1) * per_mille / 1000].as_secs_f64() * 1e6;
        println!(
            "  {what:31} {:6} arrived, p50 {:6.0} us, p99 {:6.0} us, p99.9 {:6.0} us",
            delays.len(),
            at(500),
            at(990),
            at(999)
        );
    }
    let lost = {
        path.loses.store(false, Ordering::Relaxed);
        until("every reliable message has its outcome", || client.statistics().deliveries.waiting == 0);
        path.end()
    };
    let deliveries = client.statistics().deliveries;
    println!(
        "  {} reliable messages, all delivered; {lost} datagrams were lost on the path",
        deliveries.delivered
    );
    assert!(lost > 0 && deliveries.delivered > 0);
    assert_eq!(deliveries.abandoned + deliveries.expired + deliveries.peer_lost + deliveries.unknown, 0);
}

#[test]
fn best_effort_messages_arrive_beside_saturated_resends() {
    beside_resends(Duration::from_millis(300));
}

#[test]
#[ignore = "takes 20 s; prints figures"]
fn delays_of_best_effort_messages_beside_saturated_resends() {
    beside_resends(Duration::from_secs(10));
}
