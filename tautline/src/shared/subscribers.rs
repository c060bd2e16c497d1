//! Who is told of events: each subscriber has a queue with a bound of its own.
//!
//! The driver, the line and the watchdogs publish. Users read [`Events`].

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::shared::events::Event;
use crate::sync::quietly::quietly;
use crate::sync::{Arc, Condvar, Mutex, PoisonError, Weak, lock};

/// The most events that wait for a subscriber. Beyond it the oldest are dropped and counted.
const EVENT_QUEUE: usize = 1024;

/// The most events that strangers caused and that wait for a subscriber, beside those of the link. So strangers never displace an
/// event of the link.
const STRANGER_EVENTS: usize = 256;

/// Who caused an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CausedBy {
    /// This end, its server, or a peer that has been there for some time.
    Link,
    /// Somebody whom this end need not know.
    Stranger,
}

/// All subscribers.
#[derive(Debug, Default)]
pub(crate) struct EventBus {
    subscribers: Mutex<Subscribers>,
}

#[derive(Debug, Default)]
struct Subscribers {
    queues: Vec<Weak<Queue>>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<QueueState>,
    ready: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    /// The events of the link, and those of strangers, numbered in their order.
    link: VecDeque<(u64, Event)>,
    strangers: VecDeque<(u64, Event)>,
    next_number: u64,
    missed: u64,
    closed: bool,
    waker: Option<Waker>,
}

impl QueueState {
    fn push(&mut self, event: Event, by: CausedBy) {
        let (events, most) = match by {
            CausedBy::Link => (&mut self.link, EVENT_QUEUE),
            CausedBy::Stranger => (&mut self.strangers, STRANGER_EVENTS),
        };
        if events.len() == most {
            events.pop_front();
            self.missed += 1;
        }
        events.push_back((self.next_number, event));
        self.next_number += 1;
    }

    /// Takes the oldest event.
    fn pop(&mut self) -> Option<Event> {
        let number = |events: &VecDeque<(u64, Event)>| events.front().map_or(u64::MAX, |(number, _)| *number);
        let events = match number(&self.link) <= number(&self.strangers) {
            true => &mut self.link,
            false => &mut self.strangers,
        };
        events.pop_front().map(|(_, event)| event)
    }
}

impl EventBus {
    pub(crate) fn subscribe(&self) -> Events {
        let queue = Arc::new(Queue::default());
        let mut subscribers = lock(&self.subscribers);
        subscribers.queues.retain(|queue| queue.strong_count() > 0);
        subscribers.queues.push(Arc::downgrade(&queue));
        lock(&queue.state).closed = subscribers.closed;
        Events { queue }
    }

    /// Publishes an event of the link.
    pub(crate) fn publish(&self, event: &Event) {
        self.publish_by(event, CausedBy::Link);
    }

    pub(crate) fn publish_by(&self, event: &Event, by: CausedBy) {
        self.put(event, by).wake();
    }

    /// Puts an event of the link into every queue. The caller wakes the subscribers, once it holds no lock.
    #[must_use]
    pub(crate) fn publish_later(&self, event: &Event) -> WakeUps {
        self.put(event, CausedBy::Link)
    }

    fn put(&self, event: &Event, by: CausedBy) -> WakeUps {
        self.change_each(|state| state.push(event.clone(), by))
    }

    /// Ends every subscription. No more events come.
    pub(crate) fn close(&self) {
        lock(&self.subscribers).closed = true;
        self.change_each(|state| state.closed = true).wake();
    }

    fn change_each(&self, change: impl Fn(&mut QueueState)) -> WakeUps {
        let queues: Vec<_> = lock(&self.subscribers).queues.iter().filter_map(Weak::upgrade).collect();
        queues.iter().for_each(|queue| change(&mut lock(&queue.state)));
        WakeUps(queues)
    }
}

/// Subscribers to be woken.
#[derive(Debug)]
pub(crate) struct WakeUps(Vec<Arc<Queue>>);

impl WakeUps {
    pub(crate) fn wake(self) {
        for queue in self.0 {
            let waker = lock(&queue.state).waker.take();
            queue.ready.notify_all();
            if let Some(waker) = waker {
                // A waker that panics must not keep the event from other subscribers, nor stop the publisher.
                let _ = quietly(|| waker.wake());
            }
        }
    }
}

/// A subscription to events. It gets the events from the moment it was made. See
/// [`UdpInterface::events`](crate::UdpInterface::events).
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue>,
}

impl Events {
    /// Waits for the next event, at most for `timeout`; zero polls, `None` waits as long as it takes. Returns `None` if no
    /// event came in time, or if no more events come because the interface was cleaned up.
    pub fn next(&mut self, timeout: Option<Duration>) -> Option<Event> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = lock(&self.queue.state);
        loop {
            if let Some(event) = state.pop() {
                return Some(event);
            }
            let left = deadline.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if state.closed || left.is_zero() {
                return None;
            }
            let waited = self.queue.ready.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the next event on any executor. `None`: no more events come. Dropping the future loses nothing.
    pub fn next_async(&mut self) -> NextEvent<'_> {
        NextEvent { queue: &self.queue }
    }

    /// The number of events that were dropped because this subscriber did not read them in time.
    #[must_use]
    pub fn missed(&self) -> u64 {
        lock(&self.queue.state).missed
    }
}

/// The future of [`Events::next_async`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct NextEvent<'a> {
    queue: &'a Queue,
}

impl Future for NextEvent<'_> {
    type Output = Option<Event>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        // The new waker is cloned before the lock is taken, the old one dropped after it is released: both run users' code.
        let mut waker = Some(context.waker().clone());
        let mut state = lock(&self.queue.state);
        match state.pop() {
            Some(event) => Poll::Ready(Some(event)),
            None if state.closed => Poll::Ready(None),
            None => {
                std::mem::swap(&mut state.waker, &mut waker);
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::sync::{AtomicBool, Ordering};
    use std::pin::pin;
    use std::task::Wake;

    use super::*;
    use crate::machine::fault::SocketFault;

    fn silent(number: u64) -> Event {
        Event::PeerUnreachable { address: None, fault: SocketFault::Other, problem: number.to_string() }
    }

    #[test]
    fn events_come_in_order_to_every_subscriber() {
        let bus = EventBus::default();
        let (mut one, mut two) = (bus.subscribe(), bus.subscribe());
        (0..3).for_each(|number| bus.publish(&silent(number)));
        for events in [&mut one, &mut two] {
            for number in 0..3 {
                assert_eq!(events.next(Some(Duration::ZERO)), Some(silent(number)));
            }
            assert_eq!(events.next(Some(Duration::ZERO)), None);
        }
    }

    #[test]
    fn a_subscriber_that_does_not_read_loses_the_oldest_and_knows_it() {
        let bus = EventBus::default();
        let mut events = bus.subscribe();
        (0..EVENT_QUEUE as u64 + 5).for_each(|number| bus.publish(&silent(number)));
        assert_eq!(events.missed(), 5);
        assert_eq!(events.next(Some(Duration::ZERO)), Some(silent(5)));
    }

    #[test]
    fn strangers_displace_no_event_of_the_link_and_the_order_stays() {
        let bus = EventBus::default();
        let mut events = bus.subscribe();
        bus.publish(&silent(0));
        (1..2000).for_each(|number| bus.publish_by(&silent(number), CausedBy::Stranger));
        bus.publish(&silent(2000));
        assert_eq!(events.missed(), 1999 - STRANGER_EVENTS as u64);
        let numbers = std::iter::from_fn(|| events.next(Some(Duration::ZERO)));
        let expected = (0..1).chain(2000 - STRANGER_EVENTS as u64..2001).map(silent);
        assert!(numbers.eq(expected));
    }

    #[test]
    fn a_waker_that_panics_keeps_no_event_from_others() {
        struct Bell(AtomicBool);
        impl Wake for Bell {
            fn wake(self: Arc<Self>) {
                assert!(!self.0.swap(true, Ordering::Relaxed), "a broken executor");
            }
        }
        let bus = EventBus::default();
        let mut subscribed = [(); 3].map(|()| bus.subscribe());
        // Those of the first and the second panic.
        let bells = [true, true, false].map(|broken| Arc::new(Bell(AtomicBool::new(broken))));
        for (events, bell) in subscribed.iter_mut().zip(&bells) {
            let waker = Waker::from(Arc::clone(bell));
            assert!(pin!(events.next_async()).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        bus.publish(&silent(1));
        assert!(bells[2].0.load(Ordering::Relaxed), "it was woken");
    }

    #[test]
    fn closing_ends_a_wait() {
        let bus = EventBus::default();
        let mut events = bus.subscribe();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| events.next(Some(Duration::from_secs(60))));
            bus.close();
            assert_eq!(waiting.join().unwrap(), None);
        });
    }
}
