//! What the kernel offers for sockets, found out by trying, and its limits.

use std::net::UdpSocket;

use serde::Serialize;

use super::machine::read_number;

#[cfg(target_os = "linux")]
use super::linux as platform;
#[cfg(not(target_os = "linux"))]
use super::portable as platform;

/// A socket option worth having.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code))] // tried there only
pub(super) enum Choice {
    UdpGso,
    UdpGro,
    Timestamps,
    DropCounter,
    BusyPoll,
}

/// Whether the kernel takes each option; `None` where that is not known.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct SocketOptions {
    pub(super) udp_gso: Option<bool>,
    pub(super) udp_gro: Option<bool>,
    pub(super) so_timestampns: Option<bool>,
    pub(super) so_rxq_ovfl: Option<bool>,
    pub(super) so_busy_poll: Option<bool>,
    /// The largest buffers that a program without privilege gets, in bytes.
    pub(super) rmem_max: Option<u64>,
    pub(super) wmem_max: Option<u64>,
}

impl SocketOptions {
    pub(super) fn look() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").ok();
        let takes = |choice| socket.as_ref().and_then(|socket| platform::try_option(socket, choice));
        Self {
            udp_gso: takes(Choice::UdpGso),
            udp_gro: takes(Choice::UdpGro),
            so_timestampns: takes(Choice::Timestamps),
            so_rxq_ovfl: takes(Choice::DropCounter),
            so_busy_poll: takes(Choice::BusyPoll),
            rmem_max: read_number("/proc/sys/net/core/rmem_max"),
            wmem_max: read_number("/proc/sys/net/core/wmem_max"),
        }
    }

    /// Each with its name for people.
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
