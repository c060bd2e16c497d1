//! Fresh beats complete: lifespans and histories, from the socket to whoever takes a message.

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
#[cfg(target_os = "linux")]
use std::{
    fs::File,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use common::{
    PATIENCE, RawPeer, WIRES, address, client, client_config, next_number, server, server_config, until,
};
use tautline::{
    Config, ConnectionState, Delivery, Driver, DropReason, Drops, Handler, MessageRef, MessageType, Metadata,
    Outcome, Qos, ReceiveError, Statistics, UdpInterface, WallTime, Watchdog, WatchdogState, Wire,
};

const MS: Duration = Duration::from_millis(1);

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

/// A caller-driven server with these settings for commands, and a client of it that its first turns have answered.
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

fn send(client: &UdpInterface, numbers: std::ops::Range<u64>) {
    for number in numbers {
        client.send(&number, &Metadata::command()).expect("connected");
    }
    client.flush();
}

fn number_in(message: &MessageRef<'_>) -> u64 {
    std::str::from_utf8(message.payload()).expect("JSON").parse().expect("a number was sent")
}

#[test]
fn a_driver_that_paused_hands_out_nothing_that_has_expired() {
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
                assert!(reply.arrival().age() < PATIENCE);
                seen_inline.lock().expect("no panic").push(number_in(message));
            }),
        );
        read_all(&mut driver, |message| seen.push(number_in(message)));
        assert!(!seen.is_empty(), "those sent last are fresh");
        assert!(seen.iter().all(|number| *number >= 20), "{wire}: {seen:?}");
        assert_eq!(*inline.lock().expect("no panic"), seen);
        let statistics = server.statistics();
        let expired = statistics.messages_dropped.of(DropReason::Expired);
        assert_eq!((statistics.messages_received - before, expired), (30, 30 - seen.len() as u64), "{wire}");
        assert_eq!(statistics.inbox.offered(), seen.len() as u64);
    }
}

#[test]
fn after_a_pause_the_newest_is_handed_out_first() {
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
fn a_history_alone_is_enough_for_that() {
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
fn what_names_another_message_overtakes_nothing_of_its_stream() {
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
fn what_expires_before_it_is_handed_out_feeds_no_watchdog() {
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
    // It comes in front, unless this machine was so slow that both had expired.
    assert!(server.statistics().messages_dropped.of(DropReason::Expired) > 0);
    assert!(
        !server.watchdogs().iter().any(|watchdog| watchdog.state == WatchdogState::Armed),
        "{:?}",
        server.watchdogs()
    );
}

#[test]
fn what_is_held_back_when_a_handler_disconnects_is_counted() {
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
fn a_reader_that_paused_gets_nothing_that_has_expired() {
    for wire in WIRES {
        let server = server(server_config(wire).qos(MessageType::Command, Qos::new().lifespan(MS * 100)));
        let client = client(client_config(&server));
        send(&client, 0..20);
        until("all wait", || server.statistics().messages_received == 20);
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
fn a_read_that_fails_makes_nothing_look_fresh() {
    for wire in WIRES {
        let (server, mut driver, client) = driven(wire, Qos::new().lifespan(MS * 100));
        read_all(&mut driver, |_| {});
        send(&client, 0..5);
        thread::sleep(MS * 110);
        let broken = Broken::socket(driver.socket_descriptor().expect("connected"));
        assert!(driver.turn(Some(Duration::ZERO)) > 0, "it does not say that nothing waits");
        drop(broken);
        let mut seen = 0;
        read_all(&mut driver, |_| seen += 1);
        assert_eq!((seen, server.statistics().messages_dropped.of(DropReason::Expired)), (0, 5), "{wire}");
    }
}

/// A descriptor that is another file's for a while, so that no socket can be read there.
#[cfg(target_os = "linux")]
struct Broken {
    descriptor: i32,
    socket: OwnedFd,
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
impl Broken {
    fn socket(descriptor: i32) -> Self {
        // SAFETY: the connection that the descriptor belongs to outlives this.
        let socket =
            unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned().expect("one more is free");
        let broken = Self { descriptor, socket };
        broken.put(File::open("/dev/null").expect("it is there").as_raw_fd());
        broken
    }

    fn put(&self, other: i32) {
        // SAFETY: both are open, and only the test's thread uses the connection.
        assert_eq!(unsafe { libc::dup2(other, self.descriptor) }, self.descriptor);
    }
}

#[cfg(target_os = "linux")]
impl Drop for Broken {
    fn drop(&mut self) {
        self.put(self.socket.as_raw_fd());
    }
}

#[test]
fn a_message_brings_its_own_lifespan() {
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
    // Made long before it came: no queue, but the sender took its time.
    let hour_ago = WallTime::from_nanos(now_ns() - 3_600_000_000_000);
    until("the clocks are compared", || {
        driver.turn(Some(MS));
        server.statistics().path.is_some_and(|path| path.samples > 0)
    });
    client.send(&4, &mortal.timestamp(hour_ago)).expect("connected");
    client.send(&5, &Metadata::command().timestamp(hour_ago)).expect("connected");
    let mut seen = Vec::new();
    until("the second comes", || {
        read_all(&mut driver, |message| seen.push((number_in(message), message.age().as_secs())));
        !seen.is_empty()
    });
    assert!(matches!(seen[..], [(5, 3_600..3_700)]), "{seen:?}");
}

/// The wall clock, in nanoseconds since 1970.
fn now_ns() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_nanos()).expect("before 2262")
}

#[test]
fn of_a_stream_only_the_newest_waits() {
    for wire in WIRES {
        let server = server(server_config(wire).qos(MessageType::Command, Qos::new().keep_last(2)));
        let client = client(client_config(&server));
        send(&client, 0..100);
        client.send(&1_000, &Metadata::data()).expect("connected");
        // A driver that was kept from its core holds some back itself, until it has read all.
        until("the others are dropped", || superseded(&server, |all| &all.inbox.dropped) == 98);
        let mut waiting = [next_number(&server), next_number(&server), next_number(&server)];
        waiting.sort_unstable();
        assert_eq!(waiting, [98, 99, 1_000], "{wire}");
        let statistics = server.statistics();
        let offered = statistics.inbox.offered() + statistics.messages_dropped.total();
        assert_eq!((offered, statistics.messages_received, statistics.inbox.waiting), (101, 101, 0));
    }
}

/// How many messages have given way to newer ones at the driver, which holds some back after a pause, and at `place`.
fn superseded(server: &UdpInterface, place: impl Fn(&Statistics) -> &Drops) -> u64 {
    let statistics = server.statistics();
    [&statistics.messages_dropped, place(&statistics)]
        .map(|dropped| dropped.of(DropReason::Superseded))
        .iter()
        .sum()
}

#[test]
fn a_blocking_handler_works_on_the_newest_of_those_that_came_meanwhile() {
    let server = server(server_config(Wire::Native).qos(MessageType::Command, Qos::new().keep_last(1)));
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let worked = Arc::new(Mutex::new(Vec::new()));
    let (list, may_go) = (Arc::clone(&worked), Mutex::new(may_go));
    server.register_message_handler(
        MessageType::Command,
        Handler::blocking(move |message, _| {
            list.lock().expect("no panic").push(message.decode::<u64>().expect("a number"));
            may_go.lock().expect("no panic").recv().expect("the test says so");
        })
        .concurrency(1),
    );
    let client = client(client_config(&server));
    send(&client, 0..1);
    until("it is at work", || worked.lock().expect("no panic").len() == 1);
    send(&client, 1..50);
    until("the others are dropped", || superseded(&server, |all| &all.handlers.dropped) == 48);
    (0..2).for_each(|_| go.send(()).expect("it waits"));
    until("it is done", || server.statistics().handlers.handled == 2);
    assert_eq!(*worked.lock().expect("no panic"), [0, 49]);
    let statistics = server.statistics();
    assert_eq!(statistics.handlers.offered() + statistics.messages_dropped.total(), 50);
}

/// A way between a client and a server, on which somebody must carry the datagrams.
struct Way {
    near: UdpSocket,
    far: UdpSocket,
    client: Option<SocketAddr>,
}

impl Way {
    fn to(server: SocketAddr) -> Self {
        let [near, far] = [(); 2].map(|()| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            socket.set_nonblocking(true).expect("it can");
            socket
        });
        far.connect(server).expect("loopback");
        Self { near, far, client: None }
    }

    /// Carries what waits at either end, but from the client nothing that has these bytes in it.
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
fn an_ordered_message_that_waited_for_another_does_not_look_fresh() {
    let config = server_config(Wire::Native).qos(MessageType::Command, Qos::new().lifespan(MS * 100));
    let (server, mut driver) = UdpInterface::caller_driven(config).expect("valid");
    driver.connect().expect("a free port");
    let mut way = Way::to(address(&server));
    let near = way.near.local_addr().expect("bound").to_string();
    let config = client_config(&server).endpoint(near).connect_timeout(Duration::ZERO);
    let client = client(config.liveness_timeout(LONG));
    until("connected", || {
        way.carry(None);
        driver.turn(Some(MS));
        client.connection_state() == ConnectionState::Connected
    });
    let ordered = Metadata::command().delivery(Delivery::Ordered);
    client.send(&1_111_111, &ordered.clone().lifespan(LONG)).expect("connected");
    // By its sender's wrong clock it is yet to be made.
    let in_an_hour = WallTime::from_nanos(now_ns() + 3_600_000_000_000);
    let receipt =
        client.publisher((ordered.timestamp(in_an_hour)).clone()).send_reliable(&2).expect("connected");
    until("the second has come", || {
        way.carry(Some(b"1111111"));
        driver.turn(Some(MS));
        receipt.outcome().is_some()
    });
    assert_eq!(receipt.outcome(), Some(Outcome::Delivered));
    thread::sleep(MS * 150);
    let mut seen = Vec::new();
    until("the first comes", || {
        way.carry(None);
        read_all(&mut driver, |message| seen.push(number_in(message)));
        !seen.is_empty()
    });
    assert_eq!(seen, [1_111_111]);
    assert_eq!(server.statistics().messages_dropped.of(DropReason::Expired), 1);
}

#[test]
fn a_late_message_is_stale_where_only_the_newest_counts() {
    let plain = server_config(Wire::Classic);
    let keeps = plain.clone().qos(MessageType::Command, Qos::new().keep_last(3));
    for (config, expected) in [(keeps, &[1, 3][..]), (plain, &[1, 3, 2])] {
        let server = server(config);
        let peer = RawPeer::of(&server);
        for number in [1, 3, 2] {
            peer.command(number, f64::from(number), &number.to_string());
        }
        until("all came", || server.statistics().messages_received == 3);
        let taken: Vec<_> = expected.iter().map(|_| next_number(&server)).collect();
        assert_eq!(taken, expected);
        let statistics = server.statistics();
        assert_eq!(statistics.messages_dropped.of(DropReason::Stale), 3 - expected.len() as u64);
        assert_eq!((statistics.late, statistics.inbox.offered()), (1, expected.len() as u64));
    }
}

#[test]
fn the_age_of_a_message_counts_from_its_making_once_the_clocks_are_compared() {
    let (server, client) = common::pair(Wire::Native);
    until("the clocks are compared", || server.statistics().path.is_some_and(|path| path.samples > 0));
    let made = WallTime::from_nanos(now_ns() - 2_000_000_000);
    client.send(&1, &Metadata::data().timestamp(made)).expect("connected");
    let message = common::next(&server);
    assert!((2..PATIENCE.as_secs()).contains(&message.age().as_secs()), "{:?}", message.age());
    let sent = Instant::now();
    client.send(&2, &Metadata::data()).expect("connected");
    let message = common::next(&server);
    let (age, since) = (message.age(), sent.elapsed());
    assert!(age <= since + MS * 100, "{age:?}");
}

#[test]
fn a_profile_for_control_keeps_old_commands_from_whoever_was_busy() {
    let profile = |config: Config| config.profile(tautline::Profile::control());
    let server = server(profile(server_config(Wire::Native)));
    let client = client(profile(client_config(&server)));
    send(&client, 0..10);
    until("all came", || server.statistics().messages_received == 10);
    thread::sleep(MS * 60);
    // One of them comes through in time, however slow this machine is.
    let (number, taken) = (11..)
        .find_map(|sent| {
            send(&client, sent - 1..sent);
            server
                .receive(Some(MS * 20))
                .ok()
                .map(|message| (message.decode::<u64>().expect("a number"), sent))
        })
        .expect("endless");
    assert!(number >= 10, "{number} is too old");
    until("the last came", || server.statistics().messages_received == taken);
    let statistics = server.statistics();
    let early = statistics.messages_dropped.total();
    assert_eq!(early + statistics.inbox.offered(), taken, "{statistics:?}");
    assert!(early + statistics.inbox.dropped.total() >= 10);
}
