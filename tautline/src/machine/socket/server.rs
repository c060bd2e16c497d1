//! The socket of a server, for `tautline proxy`: it answers each client from the address that the client called. The library
//! itself does not use this.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use super::place::Place;
use super::{IpFragments, Received, Socket};

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
        let received = self.0.receive(buffer);
        if self.0.has_cleared_error() {
            // Unread errors would take room from datagrams, and end every wait at once.
            self.0.take_errors().for_each(drop);
        }
        match received {
            Received::Datagrams(arrived) => {
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
