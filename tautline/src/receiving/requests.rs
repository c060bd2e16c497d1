//! Requests: messages whose sender waits for an answer.

use crate::sync::Ordering;
use crate::sync::driver_flags::DriverFlags;
use crate::sync::{Arc, Leads, Mutex, Weak};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::config::Role;
use crate::error::SendError;
use crate::machine::life::Life;
use crate::message::pool::Pool;
use crate::message::target::Target;
use crate::message::{Arrival, Message};
use crate::sync::lock;
use crate::sync::oneshot::OneShot;
use tautline_proto::endpoint::Outcome;
use tautline_proto::{Id, MessageRef, PeerId};

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The request was not sent.
    Send(SendError),
    /// No answer came in the given time. The request may have arrived all the same, or may arrive yet.
    TimedOut,
    /// The request was sent reliably and not acknowledged, or the session with the peer ended before the answer came. This is its
    /// outcome.
    NotDelivered(Outcome),
    /// The interface was disconnected while waiting.
    Disconnected,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(error) => error.fmt(f),
            Self::TimedOut => {
                f.write_str("no answer came in time: does the other end reply to such messages?")
            }
            Self::NotDelivered(outcome) => write!(f, "the request has no answer, because it was {outcome}"),
            Self::Disconnected => f.write_str("the interface was disconnected while waiting for the answer"),
        }
    }
}

impl std::error::Error for RequestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Send(error) => Some(error),
            _ => None,
        }
    }
}

impl From<SendError> for RequestError {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}

/// Ids of requests have these bits, so that none equals the default id of another message.
const REQUEST_ID: u64 = 0b11 << 62;

type Answer = OneShot<Result<Message, RequestError>>;

/// The requests that wait for answers.
#[derive(Debug)]
pub(crate) struct Requests {
    /// Its `requests` and `timed_requests` say how many wait, and how many of them the driver ends at their deadline.
    flags: Arc<DriverFlags>,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    next: u64,
    pending: HashMap<u64, Pending>,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Pending {
    /// The peers that were asked.
    target: Target,
    answer: Arc<Answer>,
    /// When the driver ends it; `None` if the waiting thread does, or if it has no time-out.
    deadline: Option<Instant>,
}

impl Pending {
    /// Whether a message with this arrival may be the answer: a peer cannot answer for another peer.
    fn is_for(&self, arrival: &Arrival) -> bool {
        match self.target {
            Target::All => true,
            Target::Peer(peer) => peer == arrival.peer,
            Target::Address(address) => is_same(address, arrival.address),
        }
    }
}

impl Requests {
    /// Ids count from `first`, which should differ from that of an earlier process.
    pub(crate) fn new(first: u64, flags: Arc<DriverFlags>) -> Self {
        let table = Table { next: first & !REQUEST_ID, pending: HashMap::new() };
        Self { flags, table: Mutex::new(table) }
    }

    fn begin(&self, target: Target) -> (u64, Arc<Answer>) {
        let mut table = lock(&self.table);
        let id = REQUEST_ID | table.next;
        table.next = (table.next + 1) & !REQUEST_ID;
        let answer = Arc::default();
        table.pending.insert(id, Pending { target, answer: Arc::clone(&answer), deadline: None });
        self.flags.requests.store(table.pending.len(), Ordering::Relaxed);
        (id, answer)
    }

    /// Removes a request from the table, if `is_meant` accepts it.
    fn end(&self, id: u64, is_meant: impl FnOnce(&Pending) -> bool) -> Option<Arc<Answer>> {
        let mut table = lock(&self.table);
        table.pending.get(&id).filter(|pending| is_meant(pending))?;
        let pending = table.pending.remove(&id)?;
        self.flags.requests.store(table.pending.len(), Ordering::Relaxed);
        if pending.deadline.is_some() {
            self.flags.timed_requests.fetch_sub(1, Ordering::Relaxed);
        }
        Some(pending.answer)
    }

    /// Tells the driver to end the request at its deadline. Returns whether the driver must be woken for that.
    fn end_at(&self, id: u64, deadline: Instant) -> bool {
        let mut table = lock(&self.table);
        let pending = table.pending.get_mut(&id);
        let is_new = pending.is_some_and(|pending| pending.deadline.replace(deadline).is_none());
        if is_new {
            self.flags.timed_requests.fetch_add(1, Ordering::Relaxed);
        }
        is_new
    }

    /// When the driver must end the next request.
    #[cold]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        lock(&self.table).pending.values().filter_map(|pending| pending.deadline).min()
    }

    /// Ends the requests whose deadline has passed.
    #[cold]
    pub(crate) fn expire(&self, now: Instant) {
        let is_over = |pending: &Pending| pending.deadline.is_some_and(|deadline| deadline <= now);
        let over: Vec<_> = {
            let table = lock(&self.table);
            table.pending.iter().filter(|(_, pending)| is_over(pending)).map(|(&id, _)| id).collect()
        };
        for id in over {
            if let Some(answer) = self.end(id, is_over) {
                answer.set(Err(RequestError::TimedOut));
            }
        }
    }

    /// Whether a message would answer a request.
    pub(crate) fn expect(&self, message: &MessageRef<'_>, arrival: &Arrival) -> bool {
        let is_expected =
            |id| lock(&self.table).pending.get(&id).is_some_and(|pending| pending.is_for(arrival));
        self.flags.requests_wait() && answered_by(message).is_some_and(is_expected)
    }

    /// Gives a message to the request that it answers. Returns whether there is one.
    #[inline(never)] // keeps this code out of the path of messages while no request waits
    pub(crate) fn answer(&self, message: &MessageRef<'_>, arrival: &Arrival, pool: &Arc<Pool>) -> bool {
        let is_meant = |pending: &Pending| pending.is_for(arrival);
        let Some(answer) = answered_by(message).and_then(|id| self.end(id, is_meant)) else { return false };
        answer.set(Ok(Message::copy(pool, message, *arrival)));
        true
    }

    /// Ends a request whose message was not delivered, unless other peers may still answer it.
    pub(crate) fn fail(&self, id: u64, outcome: Outcome, role: Role) {
        let has_one_peer = |pending: &Pending| pending.target != Target::All || role == Role::Client;
        if let Some(answer) = self.end(id, has_one_peer) {
            answer.set(Err(RequestError::NotDelivered(outcome)));
        }
    }

    /// Ends the requests to a peer whose session is over: the answer cannot come any more. A request to all ends if there is no
    /// other peer, as on a client.
    pub(crate) fn peer_left(
        &self,
        (id, address): (PeerId, Option<SocketAddr>),
        outcome: Outcome,
        role: Role,
    ) {
        if !self.flags.requests_wait() {
            return;
        }
        let asked = |pending: &Pending| match pending.target {
            Target::All => role == Role::Client,
            Target::Peer(peer) => peer == id,
            Target::Address(to) => address.is_some_and(|address| is_same(to, address)),
        };
        let over: Vec<_> = {
            let table = lock(&self.table);
            table.pending.iter().filter(|(_, pending)| asked(pending)).map(|(&id, _)| id).collect()
        };
        for id in over {
            if let Some(answer) = self.end(id, |_| true) {
                answer.set(Err(RequestError::NotDelivered(outcome)));
            }
        }
    }

    /// A peer that was asked by its address has another one.
    pub(crate) fn peer_moved(&self, from: SocketAddr, to: SocketAddr) {
        for pending in lock(&self.table).pending.values_mut() {
            if matches!(pending.target, Target::Address(asked) if is_same(asked, from)) {
                pending.target = Target::Address(to);
            }
        }
    }

    /// Ends all requests: the interface was disconnected.
    pub(crate) fn close(&self) {
        let pending = std::mem::take(&mut lock(&self.table).pending);
        self.flags.requests.store(0, Ordering::Relaxed);
        self.flags.timed_requests.store(0, Ordering::Relaxed);
        pending.into_values().for_each(|pending| pending.answer.set(Err(RequestError::Disconnected)));
    }
}

/// A request that was sent: [`wait`](Self::wait) for its answer, or await it on any executor.
///
/// It ends with the answer, when its time-out is over, when reliable delivery has failed, when the session with its peer has
/// ended, or when the interface is disconnected. Dropping it abandons the request: a later answer goes to handlers and inbox like any other message.
#[must_use = "the answer comes to whoever waits for the request, or awaits it"]
pub struct Request {
    requests: Arc<Requests>,
    /// Wakes the driver, which ends a request that is awaited at its deadline.
    life: Option<Arc<Life>>,
    /// The interface, for which a waiting thread may work.
    interface: Option<Weak<dyn Leads>>,
    id: u64,
    deadline: Option<Instant>,
    answer: Arc<Answer>,
}

impl Request {
    /// Begins a request to the target. `send` sends the message with the id that it is given.
    pub(crate) fn begin(
        requests: &Arc<Requests>,
        (life, interface): (Option<Arc<Life>>, Option<Weak<dyn Leads>>),
        target: Target,
        timeout: Option<Duration>,
        send: impl FnOnce(u64) -> Result<(), SendError>,
    ) -> Result<Self, SendError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let (id, answer) = requests.begin(target);
        let request = Self { requests: Arc::clone(requests), life, interface, id, deadline, answer };
        // If sending fails, the request is dropped, which ends it.
        send(id).map(|()| request)
    }

    /// Waits for the answer, at most until the request's time-out is over. While it waits, the calling thread may do the driver's
    /// work (setting [`driven_by`](crate::Config::driven_by)).
    ///
    /// # Errors
    ///
    /// Why there is no answer; never [`Send`](RequestError::Send).
    pub fn wait(self) -> Result<Message, RequestError> {
        let interface = self.interface.as_ref();
        let answer = self.answer.wait_leading(interface, self.deadline, Option::take).or_else(|| {
            // If the request is not in the table any more, another thread is about to answer it.
            let is_answered = self.requests.end(self.id, |_| true).is_none();
            is_answered.then(|| self.answer.wait(None, Option::take)).flatten()
        });
        answer.unwrap_or(Err(RequestError::TimedOut))
    }
}

impl Future for Request {
    type Output = Result<Message, RequestError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.answer.poll(context, Option::take);
        if polled.is_pending()
            && let Some(deadline) = self.deadline
            && self.requests.end_at(self.id, deadline)
            && let Some(life) = &self.life
        {
            life.wake();
        }
        polled
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.requests.end(self.id, |_| true);
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Whether two addresses are the same, in either form of IPv4.
fn is_same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}

/// The number of the request that a message answers.
fn answered_by(message: &MessageRef<'_>) -> Option<u64> {
    match message.correlation_id.as_ref()? {
        Id::Number(number) => Some(*number),
        // On the classic wire the id of a request is text, which is what Python programs expect.
        Id::Text(digits) => digits.parse().ok(),
        Id::Null | Id::Json(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{arrival, numbered};
    use tautline_proto::Priority;

    #[test]
    fn an_answer_that_comes_when_the_time_is_over_is_not_lost() {
        let requests = Arc::new(Requests::new(0, Arc::default()));
        let request = Request::begin(&requests, (None, None), Target::All, Some(Duration::ZERO), |_| Ok(()))
            .expect("begun");
        // What the driver does, but slowly.
        let answer = requests.end(request.id, |_| true).expect("it waits");
        let message = Message::copy(&Arc::new(Pool::new()), &numbered(7, Priority::Normal), arrival());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| request.wait());
            std::thread::sleep(Duration::from_millis(20));
            answer.set(Ok(message));
            assert!(waiting.join().expect("no panic").is_ok());
        });
        let request = Request::begin(&requests, (None, None), Target::All, Some(Duration::ZERO), |_| Ok(()))
            .expect("begun");
        assert_eq!(request.wait().map(drop), Err(RequestError::TimedOut));
    }
}
