//! The errors of sending.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tautline_proto::wire::native::BadText;
use tautline_proto::{ContentType, Delivery, MessageType, PeerId};

use crate::config::Wire;
use crate::machine::fault::SocketFault;
use crate::message::target::Target;
use crate::payload::EncodeError;

/// Why a message was not sent. No sequence number was used for it.
///
/// [`is_transient`](Self::is_transient) tells whether a loop should go on.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The interface is not connected.
    NotConnected,
    /// There is no peer: a server without clients, or a client whose server has not answered (yet, or again).
    NoPeers,
    /// There is no such peer, or it has gone.
    UnknownPeer {
        /// The target that was given.
        target: Target,
    },
    /// The value cannot be a payload.
    Encode(EncodeError),
    /// The wire cannot carry this.
    NotOnThisWire {
        /// The wire.
        wire: Wire,
        /// What the wire cannot carry.
        what: Unsupported,
    },
    /// A text of the metadata does not fit the native wire.
    Text(BadText),
    /// The message was older than its lifespan when it was given to send. See
    /// [`Metadata::made_at`](crate::Metadata::made_at).
    Expired {
        /// Its age.
        age: Duration,
        /// Its lifespan.
        lifespan: Duration,
    },
    /// The datagram would be larger than UDP allows.
    TooLarge {
        /// Its size, in bytes.
        size: usize,
        /// The most that UDP carries, in bytes.
        max: usize,
    },
    /// Too many reliable messages await the peer's acknowledgement: wait with
    /// [`wait_for_room`](crate::Publisher::wait_for_room).
    WindowFull {
        /// The peer.
        peer: PeerId,
    },
    /// The session's keys have sealed as many datagrams as they may, and new ones have not come yet.
    KeysWornOut {
        /// The peer.
        peer: PeerId,
    },
    /// The message has more fragments than can be numbered, or can await acknowledgement at once.
    TooManyParts {
        /// The size of the message, in bytes.
        size: usize,
    },
    /// The key of this end may not send messages of this type.
    NotAllowed {
        /// The type.
        message_type: MessageType,
    },
    /// The kernel's send buffer is full. Try again, or raise `send_buffer`.
    Busy,
    /// The kernel refused the datagram.
    Refused {
        /// The address that it was for.
        to: SocketAddr,
        /// The kind of the fault.
        fault: SocketFault,
        /// The kernel's description.
        problem: String,
    },
    /// Some of several messages, or a message to some of several peers, were not sent.
    Partly {
        /// The number of messages that were sent or queued, counted once per peer.
        sent: usize,
        /// The number of messages that were not sent, counted once per peer.
        failed: usize,
        /// The first failure.
        first: Box<SendError>,
    },
}

impl SendError {
    /// Whether the same message, or the next one in its place, may be sent later although the caller changes nothing: a
    /// control loop goes on with its next cycle.
    ///
    /// True where the peer, the network or the kernel is at fault, for a full window of reliable messages, and for a message
    /// that came too late: the next one may come in time. False where
    /// the message or the call is wrong, and while the interface is not connected: only a call of
    /// [`connect`](crate::UdpInterface::connect) changes that. For [`Partly`](Self::Partly) the first failure decides.
    ///
    /// ```
    /// use tautline::{Metadata, SendError, UdpInterface};
    ///
    /// fn cycle(controller: &UdpInterface, force: f64) -> Result<(), SendError> {
    ///     match controller.send(&force, &Metadata::command()) {
    ///         Err(error) if error.is_transient() => eprintln!("this cycle's command was not sent: {error}"),
    ///         sent => drop(sent?),
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoPeers
            | Self::Expired { .. }
            | Self::WindowFull { .. }
            | Self::KeysWornOut { .. }
            | Self::Busy => true,
            Self::Refused { fault, .. } => *fault != SocketFault::TooLarge,
            Self::Partly { first, .. } => first.is_transient(),
            Self::NotConnected
            | Self::UnknownPeer { .. }
            | Self::Encode(_)
            | Self::NotOnThisWire { .. }
            | Self::Text(_)
            | Self::TooLarge { .. }
            | Self::TooManyParts { .. }
            | Self::NotAllowed { .. } => false,
        }
    }
}

/// What the classic wire cannot carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsupported {
    /// A payload that is not JSON.
    Content(ContentType),
    /// A channel other than 0.
    Channel(u16),
    /// A lifespan.
    Lifespan,
    /// Reliable delivery.
    Delivery(Delivery),
}

/// `main` and `unwrap` print the `Debug` of an error, and people read it. So it is the sentence.
impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected => f.write_str("not connected: call connect() before send() (or make a new interface, if this one was cleaned up)"),
            Self::NoPeers => f.write_str(
                "nobody is there to send to, because no client has connected, or the server has not answered: wait until a peer \
                 is connected",
            ),
            Self::UnknownPeer { target: Target::Address(address) } => {
                write!(f, "no peer has connected from {address}: send to one that peers() lists")
            }
            Self::UnknownPeer { target: Target::Peer(peer) } => {
                write!(f, "peer {peer} is gone (it closed, was restarted or expired): send to one that peers() lists")
            }
            Self::UnknownPeer { target: Target::All } => f.write_str("there is no peer: wait until one is connected"),
            Self::Encode(error) => error.fmt(f),
            Self::NotOnThisWire { wire, what: Unsupported::Content(content_type) } => {
                write!(f, "the {wire} wire carries JSON only, not {content_type}: encode the payload as JSON")
            }
            Self::NotOnThisWire { wire, what: Unsupported::Channel(channel) } => {
                write!(f, "the {wire} wire has no channels: send on channel 0 instead of {channel}")
            }
            Self::NotOnThisWire { wire, what: Unsupported::Lifespan } => write!(
                f,
                "the {wire} wire carries no lifespan: leave it out and set it at the receiver for its message type"
            ),
            Self::NotOnThisWire { wire, what: Unsupported::Delivery(class) } => write!(
                f,
                "the {wire} wire has no {class} delivery: send without it, and have the other end acknowledge"
            ),
            Self::Expired { age, lifespan } => write!(
                f,
                "the message is {age:?} old and valid for {lifespan:?}: send it sooner after its data are made, or with a \
                 longer lifespan"
            ),
            Self::WindowFull { peer } => write!(
                f,
                "too many reliable messages wait for peer {peer} to acknowledge them: wait for their receipts, or send less"
            ),
            Self::KeysWornOut { peer } => write!(
                f,
                "the keys of the session with peer {peer} are worn out, and new ones have not come yet: wait until it is connected \
                 again"
            ),
            Self::TooManyParts { size } => write!(
                f,
                "a message of {size} bytes has too many fragments: raise `mtu` where the path allows it, or send less at once"
            ),
            Self::Text(error) => error.fmt(f),
            Self::TooLarge { size, max } => {
                write!(
                    f,
                    "the datagram would have {size} bytes, and UDP carries at most {max}: send less at once"
                )
            }
            Self::NotAllowed { message_type } => write!(
                f,
                "the key of this end may not send {message_type}: the server's `[keys.NAME]` says what it may \
                 (`may`, `may_send`)"
            ),
            Self::Busy => f.write_str("the kernel's send buffer is full: try again, or raise `send_buffer`"),
            Self::Refused { to, fault: SocketFault::Other, problem } => {
                write!(f, "the kernel did not send to {to}: {problem}")
            }
            Self::Refused { to, fault, problem } => {
                write!(f, "the kernel did not send to {to} ({problem}): {fault}")
            }
            Self::Partly { sent, failed, first } => {
                write!(f, "{sent} messages were sent (counted once per peer) and {failed} were not: {first}")
            }
        }
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Encode(error) => Some(error),
            Self::Text(error) => Some(error),
            Self::Partly { first, .. } => Some(first),
            _ => None,
        }
    }
}

impl From<EncodeError> for SendError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl From<BadText> for SendError {
    fn from(error: BadText) -> Self {
        Self::Text(error)
    }
}
