//! Reads message frames.

use alloc::borrow::Cow;
use core::hint::cold_path;
use core::time::Duration;

use super::delivery::DeliveryNumbers;
use super::layout::{FRAME_HEADER_LEN, KIND_LEN, MESSAGE_FIXED_LEN, field, numbers_len};
use super::reader::Reader;
use crate::drops::DropReason;
use crate::message::{ContentType, Delivery, Id, MessageRef, MessageType, Priority, StreamId};
use crate::snapshot::saved;

/// A message frame of the right length. Its fields are not decoded yet.
#[derive(Clone, Copy, Debug)]
pub struct MessageFrame<'a> {
    pub(crate) flags: u8,
    pub(crate) body: &'a [u8],
}

impl<'a> MessageFrame<'a> {
    /// Decodes the message. `default_id` and `default_source` replace fields that did not travel.
    ///
    /// # Errors
    ///
    /// `UnsupportedFlags` for a feature of a later version, `Malformed` for fields that break the rules.
    pub fn decode(self, default_id: u64, default_source: &'a str) -> Result<MessageRef<'a>, DropReason> {
        let mut message = MessageRef::default();
        self.decode_into(&mut message, default_id, default_source)?;
        Ok(message)
    }

    /// As [`decode`](Self::decode), but in place, because copies of a message take time. After an error, `message` holds
    /// anything.
    #[inline(always)]
    pub(crate) fn decode_into(
        self,
        message: &mut MessageRef<'a>,
        default_id: u64,
        default_source: &'a str,
    ) -> Result<(), DropReason> {
        message.delivery = match self.delivery() {
            Some(delivery) if self.flags & !field::ALL == 0 => delivery,
            _ => return Err(DropReason::UnsupportedFlags),
        };
        self.read_fields(message, default_id, default_source).ok_or(DropReason::Malformed)
    }

    /// Returns how the message was sent. `None` for a class of a later version.
    #[inline]
    pub(crate) fn delivery(self) -> Option<Delivery> {
        Delivery::from_wire(self.body.first().map_or(0, |first| first >> 6))
    }

    /// Returns the stream that the message belongs to. `None` for a type of a later version.
    pub(crate) fn stream(self) -> Option<StreamId> {
        stream_of(self.body)
    }

    /// Returns the bytes that hold class, type, priority, content type and channel, if this is a message without optional fields, as
    /// most messages are. Its neighbours in the datagram usually have the same bytes.
    #[inline]
    pub(crate) fn kind_if_bare(self) -> Option<[u8; KIND_LEN]> {
        self.body.first_chunk().copied().filter(|_| self.flags == 0)
    }

    /// Fast path of [`decode_into`](Self::decode_into) for a message like the one before.
    ///
    /// `message` must hold a decoded message of this bare kind, with the same default source. Returns `None` if this message
    /// is of another kind or broken.
    #[inline]
    pub(crate) fn decode_alike_into(
        self,
        kind: [u8; KIND_LEN],
        message: &mut MessageRef<'a>,
        default_id: u64,
    ) -> Option<()> {
        let mut fields = Reader(self.body);
        let is_alike = self.flags == 0 && fields.array() == Some(kind);
        message.timestamp = is_alike.then(|| fields.stamp())??;
        if kind[0] >> 6 != 0 {
            fields.bytes(numbers_len(message.delivery))?;
        }
        match &mut message.message_id {
            // In place: dropping another id takes longer.
            Id::Number(number) => *number = default_id,
            id => {
                cold_path();
                *id = Id::Number(default_id);
            }
        }
        message.payload = fields.0;
        Some(())
    }

    /// Reads the fields that every message has.
    #[inline]
    fn read_fixed(self, fields: &mut Reader<'a>, message: &mut MessageRef<'a>) -> Option<()> {
        let [kind, content_type, channel, channel_low] = fields.array::<KIND_LEN>()?;
        message.message_type = MessageType::from_wire(kind & 0x0f)?;
        // Priorities begin with 1, but have two bits on the wire.
        message.priority = Priority::from_wire((kind >> 4 & 0b11) + 1)?;
        message.content_type = ContentType::from_wire(content_type)?;
        message.channel = u16::from_be_bytes([channel, channel_low]);
        message.timestamp = fields.stamp()?;
        Some(())
    }

    #[inline]
    fn read_fields(
        self,
        message: &mut MessageRef<'a>,
        default_id: u64,
        default_source: &'a str,
    ) -> Option<()> {
        let mut fields = Reader(self.body);
        self.read_fixed(&mut fields, message)?;
        fields.bytes(numbers_len(message.delivery))?;
        let has = |flag: u8| self.flags & flag != 0;
        message.message_id = if has(field::MESSAGE_ID) { fields.id()? } else { Id::Number(default_id) };
        message.source =
            Some(Cow::Borrowed(if has(field::SOURCE) { fields.text()? } else { default_source }));
        message.destination =
            if has(field::DESTINATION) { Some(Cow::Borrowed(fields.text()?)) } else { None };
        message.correlation_id = if has(field::CORRELATION_ID) { Some(fields.id()?) } else { None };
        message.lifespan = if has(field::LIFESPAN) { Some(read_lifespan(&mut fields)?) } else { None };
        message.payload = fields.0;
        Some(())
    }
}

impl<'a> MessageFrame<'a> {
    /// Returns the frame of a message that came in fragments: with the flags that each of them carries, and the whole body.
    #[must_use]
    pub const fn of_fragments(flags: u8, body: &'a [u8]) -> Self {
        Self { flags, body }
    }

    /// Returns the low 32 bits of a reliable message's delivery number. `None` for a best-effort message, or a broken frame.
    #[must_use]
    pub fn delivery_number(self) -> Option<u32> {
        let is_reliable = self.delivery().is_some_and(|delivery| delivery != Delivery::BestEffort);
        self.numbers().filter(|_| is_reliable).map(|numbers| numbers.number)
    }
}

impl MessageFrame<'_> {
    /// Returns the numbers of a reliable message: zeros for a best-effort message, `None` if the frame is too short.
    pub(crate) fn numbers(self) -> Option<DeliveryNumbers> {
        let mut fields = Reader(self.body);
        fields.bytes(MESSAGE_FIXED_LEN)?;
        DeliveryNumbers::read(&mut fields, self.delivery()?)
    }
}

/// Returns the stream of the message whose body begins with these bytes.
pub(crate) fn stream_of(body: &[u8]) -> Option<StreamId> {
    let [kind, _, channel, channel_low] = Reader(body).array::<KIND_LEN>()?;
    let message_type = MessageType::from_wire(kind & 0x0f)?;
    Some(StreamId { message_type, channel: u16::from_be_bytes([channel, channel_low]) })
}

fn read_lifespan(fields: &mut Reader<'_>) -> Option<Duration> {
    let micros = fields.u32().filter(|&micros| micros > 0)?;
    Some(Duration::from_micros(micros.into()))
}

/// How an encoded message is to be sent: what the sender of reliable messages reads from its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SendingClass {
    pub(crate) delivery: Delivery,
    pub(crate) priority: Priority,
    pub(crate) stream: Stream,
}

/// The type and the channel of a message, as they travel. Ordered messages keep their order within a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stream {
    message_type: u8,
    channel: [u8; 2],
}

saved!(Stream { message_type, channel });

impl SendingClass {
    /// Reads the fixed fields of a frame that [`begin_message`](super::begin_message) wrote.
    pub(crate) fn of(frame: &[u8]) -> Self {
        let body = &frame[FRAME_HEADER_LEN..];
        Self {
            delivery: Delivery::from_wire(body[0] >> 6).unwrap_or_default(),
            priority: Priority::from_wire((body[0] >> 4 & 0b11) + 1).unwrap_or_default(),
            stream: Stream { message_type: body[0] & 0x0f, channel: [body[2], body[3]] },
        }
    }
}
