//! Control frames: reading and writing.

use alloc::vec::Vec;

use super::challenge::{CHALLENGE_LEN, Challenge};
use super::layout::{
    CLOSED_KEY_REMOVED, DELIVERY_WINDOW, FLAG_ASKS, FLAG_TOKEN_SECURED, KEY_ID_LEN, MAGIC, MAX_NAME,
    PATH_PROBE_LEN, TOKEN_LEN, VERSION, frame_type,
};
use super::ownership::{OWNERSHIP_LEN, Ownership};
use super::reader::Reader;
use super::rekey::Rekey;
use crate::peer::SessionId;
use crate::snapshot::saved;
use crate::time::{Instant, WallTime};

/// Proves that a client receives at its address, without any state at the server. docs/protocol.md §5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// When it was issued, on the server's steady clock, in milliseconds.
    pub issued_ms: u64,
    /// A keyed hash over the address, the session and the time.
    pub proof: u64,
}

impl Token {
    /// Returns when it was issued, on the server's steady clock.
    #[must_use]
    pub(crate) const fn issued(self) -> Instant {
        Instant::from_nanos(self.issued_ms.saturating_mul(1_000_000))
    }
}

/// A sign of life from which the receiver measures the path. docs/protocol.md §7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// When it was sent, on the sender's steady clock, in nanoseconds. Never 0.
    pub stamp: u64,
    /// When it was sent, on the sender's wall clock.
    pub wall: WallTime,
    /// The `stamp` of the receiver's latest heartbeat that has reached the sender. 0 if there is none.
    pub echo: u64,
    /// For how long the sender held that echo, in nanoseconds.
    pub held: u64,
}

/// What a heartbeat says of the probes of the path's size. docs/protocol.md §7.7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathProbe {
    /// The size of the datagram that the frame is in, if that is a probe; else 0.
    pub size: u16,
    /// Whether the sender asks for an answer at once.
    pub asks: bool,
    /// The low 32 bits of the number of the receiver's latest probe that has reached the sender; 0 for none.
    pub arrived: u32,
    /// The low 32 bits of the number of the sender's latest probe, which may not arrive; 0 for none.
    pub named: u32,
}

/// Acknowledges reliable messages and fragments of reliable messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The low 32 bits of the lowest number that has not arrived.
    pub base: u32,
    /// Bit `i` of byte `j`, counted from the lowest bit, says whether number `base + 1 + 8 j + i` has arrived.
    pub bitmap: &'a [u8],
}

/// A client's answer to a token on a secured link: the first message of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedEcho<'a> {
    /// The token as the server gave it.
    pub token: Token,
    /// Names the key that the client calls with.
    pub key: [u8; KEY_ID_LEN],
    /// The message of the Noise handshake.
    pub noise: &'a [u8],
}

impl<'a> SealedEcho<'a> {
    pub(super) fn read(mut fields: Reader<'a>) -> Option<Self> {
        Some(Self { token: Token::read(&mut fields)?, key: fields.array()?, noise: fields.0 })
    }

    const fn body_len(&self) -> usize {
        TOKEN_LEN + KEY_ID_LEN + self.noise.len()
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_token(out, self.token);
        out.extend_from_slice(&self.key);
        out.extend_from_slice(self.noise);
    }

    /// Returns what both ends of the handshake mix in first, so that its messages are worth nothing in another session.
    pub(crate) fn prologue(&self, session: SessionId) -> Vec<u8> {
        let mut prologue = Vec::new();
        prologue.extend_from_slice(&MAGIC);
        prologue.push(VERSION);
        prologue.extend_from_slice(&session.bits().to_be_bytes());
        write_token(&mut prologue, self.token);
        prologue.extend_from_slice(&self.key);
        prologue
    }
}

impl<'a> Ack<'a> {
    pub(super) fn read(mut fields: Reader<'a>) -> Option<Self> {
        let base = fields.u32()?;
        #[allow(clippy::cast_possible_truncation)] // 128
        const LONGEST: usize = (DELIVERY_WINDOW / 8) as usize;
        Some(Self { base, bitmap: &fields.0[..fields.0.len().min(LONGEST)] })
    }
}

impl Token {
    pub(super) fn read(fields: &mut Reader<'_>) -> Option<Self> {
        Some(Self { issued_ms: fields.u64()?, proof: fields.u64()? })
    }
}

impl Heartbeat {
    pub(super) fn read(mut fields: Reader<'_>) -> Option<Self> {
        Some(Self { stamp: fields.u64()?, wall: fields.stamp()?, echo: fields.u64()?, held: fields.u64()? })
    }
}

impl PathProbe {
    pub(super) fn read(flags: u8, mut fields: Reader<'_>) -> Option<Self> {
        let (size, _) = (fields.u16()?, fields.u16()?);
        Some(Self { size, asks: flags & FLAG_ASKS != 0, arrived: fields.u32()?, named: fields.u32()? })
    }
}

/// Appends a control frame.
pub fn write_control(out: &mut Vec<u8>, frame: &Control<'_>) {
    match *frame {
        Control::Heartbeat(heartbeat) => {
            begin_control(out, frame_type::HEARTBEAT, 32);
            out.extend_from_slice(&heartbeat.stamp.to_be_bytes());
            out.extend_from_slice(&heartbeat.wall.as_nanos().to_be_bytes());
            out.extend_from_slice(&heartbeat.echo.to_be_bytes());
            out.extend_from_slice(&heartbeat.held.to_be_bytes());
        }
        Control::Close => begin_control(out, frame_type::CLOSE, 0),
        Control::KeyRemoved => {
            begin_control(out, frame_type::CLOSE, 1);
            out.push(CLOSED_KEY_REMOVED);
        }
        Control::Hello => {
            // Padded to the length of the answer, so that a forged source address attracts no more bytes than the attacker
            // sends.
            begin_control(out, frame_type::HELLO, 0);
            out.resize(out.len() + TOKEN_LEN, frame_type::PADDING);
        }
        Control::Token(token) => {
            begin_control(out, frame_type::TOKEN, TOKEN_LEN);
            write_token(out, token);
        }
        Control::SecuredToken(token) => {
            let at = out.len();
            begin_control(out, frame_type::TOKEN, TOKEN_LEN);
            out[at + 1] = FLAG_TOKEN_SECURED;
            write_token(out, token);
        }
        Control::SealedEcho(echo) => {
            begin_control(out, frame_type::SEALED_ECHO, echo.body_len());
            echo.write(out);
        }
        Control::SealedAccept(noise) => {
            begin_control(out, frame_type::SEALED_ACCEPT, noise.len());
            out.extend_from_slice(noise);
        }
        Control::Rekey(rekey) => {
            begin_control(out, frame_type::REKEY, rekey.body_len());
            rekey.write(out);
        }
        Control::Challenge(challenge) => {
            begin_control(out, frame_type::CHALLENGE, CHALLENGE_LEN);
            challenge.write(out);
        }
        Control::Echo { token, name } => {
            let name = clipped(name);
            begin_control(out, frame_type::ECHO, TOKEN_LEN + 1 + name.len());
            write_token(out, token);
            write_name(out, name);
        }
        Control::Accept(name) => {
            let name = clipped(name);
            begin_control(out, frame_type::ACCEPT, 1 + name.len());
            write_name(out, name);
        }
        Control::Ack(ack) => {
            begin_control(out, frame_type::ACK, 4 + ack.bitmap.len());
            out.extend_from_slice(&ack.base.to_be_bytes());
            out.extend_from_slice(ack.bitmap);
        }
        Control::Forward(base) => {
            begin_control(out, frame_type::FORWARD, 4);
            out.extend_from_slice(&base.to_be_bytes());
        }
        Control::PathProbe(PathProbe { size, asks, arrived, named }) => {
            let at = out.len();
            begin_control(out, frame_type::PATH_PROBE, PATH_PROBE_LEN);
            out[at + 1] = if asks { FLAG_ASKS } else { 0 };
            out.extend_from_slice(&size.to_be_bytes());
            out.extend_from_slice(&[0; 2]);
            out.extend_from_slice(&arrived.to_be_bytes());
            out.extend_from_slice(&named.to_be_bytes());
        }
        Control::UnknownSession => begin_control(out, frame_type::UNKNOWN_SESSION, 0),
        Control::Refused => begin_control(out, frame_type::REFUSED, 0),
        Control::Ownership(ownership) => {
            begin_control(out, frame_type::OWNERSHIP, OWNERSHIP_LEN);
            ownership.write(out);
        }
    }
}

/// A control frame to write.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Control<'a> {
    /// See [`Frame::Heartbeat`](super::Frame::Heartbeat).
    Heartbeat(Heartbeat),
    /// See [`Frame::Close`](super::Frame::Close).
    Close,
    /// See [`Frame::KeyRemoved`](super::Frame::KeyRemoved).
    KeyRemoved,
    /// See [`Frame::Hello`](super::Frame::Hello).
    Hello,
    /// See [`Frame::Token`](super::Frame::Token).
    Token(Token),
    /// See [`Frame::SecuredToken`](super::Frame::SecuredToken).
    SecuredToken(Token),
    /// See [`Frame::SealedEcho`](super::Frame::SealedEcho).
    SealedEcho(SealedEcho<'a>),
    /// See [`Frame::SealedAccept`](super::Frame::SealedAccept).
    SealedAccept(&'a [u8]),
    /// See [`Frame::Rekey`](super::Frame::Rekey).
    Rekey(&'a Rekey),
    /// See [`Frame::Challenge`](super::Frame::Challenge).
    Challenge(Challenge),
    /// See [`Frame::Echo`](super::Frame::Echo).
    Echo {
        /// The token as the server gave it.
        token: Token,
        /// The client's name.
        name: &'a str,
    },
    /// See [`Frame::Accept`](super::Frame::Accept).
    Accept(&'a str),
    /// See [`Frame::Ack`](super::Frame::Ack).
    Ack(Ack<'a>),
    /// See [`Frame::Forward`](super::Frame::Forward).
    Forward(u32),
    /// See [`Frame::PathProbe`](super::Frame::PathProbe).
    PathProbe(PathProbe),
    /// See [`Frame::UnknownSession`](super::Frame::UnknownSession).
    UnknownSession,
    /// See [`Frame::Refused`](super::Frame::Refused).
    Refused,
    /// See [`Frame::Ownership`](super::Frame::Ownership).
    Ownership(Ownership),
}

fn write_token(out: &mut Vec<u8>, token: Token) {
    out.extend_from_slice(&token.issued_ms.to_be_bytes());
    out.extend_from_slice(&token.proof.to_be_bytes());
}

#[allow(clippy::cast_possible_truncation)] // control bodies are below 200 bytes
fn begin_control(out: &mut Vec<u8>, kind: u8, body_len: usize) {
    out.extend_from_slice(&[kind, 0, 0, body_len as u8]);
}

/// Returns as much of a name as fits its field. A longer name is cut between two characters.
pub(super) fn clipped(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME)]
}

pub(super) fn write_name(out: &mut Vec<u8>, name: &str) {
    #[allow(clippy::cast_possible_truncation)] // clipped to MAX_NAME
    out.push(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
}

/// Appends an acknowledgement.
pub(crate) fn write_ack(out: &mut Vec<u8>, base: u64, bitmap: &[u8]) {
    #[allow(clippy::cast_possible_truncation)] // the low half travels
    write_control(out, &Control::Ack(Ack { base: base as u32, bitmap }));
}

saved!(Token { issued_ms, proof });
saved!(Heartbeat { stamp, wall, echo, held });
