//! Watchdogs trip when signs of life stop, recover when they come back, and are not held up by handlers or subscribers.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::watchdogs::watch;
use common::{RawPeer, TIME_LIMIT, client, client_config, next, pair, server, server_config, until};
use tautline::{
    Config, ConnectionState, Event, Handler, MessageType, Metadata, Qos, SilenceCause, UdpInterface,
    WatchError, Watchdog, WatchdogChange, WatchdogEvent, WatchdogState, Wire, create_udp_server,
};

const MS: Duration = Duration::from_millis(1);

/// The next event, without that of the first sign of life.
#[track_caller]
fn next_event(events: &Receiver<WatchdogEvent>) -> WatchdogEvent {
    let next = || events.recv_timeout(TIME_LIMIT).expect("the failsafe is called in time");
    Some(next()).filter(|event| event.change != WatchdogChange::Armed).unwrap_or_else(next)
}

#[track_caller]
fn assert_trips(events: &Receiver<WatchdogEvent>) -> WatchdogEvent {
    let event = next_event(events);
    assert!(is_trip(&event), "{event:?}");
    event
}

#[track_caller]
fn assert_recovers(events: &Receiver<WatchdogEvent>) -> WatchdogEvent {
    let event = next_event(events);
    assert!(matches!(event.change, WatchdogChange::Recovered { .. }), "{event:?}");
    event
}

fn is_trip(event: &WatchdogEvent) -> bool {
    matches!(event.change, WatchdogChange::Tripped { .. })
}

/// Latches are tested in `latch.rs`.
fn commands(period: Duration) -> Watchdog {
    Watchdog::messages(MessageType::Command, period).recovers_by_itself()
}

#[test]
fn a_watchdog_trips_when_a_stream_stops_and_recovers_with_the_next_message() {
    let (server, client) = pair(Wire::Native);
    let mut events = server.events();
    let before = Instant::now();
    let (id, calls) = watch(&server, commands(30 * MS));
    client.send(&1, &Metadata::command()).unwrap();
    let tripped = assert_trips(&calls);
    let last = tripped.last.expect("a message came");
    assert!(last >= before && tripped.at >= last + 30 * MS, "{tripped:?}");
    assert_eq!((tripped.watch, tripped.watched.selector), (id, Some(MessageType::Command.into())));
    let WatchdogChange::Tripped { late, missed } = tripped.change else { panic!("{tripped:?}") };
    assert_eq!((last + 30 * MS + late, missed), (tripped.at, 1));
    client.send(&2, &Metadata::command()).unwrap();
    let recovered = assert_recovers(&calls);
    let WatchdogChange::Recovered { silence, cause, silences } = recovered.change else {
        panic!("{recovered:?}")
    };
    assert_eq!((recovered.last, silence, silences), (Some(last), recovered.at - last, 1));
    assert_eq!(cause, SilenceCause::Sender);
    assert_trips(&calls);
    let statistics = server.statistics();
    assert_eq!((statistics.watchdog_trips, statistics.watchdog_recoveries), (2, 1));
    let mut seen = Vec::new();
    while seen.len() < 4 {
        if let Event::Watchdog(event) = events.next(Some(TIME_LIMIT)).expect("an event for each change") {
            seen.push(event.state());
        }
    }
    let (armed, tripped) = (WatchdogState::Armed, WatchdogState::Tripped);
    assert_eq!(seen, [armed, tripped, armed, tripped]);
    assert_eq!(server.watchdogs()[0].state, WatchdogState::Tripped);
}

#[test]
fn heartbeats_feed_the_watchdog_of_a_peer_but_not_of_a_stream() {
    let config = server_config(Wire::Native).heartbeat_interval(5 * MS).liveness_timeout(200 * MS);
    let server = server(config);
    let client = client(client_config(&server).heartbeat_interval(5 * MS).liveness_timeout(200 * MS));
    // The period is long, because the machine may pause this process.
    let (_, of_peer) = watch(&client, Watchdog::peer(Duration::from_secs(2)));
    let (_, of_stream) = watch(&client, Watchdog::messages(MessageType::Status, 20 * MS).armed_at_connect());
    assert_trips(&of_stream);
    until("a heartbeat has come", || client.watchdogs()[0].state == WatchdogState::Armed);
    assert_eq!((client.watchdogs()[0].trips, client.watchdogs()[0].missed), (0, 0));
    server.disconnect();
    assert_trips(&of_peer);
    assert!(of_stream.try_recv().is_err(), "heartbeats did not feed the watchdog of the stream");
}

#[test]
fn only_watched_messages_feed_a_watchdog() {
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
fn a_watchdog_waits_for_the_first_sign_of_life_unless_connecting_arms_it() {
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
fn a_removed_watchdog_does_not_trip_and_drops_its_closure() {
    let (server, client) = pair(Wire::Native);
    let (id, events) = watch(&server, commands(TIME_LIMIT));
    client.send(&1, &Metadata::command()).unwrap();
    until("the watchdog is armed", || server.watchdogs()[0].state == WatchdogState::Armed);
    assert_eq!(events.recv_timeout(TIME_LIMIT).map(|event| event.change), Ok(WatchdogChange::Armed));
    assert!(server.unwatch(id));
    assert!(!server.unwatch(id));
    assert_eq!(
        events.recv_timeout(TIME_LIMIT),
        Err(mpsc::RecvTimeoutError::Disconnected),
        "the closure is dropped without another call"
    );
    assert!(server.watchdogs().is_empty());
}

#[test]
fn a_failsafe_can_remove_its_own_watchdog() {
    let (server, client) = pair(Wire::Native);
    let own = Arc::new(Mutex::new(None));
    let (inside, known, (sender, done)) = (server.clone(), Arc::clone(&own), mpsc::channel());
    let mut lock = own.lock().unwrap();
    let id = server.watch(commands(10 * MS), move |event| {
        if !is_trip(event) {
            return;
        }
        let id = known.lock().unwrap().expect("the id is stored before the lock is free");
        sender.send(inside.unwatch(id)).unwrap();
    });
    *lock = Some(id.unwrap());
    drop(lock);
    client.send(&1, &Metadata::command()).unwrap();
    assert_eq!(done.recv_timeout(TIME_LIMIT), Ok(true));
    assert_eq!(
        done.recv_timeout(TIME_LIMIT),
        Err(mpsc::RecvTimeoutError::Disconnected),
        "the closure is dropped"
    );
    assert_eq!(server.statistics().watchdog_trips, 1, "a removed watchdog still counts");
}

#[test]
fn a_failsafe_that_panics_is_counted_and_called_again() {
    let (server, client) = pair(Wire::Native);
    let (sender, calls) = mpsc::channel();
    let failing = move |event: &WatchdogEvent| {
        sender.send(event.state()).unwrap();
        panic!("on purpose");
    };
    server.watch(commands(20 * MS), failing).unwrap();
    let (_, other) = watch(&server, commands(20 * MS));
    client.send(&1, &Metadata::command()).unwrap();
    assert_eq!(calls.recv_timeout(TIME_LIMIT), Ok(WatchdogState::Armed));
    assert_eq!(calls.recv_timeout(TIME_LIMIT), Ok(WatchdogState::Tripped));
    assert_trips(&other);
    client.send(&2, &Metadata::command()).unwrap();
    assert_eq!(calls.recv_timeout(TIME_LIMIT), Ok(WatchdogState::Armed));
    assert_recovers(&other);
    until("the panics are counted", || server.statistics().watchdog_panics >= 3);
}

#[test]
fn a_watchdog_trips_although_an_inline_handler_hangs() {
    let (server, client) = pair(Wire::Native);
    let (release, hangs) = mpsc::channel::<()>();
    let hangs = Mutex::new(hangs);
    let hanging = Handler::inline(move |_, _| _ = hangs.lock().unwrap().recv_timeout(TIME_LIMIT));
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
fn a_watchdog_trips_although_a_subscriber_hangs() {
    struct Hangs(Mutex<Receiver<()>>);
    impl std::task::Wake for Hangs {
        fn wake(self: Arc<Self>) {
            let _ = self.0.lock().unwrap().recv_timeout(TIME_LIMIT);
        }
    }
    let (server, client) = pair(Wire::Native);
    let mut events = server.events();
    let (_, calls) = watch(&server, commands(20 * MS));
    client.send(&1, &Metadata::command()).unwrap();
    assert_trips(&calls);
    // The event of this trip comes after the call of the failsafe.
    let is_told = |event: Event| matches!(event, Event::Watchdog(event) if is_trip(&event));
    while !is_told(events.next(Some(TIME_LIMIT)).expect("the trip is an event")) {}
    let (release, hangs) = mpsc::channel();
    let waker = Arc::new(Hangs(Mutex::new(hangs))).into();
    let waits = std::pin::pin!(events.next_async());
    assert!(std::future::Future::poll(waits, &mut std::task::Context::from_waker(&waker)).is_pending());
    // The event of the recovery wakes the subscriber, which hangs. The next trip still calls the failsafe.
    client.send(&2, &Metadata::command()).unwrap();
    assert_recovers(&calls);
    assert_trips(&calls);
    drop(release);
}

#[test]
fn a_watchdog_trips_while_the_loop_does_not_turn_and_recovers_with_a_turn() {
    let (server, mut driver) = UdpInterface::caller_driven(server_config(Wire::Classic)).unwrap();
    driver.connect().unwrap();
    let (_, events) = watch(&server, commands(20 * MS));
    let peer = RawPeer::of(&server);
    peer.command(0, 1.0, "1");
    driver.turn(Some(TIME_LIMIT));
    assert_trips(&events);
    // A datagram that waits in the socket is no sign of life until the driver reads it.
    peer.command(1, 1.1, "1");
    assert!(events.recv_timeout(20 * MS).is_err());
    driver.turn(Some(TIME_LIMIT));
    assert_recovers(&events);
}

#[test]
fn a_watchdog_trips_at_a_disconnect_and_recovers_after_connecting() {
    let (server, client) = pair(Wire::Native);
    let (_, events) = watch(&client, Watchdog::peer(150 * MS));
    until("the watchdog is armed", || client.watchdogs()[0].state == WatchdogState::Armed);
    client.disconnect();
    assert_trips(&events);
    client.connect().unwrap();
    assert_recovers(&events);
    drop(server);
}

#[test]
fn a_watchdog_trips_when_the_driver_dies() {
    struct PanickingWaker;
    impl std::task::Wake for PanickingWaker {
        fn wake(self: Arc<Self>) {
            panic!("a broken executor, on purpose");
        }
    }
    let server = server(server_config(Wire::Classic));
    let (_, events) = watch(&server, commands(30 * MS));
    let peer = RawPeer::of(&server);
    peer.command(0, 1.0, "1");
    next(&server);
    let waker = Arc::new(PanickingWaker).into();
    let waits = std::pin::pin!(server.receive_async());
    assert!(std::future::Future::poll(waits, &mut std::task::Context::from_waker(&waker)).is_pending());
    peer.command(1, 1.1, "2");
    until("the driver has died", || server.connection_state() == ConnectionState::Error);
    until("the watchdog has tripped", || server.watchdogs()[0].state == WatchdogState::Tripped);
    while events.recv_timeout(50 * MS).is_ok() {}
    peer.command(2, 1.2, "3");
    assert!(events.recv_timeout(50 * MS).is_err(), "no driver reads any more");
    server.connect().unwrap();
    RawPeer::of(&server).command(0, 2.0, "4");
    assert_recovers(&events);
}

#[test]
fn cleanup_and_drop_trip_armed_watchdogs() {
    for cleans_up in [true, false] {
        let (server, client) = pair(Wire::Native);
        let (_, armed) = watch(&server, commands(Duration::from_secs(60)));
        let (_, waiting) = watch(&server, Watchdog::messages(MessageType::Data, Duration::from_secs(60)));
        client.send(&1, &Metadata::command()).unwrap();
        until("the watchdog is armed", || server.watchdogs()[0].state == WatchdogState::Armed);
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
fn a_watchdog_trips_when_too_many_of_the_latest_periods_are_missed() {
    const PERIOD: Duration = Duration::from_millis(100);
    let (server, mut driver) = UdpInterface::caller_driven(server_config(Wire::Classic)).unwrap();
    driver.connect().unwrap();
    let peer = RawPeer::of(&server);
    let (_, events) = watch(&server, commands(PERIOD).misses(2, 5));
    let mut number = 0;
    let mut command = || {
        peer.command(number, 1.0 + f64::from(number), "1");
        driver.turn(Some(TIME_LIMIT));
        number += 1;
    };
    command();
    assert_eq!(events.recv_timeout(TIME_LIMIT).map(|event| event.change), Ok(WatchdogChange::Armed));
    let begun = Instant::now();
    std::thread::sleep(PERIOD + PERIOD / 2);
    // One missed period is allowed. This is skipped if the machine paused this thread for longer.
    if begun.elapsed() < 2 * PERIOD {
        command();
        assert!(events.try_recv().is_err());
        assert_eq!(server.watchdogs()[0].missed, 1);
        assert_eq!(server.statistics().deadline_misses, 1);
    }
    let tripped = assert_trips(&events);
    let WatchdogChange::Tripped { missed, .. } = tripped.change else { panic!("{tripped:?}") };
    assert!(missed >= 3, "{tripped:?}");
    // One message is not enough, because three of the latest five periods were missed.
    command();
    assert!(events.recv_timeout(10 * MS).is_err());
    assert_eq!(server.watchdogs()[0].state, WatchdogState::Tripped);
    let began = Instant::now();
    while events.try_recv().is_err() {
        assert!(began.elapsed() < TIME_LIMIT, "the watchdog must recover");
        std::thread::sleep(PERIOD * 6 / 10);
        command();
    }
}

#[test]
fn a_watchdog_for_each_peer_names_the_peer_that_stopped() {
    let server = server(server_config(Wire::Native));
    let (id, events) = watch(&server, commands(60 * MS).each_peer());
    let (steady, stops) = (client(client_config(&server)), client(client_config(&server)));
    stops.send(&1, &Metadata::command()).unwrap();
    let stopped = next(&server).peer();
    // It is watched before the other one can trip.
    steady.send(&1, &Metadata::command()).unwrap();
    next(&server);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                steady.send(&1, &Metadata::command()).unwrap();
                std::thread::sleep(5 * MS);
            }
        });
        let of_stopped = |event: &WatchdogEvent| event.watched.peer == Some(stopped) && is_trip(event);
        let tripped =
            std::iter::from_fn(|| Some(next_event(&events))).find(of_stopped).expect("an endless search");
        assert_eq!(tripped.watch, id);
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(server.watchdogs().len(), 2);
    // The watchdog of a peer that leaves trips at once, and is removed.
    drop((steady, stops));
    until("the watchdogs of both peers are removed", || server.watchdogs().is_empty());
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
    let (_, closure) = watch(&server, Watchdog::configured(MessageType::Command).each_peer());
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
        std::iter::from_fn(|| events.next(Some(TIME_LIMIT))).any(|event| is_own(&event)),
        "the configured watchdog needs no closure"
    );
    assert!(server.statistics().deadline_misses >= 2);
    // A new connection replaces the configured watchdog, and leaves the other one.
    server.disconnect();
    server.connect().unwrap();
    until("the watchdogs of the former peer are removed", || server.watchdogs().is_empty());
    assert!(server.unwatch(tripped.watch));
}

#[test]
fn an_impossible_watchdog_is_refused_by_name() {
    let server = create_udp_server(Config::server("127.0.0.1:0")).unwrap();
    let refused = |watchdog: Watchdog| server.watch(watchdog, |_| {}).expect_err("impossible").to_string();
    assert_eq!(
        refused(Watchdog::peer(Duration::ZERO)),
        "a watchdog cannot have a time-out of 0ns: expected 1us or more"
    );
    for (may_miss, of) in [(1, 1), (3, 3), (4, 3), (1, 65)] {
        assert_eq!(
            refused(commands(MS).misses(may_miss, of)),
            format!(
                "a watchdog cannot allow {may_miss} misses in {of} periods: expected fewer misses than periods, and 2 to 64 periods"
            )
        );
    }
    assert_eq!(
        refused(Watchdog::configured(MessageType::Command)),
        "the configuration has no `command.deadline`: set it, or use Watchdog::messages with a time-out"
    );
    let cannot = "a watchdog for each peer or for any datagram cannot latch: watch the messages of all peers, or of one";
    assert_eq!(refused(commands(MS).each_peer().latches()), cannot);
    assert_eq!(refused(Watchdog::peer(MS).latches()), cannot);
    assert_eq!(
        refused(commands(MS).reset_by(MessageType::Configuration, "hmi")),
        "the watchdog recovers by itself, so no message resets it: add `.latches()`"
    );
    let latching = || server.watch(commands(MS).latches(), |_| {});
    let ids: Vec<_> = std::iter::from_fn(|| latching().ok()).collect();
    assert_eq!(ids.len(), 64);
    assert_eq!(
        latching().expect_err("no more").to_string(),
        "the interface has 64 watchdogs that latch, and cannot have more: call unwatch() for one of them"
    );
    assert!(server.unwatch(ids[7]) && latching().is_ok(), "a place is free again");
}
