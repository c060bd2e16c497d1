//! Threads that wait for messages lead, and the driver's thread stands by: each message is received, whoever reads it, and
//! all threads end.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::SCHEDULES;
use shuttle::sync::{Arc, Mutex};
use shuttle::thread::{self, JoinHandle};
use tautline_proto::Priority;

use crate::connection::slot::{GRACE, Slot, Turns};
use crate::machine::life::Life;
use crate::machine::socket::SocketWaiter;
use crate::message::pool::Pool;
use crate::receiving::inbox::{Inbox, ReceiveError};
use crate::receiving::waiting::Limits;
use crate::tests::{arrival, number_of, numbered};

/// Tries random orders only: a wait here yields until something comes, and other schedulers may run it for ever.
fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    shuttle::check_random(scenario, SCHEDULES / 2);
}

/// A connection: what a sender puts into its socket goes to the inbox by a turn.
struct Link {
    socket: Mutex<VecDeque<u64>>,
    inbox: Inbox,
    life: Life,
    slot: Slot<Fake>,
}

/// Turns the link.
struct Fake {
    link: Arc<Link>,
    waiter: SocketWaiter,
    /// Whether a thread is inside a turn: there must be one at most.
    is_turning: bool,
    gives_way: bool,
}

impl Fake {
    fn turn_within(&mut self, wait: Option<Duration>) -> usize {
        assert!(!std::mem::replace(&mut self.is_turning, true));
        let mut read = 0;
        while read == 0 && !self.waiter.is_woken() && !self.is_over() {
            let next = self.link.socket.lock().unwrap().pop_front();
            if let Some(number) = next {
                self.link.inbox.offer(&numbered(number, Priority::Normal), arrival(), Limits::default());
                read = 1;
            } else if wait.is_some() {
                break;
            } else {
                thread::yield_now();
            }
        }
        self.is_turning = false;
        read
    }
}

impl Turns for Fake {
    fn turn(&mut self) -> usize {
        self.gives_way = false;
        let read = self.turn_within(None);
        self.gives_way = self.link.inbox.readers().1;
        read
    }

    fn turn_for(&mut self, wait: Duration) {
        self.turn_within(Some(wait));
    }

    fn gives_way(&self) -> bool {
        self.gives_way
    }

    fn lead(&mut self, wait: Option<Duration>) {
        self.turn_within(wait);
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn is_over(&self) -> bool {
        self.link.life.is_stopped()
    }
}

impl Link {
    /// Returns an open link, and its driver's thread.
    fn open() -> (Arc<Self>, JoinHandle<()>) {
        let (waiter, waker) = SocketWaiter::new().expect("a descriptor is free");
        let inbox = Inbox::new(std::sync::Arc::new(Pool::default()), std::sync::Arc::default());
        inbox.open(8, usize::MAX, crate::InboxPolicy::DropOldest);
        let (socket, life, slot) = (Mutex::default(), Life::new(waker), Slot::default());
        let link = Arc::new(Self { socket, inbox, life, slot });
        let fake = Fake { link: Arc::clone(&link), waiter, is_turning: false, gives_way: false };
        link.slot.put(Box::new(fake));
        let driven = Arc::clone(&link);
        let driver = thread::spawn(move || {
            driven.life.begin_driving();
            driven.slot.drive(&driven.life);
        });
        (link, driver)
    }

    /// A datagram comes.
    fn arrives(&self, number: u64) {
        self.socket.lock().unwrap().push_back(number);
    }

    fn receive(&self) -> Result<u64, ReceiveError> {
        let wake = || self.life.wake();
        let received = self
            .inbox
            .receive_with(None, &mut |deadline, is_ready| self.slot.lead(GRACE, deadline, is_ready, wake));
        received.map(|message| number_of(&message))
    }

    fn close(&self, driver: JoinHandle<()>) {
        self.life.stop();
        self.inbox.close();
        driver.join().expect("no panic");
        self.slot.clear();
    }
}

/// Receives so many messages.
fn reader(link: &Arc<Link>, count: usize) -> JoinHandle<Vec<u64>> {
    let link = Arc::clone(link);
    thread::spawn(move || (0..count).map(|_| link.receive().expect("open")).collect())
}

/// Receives so many messages in an event loop: it turns when the socket is readable, and yields where it would wait.
fn event_loop(link: &Arc<Link>, count: usize) -> JoinHandle<Vec<u64>> {
    let link = Arc::clone(link);
    let next = move || {
        let leads = link.slot.loop_waits(|| link.life.wake());
        let message = loop {
            if let Ok(message) = link.inbox.receive(Some(Duration::ZERO)) {
                break message;
            }
            let is_readable = !link.socket.lock().unwrap().is_empty();
            if !(leads && is_readable && link.slot.turn_now()) {
                thread::yield_now();
            }
        };
        link.slot.loop_left();
        number_of(&message)
    };
    thread::spawn(move || (0..count).map(|_| next()).collect())
}

#[test]
fn each_message_is_received_whoever_leads() {
    explore(|| {
        let (link, driver) = Link::open();
        let readers = [reader(&link, 2), reader(&link, 1)];
        for number in 0..3 {
            link.arrives(number);
        }
        let mut taken: Vec<u64> =
            readers.into_iter().flat_map(|reader| reader.join().expect("no panic")).collect();
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2]);
        link.close(driver);
    });
}

/// Sends these messages. `reader` receives all but the last, and leads meanwhile. Then this thread receives the last without leading.
fn the_drivers_thread_goes_on(reader: impl Fn(&Arc<Link>, usize) -> JoinHandle<Vec<u64>>, numbers: &[u64]) {
    let (link, driver) = Link::open();
    let (&last, led) = numbers.split_last().expect("messages");
    let reader = reader(&link, led.len());
    for &number in led {
        link.arrives(number);
        // So that the reader waits again, and leads.
        (0..20).for_each(|_| thread::yield_now());
    }
    assert_eq!(reader.join().expect("no panic"), led);
    link.arrives(last);
    // If the driver's thread slept on, all threads would: a deadlock.
    assert_eq!(link.inbox.receive(None).map(|message| number_of(&message)), Ok(last));
    link.close(driver);
}

#[test]
fn the_drivers_thread_turns_when_no_caller_leads_any_more() {
    explore(|| the_drivers_thread_goes_on(reader, &[0, 1, 2, 3, 4]));
}

#[test]
fn each_message_is_received_when_an_event_loop_leads_beside_a_thread() {
    explore(|| {
        let (link, driver) = Link::open();
        let readers = [event_loop(&link, 3), reader(&link, 1)];
        for number in 0..4 {
            link.arrives(number);
            (0..5).for_each(|_| thread::yield_now());
        }
        let mut taken: Vec<u64> =
            readers.into_iter().flat_map(|reader| reader.join().expect("no panic")).collect();
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2, 3]);
        link.close(driver);
    });
}

#[test]
fn the_drivers_thread_turns_when_an_event_loop_leads_no_more() {
    explore(|| the_drivers_thread_goes_on(event_loop, &[0, 1, 2, 3]));
}

#[test]
fn a_reader_that_is_behind_gets_each_message_of_a_driver_that_gives_way() {
    explore(|| {
        let (link, driver) = Link::open();
        for number in 0..6 {
            link.arrives(number);
        }
        // Until the driver has given way, and stands by.
        (0..10).for_each(|_| thread::yield_now());
        assert_eq!(reader(&link, 6).join().expect("no panic"), [0, 1, 2, 3, 4, 5]);
        link.close(driver);
    });
}

#[test]
fn closing_ends_the_callers_and_the_drivers_thread() {
    explore(|| {
        let (link, driver) = Link::open();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let link = Arc::clone(&link);
                thread::spawn(move || while link.receive().is_ok() {})
            })
            .collect();
        link.arrives(0);
        link.close(driver);
        for reader in readers {
            reader.join().expect("no panic");
        }
    });
}
