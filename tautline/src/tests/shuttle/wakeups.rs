//! No wake-up is lost: each ring of a bell ends a sleep, and messages that wait at the coalescer are sent after their
//! senders are gone. A lost wake-up would be a deadlock, which shuttle reports.

use std::time::Duration;

use super::explore;
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;
use tautline_proto::{Instant as Steady, Priority};

use crate::message::target::Target;
use crate::sending::coalescer::{Coalescer, CoalescerSignals, CoalescerWatch};
use crate::sending::job::Terms;
use crate::sending::room::RoomSignal;
use crate::sync::bell::Bell;
use crate::sync::park_until;

/// A bell with a flag, like the descriptor of `machine/socket/wait.rs`: a write ends the present sleep or the next one.
struct Doorbell {
    bell: Bell,
    written: Mutex<bool>,
    changed: Condvar,
}

impl Doorbell {
    fn new() -> Self {
        Self { bell: Bell::new(), written: Mutex::new(false), changed: Condvar::new() }
    }

    fn ring(&self) {
        if self.bell.ring() {
            *self.written.lock().unwrap() = true;
            self.changed.notify_one();
        }
    }

    /// Sleeps until the bell is rung. There is no time limit, so a lost ring stops the test.
    fn wait(&self) {
        self.bell.sleep(|may| {
            let mut written = self.written.lock().unwrap();
            while may && !*written {
                written = self.changed.wait(written).unwrap();
            }
            *written = false;
        });
    }
}

#[test]
fn each_ring_ends_a_sleep() {
    explore(|| {
        const ITEMS: usize = 3;
        let (door, items) = (Arc::new(Doorbell::new()), Arc::new(Mutex::new(0)));
        let bringer = thread::spawn({
            let (door, items) = (Arc::clone(&door), Arc::clone(&items));
            move || {
                for _ in 0..ITEMS {
                    *items.lock().unwrap() += 1;
                    door.ring();
                }
            }
        });
        let mut taken = 0;
        while taken < ITEMS {
            // Some waits check the bell before they sleep.
            if taken % 2 == 0 || !door.bell.has_rung() {
                door.wait();
            }
            taken += std::mem::take(&mut *items.lock().unwrap());
        }
        bringer.join().unwrap();
    });
}

#[test]
fn waiting_messages_are_sent_after_their_senders_are_gone() {
    explore(|| {
        const SENDERS: u64 = 2;
        const MESSAGES: u64 = 2;
        let signs = Arc::new(CoalescerSignals::default());
        let coalescer = Coalescer::new(Duration::from_micros(20), 1452, Arc::clone(&signs));
        let (coalescer, door) = (Arc::new(Mutex::new(coalescer)), Arc::new(Doorbell::new()));
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let (signs, coalescer, door) =
                    (Arc::clone(&signs), Arc::clone(&coalescer), Arc::clone(&door));
                thread::spawn(move || {
                    for _ in 0..MESSAGES {
                        let frame = [1, 0, 0, 0];
                        let (target, priority, sent_at) = (Target::All, Priority::Normal, Steady::default());
                        let terms = Terms::new(target, priority, sent_at);
                        assert!(coalescer.lock().unwrap().push(&frame, &terms));
                        if signs.need_a_watch() {
                            door.ring();
                        }
                    }
                })
            })
            .collect();
        let mut watch = CoalescerWatch::new(signs, Duration::from_micros(20));
        let mut sent = 0;
        while sent < SENDERS * MESSAGES {
            let again = watch.look(|| {
                let mut coalescer = coalescer.lock().unwrap();
                if !coalescer.is_empty() {
                    let (pack, ..) = coalescer.take();
                    sent += pack.messages();
                    coalescer.give_back(pack);
                }
            });
            match again {
                // The driver looks again soon, so it does not sleep longer.
                Some(_) => thread::yield_now(),
                None if sent < SENDERS * MESSAGES => door.wait(),
                None => {}
            }
        }
        for sender in senders {
            sender.join().unwrap();
        }
    });
}

#[test]
fn all_threads_that_wait_for_room_see_that_there_is_some() {
    explore(|| {
        let (signal, has_room) = (Arc::new(RoomSignal::default()), Arc::new(Mutex::new(false)));
        let waiting = [(); 2].map(|()| {
            let (signal, has_room) = (Arc::clone(&signal), Arc::clone(&has_room));
            thread::spawn(move || {
                signal.enter();
                while !*has_room.lock().unwrap() {
                    park_until(None);
                    signal.enter();
                }
                signal.leave();
            })
        });
        // The first one is for nothing: others take the room.
        signal.notify();
        *has_room.lock().unwrap() = true;
        signal.notify();
        waiting.into_iter().for_each(|thread| thread.join().expect("no panic"));
    });
}
