//! Sends and turns under RealtimeSanitizer: whatever blocks or allocates in [`step`] ends the program with a report.
//!
//! The non-blocking socket calls are exempted by name, in `suppressions`, and nowhere else.
#![feature(sanitize)]

use std::time::Duration;

use tautline::{
    Config, Driver, Handler, MessageRef, MessageType, Metadata, Payload, Reply, UdpInterface, Watchdog,
};

/// More than any table or queue needs to reach its size.
const WARM_UP: usize = 5_000;

/// Longer than this runs: watchdogs are fed, and do not trip.
const HOUR: Duration = Duration::from_secs(3600);

/// Long enough for heartbeats to be among it.
const STEPS: usize = 40_000;

/// Both ends of a link, in one loop.
struct Ends {
    /// Kept, because the last handle's end is the connection's.
    _server: UdpInterface,
    client: UdpInterface,
    client_driver: Driver,
    server_driver: Driver,
    command: Payload,
    batch: Vec<Payload>,
    answers: u64,
}

/// What must not block or allocate: a message, a batch, and a turn of each end, whose handler answers.
#[sanitize(realtime = "nonblocking")]
fn step(ends: &mut Ends, metadata: &Metadata) {
    send_and_turn(ends, metadata);
}

fn send_and_turn(ends: &mut Ends, metadata: &Metadata) {
    ends.client.send_payload(&ends.command, metadata).expect("connected");
    ends.client.send_payload_batch(&ends.batch, metadata).expect("connected");
    ends.server_driver.turn(Duration::ZERO);
    let answers = &mut ends.answers;
    ends.client_driver.turn_with(Duration::ZERO, &mut |_, _| *answers += 1);
}

/// What must be found, so that a silent sanitizer is no proof.
#[sanitize(realtime = "nonblocking")]
fn fault() {
    std::hint::black_box(vec![1u8; std::hint::black_box(100)]);
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("fault") {
        fault();
        println!("the sanitizer has not seen an allocation");
        return;
    }
    let mut ends = connect();
    let metadata = Metadata::command();
    (0..WARM_UP).for_each(|_| send_and_turn(&mut ends, &metadata));
    (0..STEPS).for_each(|_| step(&mut ends, &metadata));
    let statistics = ends.client.statistics();
    println!(
        "{} sent, {} answered: nothing blocked, nothing allocated",
        statistics.messages_sent, ends.answers
    );
    assert!(ends.answers > statistics.messages_sent / 2, "hardly anything was answered");
}

fn connect() -> Ends {
    let heartbeat = Duration::from_millis(20);
    let config = |config: Config| config.inbox_capacity(0).heartbeat_interval(heartbeat);
    let server = config(Config::server("127.0.0.1:0"));
    let (server, mut server_driver) = UdpInterface::caller_driven(server).expect("a right configuration");
    let answer = Payload::raw([7; 32]);
    let reply = move |_: &MessageRef<'_>, reply: &Reply| {
        reply.send_payload(&answer, &Metadata::status()).expect("the client is there");
    };
    server.register_message_handler(MessageType::Command, Handler::inline(reply));
    for watchdog in [Watchdog::peer(HOUR), Watchdog::messages(MessageType::Command, HOUR)] {
        server.watch(watchdog, |_| {}).expect("possible");
    }
    server_driver.connect().expect("the port is free");
    let address = server.local_address().expect("connected").to_string();
    let client = config(Config::client(address).connect_timeout(Duration::ZERO));
    let (client, mut client_driver) = UdpInterface::caller_driven(client).expect("a right configuration");
    client_driver.connect().expect("the server is there");
    while client.peers().first().is_none_or(|server| server.name.is_empty()) {
        server_driver.turn(Duration::ZERO);
        client_driver.turn(Duration::ZERO);
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
