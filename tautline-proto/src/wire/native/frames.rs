//! Reads the frames of a datagram, in place.

use super::challenge::Challenge;
use super::control::{Ack, Heartbeat, PathProbe, SealedEcho, Token};
use super::decode::MessageFrame;
use super::fragment::Fragment;
use super::layout::{CLOSED_KEY_REMOVED, FLAG_TOKEN_SECURED, FRAME_HEADER_LEN, frame_type};
use super::ownership::Ownership;
use super::reader::Reader;
use super::rekey::Rekey;

/// Iterates over the frames of a datagram.
#[derive(Clone, Debug, Default)]
pub struct Frames<'a> {
    rest: &'a [u8],
    /// Whether all frames of the datagram are best-effort messages in one piece.
    only_messages: bool,
    /// Whether all frames of the datagram are messages or fragments.
    only_data: bool,
}

impl<'a> Frames<'a> {
    /// Returns the frames in these bytes, or `None` if a length does not fit.
    #[inline]
    pub(super) fn check(bytes: &'a [u8]) -> Option<Self> {
        let mut frames = Self { rest: bytes, only_messages: true, only_data: true };
        while let Some((kind, _, body)) = frames.next_raw() {
            let best_effort = body.first().is_none_or(|first| first >> 6 == 0);
            let is_message = kind == frame_type::MESSAGE;
            frames.only_messages &= is_message && best_effort;
            frames.only_data &= is_message || kind == frame_type::FRAGMENT;
        }
        frames.rest.is_empty().then_some(Self { rest: bytes, ..frames })
    }

    /// Returns whether all frames of the datagram are best-effort messages in one piece. This is true for most datagrams.
    #[must_use]
    pub(crate) const fn are_messages(&self) -> bool {
        self.only_messages
    }

    /// Returns whether all frames of the datagram are messages or fragments.
    #[must_use]
    pub(crate) const fn are_data(&self) -> bool {
        self.only_data
    }

    /// Returns the next message frame, and skips all others.
    #[inline]
    pub(crate) fn next_message(&mut self) -> Option<MessageFrame<'a>> {
        loop {
            let (kind, flags, body) = self.next_raw()?;
            if kind == frame_type::MESSAGE {
                return Some(MessageFrame { flags, body });
            }
        }
    }

    /// Returns the length of the first frame in these bytes, with its header. `None` if padding begins there, or nothing.
    pub(super) fn first_len(bytes: &[u8]) -> Option<usize> {
        let (_, _, body) = Frames { rest: bytes, ..Frames::default() }.next_raw()?;
        Some(FRAME_HEADER_LEN + body.len())
    }

    /// Returns the type, the flags and the body of the next frame. Padding ends the datagram. A frame that does not fit stays
    /// unread.
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
            frame_type::PATH_PROBE => {
                PathProbe::read(flags, body_fields).map_or(Frame::Unknown, Frame::PathProbe)
            }
            frame_type::CLOSE if body.first() == Some(&CLOSED_KEY_REMOVED) => Frame::KeyRemoved,
            frame_type::CLOSE => Frame::Close,
            frame_type::HELLO => Frame::Hello,
            frame_type::TOKEN => match Token::read(&mut body_fields) {
                Some(token) if flags & FLAG_TOKEN_SECURED != 0 => Frame::SecuredToken(token),
                token => token.map_or(Frame::Unknown, Frame::Token),
            },
            frame_type::ECHO => read_echo(body_fields).unwrap_or(Frame::Unknown),
            frame_type::ACCEPT => body_fields.name().map_or(Frame::Unknown, Frame::Accept),
            frame_type::SEALED_ECHO => {
                SealedEcho::read(body_fields).map_or(Frame::Unknown, Frame::SealedEcho)
            }
            frame_type::REKEY => Rekey::read(body_fields).map_or(Frame::Unknown, Frame::Rekey),
            frame_type::CHALLENGE => Challenge::read(body_fields).map_or(Frame::Unknown, Frame::Challenge),
            frame_type::SEALED_ACCEPT => Frame::SealedAccept(body),
            frame_type::UNKNOWN_SESSION => Frame::UnknownSession,
            frame_type::REFUSED => Frame::Refused,
            frame_type::OWNERSHIP => Ownership::read(body_fields).map_or(Frame::Unknown, Frame::Ownership),
            _ => Frame::Unknown,
        })
    }
}

/// A frame of a datagram.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Frame<'a> {
    /// A user's message, which is not decoded yet.
    Message(MessageFrame<'a>),
    /// A fragment of a message that is larger than a datagram.
    Fragment(Fragment<'a>),
    /// Acknowledges reliable messages.
    Ack(Ack<'a>),
    /// The sender has settled all its reliable messages below this number (the low 32 bits). Those that have not arrived never
    /// will.
    Forward(u32),
    /// A sign of life with time stamps.
    Heartbeat(Heartbeat),
    /// What a heartbeat says of the probes of the path's size.
    PathProbe(PathProbe),
    /// The sender ends the session.
    Close,
    /// The sender ends the session, because it accepts the receiver's key no longer.
    KeyRemoved,
    /// A client asks for a token.
    Hello,
    /// The server answers a hello.
    Token(Token),
    /// The server answers a hello, and takes secured clients only.
    SecuredToken(Token),
    /// A client of a secured link sends its token back.
    SealedEcho(SealedEcho<'a>),
    /// The server answers a sealed echo: the second message of the Noise handshake.
    SealedAccept(&'a [u8]),
    /// New keys for a session with keys.
    Rekey(Rekey),
    /// Whether a client of a secured link is at an address.
    Challenge(Challenge),
    /// A client sends its token back. The server then creates the peer.
    Echo {
        /// The token as the server gave it.
        token: Token,
        /// The client's name.
        name: &'a str,
    },
    /// The server has created the peer. Holds the server's name.
    Accept(&'a str),
    /// The server does not know the session.
    UnknownSession,
    /// The server believes the address but has no room for another peer.
    Refused,
    /// Who may send on a stream: a claim or a release, its answer, or a notice.
    Ownership(Ownership),
    /// A type or a body that this build does not know. It is skipped.
    Unknown,
}

impl Frame<'_> {
    /// Returns whether the frame belongs to a datagram outside any session's numbering.
    #[must_use]
    pub const fn is_unnumbered(&self) -> bool {
        matches!(
            self,
            Self::Hello
                | Self::Token(_)
                | Self::SecuredToken(_)
                | Self::SealedEcho(_)
                | Self::SealedAccept(_)
                | Self::UnknownSession
                | Self::Refused
        )
    }
}

fn read_echo(mut fields: Reader<'_>) -> Option<Frame<'_>> {
    let token = Token::read(&mut fields)?;
    Some(Frame::Echo { token, name: fields.name()? })
}
