//! Promises with numbers: many threads, many round trips, misbehaving handlers.
//!
//! Short versions run with all tests. The full versions run with
//!
//! ```text
//! cargo test --release -p tautline --test under_load --test leaks -- --ignored --nocapture
//! ```
//!
//! They run one at a time, because each needs the whole machine.

#![allow(clippy::print_stdout)] // figures

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::{WIRES, address, client, client_config, next, server, server_config, until};
use tautline::{
    Handler, Id, MessageRef, MessageType, Metadata, Raw, ReceiveError, Reply, Sent, UdpInterface, Wire,
};

/// Returns a guard that the running test holds, so that no other test runs beside it.
fn alone() -> MutexGuard<'static, ()> {
    static RUNNING: Mutex<()> = Mutex::new(());
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many times fewer messages suffice in the short runs: under Wine each message takes a hundred times as long.
const SLOWNESS: u64 = if cfg!(windows) { 10 } else { 1 };

/// The most messages in flight.
const OUTSTANDING: usize = 200;

/// Limits the messages in flight to [`OUTSTANDING`].
#[derive(Default)]
struct InFlight {
    count: Mutex<usize>,
    less: Condvar,
}

impl InFlight {
    fn enter(&self) {
        let full = |count: &mut usize| *count == OUTSTANDING;
        let mut count = self.less.wait_while(self.count.lock().unwrap(), full).unwrap();
        *count += 1;
    }

    fn leave(&self) {
        *self.count.lock().unwrap() -= 1;
        self.less.notify_one();
    }
}

/// Eight threads send through one interface, and four receive through another. Checks that each message arrives once, that
/// the order on the wire is the order of the numbers, and that every count is exact.
fn many_threads(messages: u64) {
    const SENDERS: u8 = 8;
    const RECEIVERS: usize = 4;
    let _alone = alone();
    let receiver = server(server_config(Wire::Native));
    let inversions = Arc::new(AtomicU64::new(0));
    receiver.register_message_handler(MessageType::Command, count_inversions(Arc::clone(&inversions)));
    let sender = client(client_config(&receiver));
    let in_flight = InFlight::default();
    let begun = Instant::now();
    let (queued, mut received) = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|thread| {
                let (sender, in_flight) = (&sender, &in_flight);
                scope.spawn(move || {
                    let mut queued = 0;
                    for number in (u64::from(thread)..messages).step_by(usize::from(SENDERS)) {
                        in_flight.enter();
                        let sent = sender.send(&number, &Metadata::command()).expect("connected");
                        queued += u64::from(sent == Sent::Queued);
                    }
                    queued
                })
            })
            .collect();
        let receivers: Vec<_> =
            (0..RECEIVERS).map(|_| scope.spawn(|| receive_all(&receiver, &in_flight))).collect();
        let queued: u64 = senders.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        until("all messages are received", || receiver.statistics().inbox.taken == messages);
        receiver.disconnect();
        let received: Vec<u64> =
            receivers.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect();
        (queued, received)
    });
    println!(
        "{messages} messages in {:.2?} ({queued} handed to another thread's write), {} inversions",
        begun.elapsed(),
        inversions.load(Ordering::Relaxed)
    );
    received.sort_unstable();
    assert!(received.iter().copied().eq(0..messages), "each message arrived exactly once");
    assert_eq!(inversions.load(Ordering::Relaxed), 0);
    assert_exact(&sender, &receiver, messages);
}

/// Returns a handler that counts messages out of order. The default id of a message holds the sequence number of its
/// datagram.
fn count_inversions(inversions: Arc<AtomicU64>) -> Handler {
    let mut last = None;
    Handler::inline(move |message: &MessageRef<'_>, _: &Reply| {
        let Id::Number(number) = message.message_id() else { panic!("the default id is a number") };
        if last.replace(number).is_some_and(|last| last >= number) {
            inversions.fetch_add(1, Ordering::Relaxed);
        }
    })
}

fn receive_all(receiver: &UdpInterface, in_flight: &InFlight) -> Vec<u64> {
    let mut numbers = Vec::new();
    loop {
        match receiver.receive(None) {
            Ok(message) => numbers.push(message.decode().expect("a number")),
            Err(ReceiveError::Disconnected | ReceiveError::NotConnected) => return numbers,
            Err(error) => panic!("{error}"),
        }
        in_flight.leave();
    }
}

fn assert_exact(sender: &UdpInterface, receiver: &UdpInterface, messages: u64) {
    // A message is counted after the kernel took it. The receiver may get it before that.
    until("all messages are counted", || sender.statistics().messages_sent == messages);
    let (sent, received) = (sender.statistics(), receiver.statistics());
    assert_eq!((sent.send_failures, sent.queued_send_failures), (0, 0));
    assert_eq!((received.messages_received, received.inbox.taken), (messages, messages));
    assert_eq!((received.handlers.handled, received.inbox.dropped.total()), (messages, 0));
    assert_eq!((received.sequence_errors(), received.missing), (0, 0));
    assert_eq!((received.datagrams_dropped.total(), received.messages_dropped.total()), (0, 0));
}

/// This many threads stream through one interface: each sends its numbers in rising order, which is also the order at the handler.
/// Without a `delay`, each message has a datagram of its own, also where one system call sends several. Prints the rate, and returns
/// it in messages a second.
fn stream(threads: u64, messages: u64, delay: Duration) -> f64 {
    let server = server(server_config(Wire::Native).inbox_capacity(0));
    let (violations, handled) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    server.register_message_handler(MessageType::Data, {
        let (violations, handled) = (Arc::clone(&violations), Arc::clone(&handled));
        let mut last = [0; 4];
        Handler::inline(move |message: &MessageRef<'_>, _: &Reply| {
            let number = message.payload().try_into().map(u64::from_le_bytes).expect("eight bytes");
            let last = &mut last[(number >> 62) as usize];
            if number <= *last {
                violations.fetch_add(1, Ordering::Relaxed);
            }
            *last = number;
            handled.fetch_add(1, Ordering::Relaxed);
        })
    });
    let client = client(client_config(&server).coalescing_delay(delay));
    let before = client.statistics();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let data = client.publisher(Metadata::data());
            scope.spawn(move || {
                for number in 1..=messages / threads {
                    // A message that is refused, because the backlog is full, leaves a gap.
                    let _ = data.send(Raw(&(thread << 62 | number).to_le_bytes()));
                }
            });
        }
    });
    let rate = messages as f64 / began.elapsed().as_secs_f64();
    println!("{threads} threads: {:.2} million messages/s sent, {handled:?} handled", rate / 1e6);
    assert_eq!(violations.load(Ordering::Relaxed), 0, "{threads} threads");
    until("messages were handled", || handled.load(Ordering::Relaxed) > 0);
    client.flush();
    let after = client.statistics();
    let [sent, datagrams] =
        [after.messages_sent - before.messages_sent, after.datagrams_sent - before.datagrams_sent];
    assert!(
        !delay.is_zero() || datagrams >= sent,
        "{threads} threads: {datagrams} datagrams, {sent} messages"
    );
    rate
}

/// The delay of coalescing in these tests.
const DELAY: Duration = Duration::from_micros(20);

#[test]
fn threads_that_stream_keep_their_order() {
    let _alone = alone();
    for threads in 1..=4 {
        stream(threads, 100_000 / SLOWNESS, DELAY);
    }
}

#[test]
fn threads_whose_messages_share_no_datagrams_keep_their_order() {
    let _alone = alone();
    for threads in 1..=4 {
        stream(threads, 20_000 / SLOWNESS, Duration::ZERO);
    }
}

/// Threads stream 10^8 messages. Prints their rate beside that of one thread, which sends a tenth as many before.
fn hundred_million(threads: u64) {
    let _alone = alone();
    let one = stream(1, 10_000_000, DELAY);
    println!("{:.2} times the rate of one thread", stream(threads, 100_000_000, DELAY) / one);
}

#[test]
#[ignore = "the full length, in release"]
fn hundred_million_messages_of_two_threads_keep_their_order() {
    hundred_million(2);
}

#[test]
#[ignore = "the full length, in release"]
fn hundred_million_messages_of_three_threads_keep_their_order() {
    hundred_million(3);
}

#[test]
#[ignore = "the full length, in release"]
fn hundred_million_messages_of_four_threads_keep_their_order() {
    hundred_million(4);
}

/// The rates vary from run to run, so one thread and several send in turns.
#[test]
#[ignore = "the full length, in release"]
fn millions_of_messages_with_a_datagram_each_keep_their_order() {
    const TURNS: u64 = 4;
    let _alone = alone();
    let mut rates = [0.0; 4];
    for _ in 0..TURNS {
        for (rate, threads) in rates.iter_mut().zip(1..) {
            *rate += stream(threads, 500_000, Duration::ZERO) / TURNS as f64;
        }
    }
    println!("1 to 4 threads, to the rate of one: {:.2?}", rates.map(|rate| rate / rates[0]));
}

#[test]
fn eight_threads_send_and_four_receive() {
    many_threads(50_000 / SLOWNESS);
}

#[test]
#[ignore = "the full length, in release"]
fn eight_threads_send_a_million_and_four_receive() {
    many_threads(1_000_000);
}

/// Three clients ask one server, each waiting for an answer before its next message. Then each client restarts at its port
/// and asks again.
fn answered_one_by_one(wire: Wire, each: u64) {
    let _alone = alone();
    let server = server(server_config(wire));
    server.register_message_handler(
        MessageType::Command,
        Handler::inline(|command: &MessageRef<'_>, reply: &Reply| {
            let number: u64 = std::str::from_utf8(command.payload()).unwrap().parse().unwrap();
            reply.send(&number, &Metadata::status()).unwrap();
        }),
    );
    let begun = Instant::now();
    let clients: Vec<_> = (0..3).map(|_| client(client_config(&server))).collect();
    std::thread::scope(|scope| {
        for client in &clients {
            scope.spawn(|| ask(client, each));
        }
    });
    println!("{wire}: 3 x {each} round trips in {:.2?}", begun.elapsed());
    // An answer is counted after the kernel took it. The client may get it before that.
    until("every answer is counted", || server.statistics().messages_sent == 3 * each);
    let statistics = server.statistics();
    assert_eq!(statistics.messages_received, 3 * each);
    assert_eq!((statistics.sequence_errors(), statistics.missing), (0, 0));
    for client in &clients {
        let statistics = client.statistics();
        assert_eq!((statistics.messages_received, statistics.messages_sent), (each, each));
        assert_eq!((statistics.sequence_errors(), statistics.missing), (0, 0));
    }

    // The clients restart one after the other, each at its former port, and are heard at once.
    for old in clients {
        let port = address(&old);
        old.cleanup();
        drop(old);
        let restarted = client(client_config(&server).bind(([127, 0, 0, 1], port.port())));
        ask(&restarted, 10);
        assert_eq!(restarted.statistics().sequence_errors(), 0);
    }
    assert_eq!((server.statistics().sequence_errors(), server.statistics().missing), (0, 0));
}

fn ask(client: &UdpInterface, times: u64) {
    for number in 0..times {
        client.send(&number, &Metadata::command()).expect("connected");
        let answer = next(client);
        assert_eq!(answer.decode::<u64>().expect("a number"), number);
        assert!(!answer.is_late());
    }
}

#[test]
fn three_clients_are_answered_and_a_restarted_one_is_heard_at_once() {
    WIRES.into_iter().for_each(|wire| answered_one_by_one(wire, 500));
}

#[test]
#[ignore = "the full length, in release"]
fn three_clients_are_answered_10_000_times_and_a_restarted_one_is_heard_at_once() {
    WIRES.into_iter().for_each(|wire| answered_one_by_one(wire, 10_000));
}

/// The longest that an answer may take while other handlers misbehave.
const IN_TIME: Duration = Duration::from_secs(10);

/// The longest that one of them may block. It is released long before.
const BLOCKED: Duration = Duration::from_secs(600);

/// One handler panics, one blocks until the end, and one unregisters itself again and again, all under load. Checks that each
/// message of the other types is answered, in order and in time.
fn misbehaving_handlers(messages: u64) {
    let _alone = alone();
    let server = server(server_config(Wire::Native));
    let release = misbehave(&server);
    for well_behaved in [MessageType::Data, MessageType::Status] {
        let answer = |message: tautline::Message, reply: Reply| {
            let number: u64 = message.decode().unwrap();
            reply.send(&number, &Metadata::acknowledgment()).unwrap();
        };
        let inline = |message: &MessageRef<'_>, reply: &Reply| {
            let number: u64 = std::str::from_utf8(message.payload()).unwrap().parse().unwrap();
            reply.send(&number, &Metadata::acknowledgment()).unwrap();
        };
        let handler = if well_behaved == MessageType::Data {
            Handler::inline(inline)
        } else {
            Handler::blocking(answer).into()
        };
        server.register_message_handler(well_behaved, handler);
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let trouble = scope.spawn(|| make_trouble(&server, &over));
        let loads = [Metadata::data(), Metadata::status()].map(|metadata| {
            let server = &server;
            scope.spawn(move || load(server, &metadata, messages))
        });
        let ended = loads.map(std::thread::ScopedJoinHandle::join);
        // Also after a panic: else the trouble would never end.
        over.store(true, Ordering::Relaxed);
        let slowest = ended.map(|load| load.expect("no panic"));
        let troubles = trouble.join().expect("no panic");
        println!(
            "2 x {messages} answers, the slowest after {slowest:.0?}, beside {troubles} messages to bad handlers"
        );
    });
    let by_type: HashMap<_, _> = server.handler_statistics().into_iter().collect();
    let command = by_type[&MessageType::Command.into()];
    assert!(command.panicked > 0 && command.handled == 0);
    assert_eq!(by_type[&MessageType::Error.into()].running, 1, "the handler blocks until the end");
    for well_behaved in [MessageType::Data, MessageType::Status] {
        let statistics = by_type[&well_behaved.into()];
        assert_eq!((statistics.handled, statistics.offered()), (messages, messages));
    }
    drop(release);
}

/// Registers the three bad handlers. The blocking handler returns when the result is dropped.
fn misbehave(server: &UdpInterface) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    // These panics are intended. Their reports would hide the reports of others.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.payload_as_str().is_some_and(|text| text.contains("on purpose")) {
            report(info);
        }
    }));
    let panics = Handler::inline(|_: &MessageRef<'_>, _: &Reply| panic!("on purpose"));
    server.register_message_handler(MessageType::Command, panics);
    let blocks = Handler::blocking(move |_, _: Reply| {
        let waited = released.lock().unwrap().recv_timeout(BLOCKED);
        assert_ne!(waited, Err(RecvTimeoutError::Timeout), "the test releases the handler in time");
    });
    server.register_message_handler(MessageType::Error, blocks.time_limit(BLOCKED).backlog(10));
    register_leaving_handler(server);
    release
}

fn register_leaving_handler(server: &UdpInterface) {
    let inside = server.clone();
    server.register_message_handler(
        MessageType::Heartbeat,
        Handler::blocking(move |_, _| {
            inside.unregister_message_handler(MessageType::Heartbeat);
        }),
    );
}

/// Sends to the three bad handlers until the test is over. Returns the number of messages.
fn make_trouble(server: &UdpInterface, over: &AtomicBool) -> u64 {
    let client = client(client_config(server));
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        for metadata in [Metadata::command(), Metadata::error(), Metadata::heartbeat()] {
            match client.send(&sent, &metadata) {
                Ok(_) => sent += 1,
                // Windows may have no room for a moment.
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        }
        register_leaving_handler(server);
        std::thread::sleep(Duration::from_micros(200));
    }
    sent
}

/// Sends one message after the other and checks that each is answered in time. Returns the longest time that an answer took.
fn load(server: &UdpInterface, metadata: &Metadata, messages: u64) -> Duration {
    let client = client(client_config(server));
    let mut slowest = Duration::ZERO;
    for number in 0..messages {
        let begun = Instant::now();
        client.send(&number, metadata).expect("connected");
        let answer = client.receive(Some(IN_TIME)).expect("answered in time");
        assert_eq!((answer.decode::<u64>().expect("a number"), answer.is_late()), (number, false));
        slowest = slowest.max(begun.elapsed());
    }
    assert_eq!(client.statistics().sequence_errors(), 0);
    slowest
}

#[test]
fn misbehaving_handlers_delay_no_other_type() {
    misbehaving_handlers(2_000 / SLOWNESS);
}

#[test]
#[ignore = "the full length, in release"]
fn misbehaving_handlers_delay_no_other_type_in_a_long_run() {
    misbehaving_handlers(100_000);
}
