//! What the inbound half has to say: events, commands and replies.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::endpoint::command::Command;
use crate::endpoint::event::Event;

/// The queues that the driver empties through [`Inbound`](super::Inbound).
///
/// One datagram or one time-out fills them, and the driver empties them before the next. So their length is bounded by what
/// one datagram or time-out can cause.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    pub(super) events: VecDeque<Event>,
    pub(super) commands: VecDeque<Command>,
    /// Datagrams outside any session, and where they go.
    pub(super) replies: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl Outputs {
    #[inline]
    pub(super) fn are_empty(&self) -> bool {
        // One comparison for all three: this is asked several times for each datagram, and nearly always all are empty.
        self.events.len() | self.commands.len() | self.replies.len() == 0
    }
}
