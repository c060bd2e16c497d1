//! Finds out which socket options the kernel accepts, by setting them, and reads the limits of the socket buffers.

use std::net::UdpSocket;

use serde::Serialize;
use tautline::SocketOption;

use super::machine::read_number;

/// Whether the kernel accepts each option. `None` if that is not known.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct SocketOptions {
    pub(super) udp_gso: Option<bool>,
    pub(super) udp_gro: Option<bool>,
    pub(super) so_timestampns: Option<bool>,
    pub(super) so_rxq_ovfl: Option<bool>,
    pub(super) so_busy_poll: Option<bool>,
    /// The largest socket buffers that a program without privileges gets, in bytes.
    pub(super) rmem_max: Option<u64>,
    pub(super) wmem_max: Option<u64>,
}

impl SocketOptions {
    pub(super) fn look() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").ok();
        let takes = |option: SocketOption| socket.as_ref().and_then(|socket| option.is_accepted_on(socket));
        Self {
            udp_gso: takes(SocketOption::UdpGso),
            udp_gro: takes(SocketOption::UdpGro),
            so_timestampns: takes(SocketOption::Timestamps),
            so_rxq_ovfl: takes(SocketOption::DropCounter),
            so_busy_poll: takes(SocketOption::BusyPoll),
            rmem_max: read_number("/proc/sys/net/core/rmem_max"),
            wmem_max: read_number("/proc/sys/net/core/wmem_max"),
        }
    }

    /// Returns each option with its name.
    pub(super) fn named(&self) -> [(&'static str, Option<bool>); 5] {
        [
            ("UDP GSO", self.udp_gso),
            ("UDP GRO", self.udp_gro),
            ("SO_TIMESTAMPNS", self.so_timestampns),
            ("SO_RXQ_OVFL", self.so_rxq_ovfl),
            ("SO_BUSY_POLL", self.so_busy_poll),
        ]
    }
}
