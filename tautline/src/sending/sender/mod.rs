//! The sender: encodes a message in the calling thread, without a lock, and hands it over.
//!
//! Called by publishers, the interface and reply handles, from any thread.

use crate::sync::Arc;
use std::cell::RefCell;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde::Serialize;
use tautline_proto::wire::native::{HEADER_LEN, Head, Packed};

use crate::config::Wire;
use crate::error::SendError;
use crate::machine::clock::Clock;
use crate::machine::fault::FaultCounters;
use crate::message::made::MadeAt;
use crate::message::metadata::Metadata;
use crate::message::target::Target;
use crate::payload::{Content, Encode, EncodeError, Payload, append};
use crate::sending::coalescer::CoalescerSignals;
use crate::sending::deliveries::DeliverySigns;
use crate::sending::failed::{Failed, SendCounters, error_of};
use crate::sending::handover::{Handed, Handover};
use crate::sending::job::{Job, Terms};
use crate::sending::line::{Line, Offered, Ready, Reliably};
use crate::sending::link::{Link, Sent};

use crate::sending::receipt::{Receipt, Tracker};
use crate::sending::room::RoomSignal;
use tautline_proto::{ContentType, Delivery, Id, MessageType, Priority};

/// The buffers that a thread encodes into.
#[derive(Debug, Default)]
struct Desk {
    job: Job,
    /// The message of a batch that is being encoded, until it is known where it goes.
    draft: Vec<u8>,
}

thread_local! {
    static DESK: RefCell<Desk> = RefCell::default();
}

/// Runs `act` with this thread's buffers, or with new ones: if a value's `Serialize` itself sends, they are in use, and a
/// thread that ends may have lost them already.
fn at_desk<T>(mut act: impl FnMut(&mut Desk) -> T) -> T {
    match DESK.try_with(|desk| desk.try_borrow_mut().map(|mut desk| act(&mut desk))) {
        Ok(Ok(result)) => result,
        _ => act(&mut Desk::default()),
    }
}

/// To whom a message goes, with which metadata, and the id of the message that it answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) target: Target,
    pub(crate) metadata: &'a Metadata,
    pub(crate) answers: Option<&'a Id<'a>>,
    /// When the data were made; `None` for the time of sending.
    pub(crate) made: Option<MadeAt>,
}

impl<'a> Outgoing<'a> {
    /// A message that answers no other.
    pub(crate) const fn new(target: Target, metadata: &'a Metadata) -> Self {
        Self { target, metadata, answers: None, made: metadata.made }
    }

    /// A message that answers the one with this id.
    pub(crate) const fn answering(target: Target, metadata: &'a Metadata, id: &'a Id<'a>) -> Self {
        Self { answers: Some(id), ..Self::new(target, metadata) }
    }
}

/// The sending half of an interface, shared by all threads that send. Outlives single connections.
///
/// Owned by the connection's shared state. A [`Reply`](super::reply::Reply) holds it too.
#[derive(Debug)]
// In this order, so that what every message uses shares few cache lines.
#[repr(C)]
pub(crate) struct Sender {
    pub(crate) counters: Arc<SendCounters>,
    pub(crate) coalescer_signals: Arc<CoalescerSignals>,
    pub(crate) delivery_signs: Arc<DeliverySigns>,
    pub(crate) clock: Clock,
    /// The user's own thread is the driver, so that no other thread writes what senders leave.
    pub(crate) caller_driven: bool,
    /// How to encode for the present connection; `None` while disconnected.
    ///
    /// Every send reads it, from any number of threads, without a write to memory that they share.
    pub(crate) link: ArcSwapOption<Link>,
    pub(crate) transmit: Handover<Line>,
    pub(crate) faults: Arc<FaultCounters>,
    pub(crate) room: RoomSignal,
}

impl Sender {
    pub(crate) fn new(clock: Clock, caller_driven: bool) -> Self {
        let line = Line::default();
        Self {
            caller_driven,
            clock,
            counters: line.counters(),
            faults: line.faults(),
            coalescer_signals: Arc::default(),
            delivery_signs: line.delivery_signs(),
            room: RoomSignal::default(),
            transmit: Handover::new(line),
            link: ArcSwapOption::empty(),
        }
    }

    /// The metadata of the request with this number: reliable on the native wire, unless the metadata or the stream's settings
    /// say otherwise. On the classic wire the number travels as text, because not every reader of JSON keeps all its digits.
    pub(crate) fn as_request(&self, metadata: Metadata, number: u64) -> Metadata {
        let link = self.link.load();
        let link = link.as_deref();
        let is_native = link.is_some_and(|link| link.wire == Wire::Native);
        let is_classic = link.is_some_and(|link| link.wire == Wire::Classic);
        let id = if is_classic { Id::from(number.to_string()) } else { Id::Number(number) };
        let metadata = metadata.message_id(id);
        match metadata.delivery.or_else(|| link?.delivery_of(&metadata)) {
            None if is_native => metadata.delivery(Delivery::Reliable),
            _ => metadata,
        }
    }

    /// Encodes a value for the present connection.
    pub(crate) fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Payload, SendError> {
        let link = self.link.load();
        let Some(link) = link.as_deref() else { return Err(SendError::NotConnected) };
        Ok(Payload::within(link.codec, &link.limits, value)?)
    }

    /// Sends content, without waiting for anything.
    #[inline]
    pub(crate) fn send<C: Content>(&self, outgoing: Outgoing<'_>, content: &C) -> Result<Sent, SendError> {
        if let Some((content_type, bytes)) = content.encoded() {
            return self.send_bytes(outgoing, content_type, bytes);
        }
        let link = self.link.load();
        let Some(link) = link.as_deref() else { return Err(SendError::NotConnected) };
        let write = |out: &mut Vec<u8>| content.write(link.codec, &link.limits, out);
        self.send_encoded(link, outgoing, content.content_type(link.codec), write)
    }

    /// Sends bytes that need no encoding: the line's holder frames them where they go.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    fn send_bytes(
        &self,
        outgoing: Outgoing<'_>,
        content_type: ContentType,
        bytes: &[u8],
    ) -> Result<Sent, SendError> {
        let terms = Terms::new(outgoing.target, outgoing.metadata.priority, self.clock.steady_now());
        let mut message = Ready { terms, content_type, bytes, outgoing: &outgoing };
        let failures = self.counters.queued.value();
        let streams = || self.streams(outgoing.metadata.priority);
        let Handed { outcome, wake_driver } =
            self.transmit.at_once(streams, |line| line.send_ready(&mut message));
        self.finish(wake_driver, failures);
        if let Some(sent) = outcome {
            return sent.map_err(error_of);
        }
        self.send_bytes_as_job(outgoing, content_type, bytes)
    }

    #[inline(never)]
    fn send_bytes_as_job(
        &self,
        outgoing: Outgoing<'_>,
        content_type: ContentType,
        bytes: &[u8],
    ) -> Result<Sent, SendError> {
        let link = self.link.load();
        let Some(link) = link.as_deref() else { return Err(SendError::NotConnected) };
        self.send_encoded(link, outgoing, content_type, |out| append(bytes, &link.limits, out))
    }

    /// Whether the key of this end may send messages of this type. True while there is no link.
    pub(crate) fn may_send(&self, message_type: MessageType) -> bool {
        self.link.load().as_deref().is_none_or(|link| link.check_rights(message_type).is_ok())
    }

    /// Writes the messages that are being coalesced.
    pub(crate) fn flush(&self) {
        if self.coalescer_signals.is_waiting() {
            self.with_line(Line::flush);
        }
    }

    /// Waits for the line, writes all waiting jobs, and runs `act`. Jobs that come meanwhile are written too, or left to the
    /// driver. The driver reports the failures among them.
    fn with_line<T>(&self, act: impl FnOnce(&mut Line) -> T) -> T {
        let failures = self.counters.queued.value();
        let result = self.transmit.exclusively(act);
        self.finish(self.transmit.is_contended(), failures);
        result
    }

    /// Encodes a message into a job and hands that over.
    fn send_encoded(
        &self,
        link: &Link,
        outgoing: Outgoing<'_>,
        content_type: ContentType,
        write_payload: impl Fn(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<Sent, SendError> {
        let Outgoing { target, metadata, .. } = outgoing;
        let sent = at_desk(|Desk { job, .. }| {
            link.check_wire(content_type, metadata)?;
            job.begin(link, target, metadata);
            let sent_at = link.clock.wall(job.terms.sent_at);
            let head = link.head(&outgoing, content_type, sent_at);
            link.encode(&mut job.datagram, &head, &write_payload)?;
            match head.delivery {
                Delivery::BestEffort => {
                    job.terms.expire_after(link.time_left(&head, outgoing.made, sent_at)?);
                    self.hand_over(job)
                }
                _ => self.offer(link, job, &head, false).map(|_| Sent::Queued),
            }
        });
        sent.map_err(error_of)
    }

    /// Sends one message reliably. Returns its receipt.
    pub(crate) fn send_reliably<C: Content>(
        &self,
        outgoing: Outgoing<'_>,
        content: &C,
    ) -> Result<Receipt, SendError> {
        let Outgoing { target, metadata, .. } = outgoing;
        let link = self.link.load();
        let Some(link) = link.as_deref() else { return Err(SendError::NotConnected) };
        let content_type = content.content_type(link.codec);
        let sent = at_desk(|Desk { job, .. }| {
            link.check_wire(content_type, metadata)?;
            job.begin(link, target, metadata);
            let sent_at = link.clock.wall(job.terms.sent_at);
            let mut head = link.head(&outgoing, content_type, sent_at);
            if head.delivery == Delivery::BestEffort {
                head.delivery = Delivery::Reliable;
            }
            link.check_delivery(head.delivery)?;
            link.encode(&mut job.datagram, &head, |out| content.write(link.codec, &link.limits, out))?;
            self.offer(link, job, &head, true).map(|tracker| Receipt::new(tracker.unwrap_or_default()))
        });
        sent.map_err(error_of)
    }

    /// Offers a reliable message to the line: it is numbered, kept, and sent as far as the window allows. Returns its tracker, if it
    /// `has_receipt`.
    fn offer(
        &self,
        link: &Link,
        job: &Job,
        head: &Head<'_>,
        has_receipt: bool,
    ) -> Result<Option<Arc<Tracker>>, Box<Failed>> {
        let now = job.terms.sent_at;
        // A message whose lifespan is over ends as every reliable message does: with an outcome.
        let left = link.time_left(head, None, link.clock.wall(now)).unwrap_or(Some(Duration::ZERO));
        let expires = left.map(|left| now.plus(left));
        let (message_type, channel) = (head.message_type, head.channel);
        let number = match head.message_id {
            Some(&Id::Number(number)) => Some(number),
            _ => None,
        };
        let how = Reliably { message_type, channel, expires, has_receipt, number };
        let Offered { outcome, tracker, wake_driver } = self.with_line(|line| line.offer(job, &how, now));
        if wake_driver {
            link.life.wake();
        }
        outcome.map(|()| tracker)
    }

    /// Sends many messages at once, packed into as few datagrams as they fit.
    pub(crate) fn send_batch<I>(&self, outgoing: Outgoing<'_>, contents: I) -> Result<Sent, SendError>
    where
        I: IntoIterator<Item: Content>,
    {
        let Outgoing { target, metadata, .. } = outgoing;
        let link = self.link.load();
        let Some(link) = link.as_deref() else { return Err(SendError::NotConnected) };
        let mut contents = Some(contents);
        let sent = at_desk(|Desk { job, draft }| {
            let mut contents = contents.take().into_iter().flatten();
            job.begin(link, target, metadata);
            // Only the content type differs from message to message.
            let sent_at = link.clock.wall(job.terms.sent_at);
            let mut head = link.head(&outgoing, link.codec, sent_at);
            job.terms.expire_after(link.time_left(&head, outgoing.made, sent_at)?);
            let mut batch = Batch::new(self, link, job);
            let mut tried = 0;
            let encoded = contents.by_ref().try_for_each(|content| {
                tried += 1;
                let write = |out: &mut Vec<u8>| content.write(link.codec, &link.limits, out);
                head.content_type = content.content_type(link.codec);
                link.check_wire(head.content_type, metadata)?;
                if link.wire == Wire::Native && head.delivery == Delivery::BestEffort {
                    return batch.pack(draft, |out| link.encode_frame(out, &head, write));
                }
                draft.clear();
                link.encode(draft, &head, write)?;
                match head.delivery {
                    Delivery::BestEffort => batch.send_alone(draft),
                    _ => batch.offer(draft, &head),
                }
            });
            // The messages before one that cannot be encoded are sent all the same.
            let outcome = encoded.and(batch.hand_over_pack());
            batch.outcome(outcome, || tried + contents.count())
        });
        sent.map_err(error_of)
    }

    /// Whether a reliable message to the target finds room. True where it cannot be sent at all: sending says why.
    pub(crate) fn has_room(&self, target: Target) -> bool {
        self.with_line(|line| line.has_room(target))
    }

    /// Whether a message of this priority is probably part of a stream: others are being coalesced.
    fn streams(&self, priority: Priority) -> bool {
        priority != Priority::Critical && self.coalescer_signals.is_waiting()
    }

    fn hand_over(&self, job: &mut Job) -> Result<Sent, Box<Failed>> {
        let failures = self.counters.queued.value();
        let rank = job.terms.rank();
        let priority = job.terms.priority;
        let Handed { outcome, wake_driver } = self.transmit.submit(job, rank, || self.streams(priority));
        self.finish(wake_driver, failures);
        outcome.unwrap_or(Ok(Sent::Queued))
    }

    /// Wakes the driver if something is left to it. `failures`: how many queued messages had failed before.
    #[inline]
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    fn finish(&self, wake_driver: bool, failures: u64) {
        // A caller's loop may watch the socket only, or be busy. So the sender writes the rest itself.
        let left = wake_driver && !(self.caller_driven && self.transmit.flush_all());
        // The driver also sends what others have left for coalescing, and reports what failed for them.
        let wake = left || self.coalescer_signals.need_a_watch() || self.counters.queued.value() != failures;
        if wake && let Some(link) = self.link.load().as_deref() {
            link.life.wake();
        }
    }
}

/// The messages of a batch: packs them, and hands each pack over when it is full.
struct Batch<'a> {
    sender: &'a Sender,
    link: &'a Link,
    job: &'a mut Job,
    /// `Queued` if one of the packs was queued.
    sent: Sent,
    /// The number of messages that were handed over without a failure.
    done: usize,
    /// The number of messages that were handed over and failed at one peer or more.
    tried: usize,
    /// The outcomes of those messages, counted once per peer: sent, and failed.
    of_tried: (usize, usize),
    /// The first failure.
    first: Option<Box<Failed>>,
}

impl<'a> Batch<'a> {
    const fn new(sender: &'a Sender, link: &'a Link, job: &'a mut Job) -> Self {
        Self { sender, link, job, sent: Sent::Written, done: 0, tried: 0, of_tried: (0, 0), first: None }
    }

    /// Packs the message whose frame `write` appends, or sends it alone if it cannot share a datagram.
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
                let (frame, number) = (&apart[HEADER_LEN..], self.link.encoder.next_large());
                if !self.job.pack.push_large(frame, number) {
                    self.hand_over_pack()?;
                    if !self.job.pack.push_large(frame, number) {
                        // It is larger than a pack.
                        self.send_alone(apart)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends the message in `draft` alone.
    fn send_alone(&mut self, draft: &mut Vec<u8>) -> Result<(), Box<Failed>> {
        std::mem::swap(draft, &mut self.job.datagram);
        self.hand_over(1)
    }

    /// Offers the reliable message in `draft`.
    fn offer(&mut self, draft: &mut Vec<u8>, head: &Head<'_>) -> Result<(), Box<Failed>> {
        std::mem::swap(draft, &mut self.job.datagram);
        // A batch may take a while to encode.
        self.job.terms.sent_at = self.link.clock.steady_now();
        let outcome = self.sender.offer(self.link, self.job, head, false);
        self.count(1, outcome.map(|_| Sent::Queued))
    }

    fn hand_over_pack(&mut self) -> Result<(), Box<Failed>> {
        let messages = usize::try_from(self.job.pack.messages()).unwrap_or(usize::MAX);
        if messages == 0 { Ok(()) } else { self.hand_over(messages) }
    }

    fn hand_over(&mut self, messages: usize) -> Result<(), Box<Failed>> {
        let terms = self.job.terms;
        let outcome = self.sender.hand_over(self.job);
        // If another thread writes, it has taken the job, and this is an empty job.
        self.job.terms = terms;
        self.job.pack.begin(self.link.datagram_size());
        self.count(messages, outcome)
    }

    /// Counts the outcome of so many messages. Returns a failure after which the rest is not tried.
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
        // A failure at one of several peers does not keep the rest from the other peers.
        if sent > 0 && sent + unsent > messages {
            self.first.get_or_insert(failed);
            return Ok(());
        }
        Err(failed)
    }

    /// Returns the result of a batch of `all` messages, which a failure may have `stopped`.
    fn outcome(
        self,
        stopped: Result<(), Box<Failed>>,
        all: impl FnOnce() -> usize,
    ) -> Result<Sent, Box<Failed>> {
        let Some(first) = self.first.or(stopped.err()) else { return Ok(self.sent) };
        let target = self.job.terms.target;
        let peers = self.sender.with_line(|line| line.peers_meant(target));
        let (sent, failed) = self.of_tried;
        let sent = sent + self.done * peers;
        if sent == 0 {
            return Err(first);
        }
        let failed = failed + all().saturating_sub(self.done + self.tried) * peers;
        let first = match first.error {
            SendError::Partly { first, .. } => first,
            error => Box::new(error),
        };
        Err(SendError::Partly { sent, failed, first }.into())
    }
}

#[cfg(test)]
mod tests;
