//! The errors of connecting and sending. The text of each says what was wrong, and what would be right.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tautline_proto::endpoint::Role;
use tautline_proto::wire::native::BadText;

use crate::config::Wire;
use crate::config::{ConfigError, Endpoint};
use crate::machine::fault::SocketFault;
use crate::message::target::Target;
use crate::payload::EncodeError;
use tautline_proto::{ContentType, Delivery, MessageType, PeerId};

/// Why connecting failed. `Clone`, because concurrent calls share one outcome.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// The configuration cannot be used.
    Config(ConfigError),
    /// The server has the profile for control loops and no failsafe.
    NoFailsafe,
    /// The name of the endpoint has no address.
    Unresolved {
        /// The endpoint.
        endpoint: Endpoint,
        /// The system's description.
        problem: String,
    },
    /// The socket cannot be bound or connected.
    Socket {
        /// The address at fault: a server's own address; for a client the server's, or its own if `bind` is at fault.
        address: SocketAddr,
        /// The role of the interface.
        role: Role,
        /// The kind of the fault.
        fault: SocketFault,
        /// The system's description.
        problem: String,
    },
    /// The endpoint has no address of the kind that `bind` has (IPv4 or IPv6).
    OtherFamily {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// The endpoint is the broadcast address of a network, or a name of a multicast group. Each end of a link has an address of its
    /// own.
    Broadcast {
        /// The address.
        address: SocketAddr,
    },
    /// No answer came within `connect_timeout`.
    TimedOut {
        /// The server.
        server: SocketAddr,
        /// Whether the network reported that nothing listens there.
        refused: bool,
    },
    /// No answer came within `connect_timeout`, and the system or the network (ICMP) reports why: a firewall or a route of this host
    /// lets nothing out, the other host cannot be reached, and so on.
    Unreachable {
        /// The server.
        server: SocketAddr,
        /// The kind of the fault.
        fault: SocketFault,
        /// The system's description.
        problem: String,
    },
    /// The server answers, but not to this client's key.
    KeyNotAccepted {
        /// The server.
        server: SocketAddr,
        /// Whether the server says that it takes secured clients only. If not, it has no keys at all.
        server_is_secured: bool,
    },
    /// The server says that it takes secured clients only, and this client has no key.
    KeyNeeded {
        /// The server.
        server: SocketAddr,
    },
    /// The server has no room for another peer.
    ServerFull {
        /// The server.
        server: SocketAddr,
    },
    /// The metrics cannot be served.
    Metrics {
        /// Where they were to be served.
        address: SocketAddr,
        /// The system's description.
        problem: String,
    },
    /// The system refused something that an interface needs: a thread, random numbers.
    System {
        /// What was needed.
        what: &'static str,
        /// The system's description.
        problem: String,
    },
    /// The configuration can be replaced only while disconnected.
    StillConnected,
    /// Another thread called `disconnect` meanwhile.
    Disconnected,
    /// The interface was cleaned up. Make a new one.
    Closed,
    /// Called from an inline handler: the driver still works for the connection that has just ended.
    FromHandler,
    /// The driver panicked, which ended the connection. You can connect again.
    DriverPanicked,
}

impl ConnectError {
    /// Whether the cause may pass by itself: a name, an address of this host, a network card or a route is missing. Then
    /// connecting waits for it, as it waits for a server that has not started yet.
    pub(crate) const fn may_pass(&self) -> bool {
        match self {
            Self::Unresolved { .. } => true,
            Self::Socket { role, fault, .. } => match fault {
                SocketFault::AddressGone
                | SocketFault::NetworkUnreachable
                | SocketFault::NetworkDown
                | SocketFault::HostUnreachable
                | SocketFault::CardGone
                | SocketFault::Blackhole => true,
                // At a client, a route forbids sending (prohibit), and may be replaced. A server has no right to its port.
                SocketFault::NotPermitted => matches!(role, Role::Client),
                _ => false,
            },
            _ => false,
        }
    }
}

/// `main` and `unwrap` print the `Debug` of an error, and people read it. So it is the sentence.
impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::NoFailsafe => f.write_str(
                "`profile` is control, and the server has no failsafe: write `Config::server(..).profile(Profile::control())\
                 .failsafe(|event| ..)`, and let it stop what moves when `event.state()` is not `Armed`",
            ),
            Self::Unresolved { endpoint, problem } => match endpoint.host().split_once('%') {
                Some((_, card)) => {
                    let cards = if cfg!(windows) { "Get-NetAdapter" } else { "ip link" };
                    write!(f, "this host has no network card `{card}` ({problem}): plug it in, or check its name ({cards})")
                }
                None => {
                    write!(f, "`{}` has no address: {problem}; check the name, or give an IP address", endpoint.host())
                }
            },
            Self::Socket { address, role, fault, problem } => socket_problem(f, *address, *role, *fault, problem),
            Self::OtherFamily { endpoint } => write!(
                f,
                "`{}` has no address of the kind that `bind` has: give both as IPv4, or both as IPv6",
                endpoint.host()
            ),
            Self::Broadcast { address } => {
                let ip = address.ip();
                let what = match ip.is_multicast() {
                    true => "a multicast group",
                    false => "the broadcast address of a network",
                };
                write!(f, "{ip} is {what}, and each end of a link has an address of its own: name one host")
            }
            Self::TimedOut { server, refused: true } => {
                write!(f, "nobody listens at {server}: start the server, or check the port")
            }
            Self::TimedOut { server, refused: false } => write!(
                f,
                "no answer from {server}: is a server running there, is the way open, and does it speak the \
                 native wire (`wire` at both ends)?"
            ),
            Self::Unreachable { server, fault, problem } => {
                write!(f, "{server} cannot be reached ({problem}): {fault}")
            }
            Self::KeyNotAccepted { server, server_is_secured: true } => write!(
                f,
                "the server at {server} answers, but not to this key: compare the fingerprints of the keys at both ends \
                 (`tautline doctor --key FILE` shows them)"
            ),
            Self::KeyNotAccepted { server, server_is_secured: false } => write!(
                f,
                "the server at {server} answers, but not to this key, because it has no key: give the server the key"
            ),
            Self::KeyNeeded { server } => write!(
                f,
                "the server at {server} takes secured clients only: give this client a key that the server accepts"
            ),
            Self::ServerFull { server } => {
                write!(f, "the server at {server} has no room for another peer: raise its `max_peers`")
            }
            Self::Metrics { address, problem } => write!(
                f,
                "the metrics cannot be served at {address} ({problem}): set `metrics` to an address of this host and a free port"
            ),
            Self::System { what, problem } => write!(f, "the system gives no {what}: {problem}"),
            Self::StillConnected => f.write_str(
                "the interface is connected: call disconnect() before connecting with another configuration",
            ),
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
        (_, SocketFault::AddressInUse) => {
            let (port, ip) = (address.port(), address.ip());
            // A colon follows, so an IPv6 address stands in brackets.
            let ip = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
            write!(
                f,
                "port {port} is in use at {ip}: stop the other program, or choose another port (0 takes any free one)"
            )
        }
        // By `interface`, the system knows the card. Otherwise it answers EINVAL, which says nothing.
        (_, SocketFault::AddressGone | SocketFault::NetworkUnreachable | SocketFault::Blackhole)
            if lacks_card(address) =>
        {
            let (ip, port) = (address.ip(), address.port());
            write!(
                f,
                "{ip} is a link-local address, which every network has: name the network card too, as in [{ip}%{}]:{port} ",
                if cfg!(windows) { "Ethernet" } else { "eth0" }
            )?;
            write!(f, "({} lists them)", if cfg!(windows) { "Get-NetAdapter" } else { "ip link" })
        }
        (_, SocketFault::AddressGone) => {
            let all = if address.is_ipv6() { "::" } else { "0.0.0.0" };
            write!(
                f,
                "{} is not an address of this host: bind one of its own, or {all} for all",
                address.ip()
            )
        }
        (
            _,
            SocketFault::NetworkUnreachable
            | SocketFault::NetworkDown
            | SocketFault::HostUnreachable
            | SocketFault::Blackhole,
        ) => {
            let commands = if cfg!(windows) { "ipconfig, route print" } else { "ip addr, ip route" };
            write!(f, "no route leads to {address} ({problem}): check addresses and routes ({commands})")
        }
        (_, SocketFault::CardGone) => {
            let cards = if cfg!(windows) { "Get-NetAdapter" } else { "ip link" };
            write!(
                f,
                "the network card for {address} is missing ({problem}): plug it in, or check its name ({cards})"
            )
        }
        (Role::Server, SocketFault::NotPermitted) if cfg!(windows) => write!(
            f,
            "binding {address} is not permitted: another program has the port for itself, or the system keeps it \
             (netsh interface ipv4 show excludedportrange udp); choose another port (0 takes any free one)"
        ),
        (Role::Server, SocketFault::NotPermitted) if (1..1024).contains(&address.port()) => {
            write!(f, "binding {address} is not permitted: ports below 1024 need privilege")
        }
        (_, SocketFault::OutOfDescriptors) => {
            write!(f, "no socket for {address}: {fault}")
        }
        (Role::Client, SocketFault::NotPermitted) => {
            write!(
                f,
                "{address} cannot be reached ({problem}): a route or the system forbids it; check the routes ("
            )?;
            write!(f, "{})", if cfg!(windows) { "route print" } else { "ip route" })
        }
        (Role::Server, _) => write!(f, "{address} cannot be bound: {problem}"),
        (Role::Client, _) => write!(f, "no socket towards {address}: {problem}"),
    }
}

/// Whether an address means another host on each network card, and names no card.
fn lacks_card(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0)
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
            Self::NotConnected => f.write_str("not connected: call connect() before send()"),
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
