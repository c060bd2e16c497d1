//! Sending: encode without a lock, then hand over.

use std::cell::Cell;
use std::sync::Arc;

use serde::Serialize;
use tautline_proto::endpoint::Encoder;
use tautline_proto::wire::native::Head;

use crate::driver::Life;
use crate::error::{SendError, Unsupported};
use crate::handover::Handed;
use crate::line::{Job, Target};
use crate::message::wall_now;
use crate::metadata::Metadata;
use crate::payload::{self, EncodeError, Payload, PayloadLimits};
use crate::shared::Shared;
use crate::{ContentType, Id, Priority, Wire};

/// The largest UDP payload (IPv4: 65,535 less 20 and 8 bytes of headers).
const MAX_UDP_PAYLOAD: usize = 65_507;

/// What sealing may add behind a message: the CRC, and the handshake's echo with a name.
const SEAL_ROOM: usize = 96;

/// How far a message has come when `send` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// The kernel has the datagram.
    Written,
    /// Another thread is writing to the socket and takes this message along; a failure is then counted and an
    /// [event](crate::Event::SendFailed).
    Queued,
}

/// What sending needs to know of the present connection.
#[derive(Debug)]
pub(crate) struct Link {
    /// The line's [opening](crate::line::Line::open), and what wakes its driver.
    pub(crate) opening: u64,
    pub(crate) life: Arc<Life>,
    pub(crate) encoder: Encoder,
    pub(crate) wire: Wire,
    pub(crate) codec: ContentType,
    pub(crate) limits: PayloadLimits,
}

thread_local! {
    /// The datagram that this thread encodes into; taken out while in use, because a value's `Serialize` may
    /// itself send.
    static JOB: Cell<Job> = Cell::default();
}

impl Shared {
    pub(crate) fn send_value<T: Serialize + ?Sized>(
        &self,
        target: Target,
        value: &T,
        metadata: &Metadata,
        answers: Option<Id<'_>>,
    ) -> Result<Sent, SendError> {
        let link = self.link()?;
        self.send_with(&link, target, metadata, answers, link.codec, |out| {
            payload::encode_into(out, link.codec, value, &link.limits)
        })
    }

    pub(crate) fn send_payload(
        &self,
        target: Target,
        payload: &Payload,
        metadata: &Metadata,
        answers: Option<Id<'_>>,
    ) -> Result<Sent, SendError> {
        let link = self.link()?;
        let (size, max_size) = (payload.bytes().len(), link.limits.max_size);
        if size > max_size {
            return Err(EncodeError::TooLarge { size, max_size }.into());
        }
        self.send_with(&link, target, metadata, answers, payload.content_type(), |out| {
            out.extend_from_slice(payload.bytes());
            Ok(())
        })
    }

    fn send_with(
        &self,
        link: &Link,
        target: Target,
        metadata: &Metadata,
        answers: Option<Id<'_>>,
        content_type: ContentType,
        write_payload: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<Sent, SendError> {
        link.check_wire(content_type, metadata.channel)?;
        // A thread that ends may have lost it already.
        let mut job = JOB.try_with(Cell::take).unwrap_or_default();
        job.datagram.clear();
        job.target = target;
        job.opening = link.opening;
        job.made = wall_now();
        let head = head(metadata, answers, content_type, &job);
        let sent = link
            .encode(&mut job.datagram, &head, write_payload)
            .and_then(|()| self.hand_over(link, &mut job, metadata.priority));
        let _ = JOB.try_with(|kept| kept.set(job));
        sent
    }

    fn hand_over(&self, link: &Link, job: &mut Job, priority: Priority) -> Result<Sent, SendError> {
        let failures = self.send_counters.queued.value();
        let Handed { outcome, wake_driver } = self.transmit.submit(job, priority == Priority::Critical);
        // A caller's loop may watch the socket alone, or be busy elsewhere: there the sender goes on.
        let left = wake_driver && !(self.caller_driven && self.transmit.flush_all());
        // What failed for others is the driver's to tell.
        if left || self.send_counters.queued.value() != failures {
            link.life.wake();
        }
        outcome.map_or(Ok(Sent::Queued), |outcome| outcome.map(|()| Sent::Written))
    }

    fn link(&self) -> Result<Arc<Link>, SendError> {
        let link = self.link.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        link.clone().ok_or(SendError::NotConnected)
    }
}

impl Link {
    fn check_wire(&self, content_type: ContentType, channel: u16) -> Result<(), SendError> {
        let what = match self.wire {
            Wire::Native => return Ok(()),
            Wire::Classic if content_type != ContentType::Json => Unsupported::Content(content_type),
            Wire::Classic if channel != 0 => Unsupported::Channel(channel),
            Wire::Classic => return Ok(()),
        };
        Err(SendError::NotOnThisWire { wire: self.wire, what })
    }

    fn encode(
        &self,
        out: &mut Vec<u8>,
        head: &Head<'_>,
        write_payload: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<(), SendError> {
        let started = self.encoder.begin(out, head)?;
        write_payload(out)?;
        let fits = self.encoder.finish(out, started);
        let (size, max) = (out.len(), MAX_UDP_PAYLOAD - SEAL_ROOM);
        if fits && size <= max { Ok(()) } else { Err(SendError::TooLarge { size, max }) }
    }
}

fn head<'a>(
    metadata: &'a Metadata,
    answers: Option<Id<'a>>,
    content_type: ContentType,
    job: &Job,
) -> Head<'a> {
    Head {
        message_type: metadata.message_type,
        priority: metadata.priority,
        channel: metadata.channel,
        timestamp: metadata.timestamp.unwrap_or(job.made),
        message_id: metadata.message_id.as_ref().map(Id::borrowed),
        source: metadata.source.as_deref(),
        destination: metadata.destination.as_deref(),
        correlation_id: answers.or_else(|| metadata.correlation_id.as_ref().map(Id::borrowed)),
        content_type,
    }
}
