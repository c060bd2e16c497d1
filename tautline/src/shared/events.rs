//! Events: what happens to the connection and its peers, for subscribers.

use crate::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::config::{Selector, WatchdogEvent};
use crate::error::{ConnectError, SendError};
use crate::machine::fault::SocketFault;
use crate::machine::realtime::RealtimePart;
use crate::sync::lock;
use crate::sync::quietly::quietly;
use tautline_proto::endpoint::{ClaimOutcome, Outcome, OwnerReason, RemovalReason};
use tautline_proto::{Cause, ConnectionState, DropReason, MessageType, PeerId, StreamId};

/// Something that happened. Events come in the order in which they happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The connection changed its state.
    StateChanged {
        /// The state before.
        from: ConnectionState,
        /// The state now.
        to: ConnectionState,
        /// Why.
        cause: Cause,
    },
    /// A link to a peer is established.
    PeerConnected {
        /// The peer.
        peer: PeerId,
        /// Its address.
        address: SocketAddr,
        /// Its interface's name; empty on the classic wire.
        name: String,
        /// Who it is by its key, as [`PeerInfo::identity`](crate::PeerInfo::identity).
        identity: Option<Arc<str>>,
    },
    /// Nothing came from a peer for half of `liveness_timeout`: several heartbeats are overdue. Native wire only.
    PeerStale {
        /// The peer.
        peer: PeerId,
    },
    /// Nothing came from a peer for `liveness_timeout`.
    PeerSilent {
        /// The peer.
        peer: PeerId,
    },
    /// A datagram came from a stale or silent peer.
    PeerReturned {
        /// The peer.
        peer: PeerId,
    },
    /// A peer has another address now. Its session goes on. Secured links only; on a plain link, a client that moved begins a new
    /// session.
    PeerMoved {
        /// The peer.
        peer: PeerId,
        /// Its address before.
        from: SocketAddr,
        /// Its address now.
        to: SocketAddr,
    },
    /// The largest packet that is sent to a peer has changed: the path was probed, or the system knows that it is smaller.
    /// Messages share datagrams up to it. Native wire only.
    PathSize {
        /// The peer.
        peer: PeerId,
        /// The largest packet now, in bytes, with the headers of IP and UDP.
        mtu: usize,
    },
    /// A peer of the classic wire began to number anew: it was restarted. (On the native wire a restarted peer is a new
    /// peer.)
    PeerRestarted {
        /// The peer.
        peer: PeerId,
    },
    /// A peer is gone.
    PeerDisconnected {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: RemovalReason,
    },
    /// The system or the network (ICMP) reports that a peer cannot be reached: nothing listens at its port, there is no
    /// route, the network interface is down, and so on. The link survives, and goes on by itself. At most ten events a
    /// second; all faults are counted in [`Statistics::socket_faults`](crate::Statistics::socket_faults).
    PeerUnreachable {
        /// Its address, if the system reports it.
        address: Option<SocketAddr>,
        /// The kind of the fault.
        fault: SocketFault,
        /// The system's description.
        problem: String,
    },
    /// The system could not wait for datagrams or read them. The driver tries again. Limited and counted like
    /// [`PeerUnreachable`](Self::PeerUnreachable).
    SocketFailed {
        /// The kind of the fault.
        fault: SocketFault,
        /// The system's description.
        problem: String,
    },
    /// Something that connecting needs is not there yet: the endpoint's name, an address of this host, a network card, or a
    /// route. The interface connects by itself once it is there. One event for each cause.
    Waiting {
        /// What is missing.
        missing: ConnectError,
    },
    /// The socket is at a new place: a client's own address is gone or has changed, its server's name means another
    /// address, a network card was plugged in again, or what was [missing](Self::Waiting) is there. The socket's descriptor
    /// stays the same.
    Moved {
        /// The local address now.
        local: SocketAddr,
        /// The server's address, at a client.
        server: Option<SocketAddr>,
    },
    /// A sender uses the other wire: set `wire` to the same value at both ends. At most one event a second.
    OtherWire {
        /// The address that the datagrams come from.
        from: SocketAddr,
    },
    /// Somebody was not let in: its key is not known here (`unknown_key`), a datagram is not sealed with the keys of its session (`bad_tag`),
    /// or only one end is secured (`not_secured`, `secured`). At most ten events a second; all are counted in
    /// [`Statistics::datagrams_dropped`](crate::Statistics::datagrams_dropped).
    NotLetIn {
        /// The address that the datagram came from.
        from: SocketAddr,
        /// Why it was dropped.
        reason: DropReason,
    },
    /// A peer has sent a message of a type that its key may not send. It was dropped (`not_allowed`). At most ten events a
    /// second.
    NotAllowed {
        /// The peer.
        peer: PeerId,
        /// The type.
        message_type: MessageType,
    },
    /// The server has no room for this client (`max_peers`).
    Refused,
    /// The server answers, but not to this client's key: five calls with it went unanswered. The client calls on. One event until
    /// it is connected.
    KeyNotAccepted {
        /// The server.
        server: SocketAddr,
        /// Whether the server says that it takes secured clients only. If not, it has no keys at all.
        server_is_secured: bool,
    },
    /// Another key has taken over in the session with this peer, after [`reload_keys`](crate::UdpInterface::reload_keys): the session
    /// does not need the old one any more.
    KeyReplaced {
        /// The peer.
        peer: PeerId,
    },
    /// The server says that it takes secured clients only, and this client has no key. One event until it is connected.
    KeyNeeded {
        /// The server.
        server: SocketAddr,
    },
    /// The machine does not grant something that the configuration asks for. The link runs without it. One event for each
    /// such part while connecting; for kernel buffers only if their size is set, or `realtime` is on.
    NotGranted {
        /// What was asked for.
        part: RealtimePart,
        /// Why it was not granted.
        problem: String,
        /// The command or the change that allows it.
        remedy: String,
    },
    /// The kernel dropped datagrams because the receive buffer was full: they came faster than they were read. At most one
    /// event a second. Linux only.
    KernelDropped {
        /// The number since the last such event, counted like [`Statistics::kernel_drops`](crate::Statistics::kernel_drops).
        dropped: u64,
        /// The bytes that the kernel granted for receiving, if it reports them. Set `receive_buffer` for more, up to the
        /// system's limit (`sysctl net.core.rmem_max`).
        receive_buffer: Option<usize>,
    },
    /// A newer message replaced one that nobody had seen yet, because only the newest of its stream waits (setting
    /// `history`; the default of commands). Once for each stream. If both were meant, for example for two joints, send them
    /// on channels of their own, or as one vector; or raise `history`, up to "all". All such messages are counted as
    /// superseded.
    Superseded {
        /// The peer that sent them.
        peer: PeerId,
        /// Their type.
        message_type: MessageType,
        /// Their channel.
        channel: u16,
    },
    /// A reader of messages is behind for good: for a second its queue was never empty, and the next message was old each
    /// time the driver looked. It acts on old messages from now on, unless it reads more in each cycle, or only the newest
    /// wait (`history`). The event comes again only if the reader has caught up meanwhile.
    ReaderBehind {
        /// The reader.
        reader: Reader,
        /// The messages that wait for it.
        waiting: usize,
        /// The age of the next message.
        age: Duration,
    },
    /// Commands come to this interface, nothing limits their age, and nobody notices when they stop: there is no
    /// `command.lifespan`, the first command carries no lifespan, and no watchdog watches for commands or peers. Once for
    /// each connection: when it connects, if a handler for commands is registered, else with the first command.
    CommandsUnguarded,
    /// A reliable message was not acknowledged.
    DeliveryFailed {
        /// The peer that it was sent to.
        peer: PeerId,
        /// Its type.
        message_type: MessageType,
        /// Its channel.
        channel: u16,
        /// Its outcome.
        outcome: Outcome,
    },
    /// A watchdog has tripped or recovered. Its failsafe, if it has one, was called before.
    Watchdog(WatchdogEvent),
    /// A stream that is taken from one peer at a time (`owner`) has another owner, or none any more.
    OwnerChanged {
        /// The stream.
        stream: StreamId,
        /// The owner before; `None`: it had none.
        from: Option<PeerId>,
        /// The owner now; `None`: it has none, and the next peer to send becomes the owner.
        to: Option<PeerId>,
        /// Why.
        reason: OwnerReason,
    },
    /// A peer sends on a stream that it does not own. Its messages are dropped, and counted as `NotOwner`. Once for each
    /// owner.
    NotOwner {
        /// The peer.
        peer: PeerId,
        /// The stream.
        stream: StreamId,
        /// The owner; `None`: there is no room for one more stream with an owner.
        owner: Option<PeerId>,
    },
    /// A peer drops what this interface sends on a stream, because another owns the stream there: it was first, or has
    /// claimed the stream. Once for each owner. Native wire only.
    StreamDenied {
        /// The peer.
        peer: PeerId,
        /// The stream.
        stream: StreamId,
    },
    /// A [claim or a release](crate::UdpInterface::claim) of this interface has ended at a peer.
    ClaimEnded {
        /// The peer.
        peer: PeerId,
        /// The stream.
        stream: StreamId,
        /// How it ended.
        outcome: ClaimOutcome,
    },
    /// A message for which `send` returned `Queued` could not be sent.
    SendFailed {
        /// Why.
        error: SendError,
    },
}

/// Who reads messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reader {
    /// Whoever calls `receive`.
    Inbox,
    /// The handler that is registered for these messages.
    Handler(Selector),
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inbox => f.write_str("inbox"),
            Self::Handler(Selector { message_type, channel: None }) => write!(f, "handler of {message_type}"),
            Self::Handler(Selector { message_type, channel: Some(channel) }) => {
                write!(f, "handler of {message_type}.{channel}")
            }
        }
    }
}

/// The most events that wait for a subscriber. Beyond it the oldest are dropped and counted.
pub const EVENT_QUEUE: usize = 1024;

/// The most events that strangers caused and that wait for a subscriber, beside those of the link. So strangers never displace an
/// event of the link.
pub const STRANGER_EVENTS: usize = 256;

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
