//! What can go wrong, by operation. Each error's text is a sentence that says what would be right.

use std::fmt;
use std::net::SocketAddr;

use tautline_proto::endpoint::Role;
use tautline_proto::wire::native::BadText;

use crate::config::Wire;
use crate::config::{ConfigError, Endpoint};
use crate::machine::fault::SocketFault;
use crate::message::target::Target;
use crate::payload::EncodeError;
use tautline_proto::{ContentType, Delivery, PeerId};

/// Why connecting failed. Cloneable, because concurrent calls share one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// The configuration cannot be used.
    Config(ConfigError),
    /// The endpoint's name has no address.
    Unresolved {
        /// The endpoint.
        endpoint: Endpoint,
        /// What the system said.
        problem: String,
    },
    /// The socket cannot be bound or connected.
    Socket {
        /// The local address if that is the problem, as it always is for a server; else the server's.
        address: SocketAddr,
        /// Whose socket it is.
        role: Role,
        /// What it is.
        fault: SocketFault,
        /// The system's words.
        problem: String,
    },
    /// No answer came within `connect_timeout`.
    TimedOut {
        /// The server.
        server: SocketAddr,
        /// Whether the network said that nobody listens there.
        refused: bool,
    },
    /// The server has no room for another peer.
    ServerFull {
        /// The server.
        server: SocketAddr,
    },
    /// The system denied something that an interface needs: a thread, randomness.
    System {
        /// What was needed.
        what: &'static str,
        /// The system's words.
        problem: String,
    },
    /// The configuration can be replaced only while disconnected.
    StillConnected,
    /// `disconnect` was called meanwhile.
    Disconnected,
    /// `cleanup` was called: the interface is closed for good.
    Closed,
    /// An inline handler runs on the driver, which is still busy with the connection that has just ended.
    FromHandler,
    /// The driver panicked, which ended the connection; it can be opened again.
    DriverPanicked,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Unresolved { endpoint, problem } => {
                write!(f, "`{}` has no address: {problem}; check the name, or give an IP address", endpoint.host())
            }
            Self::Socket { address, role, fault, problem } => socket_problem(f, *address, *role, *fault, problem),
            Self::TimedOut { server, refused: true } => {
                write!(f, "nobody listens at {server}: start the server, or check the port")
            }
            Self::TimedOut { server, refused: false } => write!(
                f,
                "no answer from {server}: is a server running there, is the way open, and does it speak the \
                 native wire (`wire` at both ends)?"
            ),
            Self::ServerFull { server } => {
                write!(f, "the server at {server} has no room for another peer: raise its `max_peers`")
            }
            Self::System { what, problem } => write!(f, "the system gives no {what}: {problem}"),
            Self::StillConnected => f.write_str("disconnect() before connecting with another configuration"),
            Self::Disconnected => f.write_str("disconnect() was called while connecting"),
            Self::Closed => f.write_str("the interface was cleaned up: make a new one"),
            Self::FromHandler => f.write_str(
                "an inline handler cannot connect again: it runs on the driver of the connection that it ended; \
                 connect from another thread or a blocking handler",
            ),
            Self::DriverPanicked => f.write_str(
                "the interface's driver panicked (its message says where), which ended the connection: connect() again",
            ),
        }
    }
}

fn socket_problem(
    f: &mut fmt::Formatter<'_>,
    address: SocketAddr,
    role: Role,
    fault: SocketFault,
    problem: &str,
) -> fmt::Result {
    match (role, fault) {
        (_, SocketFault::AddressInUse) => write!(
            f,
            "port {} is in use at {}: stop the other program, or choose another port (0 takes any free one)",
            address.port(),
            address.ip()
        ),
        (_, SocketFault::AddressGone) => write!(
            f,
            "{} is not an address of this host: bind one of its own, or 0.0.0.0 for all",
            address.ip()
        ),
        (Role::Server, SocketFault::NotPermitted) => {
            write!(f, "binding {address} is not permitted: ports below 1024 need privilege")
        }
        (_, SocketFault::OutOfDescriptors | SocketFault::NetworkUnreachable) => {
            write!(f, "no socket for {address}: {fault}")
        }
        (Role::Server, _) => write!(f, "{address} cannot be bound: {problem}"),
        (Role::Client, _) => write!(f, "no socket towards {address}: {problem}"),
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ConfigError> for ConnectError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// Why a message was not sent. No sequence number was spent on it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The interface is not connected.
    NotConnected,
    /// Nobody is there to send to: a server without clients, or a client whose server has not answered (again).
    NoPeers,
    /// There is no such peer, or not any more.
    UnknownPeer {
        /// The one that was asked for.
        target: Target,
    },
    /// The value cannot be a payload.
    Encode(EncodeError),
    /// The wire cannot carry this.
    NotOnThisWire {
        /// The wire.
        wire: Wire,
        /// What it cannot carry.
        what: Unsupported,
    },
    /// A text of the metadata does not fit the native wire.
    Text(BadText),
    /// The datagram would be larger than UDP allows.
    TooLarge {
        /// Its size, in bytes.
        size: usize,
        /// The most that UDP carries, in bytes.
        max: usize,
    },
    /// Too many reliable messages wait for the peer's acknowledgement.
    WindowFull {
        /// The peer.
        peer: PeerId,
    },
    /// The message has more parts than can be numbered, or wait for acknowledgements at once.
    TooManyParts {
        /// The size of it all, in bytes.
        size: usize,
    },
    /// The kernel's send buffer is full; try again, or raise `send_buffer`.
    Busy,
    /// The kernel refused the datagram.
    Refused {
        /// Where it was to go.
        to: SocketAddr,
        /// What it is.
        fault: SocketFault,
        /// The kernel's words.
        problem: String,
    },
    /// Of several messages, or of one to several peers, some were not sent.
    Partly {
        /// How many messages were sent or queued, counted once per peer.
        sent: usize,
        /// How many were not, likewise.
        failed: usize,
        /// The first failure.
        first: Box<SendError>,
    },
}

impl SendError {
    /// Whether the same message may be sent later although the caller changes nothing: a control loop goes on with its
    /// next cycle.
    ///
    /// True where the peer, the network or the kernel is at fault, and for a full window of reliable messages. False where
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
            Self::NoPeers | Self::WindowFull { .. } | Self::Busy => true,
            Self::Refused { fault, .. } => *fault != SocketFault::TooLarge,
            Self::Partly { first, .. } => first.is_transient(),
            Self::NotConnected
            | Self::UnknownPeer { .. }
            | Self::Encode(_)
            | Self::NotOnThisWire { .. }
            | Self::Text(_)
            | Self::TooLarge { .. }
            | Self::TooManyParts { .. } => false,
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

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected => f.write_str("not connected: call connect() before send()"),
            Self::NoPeers => f.write_str(
                "nobody is there to send to: no client has connected, or the server has not answered",
            ),
            Self::UnknownPeer { target: Target::Address(address) } => {
                write!(f, "no peer has connected from {address}")
            }
            Self::UnknownPeer { target: Target::Peer(peer) } => {
                write!(f, "peer {peer} is gone: it closed, was restarted or expired")
            }
            Self::UnknownPeer { target: Target::All } => f.write_str("there is no peer"),
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
            Self::WindowFull { peer } => write!(
                f,
                "too many reliable messages wait for peer {peer} to acknowledge them: wait for their receipts, or send less"
            ),
            Self::TooManyParts { size } => write!(
                f,
                "a message of {size} bytes has too many parts: raise `mtu` where the path allows it, or send less at once"
            ),
            Self::Text(error) => error.fmt(f),
            Self::TooLarge { size, max } => {
                write!(
                    f,
                    "the datagram would have {size} bytes, UDP carries at most {max}: send less at once"
                )
            }
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
