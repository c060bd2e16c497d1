//! Watchdogs: they trip when signs of life stop, recover when they come back, and nothing that others do holds them up.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{PATIENCE, RawPeer, client, client_config, next, pair, server, server_config, until};
use tautline::{
    Config, ConnectionState, Event, Handler, MessageType, Metadata, Profile, Qos, UdpInterface, WatchError,
    WatchId, Watchdog, WatchdogChange, WatchdogEvent, WatchdogState, Wire, create_udp_server,
};

const MS: Duration = Duration::from_millis(1);

/// Registers a watchdog; what its closure is told comes out.
fn watch(interface: &UdpInterface, watchdog: Watchdog) -> (WatchId, Receiver<WatchdogEvent>) {
    let (sender, events) = mpsc::channel();
    let id = interface.watch(watchdog, move |event| _ = sender.send(*event)).expect("possible");
    (id, events)
}

#[track_caller]
fn told(events: &Receiver<WatchdogEvent>) -> WatchdogEvent {
    events.recv_timeout(PATIENCE).expect("told in time")
}

#[track_caller]
fn assert_trips(events: &Receiver<WatchdogEvent>) -> WatchdogEvent {
    let event = told(events);
    assert!(event.is_tripped(), "{event:?}");
    event
}

#[track_caller]
fn assert_recovers(events: &Receiver<WatchdogEvent>) -> WatchdogEvent {
    let event = told(events);
    assert!(!event.is_tripped(), "{event:?}");
    event
}

fn commands(period: Duration) -> Watchdog {
    Watchdog::messages(MessageType::Command, period)
}

#[test]
fn a_stream_that_stops_trips_and_its_next_message_recovers() {
    let (server, client) = pair(Wire::Native);
    let mut events = server.events();
    let before = Instant::now();
    let (id, said) = watch(&server, commands(30 * MS));
    client.send(&1, &Metadata::command()).unwrap();
    let tripped = assert_trips(&said);
    let last = tripped.last.expect("one came");
    assert!(last >= before && tripped.at >= last + 30 * MS, "{tripped:?}");
    assert_eq!((tripped.watch, tripped.watched.selector), (id, Some(MessageType::Command.into())));
    let WatchdogChange::Tripped { late, missed } = tripped.change else { panic!("{tripped:?}") };
    assert_eq!((last + 30 * MS + late, missed), (tripped.at, 1));
    client.send(&2, &Metadata::command()).unwrap();
    let recovered = assert_recovers(&said);
    assert_eq!(recovered.change, WatchdogChange::Recovered { after: recovered.at - tripped.at });
    assert_trips(&said);
    let statistics = server.statistics();
    assert_eq!((statistics.watchdog_trips, statistics.watchdog_recoveries), (2, 1));
    let mut seen = Vec::new();
    while seen.len() < 3 {
        if let Event::Watchdog(event) = events.next(Some(PATIENCE)).expect("an event of each") {
            seen.push(event.is_tripped());
        }
    }
    assert_eq!(seen, [true, false, true]);
    assert_eq!(server.watchdogs()[0].state, WatchdogState::Tripped);
}

#[test]
fn heartbeats_feed_the_watchdog_of_a_peer_and_no_stream() {
    let config = server_config(Wire::Native).heartbeat_interval(5 * MS).liveness_timeout(200 * MS);
    let server = server(config);
    let client = client(client_config(&server).heartbeat_interval(5 * MS).liveness_timeout(200 * MS));
    // Long, because this machine may sleep for a while.
    let (_, of_peer) = watch(&client, Watchdog::peer(Duration::from_secs(2)));
    let (_, of_stream) = watch(&client, Watchdog::messages(MessageType::Status, 20 * MS).armed_at_connect());
    assert_trips(&of_stream);
    until("the peer is heard", || client.watchdogs()[0].state == WatchdogState::Armed);
    assert_eq!((client.watchdogs()[0].trips, client.watchdogs()[0].missed), (0, 0));
    server.disconnect();
    assert_trips(&of_peer);
    assert!(of_stream.try_recv().is_err(), "no heartbeat ended its silence");
}

#[test]
fn only_what_is_watched_feeds() {
    let (server, client) = pair(Wire::Native);
    let (_, channel) = watch(&server, commands(20 * MS).channel(7));
    let (_, others) = watch(&server, Watchdog::messages(MessageType::Status, 20 * MS));
    client.send(&1, &Metadata::command().channel(3)).unwrap();
    next(&server);
    assert!(server.watchdogs().iter().all(|watch| watch.state == WatchdogState::Waiting));
    client.send(&1, &Metadata::command().channel(7)).unwrap();
    assert_trips(&channel);
    assert!(others.try_recv().is_err());
}

#[test]
fn nothing_trips_before_the_first_sign_of_life_unless_connecting_arms_it() {
    let server = create_udp_server(server_config(Wire::Classic)).unwrap();
    let (_, waiting) = watch(&server, commands(10 * MS));
    let (_, armed) = watch(&server, commands(10 * MS).armed_at_connect());
    std::thread::sleep(30 * MS);
    assert!(armed.try_recv().is_err(), "not connected yet");
    server.connect().unwrap();
    let tripped = assert_trips(&armed);
    assert_eq!(tripped.last, None);
    assert!(waiting.try_recv().is_err());
    assert_trips(&watch(&server, commands(10 * MS).armed_at_connect()).1);
}

#[test]
fn a_removed_watchdog_neither_trips_nor_keeps_its_closure() {
    let (server, client) = pair(Wire::Native);
    let (id, events) = watch(&server, commands(20 * MS));
    client.send(&1, &Metadata::command()).unwrap();
    until("armed", || server.watchdogs()[0].state == WatchdogState::Armed);
    assert!(server.unwatch(id));
    assert!(!server.unwatch(id));
    assert_eq!(events.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected), "dropped, untold");
    assert!(server.watchdogs().is_empty());
}

#[test]
fn a_closure_may_remove_its_own_watchdog() {
    let (server, client) = pair(Wire::Native);
    let own = Arc::new(Mutex::new(None));
    let (inside, known, (sender, done)) = (server.clone(), Arc::clone(&own), mpsc::channel());
    let mut lock = own.lock().unwrap();
    let id = server.watch(commands(10 * MS), move |_| {
        let id = known.lock().unwrap().expect("known by now");
        sender.send(inside.unwatch(id)).unwrap();
    });
    *lock = Some(id.unwrap());
    drop(lock);
    client.send(&1, &Metadata::command()).unwrap();
    assert_eq!(done.recv_timeout(PATIENCE), Ok(true));
    assert_eq!(done.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected), "and is dropped");
    assert_eq!(server.statistics().watchdog_trips, 1, "what has gone still counts");
}

#[test]
fn a_closure_that_panics_is_counted_and_called_again() {
    let (server, client) = pair(Wire::Native);
    let (sender, calls) = mpsc::channel();
    let failing = move |event: &WatchdogEvent| {
        sender.send(event.is_tripped()).unwrap();
        panic!("on purpose");
    };
    server.watch(commands(20 * MS), failing).unwrap();
    let (_, other) = watch(&server, commands(20 * MS));
    client.send(&1, &Metadata::command()).unwrap();
    assert_eq!(calls.recv_timeout(PATIENCE), Ok(true));
    assert_trips(&other);
    client.send(&2, &Metadata::command()).unwrap();
    assert_eq!(calls.recv_timeout(PATIENCE), Ok(false));
    assert_recovers(&other);
    until("counted", || server.statistics().watchdog_panics >= 2);
}

#[test]
fn an_inline_handler_that_hangs_does_not_keep_it_from_tripping() {
    let (server, client) = pair(Wire::Native);
    let (release, hangs) = mpsc::channel::<()>();
    let hangs = Mutex::new(hangs);
    let hanging = Handler::inline(move |_, _| _ = hangs.lock().unwrap().recv_timeout(PATIENCE));
    server.register_message_handler(MessageType::Command, hanging);
    let (_, of_stream) = watch(&server, commands(20 * MS));
    let (_, of_peer) = watch(&server, Watchdog::peer(300 * MS));
    client.send(&1, &Metadata::command()).unwrap();
    assert_trips(&of_stream);
    assert_trips(&of_peer);
    drop(release);
    client.send(&1, &Metadata::command()).unwrap();
    assert_recovers(&of_stream);
    assert_recovers(&of_peer);
}

#[test]
fn a_subscriber_that_hangs_does_not_keep_it_from_tripping() {
    struct Hangs(Mutex<Receiver<()>>);
    impl std::task::Wake for Hangs {
        fn wake(self: Arc<Self>) {
            let _ = self.0.lock().unwrap().recv_timeout(PATIENCE);
        }
    }
    let (server, client) = pair(Wire::Native);
    let mut events = server.events();
    let (_, said) = watch(&server, commands(20 * MS));
    client.send(&1, &Metadata::command()).unwrap();
    assert_trips(&said);
    // The event of this trip comes after the call of the failsafe.
    while !matches!(events.next(Some(PATIENCE)).expect("the trip is an event"), Event::Watchdog(_)) {}
    let (release, hangs) = mpsc::channel();
    let waker = Arc::new(Hangs(Mutex::new(hangs))).into();
    let waits = std::pin::pin!(events.next_async());
    assert!(std::future::Future::poll(waits, &mut std::task::Context::from_waker(&waker)).is_pending());
    // The event of the recovery wakes the one that hangs; the trip after it comes all the same.
    client.send(&2, &Metadata::command()).unwrap();
    assert_recovers(&said);
    assert_trips(&said);
    drop(release);
}

#[test]
fn a_loop_that_does_not_turn_trips_and_a_turn_recovers() {
    let (server, mut driver) = UdpInterface::caller_driven(server_config(Wire::Classic)).unwrap();
    driver.connect().unwrap();
    let (_, events) = watch(&server, commands(20 * MS));
    let peer = RawPeer::of(&server);
    peer.command(0, 1.0, "1");
    driver.turn(Some(PATIENCE));
    assert_trips(&events);
    // What waits in the socket is no sign of life until somebody reads it.
    peer.command(1, 1.1, "1");
    assert!(events.recv_timeout(20 * MS).is_err());
    driver.turn(Some(PATIENCE));
    assert_recovers(&events);
}

#[test]
fn a_disconnect_trips_and_connecting_again_recovers() {
    let (server, client) = pair(Wire::Native);
    let (_, events) = watch(&client, Watchdog::peer(150 * MS));
    until("armed", || client.watchdogs()[0].state == WatchdogState::Armed);
    client.disconnect();
    assert_trips(&events);
    client.connect().unwrap();
    assert_recovers(&events);
    drop(server);
}

#[test]
fn a_driver_that_dies_trips() {
    struct Broken;
    impl std::task::Wake for Broken {
        fn wake(self: Arc<Self>) {
            panic!("a broken executor, on purpose");
        }
    }
    let server = server(server_config(Wire::Classic));
    let (_, events) = watch(&server, commands(30 * MS));
    let peer = RawPeer::of(&server);
    peer.command(0, 1.0, "1");
    next(&server);
    let waker = Arc::new(Broken).into();
    let waits = std::pin::pin!(server.receive_async());
    assert!(std::future::Future::poll(waits, &mut std::task::Context::from_waker(&waker)).is_pending());
    peer.command(1, 1.1, "2");
    until("it has died", || server.connection_state() == ConnectionState::Error);
    until("nothing comes any more", || server.watchdogs()[0].state == WatchdogState::Tripped);
    while events.recv_timeout(50 * MS).is_ok() {}
    peer.command(2, 1.2, "3");
    assert!(events.recv_timeout(50 * MS).is_err(), "nobody reads any more");
    server.connect().unwrap();
    RawPeer::of(&server).command(0, 2.0, "4");
    assert_recovers(&events);
}

#[test]
fn cleaning_up_and_dropping_trip_what_is_armed() {
    for cleans_up in [true, false] {
        let (server, client) = pair(Wire::Native);
        let (_, armed) = watch(&server, commands(Duration::from_secs(60)));
        let (_, waiting) = watch(&server, Watchdog::messages(MessageType::Data, Duration::from_secs(60)));
        client.send(&1, &Metadata::command()).unwrap();
        until("armed", || server.watchdogs()[0].state == WatchdogState::Armed);
        if cleans_up {
            server.cleanup();
            let refused = server.watch(commands(MS), |_| {});
            assert_eq!(refused, Err(WatchError::Closed));
            assert_eq!(server.statistics().watchdog_trips, 1);
        }
        drop(server);
        let tripped = assert_trips(&armed);
        assert!(
            matches!(tripped.change, WatchdogChange::Tripped { late: Duration::ZERO, .. }),
            "{tripped:?}"
        );
        assert!(armed.try_recv().is_err() && waiting.try_recv().is_err());
    }
}

#[test]
fn misses_are_allowed_until_there_are_too_many_of_the_latest_periods() {
    const PERIOD: Duration = Duration::from_millis(100);
    let (server, mut driver) = UdpInterface::caller_driven(server_config(Wire::Classic)).unwrap();
    driver.connect().unwrap();
    let peer = RawPeer::of(&server);
    let (_, events) = watch(&server, commands(PERIOD).misses(2, 5));
    let mut number = 0;
    let mut command = || {
        peer.command(number, 1.0 + f64::from(number), "1");
        driver.turn(Some(PATIENCE));
        number += 1;
    };
    command();
    let begun = Instant::now();
    std::thread::sleep(PERIOD + PERIOD / 2);
    // Unless the machine slept too: one period was missed, and that is allowed.
    if begun.elapsed() < 2 * PERIOD {
        command();
        assert!(events.try_recv().is_err());
        assert_eq!(server.watchdogs()[0].missed, 1);
        assert_eq!(server.statistics().deadline_misses, 1);
    }
    let tripped = assert_trips(&events);
    let WatchdogChange::Tripped { missed, .. } = tripped.change else { panic!("{tripped:?}") };
    assert!(missed >= 3, "{tripped:?}");
    // One message is not enough: three of the latest five were missed.
    command();
    assert!(events.recv_timeout(10 * MS).is_err());
    assert_eq!(server.watchdogs()[0].state, WatchdogState::Tripped);
    let patient = Instant::now();
    while events.try_recv().is_err() {
        assert!(patient.elapsed() < PATIENCE, "it recovers");
        std::thread::sleep(PERIOD * 6 / 10);
        command();
    }
}

#[test]
fn a_watchdog_for_each_peer_tells_them_apart() {
    let server = server(server_config(Wire::Native));
    let (id, events) = watch(&server, commands(60 * MS).each_peer());
    let (steady, stops) = (client(client_config(&server)), client(client_config(&server)));
    stops.send(&1, &Metadata::command()).unwrap();
    let stopped = next(&server).peer();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                steady.send(&1, &Metadata::command()).unwrap();
                std::thread::sleep(5 * MS);
            }
        });
        let of_stopped = |event: &WatchdogEvent| event.watched.peer == Some(stopped);
        let tripped = std::iter::from_fn(|| Some(told(&events))).find(of_stopped).expect("it stopped");
        assert!(tripped.is_tripped() && tripped.watch == id);
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(server.watchdogs().len(), 2);
    // What is gone trips once more, and its watchdog goes.
    drop((steady, stops));
    until("both have gone", || server.watchdogs().is_empty());
    assert!(server.statistics().watchdog_trips >= 2);
    assert!(server.unwatch(id));
}

#[test]
fn a_configured_deadline_is_watched_without_a_closure() {
    let qos = Qos::new().deadline(40 * MS).misses(1, 4);
    let server = create_udp_server(server_config(Wire::Native).qos(MessageType::Command, qos)).unwrap();
    assert_eq!(
        server.watch(Watchdog::configured(MessageType::Status), |_| {}),
        Err(WatchError::NoDeadline { selector: MessageType::Status.into() })
    );
    let (_, closure) = watch(&server, Watchdog::configured(MessageType::Command));
    let mut events = server.events();
    server.connect().unwrap();
    let client = client(client_config(&server));
    client.send(&1, &Metadata::command()).unwrap();
    let peer = next(&server).peer();
    let tripped = assert_trips(&closure);
    let WatchdogChange::Tripped { missed: 2.., .. } = tripped.change else { panic!("{tripped:?}") };
    assert_eq!(tripped.watched.peer, Some(peer));
    let is_own = |event: &Event| matches!(event, Event::Watchdog(event) if event.watch != tripped.watch);
    assert!(
        std::iter::from_fn(|| events.next(Some(PATIENCE))).any(|event| is_own(&event)),
        "without a closure"
    );
    assert!(server.statistics().deadline_misses >= 2);
    // Connecting anew replaces the configured one, and leaves the other.
    server.disconnect();
    server.connect().unwrap();
    until("the former ones have gone", || server.watchdogs().is_empty());
    assert!(server.unwatch(tripped.watch));
}

#[test]
fn the_control_profile_watches_commands() {
    let config = server_config(Wire::Classic).profile(Profile::control());
    let server = server(config);
    let mut events = server.events();
    RawPeer::of(&server).command(0, 1.0, "1");
    let of_commands = |event: Event| matches!(event, Event::Watchdog(event) if event.is_tripped() && event.watched.message_type() == Some(MessageType::Command));
    assert!(std::iter::from_fn(|| events.next(Some(PATIENCE))).any(of_commands));
}

#[test]
fn what_cannot_be_watched_is_refused_by_name() {
    let server = create_udp_server(Config::server("127.0.0.1:0")).unwrap();
    let refused = |watchdog: Watchdog| server.watch(watchdog, |_| {}).expect_err("impossible").to_string();
    assert_eq!(refused(Watchdog::peer(Duration::ZERO)), "a watchdog of 0ns: expected 1us or more");
    for (may_miss, of) in [(1, 1), (3, 3), (4, 3), (1, 65)] {
        assert_eq!(
            refused(commands(MS).misses(may_miss, of)),
            format!(
                "{may_miss} misses of {of} periods: expected fewer misses than periods, and 2 to 64 periods"
            )
        );
    }
    assert_eq!(
        refused(Watchdog::configured(MessageType::Command)),
        "the configuration has no `command.deadline`"
    );
}
