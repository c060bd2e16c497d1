//! The socket of a server, for `tautline proxy`: it answers each client from the address that the client called. The library
//! itself does not use this.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use super::place::Place;
use super::{Arrived, IpFragments, Received, Socket};

/// A non-blocking socket that answers from where it was called, also if it is bound to all addresses of this host.
///
/// Not part of the stable interface: it exists for `tautline proxy`.
#[derive(Debug)]
pub struct ServerSocket(Socket);

impl ServerSocket {
    /// Binds the socket.
    ///
    /// # Errors
    ///
    /// Those of bind(2).
    pub fn bind(local: SocketAddr) -> io::Result<Self> {
        let place = Place::at(local);
        let socket = Socket::open(&place, false)?;
        socket.place(&place)?;
        // What it hands on was made for another path.
        socket.set_ip_fragments(IpFragments::Allowed);
        Ok(Self(socket))
    }

    /// Returns the socket, to wait for datagrams and to set its options.
    #[must_use]
    pub const fn udp(&self) -> &UdpSocket {
        self.0.udp()
    }

    /// Asks for a kernel buffer of this size for receiving. The system may give less.
    pub fn ask_for_receive_buffer(&self, bytes: usize) {
        self.0.set_buffers(bytes, 0);
    }

    /// Reads a datagram. Returns its length and its sender. What the network reports about earlier datagrams is forgotten.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is none, and those of recvmsg(2).
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let mut arrived = Arrived::default();
        let received = self.0.receive(buffer, &mut arrived);
        if self.0.has_cleared_error() {
            // Unread errors would take room from datagrams, and end every wait at once.
            self.0.take_errors().for_each(drop);
        }
        match received {
            Received::Datagrams => {
                let from = arrived.from.ok_or(io::ErrorKind::Unsupported)?;
                Ok((arrived.len, from))
            }
            Received::Empty => Err(io::ErrorKind::WouldBlock.into()),
            Received::Unreachable(error) | Received::Failed(error) => Err(error),
        }
    }

    /// The sender of the latest datagram is a client: it is answered from where it called, until it is
    /// [forgotten](Self::forget).
    pub fn know(&self, client: SocketAddr) {
        if self.0.answers_as_called() {
            self.0.confirm_source(client);
        }
    }

    /// Forgets a client.
    pub fn forget(&self, client: SocketAddr) {
        self.0.forget_source(client);
    }

    /// Sends a datagram.
    ///
    /// # Errors
    ///
    /// Those of sendmsg(2).
    pub fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        self.0.send(datagram, to)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Reads the question of a client. Returns its address.
    fn asked(server: &ServerSocket) -> SocketAddr {
        for _ in 0..20_000 {
            match server.receive(&mut [0; 64]) {
                Ok((_, from)) => return from,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}"),
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("no question came");
    }

    /// Two threads send a thousand times each. Returns how many sends were refused.
    fn refused(send: impl Fn() -> bool + Copy + Send) -> usize {
        let thread = move || (0..1000).filter(|_| !send()).count();
        thread::scope(|scope| {
            [(); 2].map(|()| scope.spawn(thread)).map(|sends| sends.join().unwrap()).iter().sum()
        })
    }

    /// Wine refuses about half of the sends while another thread sends at the same socket.
    #[test]
    fn a_send_that_is_refused_for_now_is_tried_again_from_whichever_address() {
        for (own, called) in [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.2")] {
            let server = ServerSocket::bind(own.parse().unwrap()).unwrap();
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.send_to(b"question", (called, server.udp().local_addr().unwrap().port())).unwrap();
            let to = asked(&server);
            server.know(to);
            let of_server = refused(|| server.send(b"answer", to).is_ok());
            let of_system = refused(|| server.udp().send_to(b"answer", to).is_ok());
            assert!(of_server <= of_system / 2, "{own}: {of_server}, without tries {of_system}");
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let (len, from) = client.recv_from(&mut [0; 64]).unwrap();
            assert_eq!(len, 6);
            // Wine sends from whichever address it likes: it does not read the control messages of WSASendMsg.
            assert!(from.ip().to_string() == called || cfg!(windows), "{from}");
        }
    }
}
