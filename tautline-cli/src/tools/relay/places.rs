//! The addresses that a relay listens at and sends to. If a name or an address is not there yet at the start, the relay
//! waits for it, as `connect` does.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use tautline::{Endpoint, ServerSocket};

use crate::tools::exit::{Exit, Failure};
use crate::tools::waiting::Waiting;

/// The requested size of the kernel's receive buffer, in bytes.
const KERNEL_BUFFER: usize = 4 << 20;

/// How long to wait for a name or an address that is not there yet: the default of `connect_timeout`.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time between two tries.
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// Opens the socket that clients send to.
pub(super) fn listen(endpoint: &Endpoint) -> Result<ServerSocket, Failure> {
    let socket = patiently(endpoint, || {
        let addresses = addresses(endpoint).map_err(|failure| (failure, true))?;
        bind(&addresses).map_err(|error| {
            let may_pass = error.kind() == io::ErrorKind::AddrNotAvailable;
            (cannot_listen(endpoint, &error), may_pass)
        })
    })?;
    // The kernel may grant less. The relay works with a smaller buffer too.
    socket.ask_for_receive_buffer(KERNEL_BUFFER);
    Ok(socket)
}

/// Returns the addresses of a target. There is at least one.
pub(super) fn of_target(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, Failure> {
    let port = endpoint.port();
    if port == 0 {
        return Err(Failure::usage(format!(
            "{endpoint}: port 0 is not possible for a target: name its real port"
        )));
    }
    if endpoint.is_everywhere() {
        return Err(Failure::usage(format!(
            "{endpoint}: a target needs a host, such as 127.0.0.1{endpoint}"
        )));
    }
    patiently(endpoint, || addresses(endpoint).map_err(|failure| (failure, true)))
}

/// Returns the addresses of an endpoint, IPv4 first, as the library calls them. There is at least one.
pub(super) fn addresses(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, Failure> {
    if endpoint.is_everywhere() {
        // The first takes IPv4 too. The second is for hosts without IPv6.
        let all = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
        return Ok(all.map(|any: IpAddr| SocketAddr::new(any, endpoint.port())).into());
    }
    let mut found: Vec<_> =
        (endpoint.host(), endpoint.port()).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.dedup();
    if found.is_empty() {
        let sentence = format!("{} has no address: check the name", endpoint.host());
        return Err(Failure::new(Exit::NoConnection, sentence));
    }
    Ok(found)
}

/// Tries again while a failure may pass, and says what it waits for.
fn patiently<T>(
    endpoint: &Endpoint,
    mut attempt: impl FnMut() -> Result<T, (Failure, bool)>,
) -> Result<T, Failure> {
    let begun = Instant::now();
    let mut waiting = Waiting::since(begun);
    loop {
        match attempt() {
            Ok(done) => return Ok(done),
            Err((_, true)) if begun.elapsed() < PATIENCE => waiting.look(endpoint),
            Err((failure, _)) => return Err(failure),
        }
        std::thread::sleep(BETWEEN_TRIES);
    }
}

/// Binds to the first address that can be bound to.
fn bind(addresses: &[SocketAddr]) -> io::Result<ServerSocket> {
    let mut bound = Err(io::ErrorKind::AddrNotAvailable.into());
    for &address in addresses {
        bound = ServerSocket::bind(address);
        if bound.is_ok() {
            break;
        }
    }
    bound
}

fn cannot_listen(endpoint: &Endpoint, error: &io::Error) -> Failure {
    let sentence = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{endpoint} is in use: choose another port, or 0 for any free one")
        }
        io::ErrorKind::AddrNotAvailable => format!("{} is not an address of this host", endpoint.host()),
        _ => format!("cannot listen at {endpoint}: {error}"),
    };
    Failure::new(Exit::NoConnection, sentence)
}
