//! Every received message is accounted for, through every kind of disconnect (docs/safety.md): nothing is lost silently between
//! the protocol, the inbox and the handlers.
//!
//! A few disconnects of each kind run with all tests. A thousand of each run with
//!
//! ```text
//! cargo test --release -p tautline --test disconnects -- thousand --ignored --nocapture
//! ```
#![allow(clippy::print_stdout)] // figures

mod common;

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{TIME_LIMIT, until};
use tautline::{
    Config, ConnectionState, Delivery, Driver, DropReason, Handler, MessageType, Metadata, Payload, Qos,
    UdpInterface, Wire, create_udp_client, create_udp_server,
};

/// The number of messages in a batch: they share a datagram on the native wire.
const BATCH: usize = 10;

/// The bytes of a message that takes several datagrams.
const LARGE: usize = 5_000;

/// How often a disconnect of each kind happens in the ordinary tests.
const FEW: u64 = 10;

/// How often it happens in the campaign.
const MANY: u64 = 1000;

/// How the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An inline handler disconnects in the middle of a batch.
    Inline,
    /// The same, while messages are held back after a pause.
    InlineHeld,
    /// Another thread disconnects.
    Thread,
    /// Another thread disconnects while messages wait for slow handlers.
    ThreadBusy,
    /// The inline handler of an interface without a driver thread disconnects.
    CallerInline,
    /// The function that sees all messages of a turn disconnects.
    CallerSees,
    /// Another thread disconnects an interface without a driver thread.
    CallerThread,
    /// The peer disconnects.
    Peer,
    /// A blocking handler disconnects.
    Queued,
}

const KINDS: [Kind; 9] = [
    Kind::Inline,
    Kind::InlineHeld,
    Kind::Thread,
    Kind::ThreadBusy,
    Kind::CallerInline,
    Kind::CallerSees,
    Kind::CallerThread,
    Kind::Peer,
    Kind::Queued,
];

/// Returns a port that was free a moment ago. The plant needs the same one after each disconnect.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

fn plant_config(kind: Kind, wire: Wire, port: u16) -> Config {
    let config = Config::server(format!("127.0.0.1:{port}")).wire(wire).name("plant");
    match kind {
        Kind::InlineHeld => config.qos(MessageType::Command, Qos::new().keep_last(5)),
        _ => config,
    }
}

/// Sends batches of commands, and single data messages, until the test is over. On the native wire also large and reliable ones.
/// Returns how many reliable ones were taken.
fn keep_sending(controller: &UdpInterface, over: &AtomicBool) -> u64 {
    let payloads = vec![Payload::raw([7; 8]); BATCH];
    let json = vec![Payload::json(&1).expect("a number"); BATCH];
    let is_classic = controller.config().wire == Some(Wire::Classic);
    let (commands, data) =
        (controller.publisher(Metadata::command()), controller.publisher(Metadata::data()));
    let kinds = [Delivery::BestEffort, Delivery::Reliable, Delivery::Ordered].map(|class| {
        let metadata = Metadata::data().delivery(class);
        controller.publisher(metadata)
    });
    let sizes = [8, LARGE].map(|size| Payload::raw(vec![7; size]));
    let mut reliable = 0;
    for round in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        // While the plant is away, the kernel may refuse.
        let _ = commands.send_batch(if is_classic { &json } else { &payloads });
        let _ = data.send(&1);
        if !is_classic {
            let (kind, size) = (round % kinds.len(), round / kinds.len() % sizes.len());
            let is_taken = kinds[kind].send(&sizes[size]).is_ok();
            reliable += u64::from(is_taken && kind > 0);
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    reliable
}

/// Disconnects the plant so many times under load. Returns it, disconnected for the last time.
fn run(kind: Kind, wire: Wire, times: u64) -> UdpInterface {
    let port = free_port();
    let config = plant_config(kind, wire, port);
    let (plant, mut driver) = match kind {
        Kind::CallerInline | Kind::CallerSees | Kind::CallerThread => {
            let (plant, driver) = UdpInterface::caller_driven(config).expect("a valid configuration");
            (plant, Some(driver))
        }
        _ => (create_udp_server(config).expect("a valid configuration"), None),
    };
    let handled = Arc::new(AtomicU64::new(0));
    register(kind, &plant, &handled);
    let controller = Config::client(format!("127.0.0.1:{port}")).wire(wire);
    // Connecting does not wait: without a driver thread, the plant answers in its turns only.
    let controller =
        if wire == Wire::Native { controller.connect_timeout(Duration::ZERO) } else { controller };
    let controller = create_udp_client(controller).expect("a valid configuration");
    connect(&plant, driver.as_mut());
    controller.connect().expect("it does not wait");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| keep_sending(&controller, &over));
        for round in 0..times {
            if plant.connection_state() != ConnectionState::Connected {
                connect(&plant, driver.as_mut());
            }
            end_once(kind, round, &plant, driver.as_mut(), &controller);
        }
        over.store(true, Ordering::Relaxed);
        let reliable = sending.join().expect("no panic");
        controller.disconnect();
        let ended = controller.statistics().deliveries;
        let sum = ended.delivered + ended.expired + ended.abandoned + ended.peer_lost + ended.unknown;
        assert_eq!((sum, ended.waiting), (reliable, 0), "{kind:?} {wire:?}: each has one outcome: {ended:?}");
    });
    controller.cleanup();
    plant.disconnect();
    plant
}

fn connect(plant: &UdpInterface, driver: Option<&mut Driver>) {
    let deadline = Instant::now() + TIME_LIMIT;
    let mut driver = driver;
    loop {
        let connected = match &mut driver {
            Some(driver) => driver.connect(),
            None => plant.connect(),
        };
        match connected {
            Ok(()) => return,
            // The driver of the former connection has not closed its socket yet.
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Registers the handlers of this kind.
fn register(kind: Kind, plant: &UdpInterface, handled: &Arc<AtomicU64>) {
    let (interface, count) = (plant.clone(), Arc::clone(handled));
    // Not always at the same place of a batch.
    let is_time = move || count.fetch_add(1, Ordering::Relaxed) % 33 == 2;
    match kind {
        Kind::Inline | Kind::InlineHeld | Kind::CallerInline => {
            let handler = Handler::inline(move |_, _| {
                if is_time() {
                    if kind == Kind::InlineHeld {
                        // What comes meanwhile waits in the kernel, and is held back.
                        std::thread::sleep(Duration::from_millis(3));
                    }
                    interface.disconnect();
                }
            });
            plant.register_message_handler(MessageType::Command, handler);
        }
        Kind::Queued => {
            let handler = Handler::blocking(move |_, _| {
                if is_time() {
                    interface.disconnect();
                }
            });
            plant.register_message_handler(MessageType::Command, handler);
        }
        Kind::ThreadBusy => {
            let slow = Handler::blocking(|_, _| std::thread::sleep(Duration::from_micros(500)));
            plant.register_message_handler(MessageType::Command, slow.backlog(20));
            plant.register_message_handler(MessageType::Data, Handler::inline(|_, _| {}));
        }
        Kind::Thread | Kind::CallerSees | Kind::CallerThread | Kind::Peer => {}
    }
}

/// Lets the connection end once.
fn end_once(
    kind: Kind,
    round: u64,
    plant: &UdpInterface,
    driver: Option<&mut Driver>,
    controller: &UdpInterface,
) {
    let before = plant.statistics().messages_received;
    let pause = Duration::from_micros(round % 7 * 150);
    let is_over = || plant.connection_state() == ConnectionState::Disconnected;
    match (kind, driver) {
        (Kind::Inline | Kind::InlineHeld | Kind::Queued, _) => {
            until("a handler disconnects", || {
                take_some(plant);
                is_over()
            });
        }
        (Kind::Thread | Kind::ThreadBusy, _) => {
            until("messages come", || plant.statistics().messages_received > before);
            take_some(plant);
            std::thread::sleep(pause);
            plant.disconnect();
        }
        (Kind::Peer, _) => {
            until("messages come", || plant.statistics().messages_received > before);
            std::thread::sleep(pause);
            controller.disconnect();
            controller.connect().expect("the plant answers");
        }
        (Kind::CallerInline, Some(driver)) => until("a handler disconnects", || {
            driver.turn(Some(Duration::from_millis(1)));
            take_some(plant);
            is_over()
        }),
        (Kind::CallerSees, Some(driver)) => {
            let mut seen = 0;
            until("the function disconnects", || {
                driver.turn_with(Some(Duration::from_millis(1)), &mut |_| {
                    seen += 1;
                    if seen == 3 + round % BATCH as u64 {
                        plant.disconnect();
                    }
                });
                is_over()
            });
        }
        (Kind::CallerThread, Some(driver)) => std::thread::scope(|scope| {
            let ending = scope.spawn(|| {
                until("messages come", || plant.statistics().messages_received > before);
                std::thread::sleep(pause);
                plant.disconnect();
            });
            while !ending.is_finished() {
                driver.turn(Some(Duration::from_millis(1)));
            }
        }),
        (_, None) => unreachable!("it has a driver of its own"),
    }
}

/// Reads what waits, so that the inbox counts messages as taken too.
fn take_some(plant: &UdpInterface) {
    for _ in 0..3 {
        let _ = plant.receive(Some(Duration::ZERO));
    }
}

/// Says what is wrong with the sums of docs/safety.md, if anything is.
fn wrong_sum(plant: &UdpInterface) -> Option<String> {
    let all = plant.statistics();
    let before: u64 = [DropReason::Expired, DropReason::Stale, DropReason::Superseded, DropReason::Closed]
        .map(|reason| all.messages_dropped.of(reason))
        .iter()
        .sum();
    let offered = all.messages_received - before;
    let text = || format!("{offered} of {} offered, {before} dropped before; {all:?}", all.messages_received);
    if all.inbox.offered() != offered {
        return Some(format!("inbox {}: {}", all.inbox.offered(), text()));
    }
    let handlers: u64 = plant.handler_statistics().iter().map(|(_, stats)| stats.offered()).sum();
    // Two handlers take all messages, one takes the commands alone: ten of eleven.
    if handlers > offered || (plant.handler_statistics().len() == 2 && handlers != offered) {
        return Some(format!("handlers {handlers}: {}", text()));
    }
    None
}

/// Disconnects so many times in each way, and checks every sum.
fn check(times: u64) {
    for wire in [Wire::Native, Wire::Classic] {
        for kind in KINDS {
            let began = Instant::now();
            let plant = run(kind, wire, times);
            let mut wrong = None;
            let deadline = Instant::now() + Duration::from_secs(5);
            // A handler that disconnected may not have returned yet.
            while Instant::now() < deadline {
                wrong = wrong_sum(&plant);
                if wrong.is_none() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(wrong, None, "{kind:?} {wire:?}");
            let all = plant.statistics();
            println!(
                "{kind:?} {wire:?}: {times} disconnects in {:.1?}, {} messages received, {} closed before they were offered, \
                 {} in the inbox",
                began.elapsed(),
                all.messages_received,
                all.messages_dropped.of(DropReason::Closed),
                all.inbox.dropped.of(DropReason::Closed),
            );
            assert!(all.messages_received >= times, "{kind:?} {wire:?}: too few messages");
            plant.cleanup();
        }
    }
}

#[test]
fn every_message_is_accounted_for_through_each_kind_of_disconnect() {
    check(FEW);
}

#[test]
#[ignore = "the full length, in release"]
fn every_message_is_accounted_for_through_a_thousand_disconnects_of_each_kind() {
    check(MANY);
}

#[test]
fn a_handler_that_disconnects_in_a_batch_leaves_no_message_uncounted() {
    let plant = common::server(common::server_config(Wire::Native));
    let (interface, count) = (plant.clone(), AtomicU64::new(0));
    let handler = Handler::inline(move |_, _| {
        if count.fetch_add(1, Ordering::Relaxed) == 2 {
            interface.disconnect();
        }
    });
    plant.register_message_handler(MessageType::Command, handler);
    let controller = common::client(common::client_config(&plant));
    controller
        .publisher(Metadata::command())
        .send_batch(&vec![Payload::raw([7; 8]); BATCH])
        .expect("connected");
    until("the batch is counted", || plant.statistics().messages_received == BATCH as u64);
    until("the rest is counted", || plant.statistics().messages_dropped.of(DropReason::Closed) == 7);
    assert_eq!(wrong_sum(&plant), None);
    let all = plant.statistics();
    assert_eq!(
        (all.handlers.handled, all.inbox.offered(), all.inbox.dropped.of(DropReason::Closed)),
        (3, 3, 3)
    );
    plant.cleanup();
}

#[test]
fn the_rest_of_a_batch_is_counted_although_another_connection_has_begun() {
    let plant = common::server(common::server_config(Wire::Native));
    let (interface, (begun, has_begun)) = (plant.clone(), std::sync::mpsc::channel::<()>());
    let mut first = true;
    let handler = Handler::inline(move |_, _| {
        if std::mem::take(&mut first) {
            interface.disconnect();
            has_begun.recv_timeout(TIME_LIMIT).expect("the other thread connects");
        }
    });
    plant.register_message_handler(MessageType::Command, handler);
    let controller = common::client(common::client_config(&plant));
    controller
        .publisher(Metadata::command())
        .send_batch(&vec![Payload::raw([7; 8]); BATCH])
        .expect("connected");
    until("the handler disconnects", || plant.connection_state() == ConnectionState::Disconnected);
    plant.connect().expect("a free port");
    begun.send(()).expect("the handler waits");
    until("the rest is counted", || plant.statistics().messages_dropped.of(DropReason::Closed) == 9);
    assert_eq!((plant.statistics().messages_received, wrong_sum(&plant)), (BATCH as u64, None));
    plant.cleanup();
}
