//! Helpers of tests about watchdogs.

use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use tautline::{Metadata, UdpInterface, WatchId, Watchdog, WatchdogChange, WatchdogEvent};

use super::TIME_LIMIT;

/// Registers a watchdog. Returns the events that its failsafe gets.
pub(crate) fn watch(interface: &UdpInterface, watchdog: Watchdog) -> (WatchId, Receiver<WatchdogEvent>) {
    let (sender, events) = mpsc::channel();
    let id = interface.watch(watchdog, move |event| _ = sender.send(*event)).expect("possible");
    (id, events)
}

/// Returns what the failsafe is told next.
#[track_caller]
pub(crate) fn next_change(events: &Receiver<WatchdogEvent>) -> WatchdogChange {
    events.recv_timeout(TIME_LIMIT).expect("the failsafe is called").change
}

/// Waits until it was told that the watchdog has tripped.
#[track_caller]
pub(crate) fn wait_for_trip(events: &Receiver<WatchdogEvent>) {
    while !matches!(next_change(events), WatchdogChange::Tripped { .. }) {}
}

/// Sends a command.
pub(crate) fn send(client: &UdpInterface) {
    client.send(&1, &Metadata::command()).expect("connected");
}

/// Sends commands until one is handed out: those that may have been made before a reset are not.
pub(crate) fn send_until_taken(from: &UdpInterface, to: &UdpInterface) {
    let began = Instant::now();
    while to.receive(Some(Duration::from_millis(5))).is_err() {
        assert!(began.elapsed() < TIME_LIMIT, "commands are handed out again");
        send(from);
    }
}
