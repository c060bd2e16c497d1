//! Chooses which address of a name a client calls. A name may have several addresses ("localhost" has 127.0.0.1 and ::1), and
//! a server may listen at only one of them. Used while connecting, and only if there is a choice.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tautline_proto::SessionId;
use tautline_proto::wire::native::{self, Control, Header};

use crate::machine::socket::place::Place;
use crate::machine::socket::{Arrived, Received, Socket};

/// The most addresses that are tried, from the first on.
const MOST: usize = 4;

/// How long each address may take to answer. A refusal by this host comes at once.
const PATIENCE: Duration = Duration::from_millis(50);

/// The time between two looks for an answer.
const LOOK: Duration = Duration::from_micros(200);

/// The result of trying an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Came,
    Nothing,
    /// Nothing listens there, or there is no route.
    Refused,
}

/// Returns the first address where a server answers a hello; otherwise the first that is not refused; otherwise the first.
/// `None` if there is no address. `own` has the client's own address and network card. A hello leaves no state at the server (docs/protocol.md §5).
pub(crate) fn choose(own: &Place, addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let (&first, others) = addresses.split_first()?;
    if others.is_empty() {
        return Some(first);
    }
    let mut silent = None;
    for &address in addresses.iter().take(MOST) {
        match call(own, address).unwrap_or(Answer::Refused) {
            Answer::Came => return Some(address),
            Answer::Nothing => _ = silent.get_or_insert(address),
            Answer::Refused => {}
        }
    }
    silent.or(Some(first))
}

fn call(own: &Place, address: SocketAddr) -> io::Result<Answer> {
    let socket = Socket::connect(&Place { address, ..own.clone() })?;
    socket.send(&hello()?, address)?;
    let until = Instant::now() + PATIENCE;
    let (mut buffer, mut arrived) = ([0; 256], Arrived::default());
    while Instant::now() < until {
        match socket.receive(&mut buffer, &mut arrived) {
            Received::Datagrams => return Ok(Answer::Came),
            Received::Unreachable(..) | Received::Failed(_) => return Ok(Answer::Refused),
            Received::Empty => std::thread::sleep(LOOK),
        }
    }
    Ok(Answer::Nothing)
}

/// With a session that no one uses afterwards.
fn hello() -> io::Result<Vec<u8>> {
    let mut bits = [0; 8];
    getrandom::fill(&mut bits).map_err(|error| io::Error::other(error.to_string()))?;
    let session = SessionId::from_bits(u64::from_ne_bytes(bits));
    let mut datagram = Vec::new();
    native::begin_datagram(&mut datagram);
    native::write_control(&mut datagram, &Control::Hello);
    native::seal(&mut datagram, Header { session, sequence: 0, from_server: false });
    Ok(datagram)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn socket() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("bound");
        (socket, address)
    }

    /// An address where nothing listens.
    fn refused() -> SocketAddr {
        socket().1
    }

    #[test]
    fn the_address_that_answers_is_taken() {
        let server = crate::interface::create_udp_server(crate::config::Config::server("127.0.0.1:0"))
            .expect("it is valid");
        server.connect().expect("a free port");
        let address = server.local_address().expect("connected");
        let (_held, silent) = socket();
        assert_eq!(choose(&Place::at(refused()), &[refused(), silent, address]), Some(address));
        assert_eq!((server.peers().len(), server.statistics().datagrams_accepted), (0, 1));
    }

    #[test]
    fn one_that_is_silent_is_better_than_one_that_is_refused() {
        let (_held, silent) = socket();
        assert_eq!(choose(&Place::at(refused()), &[refused(), silent]), Some(silent));
    }

    #[test]
    fn where_all_are_refused_the_first_is_called() {
        let all = [refused(), refused()];
        assert_eq!(
            (choose(&Place::at(refused()), &all), choose(&Place::at(refused()), &[])),
            (Some(all[0]), None)
        );
    }
}
