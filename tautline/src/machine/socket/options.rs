//! Which socket options the kernel accepts. `tautline doctor` shows them; the library itself does not use this.

use std::net::UdpSocket;

use super::platform;

/// A socket option that speeds up or observes the traffic of a UDP socket.
///
/// Not part of the stable interface: it exists for `tautline doctor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOption {
    /// Several datagrams per send (`UDP_SEGMENT`, udp(7)).
    UdpGso,
    /// Several datagrams per receive (`UDP_GRO`, udp(7)).
    UdpGro,
    /// Arrival times from the kernel (`SO_TIMESTAMPNS`, socket(7)).
    Timestamps,
    /// A count of dropped datagrams with each receive (`SO_RXQ_OVFL`, socket(7)).
    DropCounter,
    /// Busy polling of the network card (`SO_BUSY_POLL`, socket(7)).
    BusyPoll,
}

impl SocketOption {
    /// Tries to set the option on `socket`. Returns whether the kernel accepts it, or `None` on systems other than Linux.
    ///
    /// The option stays set, so use a socket that serves no other purpose.
    #[must_use]
    pub fn is_accepted_on(self, socket: &UdpSocket) -> Option<bool> {
        platform::accepts(socket, self)
    }
}
