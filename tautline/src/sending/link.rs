//! How messages are encoded for the present connection.

use std::time::Duration;

use tautline_proto::endpoint::Encoder;
use tautline_proto::wire::native::{self, Head};
use tautline_proto::{ContentType, Delivery, Id, Timestamp, WallTime};

use super::failed::Failed;
use crate::config::{Streams, Wire};
use crate::error::{SendError, Unsupported};
use crate::machine::clock::Clock;
use crate::machine::life::Life;
use crate::message::metadata::Metadata;
use crate::payload::{EncodeError, PayloadLimits};
use crate::sync::{Arc, AtomicUsize, Ordering};

/// The largest UDP payload (IPv4: 65,535 less 20 and 8 bytes of headers).
const MAX_UDP_PAYLOAD: usize = 65_507;

/// The most bytes that sealing adds behind a message: the CRC, and the handshake's echo with a name.
const SEAL_ROOM: usize = 96;

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
    /// The settings of streams; `None` if there are none.
    pub(crate) streams: Option<Streams>,
}

impl Link {
    /// The size of the datagrams in new packs.
    #[inline]
    pub(crate) fn datagram_size(&self) -> usize {
        self.datagram_size.load(Ordering::Relaxed)
    }

    pub(crate) fn set_datagram_size(&self, size: usize) {
        self.datagram_size.store(size, Ordering::Relaxed);
    }

    /// Refuses what the wire cannot carry, and a time stamp that is no number.
    pub(crate) fn check_wire(&self, content_type: ContentType, metadata: &Metadata) -> Result<(), SendError> {
        if metadata.timestamp.is_some_and(|stamp| !stamp.as_secs_f64().is_finite()) {
            return Err(SendError::Encode(EncodeError::NotFinite { path: Some("timestamp".to_owned()) }));
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
        let (size, max) = (out.len(), MAX_UDP_PAYLOAD - SEAL_ROOM);
        // On the native wire a larger message is sent in fragments.
        let goes = self.wire == Wire::Native || (fits && size <= max);
        if goes { Ok(()) } else { Err(SendError::TooLarge { size, max }.into()) }
    }

    /// Appends a message's frame.
    #[inline]
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

    /// How much of a message's lifespan is left at `now`; `None` if it has none.
    pub(crate) fn time_left(&self, head: &Head<'_>, now: WallTime) -> Option<Duration> {
        let of_stream = || self.streams.as_ref()?.of(head.message_type, head.channel).lifespan;
        // The classic wire carries no lifespan.
        let lifespan = if self.wire == Wire::Native { head.lifespan } else { of_stream() }?;
        // A number that is no time of the wall clock, such as simulated time, says nothing about the age.
        let made = if head.exact.is_some() { now } else { head.timestamp };
        let age = Duration::from_nanos(u64::try_from(now.nanos_since(made)).unwrap_or(0));
        Some(lifespan.saturating_sub(age))
    }

    /// The delivery class that the stream's settings ask for.
    pub(crate) fn delivery_of(&self, metadata: &Metadata) -> Option<Delivery> {
        self.streams.as_ref()?.of(metadata.message_type, metadata.channel).delivery
    }

    /// The metadata as they travel. The stream's settings fill in what the message leaves open.
    #[inline]
    pub(crate) fn head<'a>(
        &self,
        metadata: &'a Metadata,
        answers: Option<&'a Id<'a>>,
        content_type: ContentType,
        sent: WallTime,
    ) -> Head<'a> {
        let of_stream = |streams: &Streams| streams.of(metadata.message_type, metadata.channel);
        let qos = self.streams.as_ref().map(of_stream).unwrap_or_default();
        // The classic wire carries no lifespan.
        let lifespan = qos.lifespan.filter(|_| self.wire == Wire::Native);
        Head {
            message_type: metadata.message_type,
            priority: metadata.priority,
            channel: metadata.channel,
            timestamp: metadata.timestamp.map_or(sent, Timestamp::wall),
            exact: metadata.timestamp.and_then(Timestamp::beyond_wall),
            message_id: metadata.message_id.as_ref(),
            source: metadata.source.as_deref(),
            destination: metadata.destination.as_deref(),
            correlation_id: answers.or(metadata.correlation_id.as_ref()),
            delivery: metadata.delivery.or(qos.delivery).unwrap_or_default(),
            lifespan: metadata.lifespan.or(lifespan),
            content_type,
        }
    }
}
