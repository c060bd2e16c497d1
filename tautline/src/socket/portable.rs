//! The fallbacks of other systems.

use std::net::{SocketAddr, UdpSocket};

use super::Granted;

pub(super) fn report_errors(_: &UdpSocket, _: SocketAddr) {}

pub(super) fn failed_address(_: &UdpSocket) -> Option<SocketAddr> {
    None
}

pub(super) fn set_buffers(_: &UdpSocket, _: usize, _: usize) -> Granted {
    Granted::default()
}
