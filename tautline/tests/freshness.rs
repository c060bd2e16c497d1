//! Lifespans and histories: no old message is handed out, from the socket to the reader.

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
#[cfg(target_os = "linux")]
use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use common::{
    RawPeer, TIME_LIMIT, WIRES, address, client, client_config, next_number, server, server_config, until,
};
use tautline::{
    Config, ConnectionState, Delivery, Driver, DropReason, Drops, Handler, MessageRef, MessageType, Metadata,
    Outcome, Qos, ReceiveError, SendError, Statistics, UdpInterface, WallTime, Watchdog, WatchdogState, Wire,
};

const MS: Duration = Duration::from_millis(1);

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

/// Returns a caller-driven server with these settings for commands, its driver, and a connected client.
fn driven(wire: Wire, commands: Qos) -> (UdpInterface, Driver, UdpInterface) {
    let config = server_config(wire).qos(MessageType::Command, commands);
    let (server, mut driver) = UdpInterface::caller_driven(config).expect("valid");
    driver.connect().expect("a free port");
    let config = client_config(&server).liveness_timeout(LONG);
    let client = thread::spawn(move || client(config));
    while !client.is_finished() {
        driver.turn(Some(MS));
    }
    (server, driver, client.join().expect("no panic"))
}

/// Turns until the socket is empty.
fn read_all(driver: &mut Driver, mut see: impl FnMut(&MessageRef<'_>)) {
    while driver.turn_with(Some(Duration::ZERO), &mut see) > 0 {}
}

/// Sends messages, and waits until all are written: the driver writes those that it finds queued.
fn send(client: &UdpInterface, numbers: std::ops::Range<u64>) {
    let count = client.statistics().messages_sent + (numbers.end - numbers.start);
    for number in numbers {
        client.send(&number, &Metadata::command()).expect("connected");
    }
    client.flush();
    until("all are written", || client.statistics().messages_sent >= count);
}

fn number_in(message: &MessageRef<'_>) -> u64 {
    std::str::from_utf8(message.payload()).expect("JSON").parse().expect("a number was sent")
}

#[test]
#[cfg_attr(windows, ignore = "Windows does not tell when a datagram came")]
fn after_a_pause_the_driver_hands_out_no_expired_message() {
    for wire in WIRES {
        let (server, mut driver, client) = driven(wire, Qos::new().lifespan(MS * 500));
        read_all(&mut driver, |_| {});
        let before = server.statistics().messages_received;
        send(&client, 0..20);
        thread::sleep(MS * 550);
        send(&client, 20..30);
        let mut seen = Vec::new();
        let inline = Arc::new(Mutex::new(Vec::new()));
        let seen_inline = Arc::clone(&inline);
        server.register_message_handler(
            MessageType::Command,
            Handler::inline(move |message, reply| {
                assert!(reply.arrival().age() < TIME_LIMIT);
                seen_inline.lock().expect("no panic").push(number_in(message));
            }),
        );
        read_all(&mut driver, |message| seen.push(number_in(message)));
        assert!(!seen.is_empty(), "the last messages are fresh");
        assert!(seen.iter().all(|number| *number >= 20), "{wire}: {seen:?}");
        assert_eq!(*inline.lock().expect("no panic"), seen);
        let statistics = server.statistics();
        let expired = statistics.messages_dropped.of(DropReason::Expired);
        assert_eq!((statistics.messages_received - before, expired), (30, 30 - seen.len() as u64), "{wire}");
        assert_eq!(statistics.inbox.offered(), seen.len() as u64);
    }
}

#[test]
fn after_a_pause_the_driver_hands_out_the_newest_message_first() {
    for wire in WIRES {
        let (server, mut driver, client) = driven(wire, Qos::new().keep_last(1).lifespan(LONG));
        read_all(&mut driver, |_| {});
        let before = server.statistics().messages_received;
        send(&client, 0..200);
        client.send(&1_000, &Metadata::data()).expect("connected");
        client.send(&200, &Metadata::command()).expect("connected");
        client.flush();
        thread::sleep(MS * 5);
        let mut seen = Vec::new();
        read_all(&mut driver, |message| seen.push(number_in(message)));
        assert_eq!(seen, [1_000, 200], "{wire}");
        let statistics = server.statistics();
        assert_eq!(statistics.messages_received - before, 202);
        assert_eq!(statistics.messages_dropped.of(DropReason::Superseded), 200);
        assert_eq!(statistics.inbox.offered(), 2);
    }
}

#[test]
fn a_history_without_a_lifespan_hands_out_the_newest_message_too() {
    for wire in WIRES {
        let (_server, mut driver, client) = driven(wire, Qos::new().keep_last(1));
        read_all(&mut driver, |_| {});
        send(&client, 0..50);
        thread::sleep(MS * 20);
        let mut seen = Vec::new();
        read_all(&mut driver, |message| seen.push(number_in(message)));
        assert_eq!(seen, [49], "{wire}");
    }
}

#[test]
fn a_message_with_a_correlation_id_overtakes_no_other_of_its_stream() {
    for wire in WIRES {
        let (server, mut driver, client) = driven(wire, Qos::new().keep_last(1).lifespan(LONG));
        read_all(&mut driver, |_| {});
        send(&client, 0..1);
        client.send(&1, &Metadata::command().correlation_id("job-7")).expect("connected");
        client.flush();
        thread::sleep(MS * 20);
        let mut seen = Vec::new();
        read_all(&mut driver, |message| seen.push(number_in(message)));
        assert_eq!((seen, next_number(&server)), (vec![1], 1), "{wire}");
        assert_eq!(server.statistics().messages_dropped.of(DropReason::Superseded), 1);
    }
}

#[test]
fn an_expired_message_does_not_feed_a_watchdog() {
    let (server, mut driver, client) = driven(Wire::Native, Qos::new().keep_last(1).lifespan(MS * 100));
    let slow = |message: &MessageRef<'_>, _: &tautline::Reply| {
        if message.channel() == 0 {
            thread::sleep(MS * 110);
        }
    };
    server.register_message_handler(MessageType::Command, Handler::inline(slow));
    read_all(&mut driver, |_| {});
    server.watch(Watchdog::messages((MessageType::Command, 1), LONG), |_| {}).expect("possible");
    for channel in [0, 1] {
        client.send(&channel, &Metadata::command().channel(channel)).expect("connected");
    }
    client.flush();
    thread::sleep(MS * 20);
    read_all(&mut driver, |_| {});
    // The message on channel 1 expires while the handler is busy, or both expire if this machine is slow.
    assert!(server.statistics().messages_dropped.of(DropReason::Expired) > 0);
    assert!(
        !server.watchdogs().iter().any(|watchdog| watchdog.state == WatchdogState::Armed),
        "{:?}",
        server.watchdogs()
    );
}

#[test]
fn messages_that_are_held_back_when_a_handler_disconnects_are_counted() {
    let (server, mut driver, client) = driven(Wire::Native, Qos::new().keep_last(1).lifespan(LONG));
    read_all(&mut driver, |_| {});
    let before = server.statistics();
    for channel in 0..5 {
        client.send(&channel, &Metadata::command().channel(channel)).expect("connected");
    }
    client.flush();
    thread::sleep(MS * 5);
    let disconnects = server.clone();
    server.register_message_handler(
        MessageType::Command,
        Handler::inline(move |_, _| disconnects.disconnect()),
    );
    read_all(&mut driver, |_| {});
    let check = |when| {
        let statistics = server.statistics();
        let (received, dropped) = (statistics.messages_received, statistics.messages_dropped);
        assert_eq!((received - before.messages_received, statistics.handlers.handled), (5, 1), "{when}");
        assert_eq!(dropped.of(DropReason::Closed), 4, "{when}");
        statistics.datagrams_accepted
    };
    let accepted = check("disconnected");
    driver.connect().expect("a free port");
    assert_eq!(check("connected anew"), accepted);
}

#[test]
fn after_a_pause_a_reader_gets_no_expired_message() {
    for wire in WIRES {
        let server = server(server_config(wire).qos(MessageType::Command, Qos::new().lifespan(MS * 100)));
        let client = client(client_config(&server));
        send(&client, 0..20);
        until("all messages wait", || server.statistics().messages_received == 20);
        thread::sleep(MS * 110);
        assert_eq!(server.receive(Some(Duration::ZERO)).map(drop), Err(ReceiveError::TimedOut));
        let inbox = server.statistics().inbox;
        let early = server.statistics().messages_dropped.of(DropReason::Expired);
        assert_eq!(inbox.dropped.of(DropReason::Expired) + early, 20, "{wire}");
        assert_eq!((inbox.offered() + early, inbox.taken, inbox.waiting), (20, 0, 0));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_failed_read_does_not_make_old_messages_look_fresh() {
    for wire in WIRES {
        let (server, mut driver, client) = driven(wire, Qos::new().lifespan(MS * 100));
        read_all(&mut driver, |_| {});
        send(&client, 0..5);
        thread::sleep(MS * 110);
        let broken = BrokenDescriptor::of(driver.socket().expect("connected").as_fd().as_raw_fd());
        assert!(driver.turn(Some(Duration::ZERO)) > 0, "the turn does not report an empty socket");
        drop(broken);
        let mut seen = 0;
        read_all(&mut driver, |_| seen += 1);
        assert_eq!((seen, server.statistics().messages_dropped.of(DropReason::Expired)), (0, 5), "{wire}");
    }
}

/// Replaces the socket behind a descriptor by another file, so that reading fails. Dropping it restores the socket.
#[cfg(target_os = "linux")]
struct BrokenDescriptor {
    descriptor: i32,
    socket: OwnedFd,
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
impl BrokenDescriptor {
    fn of(descriptor: i32) -> Self {
        // SAFETY: the connection that owns the descriptor outlives this value.
        let socket =
            unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned().expect("a descriptor is free");
        let broken = Self { descriptor, socket };
        broken.put(File::open("/dev/null").expect("every Linux has it").as_raw_fd());
        broken
    }

    fn put(&self, other: i32) {
        // SAFETY: both descriptors are open, and only the thread of the test uses the connection.
        assert_eq!(unsafe { libc::dup2(other, self.descriptor) }, self.descriptor);
    }
}

#[cfg(target_os = "linux")]
impl Drop for BrokenDescriptor {
    fn drop(&mut self) {
        self.put(self.socket.as_raw_fd());
    }
}

#[test]
fn a_message_can_carry_its_own_lifespan() {
    let (server, mut driver, client) = driven(Wire::Native, Qos::new());
    read_all(&mut driver, |_| {});
    let mortal = Metadata::command().lifespan(MS * 50);
    client.send(&1, &mortal).expect("connected");
    client.send(&2, &Metadata::command()).expect("connected");
    thread::sleep(MS * 70);
    client.send(&3, &mortal.clone().lifespan(LONG)).expect("connected");
    let mut seen = Vec::new();
    read_all(&mut driver, |message| seen.push((number_in(message), message.age())));
    assert_eq!(seen.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(server.statistics().messages_dropped.of(DropReason::Expired), 1);
    // These messages were made an hour before they are sent.
    let hour_ago = WallTime::from_nanos(now_ns() - 3_600_000_000_000);
    until("the clocks are compared", || {
        driver.turn(Some(MS));
        server.statistics().path.is_some_and(|path| path.samples > 0)
    });
    let refused = client.send(&4, &mortal.timestamp(hour_ago));
    assert!(matches!(refused, Err(SendError::Expired { age, .. }) if age.as_secs() >= 3_600), "{refused:?}");
    client.send(&5, &Metadata::command().timestamp(hour_ago)).expect("connected");
    let mut seen = Vec::new();
    until("a message comes", || {
        read_all(&mut driver, |message| seen.push((number_in(message), message.age().as_secs())));
        !seen.is_empty()
    });
    assert!(matches!(seen[..], [(5, 3_600..3_700)]), "{seen:?}");
}

/// Returns the time of the wall clock, in nanoseconds since 1970.
fn now_ns() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_nanos()).expect("before 2262")
}

#[test]
fn only_the_newest_messages_of_a_stream_wait_in_the_inbox() {
    for wire in WIRES {
        let server = server(server_config(wire).qos(MessageType::Command, Qos::new().keep_last(2)));
        let client = client(client_config(&server));
        send(&client, 0..100);
        client.send(&1_000, &Metadata::data()).expect("connected");
        // A driver that did not run for a while holds messages back until it has read all, so it may drop some itself.
        until("the other messages are dropped", || superseded(&server, |all| &all.inbox.dropped) == 98);
        let mut waiting = [next_number(&server), next_number(&server), next_number(&server)];
        waiting.sort_unstable();
        assert_eq!(waiting, [98, 99, 1_000], "{wire}");
        let statistics = server.statistics();
        let offered = statistics.inbox.offered() + statistics.messages_dropped.total();
        assert_eq!((offered, statistics.messages_received, statistics.inbox.waiting), (101, 101, 0));
    }
}

/// Returns the number of messages that were dropped for newer ones: by the driver, which holds messages back after a pause,
/// and at `place`.
fn superseded(server: &UdpInterface, place: impl Fn(&Statistics) -> &Drops) -> u64 {
    let statistics = server.statistics();
    [&statistics.messages_dropped, place(&statistics)]
        .map(|dropped| dropped.of(DropReason::Superseded))
        .iter()
        .sum()
}

#[test]
fn a_blocking_handler_gets_the_newest_message_that_came_while_it_worked() {
    let server = server(server_config(Wire::Native).qos(MessageType::Command, Qos::new().keep_last(1)));
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let worked = Arc::new(Mutex::new(Vec::new()));
    let (list, may_go) = (Arc::clone(&worked), Mutex::new(may_go));
    server.register_message_handler(
        MessageType::Command,
        Handler::blocking(move |message, _| {
            list.lock().expect("no panic").push(message.decode::<u64>().expect("a number"));
            may_go.lock().expect("no panic").recv().expect("the test releases the handler");
        })
        .concurrency(1),
    );
    let client = client(client_config(&server));
    send(&client, 0..1);
    until("the handler works", || worked.lock().expect("no panic").len() == 1);
    send(&client, 1..50);
    until("the other messages are dropped", || superseded(&server, |all| &all.handlers.dropped) == 48);
    (0..2).for_each(|_| go.send(()).expect("the handler waits"));
    until("the handler is done", || server.statistics().handlers.handled == 2);
    assert_eq!(*worked.lock().expect("no panic"), [0, 49]);
    let statistics = server.statistics();
    assert_eq!(statistics.handlers.offered() + statistics.messages_dropped.total(), 50);
}

/// A relay between a client and a server. The test carries the datagrams by calling it.
struct Relay {
    near: UdpSocket,
    far: UdpSocket,
    client: Option<SocketAddr>,
}

impl Relay {
    fn to(server: SocketAddr) -> Self {
        let [near, far] = [(); 2].map(|()| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            socket.set_nonblocking(true).expect("a socket can be non-blocking");
            socket
        });
        far.connect(server).expect("loopback");
        Self { near, far, client: None }
    }

    /// Carries the datagrams that wait at both ends. A datagram of the client that contains the bytes `lost` is dropped.
    fn carry(&mut self, lost: Option<&[u8]>) {
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = self.near.recv_from(&mut buffer) {
            self.client = Some(from);
            let has = |bytes: &[u8]| buffer[..len].windows(bytes.len()).any(|part| part == bytes);
            if !lost.is_some_and(has) {
                self.far.send(&buffer[..len]).expect("loopback takes everything");
            }
        }
        while let (Ok(len), Some(client)) = (self.far.recv(&mut buffer), self.client) {
            self.near.send_to(&buffer[..len], client).expect("loopback takes everything");
        }
    }
}

#[test]
fn an_ordered_message_ages_while_it_waits_for_its_predecessor() {
    let config = server_config(Wire::Native).qos(MessageType::Command, Qos::new().lifespan(MS * 100));
    let (server, mut driver) = UdpInterface::caller_driven(config).expect("valid");
    driver.connect().expect("a free port");
    let mut relay = Relay::to(address(&server));
    let near = relay.near.local_addr().expect("bound").to_string();
    let config = client_config(&server).endpoint(near).connect_timeout(Duration::ZERO);
    let client = client(config.liveness_timeout(LONG));
    until("connected", || {
        relay.carry(None);
        driver.turn(Some(MS));
        client.connection_state() == ConnectionState::Connected
    });
    let ordered = Metadata::command().delivery(Delivery::Ordered);
    client.send(&1_111_111, &ordered.clone().lifespan(LONG)).expect("connected");
    // The sender stamps the message with a clock that is an hour ahead.
    let in_an_hour = WallTime::from_nanos(now_ns() + 3_600_000_000_000);
    let receipt =
        client.publisher((ordered.timestamp(in_an_hour)).clone()).send_reliable(&2).expect("connected");
    until("the second message has arrived", || {
        relay.carry(Some(b"1111111"));
        driver.turn(Some(MS));
        receipt.outcome().is_some()
    });
    assert_eq!(receipt.outcome(), Some(Outcome::Delivered));
    thread::sleep(MS * 150);
    let mut seen = Vec::new();
    until("the first message is handed out", || {
        relay.carry(None);
        read_all(&mut driver, |message| seen.push(number_in(message)));
        !seen.is_empty()
    });
    assert_eq!(seen, [1_111_111]);
    assert_eq!(server.statistics().messages_dropped.of(DropReason::Expired), 1);
}

#[test]
fn a_late_message_of_a_stream_with_a_history_is_stale() {
    let plain = server_config(Wire::Classic);
    let keeps = plain.clone().qos(MessageType::Command, Qos::new().keep_last(3));
    for (config, expected) in [(keeps, &[1, 3][..]), (plain, &[1, 3, 2])] {
        let server = server(config);
        let peer = RawPeer::of(&server);
        for number in [1, 3, 2] {
            peer.command(number, f64::from(number), &number.to_string());
        }
        until("all messages have arrived", || server.statistics().messages_received == 3);
        let taken: Vec<_> = expected.iter().map(|_| next_number(&server)).collect();
        assert_eq!(taken, expected);
        let statistics = server.statistics();
        assert_eq!(statistics.messages_dropped.of(DropReason::Stale), 3 - expected.len() as u64);
        assert_eq!((statistics.late, statistics.inbox.offered()), (1, expected.len() as u64));
    }
}

#[test]
fn the_age_counts_from_the_time_stamp_once_the_clocks_are_compared() {
    let (server, client) = common::pair(Wire::Native);
    until("the clocks are compared", || server.statistics().path.is_some_and(|path| path.samples > 0));
    let made = WallTime::from_nanos(now_ns() - 2_000_000_000);
    client.send(&1, &Metadata::data().timestamp(made)).expect("connected");
    let message = common::next(&server);
    assert!((2..TIME_LIMIT.as_secs()).contains(&message.age().as_secs()), "{:?}", message.age());
    let sent = Instant::now();
    client.send(&2, &Metadata::data()).expect("connected");
    let message = common::next(&server);
    let (age, since) = (message.age(), sent.elapsed());
    assert!(age <= since + MS * 100, "{age:?}");
}

#[test]
fn the_control_profile_gives_a_busy_reader_no_old_commands() {
    // The pauses of this test may be longer than the profile's deadline.
    let goes_on = Qos::new().latch(false);
    let profile = |config: Config| {
        config.profile(tautline::Profile::control()).qos(MessageType::Command, goes_on).failsafe(|_| {})
    };
    let server = server(profile(server_config(Wire::Native)));
    let client = client(profile(client_config(&server)));
    send(&client, 0..10);
    until("all messages have arrived", || server.statistics().messages_received == 10);
    thread::sleep(MS * 60);
    // On a slow machine a message may expire, so the test sends until one arrives in time.
    let (number, taken) = (11..)
        .find_map(|sent| {
            send(&client, sent - 1..sent);
            server
                .receive(Some(MS * 20))
                .ok()
                .map(|message| (message.decode::<u64>().expect("a number"), sent))
        })
        .expect("an endless search");
    assert!(number >= 10, "{number} is too old");
    until("the last message has arrived", || server.statistics().messages_received == taken);
    let statistics = server.statistics();
    let early = statistics.messages_dropped.total();
    assert_eq!(early + statistics.inbox.offered(), taken, "{statistics:?}");
    assert!(early + statistics.inbox.dropped.total() >= 10);
}
