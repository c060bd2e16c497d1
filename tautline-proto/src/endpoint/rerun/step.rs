//! What a rerun shows.

use core::net::SocketAddr;

use crate::endpoint::event::Event;
use crate::endpoint::outcome::Outcome;
use crate::message::MessageRef;
use crate::path::PeerClock;
use crate::peer::PeerId;
use crate::time::{Instant, Now};

/// An input of a rerun, or what came of it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step<'a> {
    /// The record begins here, or goes on after a gap.
    Begins(Instant),
    /// A datagram came. `accepted` says from whom, and its number; `None` if it was dropped, or belongs to a handshake.
    Datagram {
        /// When it was handled.
        now: Now,
        /// Where it came from.
        from: SocketAddr,
        /// When it came, most probably.
        came: Option<Instant>,
        /// The datagram.
        bytes: &'a [u8],
        /// The peer and the number.
        accepted: Option<(PeerId, Option<u64>)>,
    },
    /// A message of the datagram before was handed out, unless the driver has dropped it.
    Message {
        /// When its datagram was handled.
        now: Now,
        /// Who sent it.
        peer: PeerId,
        /// What is known of the clock of its sender.
        clock: Option<PeerClock>,
        /// The message.
        message: &'a MessageRef<'a>,
    },
    /// The protocol noticed something.
    Event(Now, Event),
    /// A datagram was sealed for a peer.
    Sealed {
        /// When, as far as it is known.
        at: Instant,
        /// To whom.
        peer: PeerId,
        /// Where to.
        to: SocketAddr,
        /// The datagram.
        bytes: &'a [u8],
    },
    /// The kernel took datagrams for a peer: how many, and how many messages in them.
    Sent(Instant, PeerId, [u64; 2]),
    /// A reliable message has ended.
    Outcome(Instant, Outcome),
    /// The driver noted something: see [`Inbound::note`](crate::endpoint::Inbound::note).
    Note(Instant, [u64; 3]),
}
