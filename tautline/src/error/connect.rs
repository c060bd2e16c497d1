//! The errors of connecting.

use std::fmt;
use std::net::SocketAddr;

use tautline_proto::endpoint::Role;

use crate::config::{ConfigError, Endpoint};
use crate::machine::fault::SocketFault;

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
                "no answer from {server}: is a server running there, is the way open, does its `allow` name this host, and does \
                 it speak the native wire (`wire` at both ends)?"
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
