//! Events: what happens to the connection and its peers. [`subscribers`](super::subscribers) has who is told.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::{Selector, WatchdogEvent};
use crate::error::{ConnectError, SendError};
use crate::machine::fault::SocketFault;
use crate::machine::realtime::RealtimePart;
use crate::sync::Arc;
use tautline_proto::endpoint::{ClaimOutcome, Outcome, OwnerReason, RemovalReason};
use tautline_proto::{Cause, ConnectionState, DropReason, MessageType, PeerId, StreamId};

/// Something that happened. Events come in the order in which they happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The connection changed its state.
    StateChanged {
        /// The state before.
        from: ConnectionState,
        /// The state now.
        to: ConnectionState,
        /// Why.
        cause: Cause,
    },
    /// A link to a peer is established.
    PeerConnected {
        /// The peer.
        peer: PeerId,
        /// Its address.
        address: SocketAddr,
        /// Its interface's name; empty on the classic wire.
        name: String,
        /// Who it is by its key, as [`PeerInfo::identity`](crate::PeerInfo::identity).
        identity: Option<Arc<str>>,
    },
    /// Nothing came from a peer for half of `liveness_timeout`: several heartbeats are overdue. Native wire only.
    PeerStale {
        /// The peer.
        peer: PeerId,
    },
    /// Nothing came from a peer for `liveness_timeout`.
    PeerSilent {
        /// The peer.
        peer: PeerId,
    },
    /// A datagram came from a stale or silent peer.
    PeerReturned {
        /// The peer.
        peer: PeerId,
    },
    /// A peer has another address now. Its session goes on. Secured links only; on a plain link, a client that moved begins a new
    /// session.
    PeerMoved {
        /// The peer.
        peer: PeerId,
        /// Its address before.
        from: SocketAddr,
        /// Its address now.
        to: SocketAddr,
    },
    /// The largest packet that is sent to a peer has changed: the path was probed, or the system knows that it is smaller.
    /// Messages share datagrams up to it. Native wire only.
    PathSize {
        /// The peer.
        peer: PeerId,
        /// The largest packet now, in bytes, with the headers of IP and UDP.
        mtu: usize,
    },
    /// A peer of the classic wire began to number anew: it was restarted. (On the native wire a restarted peer is a new
    /// peer.)
    PeerRestarted {
        /// The peer.
        peer: PeerId,
    },
    /// A peer is gone.
    PeerDisconnected {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: RemovalReason,
    },
    /// The system or the network (ICMP) reports that a peer cannot be reached: nothing listens at its port, there is no
    /// route, the network interface is down, and so on. The link survives, and goes on by itself. At most ten events a
    /// second; all faults are counted in [`Statistics::socket_faults`](crate::Statistics::socket_faults).
    PeerUnreachable {
        /// Its address, if the system reports it.
        address: Option<SocketAddr>,
        /// The kind of the fault.
        fault: SocketFault,
        /// The system's description.
        problem: String,
    },
    /// The system could not wait for datagrams or read them. The driver tries again. Limited and counted like
    /// [`PeerUnreachable`](Self::PeerUnreachable).
    SocketFailed {
        /// The kind of the fault.
        fault: SocketFault,
        /// The system's description.
        problem: String,
    },
    /// Something that connecting needs is not there yet: the endpoint's name, an address of this host, a network card, or a
    /// route. The interface connects by itself once it is there. One event for each cause.
    Waiting {
        /// What is missing.
        missing: ConnectError,
    },
    /// The socket is at a new place: a client's own address is gone or has changed, its server's name means another
    /// address, a network card was plugged in again, or what was [missing](Self::Waiting) is there. The socket's descriptor
    /// stays the same.
    Moved {
        /// The local address now.
        local: SocketAddr,
        /// The server's address, at a client.
        server: Option<SocketAddr>,
    },
    /// A sender uses the other wire: set `wire` to the same value at both ends. At most one event a second.
    OtherWire {
        /// The address that the datagrams come from.
        from: SocketAddr,
    },
    /// Somebody was not let in: its key is not known here (`unknown_key`), a datagram is not sealed with the keys of its session (`bad_tag`),
    /// or only one end is secured (`not_secured`, `secured`). At most ten events a second; all are counted in
    /// [`Statistics::datagrams_dropped`](crate::Statistics::datagrams_dropped).
    NotLetIn {
        /// The address that the datagram came from.
        from: SocketAddr,
        /// Why it was dropped.
        reason: DropReason,
    },
    /// A peer has sent a message of a type that its key may not send. It was dropped (`not_allowed`). At most ten events a
    /// second.
    NotAllowed {
        /// The peer.
        peer: PeerId,
        /// The type.
        message_type: MessageType,
    },
    /// The server has no room for this client (`max_peers`).
    Refused,
    /// The server answers, but not to this client's key: five calls with it went unanswered. The client calls on. One event until
    /// it is connected.
    KeyNotAccepted {
        /// The server.
        server: SocketAddr,
        /// Whether the server says that it takes secured clients only. If not, it has no keys at all.
        server_is_secured: bool,
    },
    /// Another key has taken over in the session with this peer, after [`reload_keys`](crate::UdpInterface::reload_keys): the session
    /// does not need the old one any more.
    KeyReplaced {
        /// The peer.
        peer: PeerId,
    },
    /// The server says that it takes secured clients only, and this client has no key. One event until it is connected.
    KeyNeeded {
        /// The server.
        server: SocketAddr,
    },
    /// The machine does not grant something that the configuration asks for. The link runs without it. One event for each
    /// such part while connecting; for kernel buffers only if their size is set, or `realtime` is on.
    NotGranted {
        /// What was asked for.
        part: RealtimePart,
        /// Why it was not granted.
        problem: String,
        /// The command or the change that allows it.
        remedy: String,
    },
    /// The kernel dropped datagrams because the receive buffer was full: they came faster than they were read. At most one
    /// event a second. Linux only.
    KernelDropped {
        /// The number since the last such event, counted like [`Statistics::kernel_drops`](crate::Statistics::kernel_drops).
        dropped: u64,
        /// The bytes that the kernel granted for receiving, if it reports them. Set `receive_buffer` for more, up to the
        /// system's limit (`sysctl net.core.rmem_max`).
        receive_buffer: Option<usize>,
    },
    /// A newer message replaced one that nobody had seen yet, because only the newest of its stream waits (setting
    /// `history`; the default of commands). Once for each stream. If both were meant, for example for two joints, send them
    /// on channels of their own, or as one vector; or raise `history`, up to "all". All such messages are counted as
    /// superseded.
    Superseded {
        /// The peer that sent them.
        peer: PeerId,
        /// Their type.
        message_type: MessageType,
        /// Their channel.
        channel: u16,
    },
    /// A reader of messages is behind for good: for a second its queue was never empty, and the next message was old each
    /// time the driver looked. It acts on old messages from now on, unless it reads more in each cycle, or only the newest
    /// wait (`history`). The event comes again only if the reader has caught up meanwhile.
    ReaderBehind {
        /// The reader.
        reader: Reader,
        /// The messages that wait for it.
        waiting: usize,
        /// The age of the next message.
        age: Duration,
    },
    /// Commands come to this interface, nothing limits their age, and nobody notices when they stop: there is no
    /// `command.lifespan`, the first command carries no lifespan, and no watchdog watches for commands or peers. Once for
    /// each connection: when it connects, if a handler for commands is registered, else with the first command.
    CommandsUnguarded,
    /// A reliable message was not acknowledged.
    DeliveryFailed {
        /// The peer that it was sent to.
        peer: PeerId,
        /// Its type.
        message_type: MessageType,
        /// Its channel.
        channel: u16,
        /// Its outcome.
        outcome: Outcome,
    },
    /// A watchdog has tripped or recovered. Its failsafe, if it has one, was called before.
    Watchdog(WatchdogEvent),
    /// A stream that is taken from one peer at a time (`owner`) has another owner, or none any more.
    OwnerChanged {
        /// The stream.
        stream: StreamId,
        /// The owner before; `None`: it had none.
        from: Option<PeerId>,
        /// The owner now; `None`: it has none, and the next peer to send becomes the owner.
        to: Option<PeerId>,
        /// Why.
        reason: OwnerReason,
    },
    /// A peer sends on a stream that it does not own. Its messages are dropped, and counted as `NotOwner`. Once for each
    /// owner.
    NotOwner {
        /// The peer.
        peer: PeerId,
        /// The stream.
        stream: StreamId,
        /// The owner; `None`: there is no room for one more stream with an owner.
        owner: Option<PeerId>,
    },
    /// A peer drops what this interface sends on a stream, because another owns the stream there: it was first, or has
    /// claimed the stream. Once for each owner. Native wire only.
    StreamDenied {
        /// The peer.
        peer: PeerId,
        /// The stream.
        stream: StreamId,
    },
    /// A [claim or a release](crate::UdpInterface::claim) of this interface has ended at a peer.
    ClaimEnded {
        /// The peer.
        peer: PeerId,
        /// The stream.
        stream: StreamId,
        /// How it ended.
        outcome: ClaimOutcome,
    },
    /// A message for which `send` returned `Queued` could not be sent.
    SendFailed {
        /// Why.
        error: SendError,
    },
}

/// Who reads messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reader {
    /// Whoever calls `receive`.
    Inbox,
    /// The handler that is registered for these messages.
    Handler(Selector),
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inbox => f.write_str("inbox"),
            Self::Handler(Selector { message_type, channel: None }) => write!(f, "handler of {message_type}"),
            Self::Handler(Selector { message_type, channel: Some(channel) }) => {
                write!(f, "handler of {message_type}.{channel}")
            }
        }
    }
}
