//! How messages are encoded for the present connection.

use std::time::Duration;

use tautline_proto::endpoint::Encoder;
use tautline_proto::wire::native::{self, Head};
use tautline_proto::{ContentType, Delivery, Id, MessageType, Rights, Timestamp, WallTime};

use super::failed::Failed;
use super::sender::Outgoing;
use crate::config::{Streams, Wire};
use crate::error::{SendError, Unsupported};
use crate::machine::clock::Clock;
use crate::machine::life::Life;
use crate::message::made::MadeAt;
use crate::message::metadata::Metadata;
use crate::payload::{EncodeError, PayloadLimits, append, check_id};
use crate::sync::{Arc, AtomicU8, AtomicUsize, Ordering};

/// How far a message has come when `send` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(usize)] // a whole word, so that a result with a box in it travels in registers
pub enum Sent {
    /// The kernel has the datagram.
    Written,
    /// The message is written in a moment: another thread is writing to the socket and takes this message along, or the
    /// message is part of a stream and is coalesced with the next ones (`coalescing_delay`). A later failure is counted
    /// and published as [`Event::SendFailed`](crate::Event::SendFailed).
    ///
    /// A reliable message is always `Queued`. Its outcome comes later, in its [`Receipt`](crate::Receipt) or as
    /// [`Event::DeliveryFailed`](crate::Event::DeliveryFailed).
    Queued,
}

/// What a sender needs to know of the present connection. Immutable; shared by all threads that send.
#[derive(Debug)]
pub(crate) struct Link {
    /// The line's [opening](super::line::Line::open) that messages are encoded for.
    pub(crate) opening: u64,
    /// Gives time stamps.
    pub(crate) clock: Clock,
    /// Wakes the driver.
    pub(crate) life: Arc<Life>,
    pub(crate) encoder: Encoder,
    pub(crate) wire: Wire,
    pub(crate) codec: ContentType,
    pub(crate) limits: PayloadLimits,
    /// The largest datagram that messages share, in bytes: on the widest of the paths. The holder of the line writes it, and
    /// cuts up what is too large for the path that it takes.
    ///
    /// Order: relaxed; nothing depends on when it is seen.
    pub(crate) datagram_size: AtomicUsize,
    /// The largest datagram that UDP carries, in bytes.
    pub(crate) max_datagram: usize,
    /// The types of messages that may be sent, as [`Rights::to_wire`]. Everything, unless the server has said less with its accept.
    /// What is sent in spite of it, the server drops.
    ///
    /// Order: relaxed; nothing depends on when it is seen.
    pub(crate) granted: AtomicU8,
    /// The settings of streams; `None` if there are none that senders follow.
    pub(crate) streams: Option<Streams>,
}

impl Link {
    /// The size of the datagrams in new packs.
    #[inline]
    pub(crate) fn datagram_size(&self) -> usize {
        self.datagram_size.load(Ordering::Relaxed)
    }

    pub(crate) fn set_granted(&self, rights: Rights) {
        self.granted.store(rights.to_wire(), Ordering::Relaxed);
    }

    /// Refuses what the key of this end may not send.
    #[inline]
    pub(crate) fn check_rights(&self, message_type: MessageType) -> Result<(), SendError> {
        match Rights::from_wire(self.granted.load(Ordering::Relaxed)).allows(message_type) {
            true => Ok(()),
            false => Err(SendError::NotAllowed { message_type }),
        }
    }

    pub(crate) fn set_datagram_size(&self, size: usize) {
        self.datagram_size.store(size, Ordering::Relaxed);
    }

    /// Refuses what the wire cannot carry, a time stamp that is no number, and an id that is no JSON.
    #[inline]
    pub(crate) fn check_wire(&self, content_type: ContentType, metadata: &Metadata) -> Result<(), SendError> {
        self.check_rights(metadata.message_type)?;
        // As most messages are.
        if self.wire == Wire::Native && metadata.timestamp.is_none() {
            return Ok(());
        }
        self.check_closely(content_type, metadata)
    }

    #[inline(never)]
    fn check_closely(&self, content_type: ContentType, metadata: &Metadata) -> Result<(), SendError> {
        if metadata.timestamp.is_some_and(|stamp| !stamp.as_secs_f64().is_finite()) {
            return Err(SendError::Encode(EncodeError::NotFinite { path: Some("timestamp".to_owned()) }));
        }
        let ids = [("message_id", &metadata.message_id), ("correlation_id", &metadata.correlation_id)];
        for (name, id) in ids {
            if let Some(Id::Json(text)) = id {
                check_id(name, text, &self.limits)?;
            }
        }
        let what = match self.wire {
            Wire::Native => return Ok(()),
            Wire::Classic if content_type != ContentType::Json => Unsupported::Content(content_type),
            Wire::Classic if metadata.channel != 0 => Unsupported::Channel(metadata.channel),
            Wire::Classic if metadata.lifespan.is_some() => Unsupported::Lifespan,
            Wire::Classic => return self.check_delivery(metadata.delivery.unwrap_or_default()),
        };
        Err(SendError::NotOnThisWire { wire: self.wire, what })
    }

    pub(crate) fn check_delivery(&self, delivery: Delivery) -> Result<(), SendError> {
        match (self.wire, delivery) {
            (Wire::Native, _) | (_, Delivery::BestEffort) => Ok(()),
            (wire, class) => Err(SendError::NotOnThisWire { wire, what: Unsupported::Delivery(class) }),
        }
    }

    /// Encodes a message into a datagram of its own, whose header is filled later.
    pub(crate) fn encode(
        &self,
        out: &mut Vec<u8>,
        head: &Head<'_>,
        write_payload: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<(), Box<Failed>> {
        let started = self.encoder.begin(out, head)?;
        write_payload(out)?;
        let fits = self.encoder.finish(out, started);
        let (size, max) = (out.len(), self.max_datagram);
        // On the native wire a larger message is sent in fragments.
        let goes = self.wire == Wire::Native || (fits && size <= max);
        if goes { Ok(()) } else { Err(SendError::TooLarge { size, max }.into()) }
    }

    /// As [`encode`](Self::encode), on the native wire and for a payload that is encoded already.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(crate) fn encode_ready(
        &self,
        out: &mut Vec<u8>,
        head: &Head<'_>,
        bytes: &[u8],
    ) -> Result<(), Box<Failed>> {
        native::begin_datagram(out);
        self.encode_frame(out, head, |out| append(bytes, &self.limits, out))
    }

    /// Appends a message's frame.
    #[inline(always)] // else the compiler makes a call of it, for each message of a stream
    pub(crate) fn encode_frame(
        &self,
        out: &mut Vec<u8>,
        head: &Head<'_>,
        write_payload: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<(), Box<Failed>> {
        let started = native::begin_message(out, head)?;
        write_payload(out)?;
        // A message that does not fit a frame is sent in fragments.
        let _ = native::finish_message(out, started);
        Ok(())
    }

    /// How much of a message's lifespan is left at `now`; `None` if it has none. Refuses a message whose lifespan is over.
    #[inline(always)] // else the compiler makes a call of it, although most messages have none
    pub(crate) fn time_left(
        &self,
        head: &Head<'_>,
        made: Option<MadeAt>,
        now: WallTime,
    ) -> Result<Option<Duration>, Box<Failed>> {
        let of_stream = || self.streams.as_ref()?.of(head.message_type, head.channel).lifespan;
        // The classic wire carries no lifespan.
        let lifespan = if self.wire == Wire::Native { head.lifespan } else { of_stream() };
        match lifespan {
            Some(lifespan) => self.left_of(lifespan, head.timestamp, made, now).map(Some),
            None => Ok(None),
        }
    }

    #[inline(never)] // most messages have no lifespan
    fn left_of(
        &self,
        lifespan: Duration,
        timestamp: WallTime,
        made: Option<MadeAt>,
        now: WallTime,
    ) -> Result<Duration, Box<Failed>> {
        let age_ns = match self.wire {
            Wire::Native => u64::try_from(now.nanos_since(timestamp)).unwrap_or(0),
            // A time stamp that the user sets may be of another clock there, such as simulated time.
            Wire::Classic => made.map_or(0, MadeAt::age_ns),
        };
        let age = Duration::from_nanos(age_ns);
        let left = lifespan.checked_sub(age).filter(|left| !left.is_zero());
        left.ok_or_else(|| SendError::Expired { age, lifespan }.into())
    }

    /// The delivery class that the stream's settings ask for.
    pub(crate) fn delivery_of(&self, metadata: &Metadata) -> Option<Delivery> {
        self.streams.as_ref()?.of(metadata.message_type, metadata.channel).delivery
    }

    /// The time stamp of data that were made at this time and are sent at `sent`.
    #[cold]
    fn stamp(&self, made: MadeAt, sent: WallTime) -> WallTime {
        match made {
            MadeAt::Steady(at) => self.clock.wall_of(at).min(sent),
            // Not the wall-clock time itself: the wall clock may have been set since the interface connected.
            MadeAt::Wall(_) => WallTime::from_nanos(sent.as_nanos().saturating_sub_unsigned(made.age_ns())),
        }
    }

    /// The metadata as they travel. The stream's settings fill in what the message leaves open.
    #[inline(always)] // else the compiler makes a call of it, which takes 20 instructions more
    pub(crate) fn head<'a>(
        &self,
        outgoing: &Outgoing<'a>,
        content_type: ContentType,
        sent: WallTime,
    ) -> Head<'a> {
        let Outgoing { metadata, answers, made, .. } = *outgoing;
        let of_stream = |streams: &Streams| streams.of(metadata.message_type, metadata.channel);
        let qos = self.streams.as_ref().map(of_stream).unwrap_or_default();
        // The classic wire carries no lifespan.
        let lifespan = qos.lifespan.filter(|_| self.wire == Wire::Native);
        let (timestamp, exact) = match (&metadata.timestamp, made) {
            (None, None) => (sent, None),
            (Some(timestamp), _) => as_it_travels(timestamp),
            (None, Some(made)) => (self.stamp(made, sent), None),
        };
        Head {
            message_type: metadata.message_type,
            priority: metadata.priority,
            channel: metadata.channel,
            timestamp,
            exact,
            message_id: metadata.message_id.as_ref(),
            source: metadata.source.as_deref(),
            has_source: metadata.has_source,
            destination: metadata.destination.as_deref(),
            correlation_id: answers.or(metadata.correlation_id.as_ref()),
            delivery: metadata.delivery.or(qos.delivery).unwrap_or_default(),
            lifespan: metadata.lifespan.or(lifespan),
            content_type,
        }
    }
}

/// Returns the time stamp that the user gave: as a time, and as the number that travels in its place.
#[cold]
fn as_it_travels(timestamp: &Timestamp) -> (WallTime, Option<Timestamp>) {
    (timestamp.wall(), timestamp.beyond_wall())
}
