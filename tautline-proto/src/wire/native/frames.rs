//! Reading: the frames of a datagram, in place.

use alloc::borrow::Cow;
use core::time::Duration;

use super::delivery::{Ack, Fragment};
use super::reader::Reader;
use super::write::numbers_len;
use super::{Heartbeat, Token, field, frame_type};
use crate::drops::DropReason;
use crate::message::{ContentType, Delivery, Id, MessageRef, MessageType, Priority};

/// The frames of a datagram, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Frames<'a> {
    rest: &'a [u8],
    /// Whether all of the datagram's frames are whole messages of the class "best effort".
    only_messages: bool,
}

impl<'a> Frames<'a> {
    /// The frames in these bytes; `None` unless the lengths of all of them fit.
    pub(super) fn check(bytes: &'a [u8]) -> Option<Self> {
        let mut frames = Self { rest: bytes, only_messages: true };
        while let Some((kind, _, body)) = frames.next_raw() {
            let best_effort = body.first().is_none_or(|first| first >> 6 == 0);
            frames.only_messages &= kind == frame_type::MESSAGE && best_effort;
        }
        frames.rest.is_empty().then_some(Self { rest: bytes, ..frames })
    }

    /// Whether all of the datagram's frames are whole messages of the class "best effort", as most datagrams' are.
    #[must_use]
    pub const fn are_messages(&self) -> bool {
        self.only_messages
    }

    /// Type, flags and body of the next frame; padding ends the datagram. What does not fit stays unread.
    #[inline]
    fn next_raw(&mut self) -> Option<(u8, u8, &'a [u8])> {
        if *self.rest.first()? == frame_type::PADDING {
            self.rest = &[];
            return None;
        }
        let (&[kind, flags, len, len_low], rest) = self.rest.split_first_chunk()?;
        let (body, rest) = rest.split_at_checked(u16::from_be_bytes([len, len_low]).into())?;
        self.rest = rest;
        Some((kind, flags, body))
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'a>> {
        let (kind, flags, body) = self.next_raw()?;
        let mut body_fields = Reader(body);
        Some(match kind {
            frame_type::MESSAGE => Frame::Message(MessageFrame { flags, body }),
            frame_type::FRAGMENT => {
                Fragment::read(flags, body_fields).map_or(Frame::Unknown, Frame::Fragment)
            }
            frame_type::ACK => Ack::read(body_fields).map_or(Frame::Unknown, Frame::Ack),
            frame_type::FORWARD => body_fields.u32().map_or(Frame::Unknown, Frame::Forward),
            frame_type::HEARTBEAT => Heartbeat::read(body_fields).map_or(Frame::Unknown, Frame::Heartbeat),
            frame_type::CLOSE => Frame::Close,
            frame_type::HELLO => Frame::Hello,
            frame_type::TOKEN => Token::read(&mut body_fields).map_or(Frame::Unknown, Frame::Token),
            frame_type::ECHO => read_echo(body_fields).unwrap_or(Frame::Unknown),
            frame_type::ACCEPT => body_fields.name().map_or(Frame::Unknown, Frame::Accept),
            frame_type::UNKNOWN_SESSION => Frame::UnknownSession,
            frame_type::REFUSED => Frame::Refused,
            _ => Frame::Unknown,
        })
    }
}

/// One part of a datagram.
#[derive(Clone, Debug)]
pub enum Frame<'a> {
    /// A user's message, not yet decoded.
    Message(MessageFrame<'a>),
    /// A part of a message that is larger than a datagram.
    Fragment(Fragment<'a>),
    /// What has arrived of the receiver's reliable messages.
    Ack(Ack<'a>),
    /// The sender has settled all its reliable messages below this number (its low 32 bits): what has not arrived of
    /// them never will.
    Forward(u32),
    /// A sign of life with time stamps.
    Heartbeat(Heartbeat),
    /// The sender ends the session.
    Close,
    /// A client asks for a token.
    Hello,
    /// The server's answer to a hello.
    Token(Token),
    /// The token comes back: creates the peer.
    Echo {
        /// The token as the server gave it.
        token: Token,
        /// The client's name.
        name: &'a str,
    },
    /// The server has created the peer; its name.
    Accept(&'a str),
    /// The server does not know the session.
    UnknownSession,
    /// The server knows the address but cannot take another peer.
    Refused,
    /// A type or a body that this build does not know; skipped.
    Unknown,
}

impl Frame<'_> {
    /// Whether the frame belongs to a datagram outside any session's numbering.
    #[must_use]
    pub const fn is_unnumbered(&self) -> bool {
        matches!(self, Self::Hello | Self::Token(_) | Self::UnknownSession | Self::Refused)
    }
}

fn read_lifespan(fields: &mut Reader<'_>) -> Option<Duration> {
    let micros = fields.u32().filter(|&micros| micros > 0)?;
    Some(Duration::from_micros(micros.into()))
}

fn read_echo(mut fields: Reader<'_>) -> Option<Frame<'_>> {
    let token = Token::read(&mut fields)?;
    Some(Frame::Echo { token, name: fields.name()? })
}

impl Token {
    fn read(fields: &mut Reader<'_>) -> Option<Self> {
        Some(Self { issued_ms: fields.u64()?, proof: fields.u64()? })
    }
}

impl Heartbeat {
    fn read(mut fields: Reader<'_>) -> Option<Self> {
        Some(Self { stamp: fields.u64()?, wall: fields.stamp()?, echo: fields.u64()?, held: fields.u64()? })
    }
}

/// How many bytes, at the beginning of a message's body, say what kind of message it is.
pub(crate) const KIND_LEN: usize = 4;

/// A message frame whose lengths are right; its fields are decoded on demand.
#[derive(Clone, Copy, Debug)]
pub struct MessageFrame<'a> {
    pub(crate) flags: u8,
    pub(crate) body: &'a [u8],
}

impl<'a> MessageFrame<'a> {
    /// Decodes the message; `default_id` and `default_source` stand for fields that did not travel.
    ///
    /// # Errors
    ///
    /// `UnsupportedFlags` for features of a later build, `Malformed` for fields that break the rules.
    pub fn decode(self, default_id: u64, default_source: &'a str) -> Result<MessageRef<'a>, DropReason> {
        let mut message = MessageRef::default();
        self.decode_into(&mut message, default_id, default_source)?;
        Ok(message)
    }

    /// As [`decode`](Self::decode), where the message is to stand: it is large enough for its copies to be felt. What an
    /// error leaves there is no message.
    #[inline]
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

    /// How the message was sent; `None` for a class of a later build.
    #[inline]
    pub(crate) fn delivery(self) -> Option<Delivery> {
        Delivery::from_wire(self.body.first().map_or(0, |first| first >> 6))
    }

    /// What of a message without optional fields that was sent by best effort, as most are, its neighbours have too:
    /// type, priority, content type and channel. `None` of others.
    #[inline]
    pub(crate) fn kind_if_bare(self) -> Option<[u8; KIND_LEN]> {
        let is_bare = self.flags == 0 && self.delivery() == Some(Delivery::BestEffort);
        self.body.first_chunk().copied().filter(|_| is_bare)
    }

    /// As [`decode_into`](Self::decode_into), where that has decoded a message of this bare kind before, with the same default
    /// source. `None`: this one is of another kind or broken, and nothing was done.
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
        message.message_id = Id::Number(default_id);
        message.payload = fields.0;
        Some(())
    }

    /// Reads what every message has.
    #[inline]
    fn read_fixed(self, fields: &mut Reader<'a>, message: &mut MessageRef<'a>) -> Option<()> {
        let [kind, content_type, channel, channel_low] = fields.array::<KIND_LEN>()?;
        message.message_type = MessageType::from_wire(kind & 0x0f)?;
        // Priorities count from 1; on the wire they have two bits.
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
        message.source = Cow::Borrowed(if has(field::SOURCE) { fields.text()? } else { default_source });
        message.destination =
            if has(field::DESTINATION) { Some(Cow::Borrowed(fields.text()?)) } else { None };
        message.correlation_id = if has(field::CORRELATION_ID) { Some(fields.id()?) } else { None };
        message.lifespan = if has(field::LIFESPAN) { Some(read_lifespan(&mut fields)?) } else { None };
        message.payload = fields.0;
        Some(())
    }
}
