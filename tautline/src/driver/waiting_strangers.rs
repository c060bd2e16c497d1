//! Strangers' datagrams that wait until their turn comes, and the time that strangers may take. docs/protocol.md §5.5.
//!
//! To serve a stranger takes system calls, and cryptography on a secured link. It takes as long as many datagrams of peers. So a
//! turn serves one stranger, and measures the time. The datagrams of further strangers wait here for a later turn, and until
//! strangers have their share of the time again. So the datagrams of peers wait for one stranger at most, however many call.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tautline_proto::{Instant as Steady, Network, Now};

use super::datagram::Origin;
use super::{Sink, Turner};
use crate::machine::socket::Source;

/// Strangers may take one part in so many of the time.
pub(super) const SHARE: u32 = 10;

/// After a quiet time, strangers may use their share of the next 100 ms ahead. A client sends messages right after its handshake. If
/// each step of that had to wait for its share, many of those messages would find no room.
const AHEAD_NS: u64 = 100_000_000;

/// A sleep goes on for this time after strangers have their share again, unless a datagram ends it. A turn for each stranger alone
/// would cost more than the service: under attack, datagrams come all the time, and a turn that reads them serves a stranger too.
const PATIENCE: Duration = Duration::from_micros(500);

/// A service counts as this time at most. If it took longer, the stranger was not the reason: another thread had the core.
const MOST: Duration = Duration::from_millis(1);

/// The most datagrams of strangers that wait, and the most bytes of them. They are enough for some hundred clients that return together
/// after a server's restart. If there is no room, or if the same datagram of the same stranger waits already, a stranger's datagram is
/// dropped, counted as `overloaded`.
const MAX_WAITING: usize = 256;
const MAX_WAITING_BYTES: usize = 256 << 10;

/// The most of them that are from one host, and from one network that a host may have for itself. So however much it sends, other
/// hosts find room.
const MAX_OF_HOST: usize = MAX_WAITING / 2;
const MAX_OF_NETWORK: usize = MAX_WAITING / 4 * 3;

/// How long the protocol refuses strangers if there is no room. This is over at the next read.
const A_MOMENT: Duration = Duration::from_nanos(1);

/// The most waiting datagrams that one turn drops because they need no service.
const DROPPED_TOGETHER: usize = 16;

/// A datagram that waits.
#[derive(Debug)]
struct PutOff {
    origin: Origin,
    /// The address of this host that it was for, if that decides from where the stranger is answered.
    called: Option<Source>,
    bytes: Vec<u8>,
}

/// The datagrams that wait, the oldest first.
#[derive(Debug, Default)]
pub(super) struct WaitingStrangers {
    datagrams: VecDeque<PutOff>,
    bytes: usize,
    /// The present turn has served a stranger.
    was_served: bool,
    /// When strangers have their share of the time again.
    next_at: Steady,
}

impl WaitingStrangers {
    /// Whether a stranger's datagram must wait now.
    #[inline]
    fn must_wait(&self, now: Steady) -> bool {
        self.was_served || now < self.next_at || !self.datagrams.is_empty()
    }

    /// When a turn must serve one of the strangers that wait, at the latest. It is over if strangers have not used their share.
    #[inline]
    pub(super) fn next_deadline(&self) -> Option<Steady> {
        if self.datagrams.is_empty() { None } else { Some(self.next_at.plus(PATIENCE)) }
    }

    /// Notes that a stranger was served. That began at `now`, and took `spent`.
    #[cold]
    pub(super) fn has_served(&mut self, spent: Duration, now: Steady) {
        self.was_served = true;
        let earliest = Steady::from_nanos(now.as_nanos().saturating_sub(AHEAD_NS));
        self.next_at = self.next_at.max(earliest).plus(spent.min(MOST) * SHARE);
    }

    /// Whether there is no room for one more datagram of this host.
    fn is_full_for(&self, host: IpAddr) -> bool {
        let waiting = self.datagrams.len();
        let has_most = |is_meant: &dyn Fn(IpAddr) -> bool, most: usize| {
            waiting >= most
                && self.datagrams.iter().filter(|waiting| is_meant(waiting.origin.from.ip())).count() >= most
        };
        let network = Network::around(host);
        waiting >= MAX_WAITING
            || has_most(&|other| other == host, MAX_OF_HOST)
            || has_most(&|other| network.contains(other), MAX_OF_NETWORK)
    }

    /// Keeps a datagram, if there is room for its bytes, and if it is not the repetition of one that waits: a client repeats its
    /// hello until it is answered, and one answer is enough.
    fn push(&mut self, origin: Origin, called: Option<Source>, datagram: &[u8]) -> bool {
        let bytes = self.bytes + datagram.len();
        let is_repeated = |waiting: &PutOff| waiting.origin.from == origin.from && waiting.bytes == datagram;
        let is_kept = bytes <= MAX_WAITING_BYTES && !self.datagrams.iter().any(is_repeated);
        if is_kept {
            self.bytes = bytes;
            self.datagrams.push_back(PutOff { origin, called, bytes: datagram.to_vec() });
        }
        is_kept
    }

    /// Takes the first datagram for which `is_meant` returns true.
    fn take(&mut self, mut is_meant: impl FnMut(&Origin, &[u8]) -> bool) -> Option<PutOff> {
        let place = self.datagrams.iter().position(|waiting| is_meant(&waiting.origin, &waiting.bytes))?;
        let taken = self.datagrams.remove(place)?;
        self.bytes -= taken.bytes.len();
        Some(taken)
    }
}

impl Turner {
    /// Keeps a datagram for a later turn, if it is a stranger's and strangers must wait.
    #[inline]
    pub(super) fn puts_off(&mut self, now: Now, origin: Origin, datagram: &[u8]) -> bool {
        self.waiting_strangers.must_wait(now.steady) && self.puts_off_stranger(now, origin, datagram)
    }

    #[cold]
    fn puts_off_stranger(&mut self, now: Now, origin: Origin, datagram: &[u8]) -> bool {
        let Self { waiting_strangers, inbound, socket, .. } = self;
        // If there is no room, the protocol looks whose datagram it is. To look here too would cost as much as to drop it.
        let is_full = waiting_strangers.is_full_for(origin.from.ip());
        if !is_full && !inbound.is_of_stranger(origin.from, datagram) {
            return false;
        }
        let is_kept = !is_full && waiting_strangers.push(origin, socket.called_by(origin.from), datagram);
        if !is_kept {
            // So the protocol drops a stranger's datagram. But it serves a peer that had to make room.
            inbound.refuse_strangers_until(now.steady.plus(A_MOMENT));
        }
        is_kept
    }

    /// Serves the stranger that has waited longest, if this turn has served none and the time has come. What needs no service is
    /// dropped on the way.
    #[inline]
    pub(super) fn serve_waiting_stranger(
        &mut self,
        now: &mut Now,
        scratch: &mut Vec<u8>,
        sink: &mut Sink<'_>,
    ) {
        let waiting = &mut self.waiting_strangers;
        let was_served = std::mem::take(&mut waiting.was_served);
        if !was_served && !waiting.datagrams.is_empty() && now.steady >= waiting.next_at {
            // The clock is read again, so that a refusal for want of room is over by this time.
            *now = self.clock.now();
            self.serve_first_waiting(*now, scratch, sink);
        }
    }

    #[cold]
    fn serve_first_waiting(&mut self, now: Now, scratch: &mut Vec<u8>, sink: &mut Sink<'_>) {
        let peers = self.inbound.peers_so_far();
        for _ in 0..DROPPED_TOGETHER {
            let Some(waiting) = self.waiting_strangers.take(|_, _| true) else { break };
            self.take_waiting(now, &waiting, scratch, sink);
            if self.inbound.peers_so_far() != peers {
                self.take_following(waiting.origin.from, now, scratch, sink);
            }
            if self.waiting_strangers.was_served || self.life.is_stopped() {
                break;
            }
        }
        self.waiting_strangers.was_served = false;
        self.dispatcher.release();
        self.hand_out_held(now, sink);
    }

    /// Takes what waits here of a stranger that is a peer now. Its next datagrams must not overtake that.
    fn take_following(&mut self, peer: SocketAddr, now: Now, scratch: &mut Vec<u8>, sink: &mut Sink<'_>) {
        while !self.life.is_stopped() {
            let Self { waiting_strangers, inbound, .. } = self;
            let is_of_peer = |origin: &Origin, datagram: &[u8]| {
                origin.from == peer && !inbound.is_of_stranger(peer, datagram)
            };
            let Some(waiting) = waiting_strangers.take(is_of_peer) else { break };
            self.take_waiting(now, &waiting, scratch, sink);
        }
    }

    fn take_waiting(&mut self, now: Now, waiting: &PutOff, scratch: &mut Vec<u8>, sink: &mut Sink<'_>) {
        let PutOff { origin, called, bytes } = waiting;
        if let Some(called) = *called {
            // Others have called since then.
            self.socket.was_called(origin.from, called);
        }
        self.acks.reads(bytes.len());
        self.inbound.came(origin.came.at, origin.came.not_before);
        self.take_datagram(now, origin, bytes, scratch, sink);
    }
}

#[cfg(test)]
mod tests {
    use super::super::arrivals::Came;
    use super::*;

    #[test]
    fn repetitions_of_a_datagram_take_one_place() {
        let mut waiting = WaitingStrangers::default();
        let came = Steady::from_nanos(1);
        let origin =
            |port| Origin { from: ([127, 0, 0, 1], port).into(), came: Came { at: came, not_before: came } };
        assert!(waiting.push(origin(1), None, b"hello") && !waiting.push(origin(1), None, b"hello"));
        assert!(waiting.push(origin(2), None, b"hello") && waiting.push(origin(1), None, b"another"));
        assert!(
            waiting.take(|_, _| true).is_some() && waiting.push(origin(1), None, b"hello"),
            "it was served"
        );
    }

    #[test]
    fn a_host_with_many_addresses_leaves_room_for_others() {
        let mut waiting = WaitingStrangers::default();
        let came = Steady::from_nanos(1);
        let mut came_from = |host: IpAddr, port: u16| {
            let origin = Origin { from: (host, port).into(), came: Came { at: came, not_before: came } };
            !waiting.is_full_for(host) && waiting.push(origin, None, b"hello")
        };
        let of_network = |network: u16, host: u16| IpAddr::from([0xfd00, 0, 0, network, 0, 0, 0, host]);
        let kept = (0..1_000).filter(|&port| came_from(of_network(1, 0), port)).count();
        assert_eq!(kept, MAX_OF_HOST);
        let kept = (1..1_000).filter(|&host| came_from(of_network(1, host), 1)).count();
        assert_eq!(kept, MAX_OF_NETWORK - MAX_OF_HOST);
        let kept = (0..1_000).filter(|&network| came_from(of_network(network + 2, 1), 1)).count();
        assert_eq!(kept, MAX_WAITING - MAX_OF_NETWORK);
    }

    #[test]
    fn a_sleep_is_not_ended_for_each_stranger() {
        let mut waiting = WaitingStrangers::default();
        let (now, spent) = (Steady::from_nanos(1_000_000_000), Duration::from_micros(4));
        let origin = Origin { from: ([127, 0, 0, 1], 1).into(), came: Came { at: now, not_before: now } };
        assert!(waiting.next_deadline().is_none() && waiting.push(origin, None, b"hello"));
        assert!(
            waiting.next_deadline().is_some_and(|at| at < now),
            "after a quiet time it is served at once"
        );
        waiting.next_at = now;
        waiting.has_served(spent, now);
        assert_eq!(waiting.next_deadline(), Some(now.plus(spent * SHARE + PATIENCE)));
    }

    #[test]
    fn strangers_get_a_tenth_of_the_time() {
        const STEP: Duration = Duration::from_micros(50);
        let mut waiting = WaitingStrangers::default();
        let mut now = Steady::from_nanos(1_000_000_000);
        let (mut spent, end) = (Duration::ZERO, now.plus(Duration::from_secs(1)));
        while now < end {
            if !waiting.must_wait(now) {
                waiting.has_served(STEP, now);
                assert!(waiting.must_wait(now), "a turn serves one");
                waiting.was_served = false;
                spent += STEP;
            }
            now = now.plus(STEP);
        }
        assert_eq!(spent.as_millis(), 110, "a tenth of a second, and 10 ms ahead");
        waiting.has_served(Duration::from_secs(3), now);
        waiting.was_served = false;
        assert!(!waiting.must_wait(now.plus(MOST * SHARE)));
    }
}
