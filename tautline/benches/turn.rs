//! Measures the cost of one call over loopback, kernel included: a send, and a turn that hands messages to an inline handler.
//!
//! `cargo bench -p tautline --bench turn` runs it. The measuring thread drives both ends, so nothing waits for the scheduler.
//! `./check` runs each benchmark once, so that they keep working.
#![allow(missing_docs)] // divan generates items

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::ItemsCount;
use tautline::{
    Config, Driver, Handler, MessageRef, MessageType, Metadata, Payload, Qos, Reply, UdpInterface,
};

/// The number of messages in a batch. They fit into the smallest receive buffer.
const BATCH: usize = 64;

/// The time-out of the waits, longer than any delay by the scheduler.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Whether both ends have a key.
#[derive(Clone, Copy, Debug)]
enum Link {
    Plain,
    #[cfg(feature = "secure")]
    Secured,
}

const LINKS: &[Link] = &[
    Link::Plain,
    #[cfg(feature = "secure")]
    Link::Secured,
];

impl Link {
    fn configure(self, config: Config) -> Config {
        match self {
            Self::Plain => config,
            #[cfg(feature = "secure")]
            Self::Secured => config.key(tautline::SecretKey::from([7; 32])),
        }
    }
}

fn main() {
    divan::main();
}

/// Compare the fastest samples: other programs make a sample slower, and never faster. What the secured line needs more is the cost
/// of the key for the sender. Its datagram is 12 bytes longer.
#[divan::bench(args = LINKS, sample_size = 64, sample_count = 1000)]
fn send_one(bencher: Bencher<'_, '_>, link: Link) {
    let ends = RefCell::new(Ends::connect_to(Config::server("127.0.0.1:0"), link));
    // The sent messages are received between samples, so that no buffer becomes full.
    bencher.with_inputs(|| ends.borrow_mut().empty()).bench_local_values(|()| ends.borrow().send_one());
}

/// The rate gives the cost of each message in the batch.
#[divan::bench(sample_size = 16)]
fn send_batch(bencher: Bencher<'_, '_>) {
    let ends = RefCell::new(Ends::connect());
    let bencher = bencher.counter(ItemsCount::new(BATCH));
    bencher.with_inputs(|| ends.borrow_mut().empty()).bench_local_values(|()| ends.borrow().send_batch());
}

// A sample has one turn. The datagram for it is sent between the samples, unmeasured.
#[divan::bench(args = LINKS, sample_size = 1, sample_count = 1000)]
fn turn_with_one_datagram(bencher: Bencher<'_, '_>, link: Link) {
    let ends = RefCell::new(Ends::connect_to(Config::server("127.0.0.1:0"), link));
    let bencher = bencher.with_inputs(|| {
        ends.borrow_mut().empty();
        ends.borrow().send_one();
    });
    bencher.bench_local_values(|()| ends.borrow_mut().server_driver.turn(Some(Duration::ZERO)));
}

/// Like `turn_with_one_datagram`, but the stream has a history and a lifespan. With a lifespan, the kernel stamps arrivals.
#[divan::bench(sample_size = 1, sample_count = 1000)]
fn turn_with_one_datagram_of_a_fresh_stream(bencher: Bencher<'_, '_>) {
    let fresh = Qos::new().keep_last(1).lifespan(TIME_LIMIT);
    let server = Config::server("127.0.0.1:0").qos(MessageType::Data, fresh);
    let ends = RefCell::new(Ends::connect_to(server, Link::Plain));
    let bencher = bencher.with_inputs(|| {
        ends.borrow_mut().empty();
        ends.borrow().send_one();
    });
    bencher.bench_local_values(|()| ends.borrow_mut().server_driver.turn(Some(Duration::ZERO)));
}

/// The rate gives the cost of each message in the batch.
#[divan::bench(sample_size = 1, sample_count = 1000)]
fn turn_with_a_packed_batch(bencher: Bencher<'_, '_>) {
    let ends = RefCell::new(Ends::connect());
    let bencher = bencher.counter(ItemsCount::new(BATCH)).with_inputs(|| {
        ends.borrow_mut().empty();
        ends.borrow().send_batch();
    });
    bencher.bench_local_values(|()| ends.borrow_mut().server_driver.turn(Some(Duration::ZERO)));
}

/// Both ends of a link.
struct Ends {
    /// Dropping the last handle would end the connection.
    _server: UdpInterface,
    client: UdpInterface,
    client_driver: Driver,
    server_driver: Driver,
    metadata: Metadata,
    payload: Payload,
    batch: Vec<Payload>,
    handled: Arc<AtomicU64>,
}

impl Ends {
    fn connect() -> Self {
        Self::connect_to(Config::server("127.0.0.1:0"), Link::Plain)
    }

    fn connect_to(server: Config, link: Link) -> Self {
        let handled = Arc::new(AtomicU64::new(0));
        let (server, mut server_driver) = open(link.configure(server));
        let counter = Arc::clone(&handled);
        let count = move |_: &MessageRef<'_>, _: &Reply| _ = counter.fetch_add(1, Ordering::Relaxed);
        server.register_message_handler(MessageType::Data, Handler::inline(count));
        server_driver.connect().expect("the port is free");
        let address = server.local_address().expect("connected");
        // This thread drives both ends, so connecting must not wait for the server.
        let (client, mut client_driver) =
            open(link.configure(Config::client(address).connect_timeout(Duration::ZERO)));
        client_driver.connect().expect("the socket opens");
        let payload = Payload::raw([7; 64]);
        let batch = vec![payload.clone(); BATCH];
        let metadata = Metadata::data();
        let mut ends =
            Self { _server: server, client, client_driver, server_driver, metadata, payload, batch, handled };
        ends.shake_hands();
        ends
    }

    /// Turns both ends until the client knows the server's name, which ends the handshake.
    fn shake_hands(&mut self) {
        let deadline = Instant::now() + TIME_LIMIT;
        while self.client.peers().first().is_none_or(|server| server.name.is_empty()) {
            assert!(Instant::now() < deadline, "the ends do not connect");
            self.turn_both();
        }
    }

    fn turn_both(&mut self) {
        self.server_driver.turn(Some(Duration::ZERO));
        self.client_driver.turn(Some(Duration::ZERO));
    }

    fn send_one(&self) {
        self.client.send(&self.payload, &self.metadata).expect("connected");
    }

    fn send_batch(&self) {
        self.client.publisher(self.metadata.clone()).send_batch(&self.batch).expect("connected");
    }

    /// Turns both ends until all sent messages are handled.
    fn empty(&mut self) {
        let sent = self.client.statistics().messages_sent;
        let deadline = Instant::now() + TIME_LIMIT;
        while self.handled.load(Ordering::Relaxed) < sent {
            assert!(Instant::now() < deadline, "a message was lost over loopback");
            self.turn_both();
        }
        self.turn_both();
    }
}

fn open(config: Config) -> (UdpInterface, Driver) {
    let config = config.inbox_capacity(0).coalescing_delay(Duration::ZERO);
    UdpInterface::caller_driven(config).expect("a valid configuration")
}
