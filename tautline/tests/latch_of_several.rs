//! Stopped until told, where more than one thing decides: several watchdogs on one stream, a watchdog of one peer, and an
//! executor that runs handlers late.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::watchdogs::{next_change, send, send_until_taken, wait_for_trip, watch};
use common::{TIME_LIMIT, assert_nothing_waits, client, client_config, next, server, server_config, until};
use tautline::{
    DropReason, Handler, MessageType, UdpInterface, Watchdog, WatchdogChange, WatchdogState, Wire,
};

/// A time-out that a busy machine seldom exceeds between two messages of a test.
const TIMEOUT: Duration = Duration::from_millis(100);

/// A watchdog that latches.
fn commands(timeout: Duration) -> Watchdog {
    Watchdog::messages(MessageType::Command, timeout)
}

fn latched(interface: &UdpInterface) -> u64 {
    interface.statistics().messages_dropped.of(DropReason::Latched)
}

#[test]
fn what_one_latch_refuses_does_not_arm_another_that_was_reset() {
    for resets_first in [true, false] {
        let server = server(server_config(Wire::Native));
        let (first, of_first) = watch(&server, commands(TIMEOUT));
        let (second, of_second) = watch(&server, commands(TIMEOUT));
        let client = client(client_config(&server));
        send(&client);
        next(&server);
        wait_for_trip(&of_first);
        wait_for_trip(&of_second);
        let (reset, tripped) = if resets_first { (first, second) } else { (second, first) };
        assert!(server.reset(reset));
        let state = |id| server.watchdogs().iter().find(|of| of.watch == id).expect("it is registered").state;
        until("the reset was told", || state(reset) == WatchdogState::Waiting);
        // The first may be too old for the one that was reset.
        for count in 1..=5 {
            send(&client);
            until("it is dropped", || latched(&server) == count);
            std::thread::sleep(TIMEOUT / 20);
        }
        assert_eq!(state(reset), WatchdogState::Waiting, "{resets_first}");
        assert!(server.reset(tripped));
        send_until_taken(&client, &server);
        until("both are armed", || server.watchdogs().iter().all(|of| of.state == WatchdogState::Armed));
    }
}

#[test]
fn what_one_latch_refuses_is_no_sign_of_life_for_another() {
    let server = server(server_config(Wire::Native));
    let (_, of_short) = watch(&server, commands(TIMEOUT));
    let (_, of_long) = watch(&server, commands(5 * TIMEOUT));
    let client = client(client_config(&server));
    send(&client);
    next(&server);
    wait_for_trip(&of_short);
    assert_eq!(next_change(&of_long), WatchdogChange::Armed);
    let deadline = Instant::now() + TIME_LIMIT;
    while of_long.try_recv().is_err() {
        assert!(Instant::now() < deadline, "it trips while commands come that are dropped");
        send(&client);
        std::thread::sleep(TIMEOUT / 20);
    }
    assert!(latched(&server) > 0);
}

#[test]
fn the_trip_of_a_latch_that_watches_one_peer_stops_the_commands_of_all_peers() {
    for wire in common::WIRES {
        let server = server(server_config(wire));
        let (old, other) = (client(client_config(&server)), client(client_config(&server)));
        send(&old);
        let (id, events) = watch(&server, commands(TIMEOUT).of_peer(next(&server).peer()));
        send(&old);
        next(&server);
        assert_eq!(next_change(&events), WatchdogChange::Armed);
        // What others send passes, and is no sign of life.
        send(&other);
        until("it waits", || server.statistics().inbox.waiting == 1);
        wait_for_trip(&events);
        assert_nothing_waits(&server);
        assert_eq!(server.statistics().inbox.dropped.of(DropReason::Latched), 1, "{wire}");
        // The next life of the old controller is another peer.
        old.disconnect();
        old.connect().expect("the server is there");
        send(&old);
        send(&other);
        until("both are dropped", || latched(&server) == 2);
        assert!(server.reset(id));
        while !matches!(next_change(&events), WatchdogChange::Reset) {}
        send_until_taken(&other, &server);
        assert_eq!(server.watchdogs()[0].state, WatchdogState::Waiting, "{wire}: it waits for its own peer");
    }
}

#[test]
fn a_command_that_waits_at_the_executor_when_it_trips_is_not_handled_before_or_after_the_reset() {
    for resets in [false, true] {
        let server = server(server_config(Wire::Native));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it starts no thread");
        let (executor, handled) = (runtime.handle().clone(), Arc::new(AtomicU64::new(0)));
        let count = Arc::clone(&handled);
        let handler = Handler::spawned(
            move |future| drop(executor.spawn(future)),
            move |_, _| {
                count.fetch_add(1, Ordering::SeqCst);
                async {}
            },
        );
        server.register_message_handler(MessageType::Command, handler);
        let (id, events) = watch(&server, commands(TIMEOUT));
        let client = client(client_config(&server));
        // Nobody runs the executor.
        (0..3).for_each(|_| send(&client));
        until("they wait", || server.statistics().handlers.offered() == 3);
        wait_for_trip(&events);
        if resets {
            assert!(server.reset(id));
        }
        let dropped = || server.statistics().handlers.dropped.of(DropReason::Latched);
        runtime.block_on(async {
            let deadline = Instant::now() + TIME_LIMIT;
            while dropped() < 3 && Instant::now() < deadline {
                tokio::task::yield_now().await;
            }
        });
        assert_eq!((dropped(), handled.load(Ordering::SeqCst)), (3, 0), "{resets}");
    }
}
