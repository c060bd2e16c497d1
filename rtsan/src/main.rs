//! Sends messages and turns drivers under RealtimeSanitizer. If [`step`] blocks or allocates, the sanitizer ends the
//! program with a report.
//!
//! The only exemptions are the non-blocking socket calls, by name, in `suppressions`.
#![feature(sanitize)]

use std::time::Duration;

use tautline::{
    Config, Driver, Handler, MessageRef, MessageType, Metadata, Payload, Reply, UdpInterface, Watchdog,
};

/// The number of warm-up steps. After them, every table and queue has its final size.
const WARM_UP: usize = 5_000;

/// A time limit that is longer than the run, so that the watchdogs are fed but do not trip.
const HOUR: Duration = Duration::from_secs(3600);

/// The number of checked steps. They take long enough for several heartbeats.
const STEPS: usize = 40_000;

/// Both ends of a link, which one loop drives.
struct Ends {
    /// Kept, because dropping the last handle closes the connection.
    _server: UdpInterface,
    client: UdpInterface,
    client_driver: Driver,
    server_driver: Driver,
    command: Payload,
    batch: Vec<Payload>,
    answers: u64,
}

/// Runs one step, which must not block or allocate: a message, a batch, and a turn of each end. The server's handler
/// answers.
#[sanitize(realtime = "nonblocking")]
fn step(ends: &mut Ends, metadata: &Metadata) {
    send(ends, metadata);
    turn(ends);
}

/// A step before the checked ones. After a pause, the server holds commands back: that too needs memory the first time.
fn warm_up(ends: &mut Ends, metadata: &Metadata, pause: Duration) {
    send(ends, metadata);
    std::thread::sleep(pause);
    turn(ends);
}

fn send(ends: &mut Ends, metadata: &Metadata) {
    ends.client.send(&ends.command, metadata).expect("connected");
    ends.client.publisher(metadata.clone()).send_batch(&ends.batch).expect("connected");
}

fn turn(ends: &mut Ends) {
    ends.server_driver.turn(Some(Duration::ZERO));
    let answers = &mut ends.answers;
    ends.client_driver.turn_with(Some(Duration::ZERO), &mut |_| *answers += 1);
}

/// Allocates. The sanitizer must find this, which shows that it works.
#[sanitize(realtime = "nonblocking")]
fn fault() {
    std::hint::black_box(vec![1u8; std::hint::black_box(100)]);
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("fault") {
        fault();
        println!("the sanitizer did not find an allocation");
        return;
    }
    let mut ends = connect();
    let metadata = Metadata::command();
    (0..WARM_UP).for_each(|_| warm_up(&mut ends, &metadata, Duration::ZERO));
    (0..20).for_each(|_| warm_up(&mut ends, &metadata, Duration::from_millis(3)));
    (0..STEPS).for_each(|_| step(&mut ends, &metadata));
    let statistics = ends.client.statistics();
    println!("{} sent, {} answered: no blocking call, no allocation", statistics.messages_sent, ends.answers);
    assert!(ends.answers > statistics.messages_sent / 2, "fewer than half of the messages were answered");
}

fn connect() -> Ends {
    let heartbeat = Duration::from_millis(20);
    let config = |config: Config| config.inbox_capacity(0).heartbeat_interval(heartbeat);
    let server = config(Config::server("127.0.0.1:0"));
    let (server, mut server_driver) = UdpInterface::caller_driven(server).expect("a right configuration");
    let answer = Payload::raw([7; 32]);
    let reply = move |_: &MessageRef<'_>, reply: &Reply| {
        reply.send(&answer, &Metadata::status()).expect("the client is there");
    };
    server.register_message_handler(MessageType::Command, Handler::inline(reply));
    for watchdog in [Watchdog::peer(HOUR), Watchdog::messages(MessageType::Command, HOUR)] {
        server.watch(watchdog, |_| {}).expect("possible");
    }
    server_driver.connect().expect("the port is free");
    let address = server.local_address().expect("connected");
    let client = config(Config::client(address).connect_timeout(Duration::ZERO));
    let (client, mut client_driver) = UdpInterface::caller_driven(client).expect("a right configuration");
    client_driver.connect().expect("the server is there");
    while client.peers().first().is_none_or(|server| server.name.is_empty()) {
        server_driver.turn(Some(Duration::ZERO));
        client_driver.turn(Some(Duration::ZERO));
    }
    let batch = vec![Payload::raw([3; 64]); 40];
    Ends {
        _server: server,
        client,
        client_driver,
        server_driver,
        command: Payload::raw([5; 64]),
        batch,
        answers: 0,
    }
}
