//! Tests of the rules of handlers. No test waits for real time: `pass_limit` lets a time limit pass.

mod asynchronous;
mod backlog;
mod blocking;
mod inline;
mod leaving;

use crate::receiving::shares::Room;
use crate::sync::{Arc, Mutex};
use std::collections::HashMap;
use std::future::{pending, poll_fn};
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::backlog::MAX_REPLACED_WORKERS;
use super::*;
use crate::message::pool::Pool;
use crate::message::{Arrival, Message};
use crate::receiving::waiting::Limits;
use crate::tests::{arrival, number_of, numbered, peer};
use crate::{DropReason, Priority};
use tautline_proto::MessageRef;
use tautline_proto::MessageType::{self, Command, Data, Status};

/// A timeout that a passing test never reaches.
const LONG: Duration = Duration::from_secs(60);

/// A time limit that passes only in `pass_limit`.
const HOUR: Duration = Duration::from_secs(3600);

/// A registry with its dispatcher. The reply handle is a number.
struct Rig {
    handlers: Arc<Handlers<u64>>,
    dispatcher: Dispatcher<u64>,
}

impl Rig {
    fn new() -> Self {
        let handlers = Arc::new(Handlers::new(defaults(), Arc::default(), Arc::default()));
        Self { dispatcher: Dispatcher::new(Arc::clone(&handlers), Arc::new(Pool::new())), handlers }
    }

    fn with(selector: impl Into<Selector>, handler: impl Into<Handler<u64>>) -> Self {
        let rig = Self::new();
        assert!(!rig.handlers.register(selector.into(), handler.into()));
        rig
    }

    fn dispatch(&mut self, message: &MessageRef<'_>) -> bool {
        let tautline_proto::Id::Number(number) = message.message_id else { panic!("not made by `numbered`") };
        self.dispatcher.dispatch(message, &arrival(), None, |reply| *reply = Some(number))
    }

    fn send(&mut self, message_type: MessageType, number: u64) -> bool {
        self.dispatch(&numbered(number, Priority::Normal).with_message_type(message_type))
    }

    /// Returns the counts of the only handler.
    fn stats(&self) -> HandlerStats {
        let [(_, stats)] = self.handlers.stats()[..] else { panic!("not one handler") };
        stats
    }

    /// Reads the counts until `wanted` accepts them.
    fn until(&self, wanted: impl Fn(&HandlerStats) -> bool) -> HandlerStats {
        let give_up = Instant::now() + LONG;
        loop {
            let stats = self.handlers.totals();
            if wanted(&stats) {
                return stats;
            }
            assert!(Instant::now() < give_up, "still {stats:?}");
            thread::yield_now();
        }
    }

    /// Lets the time limit of one hour pass.
    fn pass_limit(&mut self) {
        let due = self.dispatcher.next_deadline().expect("a job is running");
        self.dispatcher.check_deadlines(due.max(Instant::now() + 2 * HOUR));
    }
}

/// A blocking handler that reports when it begins, and that returns when it is released.
fn held_up() -> (impl Fn(Message, u64) + Send + Sync + 'static, Receiver<u64>, Sender<()>) {
    let (begin, began) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let handler = move |message: Message, _| {
        begin.send(number_of(&message)).expect("the test lives");
        // The end of the test drops the sender, which releases all calls.
        let _ = released.lock().expect("never poisoned").recv();
    };
    (handler, began, release)
}

fn next<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(LONG).expect("it comes")
}

/// Sends a message when it is dropped.
struct DropReporter(Sender<()>);

impl Drop for DropReporter {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// The default settings of the configuration.
fn defaults() -> HandlerSettings {
    HandlerSettings {
        time_limit: Duration::from_secs(5),
        concurrency: 10,
        room: Room::of(1000),
        ordered: true,
    }
}

#[test]
fn settings_that_a_handler_does_not_choose_come_from_the_configuration() {
    let mut rig = Rig::new();
    rig.handlers.set_defaults(HandlerSettings { concurrency: 1, room: Room::of(1), ..defaults() });
    let (handler, began, _release) = held_up();
    rig.handlers.register(Data.into(), Handler::blocking(handler).into());
    rig.send(Data, 1);
    assert_eq!(next(&began), 1);
    (2..=4).for_each(|number| assert!(rig.send(Data, number)));
    let stats = rig.stats();
    assert_eq!((stats.running, stats.waiting, stats.dropped.of(DropReason::BacklogFull)), (1, 1, 2));
}
