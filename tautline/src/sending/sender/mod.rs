//! Sending: encode without a lock, then hand over.

use crate::sync::Arc;
use std::cell::RefCell;

use arc_swap::ArcSwapOption;
use serde::Serialize;
use tautline_proto::wire::native::{HEADER_LEN, Head, Packed};

use crate::config::Wire;
use crate::error::SendError;
use crate::machine::clock::Clock;
use crate::machine::clock::wall_now;
use crate::machine::fault::FaultCounters;
use crate::message::metadata::Metadata;
use crate::message::target::Target;
use crate::payload::{EncodeError, Payload};
use crate::sending::deliveries::DeliverySigns;
use crate::sending::failed::{Failed, SendCounters};
use crate::sending::gate::GateSigns;
use crate::sending::handover::{Handed, Handover};
use crate::sending::job::{Job, Terms};
use crate::sending::line::{Line, Ready, Reliably};
use crate::sending::link::{Link, Sent};

use crate::sending::receipt::{Receipt, Tracker};
use tautline_proto::{ContentType, Delivery, Id};

/// What a thread encodes into.
#[derive(Debug, Default)]
struct Desk {
    job: Job,
    /// The message of a batch that is being encoded.
    draft: Vec<u8>,
}

thread_local! {
    static DESK: RefCell<Desk> = RefCell::default();
}

/// Runs `act` on this thread's desk; on a new one where that is in use, because a value's `Serialize` may itself send,
/// and where the thread ends and has lost it already.
fn at_desk<T>(mut act: impl FnMut(&mut Desk) -> T) -> T {
    match DESK.try_with(|desk| desk.try_borrow_mut().map(|mut desk| act(&mut desk))) {
        Ok(Ok(result)) => result,
        _ => act(&mut Desk::default()),
    }
}

/// The sending half of an interface, shared by all threads that send. Outlives single connections.
///
/// Owned by the connection's shared state. A [`Reply`](super::reply::Reply) holds it too.
#[derive(Debug)]
pub(crate) struct Sender {
    /// The user's own thread drives, so that no driver's thread writes what senders leave.
    pub(crate) caller_driven: bool,
    pub(crate) clock: Clock,
    pub(crate) transmit: Handover<Line>,
    pub(crate) counters: Arc<SendCounters>,
    pub(crate) faults: Arc<FaultCounters>,
    pub(crate) gate_signs: Arc<GateSigns>,
    pub(crate) delivery_signs: Arc<DeliverySigns>,
    /// How to encode for the present connection; `None` while disconnected.
    ///
    /// Every send reads it, from any number of threads, without a write to memory that they share.
    pub(crate) link: ArcSwapOption<Link>,
}

impl Sender {
    pub(crate) fn new(clock: Clock, caller_driven: bool) -> Self {
        let line = Line::default();
        Self {
            caller_driven,
            clock,
            counters: line.counters(),
            faults: line.faults(),
            gate_signs: Arc::default(),
            delivery_signs: line.delivery_signs(),
            transmit: Handover::new(line),
            link: ArcSwapOption::empty(),
        }
    }

    /// The metadata of a request: reliable where the wire can and nobody says otherwise.
    pub(crate) fn as_request(&self, metadata: Metadata) -> Metadata {
        let link = self.link.load();
        let is_native = link.as_deref().is_some_and(|link| link.wire == Wire::Native);
        let says = link.as_deref().and_then(|link| link.streams.as_ref());
        let says = says.and_then(|streams| streams.of(metadata.message_type, metadata.channel).delivery);
        match metadata.delivery.or(says) {
            None if is_native => metadata.delivery(Delivery::Reliable),
            _ => metadata,
        }
    }

    pub(crate) fn send_value<T: Serialize + ?Sized>(
        &self,
        target: Target,
        value: &T,
        metadata: &Metadata,
        answers: Option<&Id<'_>>,
    ) -> Result<Sent, SendError> {
        let link = self.link.load();
        let Some(link) = link.as_deref() else { return Err(SendError::NotConnected) };
        self.send_with(link, target, metadata, answers, link.codec, |out| link.encode_value(out, value))
    }

    pub(crate) fn send_payload(
        &self,
        target: Target,
        payload: &Payload,
        metadata: &Metadata,
        answers: Option<&Id<'_>>,
    ) -> Result<Sent, SendError> {
        self.send_bytes(target, payload.content_type(), payload.bytes(), metadata, answers)
    }

    /// Sends bytes that are right for their content type, as raw ones always are.
    pub(crate) fn send_bytes(
        &self,
        target: Target,
        content_type: ContentType,
        bytes: &[u8],
        metadata: &Metadata,
        answers: Option<&Id<'_>>,
    ) -> Result<Sent, SendError> {
        let terms = Terms::new(target, metadata.priority, wall_now());
        let mut message = Ready { terms, content_type, bytes, metadata, answers };
        let failures = self.counters.queued.value();
        let Handed { outcome, wake_driver } = self.transmit.at_once(|line| line.send_ready(&mut message));
        self.finish(wake_driver, failures);
        if let Some(sent) = outcome {
            return sent.map_err(|failed| failed.error);
        }
        let link = self.link.load();
        let Some(link) = link.as_deref() else { return Err(SendError::NotConnected) };
        self.send_with(link, target, metadata, answers, content_type, |out| link.append(out, bytes))
    }

    /// Sends many values at once.
    pub(crate) fn send_values<T: Serialize>(
        &self,
        target: Target,
        values: &[T],
        metadata: &Metadata,
    ) -> Result<Sent, SendError> {
        let link = self.link.load();
        let Some(link) = link.as_deref() else { return Err(SendError::NotConnected) };
        let codec = |_: &T| link.codec;
        self.send_many(link, target, values, metadata, codec, |out, value| link.encode_value(out, value))
    }

    /// Sends many payloads at once.
    pub(crate) fn send_payloads(
        &self,
        target: Target,
        payloads: &[Payload],
        metadata: &Metadata,
    ) -> Result<Sent, SendError> {
        let link = self.link.load();
        let Some(link) = link.as_deref() else { return Err(SendError::NotConnected) };
        let append = |out: &mut Vec<u8>, payload: &Payload| link.append(out, payload.bytes());
        self.send_many(link, target, payloads, metadata, Payload::content_type, append)
    }

    /// Writes what waits at the gate.
    pub(crate) fn flush(&self) {
        if self.gate_signs.is_waiting() {
            self.with_line(Line::flush);
        }
    }

    /// Runs `act` with the line to itself. What others leave meanwhile is written, or the driver's to write; what fails of it is
    /// the driver's to tell.
    fn with_line<T>(&self, act: impl FnOnce(&mut Line) -> T) -> T {
        let failures = self.counters.queued.value();
        let result = self.transmit.exclusively(act);
        self.finish(self.transmit.is_contended(), failures);
        result
    }

    fn send_with(
        &self,
        link: &Link,
        target: Target,
        metadata: &Metadata,
        answers: Option<&Id<'_>>,
        content_type: ContentType,
        write_payload: impl Fn(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<Sent, SendError> {
        let sent = at_desk(|Desk { job, .. }| {
            link.check_wire(content_type, metadata)?;
            job.begin(link, target, metadata);
            let head = link.head(metadata, answers, content_type, job.terms.made);
            link.encode(&mut job.datagram, &head, &write_payload)?;
            match head.delivery {
                Delivery::BestEffort => {
                    job.terms.expire_after(link.time_left(&head, job.terms.made));
                    self.hand_over(job)
                }
                _ => self.offer(link, job, &head, None),
            }
        });
        sent.map_err(|failed| failed.error)
    }

    /// Sends one message reliably and gives the receipt for it.
    pub(crate) fn send_reliably(
        &self,
        target: Target,
        metadata: &Metadata,
        content_type: Option<ContentType>,
        write_payload: impl Fn(&Link, &mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<Receipt, SendError> {
        let link = self.link.load();
        let Some(link) = link.as_deref() else { return Err(SendError::NotConnected) };
        let content_type = content_type.unwrap_or(link.codec);
        let sent = at_desk(|Desk { job, .. }| {
            link.check_wire(content_type, metadata)?;
            job.begin(link, target, metadata);
            let mut head = link.head(metadata, None, content_type, job.terms.made);
            if head.delivery == Delivery::BestEffort {
                head.delivery = Delivery::Reliable;
            }
            link.check_delivery(head.delivery)?;
            link.encode(&mut job.datagram, &head, |out| write_payload(link, out))?;
            let tracker = Arc::default();
            self.offer(link, job, &head, Some(&tracker)).map(|_| Receipt { tracker })
        });
        sent.map_err(|failed| failed.error)
    }

    /// Hands a reliable message over: it is numbered and kept, and sent as far as may be.
    fn offer(
        &self,
        link: &Link,
        job: &Job,
        head: &Head<'_>,
        tracker: Option<&Arc<Tracker>>,
    ) -> Result<Sent, Box<Failed>> {
        let now = self.clock.now();
        let expires = link.time_left(head, now.wall).map(|left| now.steady.plus(left));
        let (message_type, channel) = (head.message_type, head.channel);
        let number = match head.message_id {
            Some(&Id::Number(number)) => Some(number),
            _ => None,
        };
        let how = Reliably { message_type, channel, expires, tracker: tracker.cloned(), number };
        let (outcome, wake_driver) = self.with_line(|line| line.offer(job, &how, now));
        if wake_driver {
            link.life.wake();
        }
        outcome.map(|()| Sent::Queued)
    }

    fn send_many<T>(
        &self,
        link: &Link,
        target: Target,
        items: &[T],
        metadata: &Metadata,
        content_type: impl Fn(&T) -> ContentType,
        write_payload: impl Fn(&mut Vec<u8>, &T) -> Result<(), EncodeError>,
    ) -> Result<Sent, SendError> {
        let sent = at_desk(|Desk { job, draft }| {
            job.begin(link, target, metadata);
            // The same for all but the content type.
            let mut head = link.head(metadata, None, link.codec, job.terms.made);
            job.terms.expire_after(link.time_left(&head, job.terms.made));
            let mut batch = Batch::new(self, link, job);
            let encoded = items.iter().try_for_each(|item| {
                head.content_type = content_type(item);
                link.check_wire(head.content_type, metadata)?;
                if link.wire == Wire::Native && head.delivery == Delivery::BestEffort {
                    return batch
                        .pack(draft, |out| link.encode_frame(out, &head, |out| write_payload(out, item)));
                }
                draft.clear();
                link.encode(draft, &head, |out| write_payload(out, item))?;
                match head.delivery {
                    Delivery::BestEffort => batch.send_alone(draft),
                    _ => batch.offer(draft, &head),
                }
            });
            // Those before one that cannot be encoded go all the same.
            let outcome = encoded.and(batch.hand_over_pack());
            batch.outcome(outcome, items.len())
        });
        sent.map_err(|failed| failed.error)
    }

    fn hand_over(&self, job: &mut Job) -> Result<Sent, Box<Failed>> {
        let failures = self.counters.queued.value();
        let rank = job.terms.rank();
        let Handed { outcome, wake_driver } = self.transmit.submit(job, rank);
        self.finish(wake_driver, failures);
        outcome.unwrap_or(Ok(Sent::Queued))
    }

    /// Has the driver do what is left to do; `failures`: how many queued messages had failed before.
    #[inline]
    fn finish(&self, wake_driver: bool, failures: u64) {
        // A caller's loop may watch the socket alone, or be busy elsewhere: there the sender goes on.
        let left = wake_driver && !(self.caller_driven && self.transmit.flush_all());
        // What others have left at the gate is the driver's to send, and what failed for them the driver's to tell.
        let wake = left || self.gate_signs.need_a_watch() || self.counters.queued.value() != failures;
        if wake && let Some(link) = self.link.load().as_deref() {
            link.life.wake();
        }
    }
}

/// Many messages on their way into packs, each handed over when it is full.
struct Batch<'a> {
    sender: &'a Sender,
    link: &'a Link,
    job: &'a mut Job,
    /// How far the one that got least far has come.
    sent: Sent,
    /// How many were handed over and had no failure.
    done: usize,
    /// How many were handed over and failed at a peer or more.
    tried: usize,
    /// What became of those, counted once per peer: sent, and failed.
    of_tried: (usize, usize),
    /// The first failure.
    first: Option<Box<Failed>>,
}

impl<'a> Batch<'a> {
    const fn new(sender: &'a Sender, link: &'a Link, job: &'a mut Job) -> Self {
        Self { sender, link, job, sent: Sent::Written, done: 0, tried: 0, of_tried: (0, 0), first: None }
    }

    /// Packs the message whose frame `write` appends, or sends it by itself where it cannot share a datagram.
    #[inline]
    fn pack(
        &mut self,
        apart: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Box<Failed>>,
    ) -> Result<(), Box<Failed>> {
        match self.job.pack.write(apart, write)? {
            Packed::InPack => {}
            Packed::PackFull => {
                self.hand_over_pack()?;
                let pushed = self.job.pack.push(&apart[HEADER_LEN..]);
                debug_assert!(pushed, "an empty pack takes what it admits");
            }
            Packed::TooLarge => {
                self.hand_over_pack()?;
                self.send_alone(apart)?;
            }
        }
        Ok(())
    }

    /// Sends the message in `draft` by itself.
    fn send_alone(&mut self, draft: &mut Vec<u8>) -> Result<(), Box<Failed>> {
        std::mem::swap(draft, &mut self.job.datagram);
        self.hand_over(1)
    }

    /// Hands a reliable message over.
    fn offer(&mut self, draft: &mut Vec<u8>, head: &Head<'_>) -> Result<(), Box<Failed>> {
        std::mem::swap(draft, &mut self.job.datagram);
        let outcome = self.sender.offer(self.link, self.job, head, None);
        self.count(1, outcome)
    }

    fn hand_over_pack(&mut self) -> Result<(), Box<Failed>> {
        let messages = usize::try_from(self.job.pack.messages()).unwrap_or(usize::MAX);
        if messages == 0 { Ok(()) } else { self.hand_over(messages) }
    }

    fn hand_over(&mut self, messages: usize) -> Result<(), Box<Failed>> {
        let terms = self.job.terms;
        let outcome = self.sender.hand_over(self.job);
        // It is another job now where somebody else is writing.
        self.job.terms = terms;
        self.job.pack.begin(self.link.datagram_size);
        self.count(messages, outcome)
    }

    /// Counts what became of so many messages; a failure after which the others are not tried.
    fn count(&mut self, messages: usize, outcome: Result<Sent, Box<Failed>>) -> Result<(), Box<Failed>> {
        let failed = match outcome {
            Ok(sent) => {
                if sent == Sent::Queued {
                    self.sent = Sent::Queued;
                }
                self.done += messages;
                return Ok(());
            }
            Err(failed) => failed,
        };
        let (sent, unsent) = failed.counts();
        self.tried += messages;
        self.of_tried = (self.of_tried.0 + sent, self.of_tried.1 + unsent);
        // One peer of several keeps the rest from none of the others.
        if sent > 0 && sent + unsent > messages {
            self.first.get_or_insert(failed);
            return Ok(());
        }
        Err(failed)
    }

    /// What is told of a batch of `all` messages, `stopped` by a failure or not.
    fn outcome(self, stopped: Result<(), Box<Failed>>, all: usize) -> Result<Sent, Box<Failed>> {
        let Some(first) = self.first.or(stopped.err()) else { return Ok(self.sent) };
        let target = self.job.terms.target;
        let peers = self.sender.with_line(|line| line.peers_meant(target));
        let (sent, failed) = self.of_tried;
        let sent = sent + self.done * peers;
        if sent == 0 {
            return Err(first);
        }
        let failed = failed + all.saturating_sub(self.done + self.tried) * peers;
        let first = match first.error {
            SendError::Partly { first, .. } => first,
            error => Box::new(error),
        };
        Err(SendError::Partly { sent, failed, first }.into())
    }
}

#[cfg(test)]
mod tests;
