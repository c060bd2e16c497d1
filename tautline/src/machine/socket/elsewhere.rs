//! What tautline asks of Linux alone. On other systems it is not there.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use super::Mark;
use super::options::SocketOption;

/// Errors of datagrams carry no address here, so a server does not ask for them.
pub(super) const fn report_errors(_: &UdpSocket, _: bool) {}

pub(super) fn queued_error(_: &UdpSocket) -> Option<(SocketAddr, io::Error)> {
    None
}

/// No privilege is needed for a card.
pub(super) const fn is_eperm(_: &io::Error) -> bool {
    false
}

pub(super) const fn copy_options(_: &UdpSocket, _: &UdpSocket) {}

/// Would put another socket behind a descriptor.
pub(super) fn take_over(_: &UdpSocket, _: &UdpSocket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) const fn accepts(_: &UdpSocket, _: SocketOption) -> Option<bool> {
    None
}

/// Windows ignores the mark that a program sets. Rules of the machine mark datagrams (`New-NetQosPolicy`).
pub(super) const fn mark(_: &UdpSocket, _: bool, _: Mark) -> bool {
    false
}

pub(super) const fn kernel_drops(_: &UdpSocket) -> Option<u32> {
    None
}

pub(super) const fn can_segment(_: &UdpSocket) -> bool {
    false
}

pub(super) const fn cannot_segment(_: &io::Error) -> bool {
    true
}

pub(super) const fn coalesce(_: &UdpSocket) -> bool {
    false
}

pub(super) const fn stamp(_: &UdpSocket) -> bool {
    false
}

pub(super) const fn refuses_sendmsg(_: &UdpSocket) -> Option<io::Error> {
    None
}
