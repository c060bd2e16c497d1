//! Strangers' datagrams that wait while one stranger is served.
//!
//! To serve a stranger takes system calls, and on a secured link cryptography: as long as many datagrams of peers take. So a turn
//! serves one. The datagrams of further strangers wait here, and the next turn reads first. What peers have sent meanwhile thus
//! waits for one service, however many strangers call at once.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tautline_proto::Now;

use super::datagram::Origin;
use super::{Sink, Turner};

/// The most datagrams of strangers that wait, and their bytes. If one more comes, strangers' datagrams are dropped for a moment,
/// counted as `overloaded`.
pub(super) const MAX_WAITING: usize = 256;
const MAX_WAITING_BYTES: usize = 256 << 10;

/// How long strangers are refused then: until the next read.
const A_MOMENT: Duration = Duration::from_nanos(1);

/// The datagrams that wait, the oldest first.
#[derive(Debug, Default)]
pub(super) struct WaitingStrangers {
    datagrams: VecDeque<(Origin, Vec<u8>)>,
    bytes: usize,
    /// The present turn has served a stranger.
    pub(super) was_served: bool,
}

impl WaitingStrangers {
    /// Whether a stranger's datagram must wait now.
    #[inline]
    fn must_wait(&self) -> bool {
        self.was_served || !self.datagrams.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Keeps a datagram, if there is room.
    fn push(&mut self, origin: Origin, datagram: &[u8]) -> bool {
        let bytes = self.bytes + datagram.len();
        let has_room = self.datagrams.len() < MAX_WAITING && bytes <= MAX_WAITING_BYTES;
        if has_room {
            self.bytes = bytes;
            self.datagrams.push_back((origin, datagram.to_vec()));
        }
        has_room
    }

    /// Takes the first datagram for which `is_meant` returns true.
    fn take(&mut self, mut is_meant: impl FnMut(&Origin, &[u8]) -> bool) -> Option<(Origin, Vec<u8>)> {
        let place = self.datagrams.iter().position(|(origin, datagram)| is_meant(origin, datagram))?;
        let taken = self.datagrams.remove(place)?;
        self.bytes -= taken.1.len();
        Some(taken)
    }
}

impl Turner {
    /// Keeps a datagram for a later turn, if it is a stranger's and this turn has served one.
    #[inline]
    pub(super) fn puts_off(&mut self, now: Now, origin: Origin, datagram: &[u8]) -> bool {
        self.waiting_strangers.must_wait() && self.puts_off_stranger(now, origin, datagram)
    }

    #[cold]
    fn puts_off_stranger(&mut self, now: Now, origin: Origin, datagram: &[u8]) -> bool {
        if !self.inbound.is_of_stranger(origin.from, datagram) {
            return false;
        }
        let is_kept = self.waiting_strangers.push(origin, datagram);
        if !is_kept {
            // So the protocol drops it, unless it is of a peer that had to make room: that peer is served.
            self.inbound.refuse_strangers_until(now.steady.plus(A_MOMENT));
        }
        is_kept
    }

    /// Serves the stranger that has waited longest, if this turn has served none. What needs no service is dropped on the way.
    /// Returns how many datagrams were taken.
    #[inline]
    pub(super) fn serve_waiting_stranger(
        &mut self,
        now: &mut Now,
        scratch: &mut Vec<u8>,
        sink: &mut Sink<'_>,
    ) -> usize {
        let was_served = std::mem::take(&mut self.waiting_strangers.was_served);
        if was_served || self.waiting_strangers.is_empty() {
            return 0;
        }
        // A new time, after the end of the refusal that begins when the queue is full.
        *now = self.clock.now();
        self.serve_first_waiting(*now, scratch, sink)
    }

    #[cold]
    fn serve_first_waiting(&mut self, now: Now, scratch: &mut Vec<u8>, sink: &mut Sink<'_>) -> usize {
        let mut count = 0;
        let mut served: Option<SocketAddr> = None;
        while !self.life.is_stopped() {
            let Self { waiting_strangers, inbound, .. } = self;
            // If the stranger is a peer now, its next datagrams must not overtake those that wait here.
            let is_next = |origin: &Origin, datagram: &[u8]| {
                served.is_none_or(|from| origin.from == from && !inbound.is_of_stranger(from, datagram))
            };
            let Some((origin, datagram)) = waiting_strangers.take(is_next) else { break };
            self.acks.reads(datagram.len());
            self.inbound.came(origin.came.at, origin.came.not_before);
            self.take_datagram(now, origin, &datagram, scratch, sink);
            count += 1;
            served = served.or(self.waiting_strangers.was_served.then_some(origin.from));
        }
        self.waiting_strangers.was_served = false;
        self.dispatcher.release();
        self.hand_out_held(now, sink);
        count
    }
}
