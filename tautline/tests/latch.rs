//! Stopped until told: once commands have stopped, nobody's commands are handed out until somebody resets the watchdog.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::watchdogs::{next_change, send, send_until_taken, wait_for_trip, watch};
use common::{RawPeer, TIME_LIMIT, address, client, client_config, next, server, server_config, until};
use tautline::{
    Config, ConnectError, DropReason, Handler, MessageType, Metadata, Profile, Qos, ReceiveError,
    SilenceCause, Statistics, UdpInterface, WatchId, Watchdog, WatchdogChange, WatchdogEvent, WatchdogState,
    Wire, create_udp_server,
};

const MS: Duration = Duration::from_millis(1);

/// A time-out that a busy machine seldom exceeds between two messages of a test.
const TIMEOUT: Duration = Duration::from_millis(100);

fn commands() -> Watchdog {
    Watchdog::messages(MessageType::Command, TIMEOUT)
}

fn latched(interface: &UdpInterface) -> u64 {
    interface.statistics().messages_dropped.of(DropReason::Latched)
}

/// Every message that was received went somewhere.
#[track_caller]
fn assert_accounted(statistics: &Statistics) {
    let early = statistics.messages_dropped.total();
    assert_eq!(statistics.messages_received, early + statistics.inbox.offered(), "{statistics:?}");
}

#[test]
fn after_a_trip_no_command_passes_until_the_reset_whoever_sends_it() {
    for wire in [Wire::Native, Wire::Classic] {
        let server = server(server_config(wire));
        let (id, events) = watch(&server, commands());
        let old = client(client_config(&server).wire(wire));
        send(&old);
        next(&server);
        assert_eq!(next_change(&events), WatchdogChange::Armed);
        wait_for_trip(&events);
        // The old controller, a new session of it, and a stranger.
        send(&old);
        let refusing = next_change(&events);
        let WatchdogChange::Refusing { silence, cause } = refusing else { panic!("{refusing:?}") };
        assert!(silence >= TIMEOUT && cause == SilenceCause::Sender, "{refusing:?}");
        let stranger = client(client_config(&server).wire(wire));
        old.disconnect();
        old.connect().expect("the server is there");
        for _ in 0..10 {
            send(&old);
            send(&stranger);
        }
        until("all are dropped", || latched(&server) == 21);
        assert_eq!(server.receive(Some(Duration::ZERO)).map(drop), Err(ReceiveError::TimedOut));
        assert_eq!(server.watchdogs()[0].state, WatchdogState::Tripped);
        assert!(events.try_recv().is_err(), "{wire}: told once");

        assert!(server.reset(id) && !server.reset(id));
        assert_eq!(next_change(&events), WatchdogChange::Reset);
        assert_eq!(server.watchdogs()[0].state, WatchdogState::Waiting);
        send_until_taken(&stranger, &server);
        assert_eq!(next_change(&events), WatchdogChange::Armed);
        let statistics = server.statistics();
        assert_eq!((statistics.watchdog_resets, statistics.watchdog_recoveries), (1, 0));
        assert_accounted(&statistics);
    }
}

#[test]
fn other_messages_pass_and_other_watchdogs_do_not_latch() {
    let server = server(server_config(Wire::Native));
    let (_, of_channel) = watch(&server, commands().channel(7));
    let (_, of_states) = watch(&server, Watchdog::messages(MessageType::Status, TIMEOUT));
    let client = client(client_config(&server));
    let states = || client.send(&1, &Metadata::status()).expect("connected");
    client.send(&1, &Metadata::command().channel(7)).expect("connected");
    states();
    (0..2).for_each(|_| drop(next(&server)));
    wait_for_trip(&of_channel);
    wait_for_trip(&of_states);
    client.send(&1, &Metadata::command().channel(7)).expect("connected");
    client.send(&1, &Metadata::command().channel(8)).expect("connected");
    states();
    assert_eq!(next(&server).channel(), 8);
    assert_eq!(next(&server).message_type(), MessageType::Status);
    assert!(matches!(next_change(&of_states), WatchdogChange::Recovered { .. }));
    assert_eq!((latched(&server), server.reset_all()), (1, 1));
}

#[test]
fn what_waits_in_the_inbox_when_it_trips_is_not_handed_out_before_or_after_the_reset() {
    for resets in [false, true] {
        let server = server(server_config(Wire::Native));
        let (id, events) = watch(&server, commands());
        let client = client(client_config(&server));
        (0..3).for_each(|_| send(&client));
        until("they wait", || server.statistics().inbox.waiting == 3);
        wait_for_trip(&events);
        if resets {
            assert!(server.reset(id));
        }
        assert_eq!(server.receive(Some(Duration::ZERO)).map(drop), Err(ReceiveError::TimedOut));
        let statistics = server.statistics();
        assert_eq!(statistics.inbox.dropped.of(DropReason::Latched), 3, "{resets}");
        assert_accounted(&statistics);
    }
}

#[test]
fn what_waits_for_a_handler_when_it_trips_is_not_handled_before_or_after_the_reset() {
    for resets in [false, true] {
        let server = server(server_config(Wire::Native));
        let (release, held) = mpsc::channel::<()>();
        let (held, handled) = (Mutex::new(held), Arc::new(AtomicU64::new(0)));
        let count = Arc::clone(&handled);
        let slow = Handler::blocking(move |_, _| {
            let _ = held.lock().expect("no panic").recv_timeout(TIME_LIMIT);
            count.fetch_add(1, Ordering::SeqCst);
        });
        server.register_message_handler(MessageType::Command, slow.concurrency(1));
        let (id, events) = watch(&server, commands());
        let client = client(client_config(&server));
        (0..3).for_each(|_| send(&client));
        until("two wait", || server.statistics().handlers.waiting == 2);
        wait_for_trip(&events);
        if resets {
            assert!(server.reset(id));
        }
        drop(release);
        until("they are dropped", || server.statistics().handlers.dropped.of(DropReason::Latched) == 2);
        // The one that ran when it tripped cannot be taken back.
        until("the first is done", || handled.load(Ordering::SeqCst) == 1);
        assert_eq!(server.statistics().handlers.offered(), 3);
    }
}

/// A server without a thread, its watchdog, and a client.
fn driven(
    wire: Wire,
    qos: Qos,
) -> (UdpInterface, tautline::Driver, WatchId, Receiver<WatchdogEvent>, UdpInterface) {
    let config = server_config(wire).qos(MessageType::Command, qos);
    let (server, mut driver) = UdpInterface::caller_driven(config).expect("valid");
    driver.connect().expect("a free port");
    let (id, events) = watch(&server, commands());
    let (config, over) = (client_config(&server).wire(wire), Arc::new(AtomicU64::new(0)));
    let client = thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            let client = client(config);
            over.store(1, Ordering::SeqCst);
            client
        });
        while over.load(Ordering::SeqCst) == 0 {
            driver.turn(Some(MS));
        }
        connecting.join().expect("no panic")
    });
    (server, driver, id, events, client)
}

#[test]
#[cfg_attr(windows, ignore = "Windows does not tell when a datagram came")]
fn after_a_pause_of_this_process_the_first_message_is_judged_before_it_is_handed_out() {
    for (wire, qos) in [
        (Wire::Native, Qos::new()),
        (Wire::Classic, Qos::new()),
        (Wire::Native, Qos::new().keep_last(1)),
        (Wire::Native, Qos::new().keep_last(1).lifespan(Duration::from_secs(5))),
    ] {
        let (server, mut driver, _, events, client) = driven(wire, qos);
        let handled = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&handled);
        let handler = Handler::inline(move |_, _| _ = count.fetch_add(1, Ordering::SeqCst));
        server.register_message_handler(MessageType::Command, handler);
        send(&client);
        until("the first command is handled", || {
            driver.turn(Some(MS));
            handled.load(Ordering::SeqCst) == 1
        });
        // This loop does not turn, while commands go on coming.
        for _ in 0..30 {
            send(&client);
            thread::sleep(TIMEOUT / 20);
        }
        until("all are read", || {
            driver.turn(Some(MS));
            server.statistics().messages_received == 31
        });
        driver.turn(Some(Duration::ZERO));
        assert_eq!(handled.load(Ordering::SeqCst), 1, "{wire} {qos:?}");
        wait_for_trip(&events);
        let refusing = next_change(&events);
        let WatchdogChange::Refusing { silence, cause } = refusing else { panic!("{refusing:?}") };
        assert!(silence >= TIMEOUT * 3 / 2, "{refusing:?}");
        assert_eq!(cause, SilenceCause::ThisProcess, "{wire} {qos:?}");
        let statistics = server.statistics();
        assert!(statistics.messages_dropped.of(DropReason::Latched) >= 1, "{statistics:?}");
        assert_accounted(&statistics);
    }
}

#[test]
#[cfg_attr(windows, ignore = "Windows does not tell when a datagram came")]
fn what_was_made_before_the_reset_is_not_handed_out_after_it() {
    for wire in [Wire::Native, Wire::Classic] {
        let (server, mut driver, id, events, client) = driven(wire, Qos::new());
        send(&client);
        until("the first command is there", || {
            driver.turn(Some(MS));
            server.receive(Some(Duration::ZERO)).is_ok()
        });
        // Kernel stamps are on now. The next turn finds the socket empty, so that they are used.
        driver.turn(Some(MS));
        wait_for_trip(&events);
        // These wait in the kernel when it is reset.
        (0..5).for_each(|_| send(&client));
        thread::sleep(10 * MS);
        assert!(server.reset(id));
        until("all are read", || {
            driver.turn(Some(MS));
            server.statistics().messages_received == 6
        });
        assert_eq!(latched(&server), 5, "{wire}");
        while next_change(&events) != WatchdogChange::Reset {}
        assert_eq!(server.watchdogs()[0].state, WatchdogState::Waiting, "they arm nothing");
        let began = Instant::now();
        while server.receive(Some(Duration::ZERO)).is_err() {
            assert!(began.elapsed() < TIME_LIMIT, "later commands pass");
            send(&client);
            driver.turn(Some(MS));
        }
    }
}

#[test]
fn a_message_that_the_watchdog_names_resets_it() {
    for wire in [Wire::Native, Wire::Classic] {
        let server = server(server_config(wire));
        let by = commands().reset_by(MessageType::Configuration, "hmi");
        let (_, events) = watch(&server, by);
        let controller = client(client_config(&server).wire(wire).name("controller"));
        let hmi = client(client_config(&server).wire(wire).name("hmi"));
        let reset = |from: &UdpInterface| drop(from.send("go on", &Metadata::configuration()));
        send(&controller);
        next(&server);
        reset(&hmi);
        assert_eq!(next(&server).source(), "hmi", "it is handed out too");
        wait_for_trip(&events);
        reset(&controller);
        hmi.send(&1, &Metadata::status()).expect("connected");
        (0..2).for_each(|_| drop(next(&server)));
        send(&controller);
        until("it still refuses", || latched(&server) == 1);
        // Where the system does not tell when a datagram came, a reset that is read late may seem older than the trip. So it is sent
        // again.
        until("the reset", || {
            reset(&hmi);
            thread::sleep(10 * MS);
            events.try_iter().any(|event| event.change == WatchdogChange::Reset)
        });
        while server.receive(Some(50 * MS)).is_ok() {}
        send_until_taken(&controller, &server);
    }
}

#[test]
fn a_watchdog_that_connecting_arms_trips_before_any_command_and_then_refuses_them() {
    let server = create_udp_server(server_config(Wire::Native)).expect("valid");
    let (id, events) = watch(&server, commands().armed_at_connect());
    server.connect().expect("a free port");
    assert!(matches!(next_change(&events), WatchdogChange::Tripped { .. }));
    let client = client(client_config(&server));
    send(&client);
    until("it is dropped", || latched(&server) == 1);
    assert!(server.reset(id));
    send_until_taken(&client, &server);
}

#[test]
fn a_latch_that_is_ended_lets_messages_pass_and_its_place_is_clean() {
    let server = server(server_config(Wire::Native));
    let (id, events) = watch(&server, commands());
    let client = client(client_config(&server));
    send(&client);
    wait_for_trip(&events);
    assert!(server.unwatch(id));
    assert_eq!(server.receive(Some(Duration::ZERO)).map(drop), Err(ReceiveError::TimedOut), "it waited");
    send(&client);
    next(&server);
    for _ in 0..64 {
        let (id, _) = watch(&server, commands());
        assert!(!server.reset(id));
        assert!(server.unwatch(id));
    }
}

#[test]
fn a_server_with_the_control_profile_and_no_failsafe_is_told_what_to_write() {
    let config = Config::server("127.0.0.1:0").profile(Profile::control());
    let server = create_udp_server(config.clone()).expect("valid");
    assert_eq!(server.connect(), Err(ConnectError::NoFailsafe));
    let sentence = ConnectError::NoFailsafe.to_string();
    assert!(sentence.contains(".failsafe(|event| ..)"), "{sentence}");
    server.connect_with(config.failsafe(|_| {})).expect("it has one now");
    let client = common::client(Config::client(address(&server)).profile(Profile::control()));
    assert_eq!(client.watchdogs().len(), 0, "a client needs none");
    let lacks = Config::server("127.0.0.1:0").failsafe(|_| {});
    let error = create_udp_server(lacks).map(drop).expect_err("no time-out").to_string();
    assert_eq!(
        error,
        "`command.deadline` is not set: expected a duration, because the failsafe is called after it"
    );
}

#[test]
fn the_control_profile_stops_commands_until_a_reset_and_connecting_again_resets_nothing() {
    for wire in [Wire::Native, Wire::Classic] {
        let (sender, events) = mpsc::channel();
        let config = server_config(wire)
            .profile(Profile::control())
            .qos(MessageType::Command, Qos::new().deadline(TIMEOUT / 2))
            .failsafe(move |event| _ = sender.send(*event));
        let server = server(config);
        let config = client_config(&server).wire(wire).profile(Profile::control());
        let client = client(config);
        send(&client);
        next(&server);
        wait_for_trip(&events);
        // On a busy machine, a command may be too old before the latch sees it.
        until("one is dropped", || {
            send(&client);
            latched(&server) >= 1
        });
        assert_eq!(server.watchdogs().len(), 1, "one watchdog, not a second one for the deadline");

        server.disconnect();
        server.connect().expect("a free port");
        let config: Config = client_config(&server).wire(wire);
        let other = common::client(config);
        let before = latched(&server);
        until("another one is dropped", || {
            send(&other);
            latched(&server) > before
        });
        assert_eq!(server.reset_all(), 1);
        send_until_taken(&other, &server);
    }
}

#[test]
fn the_failsafe_of_a_client_is_about_states_and_recovers_by_itself() {
    let server = server(server_config(Wire::Native));
    let (sender, events) = mpsc::channel();
    let config =
        client_config(&server).profile(Profile::control()).failsafe(move |event| _ = sender.send(*event));
    let client = client(config);
    send(&client);
    let peer = next(&server);
    let state = || drop(server.reply(&peer, &1, &Metadata::status()));
    state();
    assert_eq!(next_change(&events), WatchdogChange::Armed);
    wait_for_trip(&events);
    state();
    assert!(matches!(next_change(&events), WatchdogChange::Recovered { .. }));
}

#[test]
fn a_stream_that_does_not_latch_by_its_settings_recovers() {
    let qos = Qos::new().deadline(TIMEOUT).latch(false);
    let (sender, events) = mpsc::channel();
    let config = server_config(Wire::Classic)
        .qos(MessageType::Command, qos)
        .failsafe(move |event| _ = sender.send(*event));
    let server = server(config);
    let peer = RawPeer::of(&server);
    peer.command(0, 1.0, "1");
    wait_for_trip(&events);
    peer.command(1, 1.1, "2");
    assert!(matches!(next_change(&events), WatchdogChange::Recovered { .. }));
    assert_eq!(latched(&server), 0);
}
