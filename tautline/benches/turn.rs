//! What one call costs over loopback, kernel included: sending, and a turn that hands messages to an inline handler.
//!
//! `cargo bench -p tautline --bench turn`. Both ends are driven by the one thread that measures, so nothing waits for
//! a scheduler. `./check` runs each once, so that they keep working.
#![allow(missing_docs)] // divan makes items of its own

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::ItemsCount;
use tautline::{
    Config, Driver, Handler, MessageRef, MessageType, Metadata, Payload, Qos, Reply, UdpInterface,
};

/// Messages in a batch: few enough for the smallest receive buffer.
const BATCH: usize = 64;

/// Longer than any scheduler keeps a thread away.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    divan::main();
}

#[divan::bench(sample_size = 64)]
fn send_payload(bencher: Bencher<'_, '_>) {
    let ends = RefCell::new(Ends::connect());
    // What was sent is taken away between samples, so that no buffer fills.
    bencher.with_inputs(|| ends.borrow_mut().empty()).bench_local_values(|()| ends.borrow().send_one());
}

/// By the rate, the cost of each message in the batch.
#[divan::bench(sample_size = 16)]
fn send_payload_batch(bencher: Bencher<'_, '_>) {
    let ends = RefCell::new(Ends::connect());
    let bencher = bencher.counter(ItemsCount::new(BATCH));
    bencher.with_inputs(|| ends.borrow_mut().empty()).bench_local_values(|()| ends.borrow().send_batch());
}

// One turn a sample: its datagram has to come between the turns, unmeasured.
#[divan::bench(sample_size = 1, sample_count = 1000)]
fn turn_with_one_datagram(bencher: Bencher<'_, '_>) {
    let ends = RefCell::new(Ends::connect());
    let bencher = bencher.with_inputs(|| {
        ends.borrow_mut().empty();
        ends.borrow().send_one();
    });
    bencher.bench_local_values(|()| ends.borrow_mut().server_driver.turn(Some(Duration::ZERO)));
}

/// As `turn_with_one_datagram`, of a stream with a lifespan, so that the kernel stamps what arrives, and a history.
#[divan::bench(sample_size = 1, sample_count = 1000)]
fn turn_with_one_datagram_of_a_fresh_stream(bencher: Bencher<'_, '_>) {
    let fresh = Qos::new().keep_last(1).lifespan(PATIENCE);
    let ends = RefCell::new(Ends::connect_to(Config::server("127.0.0.1:0").qos(MessageType::Data, fresh)));
    let bencher = bencher.with_inputs(|| {
        ends.borrow_mut().empty();
        ends.borrow().send_one();
    });
    bencher.bench_local_values(|()| ends.borrow_mut().server_driver.turn(Some(Duration::ZERO)));
}

/// By the rate, the cost of each message in the batch.
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
    /// Kept, because the last handle's end is the connection's.
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
        Self::connect_to(Config::server("127.0.0.1:0"))
    }

    fn connect_to(server: Config) -> Self {
        let handled = Arc::new(AtomicU64::new(0));
        let (server, mut server_driver) = open(server);
        let counter = Arc::clone(&handled);
        let count = move |_: &MessageRef<'_>, _: &Reply| _ = counter.fetch_add(1, Ordering::Relaxed);
        server.register_message_handler(MessageType::Data, Handler::inline(count));
        server_driver.connect().expect("the port is free");
        let address = server.local_address().expect("connected");
        // Both ends are turned here, so connecting must not wait for the server.
        let (client, mut client_driver) = open(Config::client(address).connect_timeout(Duration::ZERO));
        client_driver.connect().expect("the socket opens");
        let payload = Payload::raw([7; 64]);
        let batch = vec![payload.clone(); BATCH];
        let metadata = Metadata::data();
        let mut ends =
            Self { _server: server, client, client_driver, server_driver, metadata, payload, batch, handled };
        ends.shake_hands();
        ends
    }

    /// Until the server has told its name: from then on messages share datagrams.
    fn shake_hands(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.client.peers().first().is_none_or(|server| server.name.is_empty()) {
            assert!(Instant::now() < deadline, "the ends do not find each other");
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

    /// Hands out whatever is on its way.
    fn empty(&mut self) {
        let sent = self.client.statistics().messages_sent;
        let deadline = Instant::now() + PATIENCE;
        while self.handled.load(Ordering::Relaxed) < sent {
            assert!(Instant::now() < deadline, "a message was lost over loopback");
            self.turn_both();
        }
        self.turn_both();
    }
}

fn open(config: Config) -> (UdpInterface, Driver) {
    let config = config.inbox_capacity(0).coalescing_delay(Duration::ZERO);
    UdpInterface::caller_driven(config).expect("a right configuration")
}
