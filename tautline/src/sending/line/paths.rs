//! The line's part in paths that carry only small datagrams, and in messages that are larger than a datagram.
//!
//! The kernel refuses a datagram that is larger than the path, as far as it knows the path. Then the same messages go out
//! at once in smaller datagrams, for that peer alone.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::slice;

use tautline_proto::endpoint::{Command, DueDatagram, Outbound, SentDatagrams};
use tautline_proto::wire::native::{HEADER_LEN, Pack, TRAILER_LEN};
use tautline_proto::{Now, PeerId, Priority};

use super::reliable::too_large;
use super::{Line, Meant, Open};
use crate::config::Wire;
use crate::machine::fault::SocketFault;
use crate::message::target::Target;
use crate::sending::failed::Failed;
use crate::sending::job::Terms;

/// How many sizes are tried at once if the system refuses a probe: the largest, and the one that it names.
const PROBES_AT_ONCE: usize = 3;

impl Line {
    /// Notes that the network reports (ICMP) a path that is smaller than a datagram to this address.
    pub(crate) fn path_has_changed(&mut self, to: SocketAddr) {
        if let Some(open) = &mut self.open {
            open.look_at_path(to);
        }
    }
}

impl Line {
    /// Lets a message that is larger than a datagram wait for coalescing, in fragments. Returns `false` if that is not possible.
    pub(super) fn gather_large(&mut self, frame: &[u8], terms: &Terms) -> bool {
        let Some(number) = self.open.as_ref().map(|open| open.link.encoder.next_large()) else {
            return false;
        };
        let push = |open: &mut Open| {
            open.coalescer.is_for(&terms.target) && open.coalescer.push_large(frame, number, terms)
        };
        if !self.open.as_mut().is_some_and(push) {
            self.flush();
            if !self.open.as_mut().is_some_and(push) {
                return false;
            }
        }
        self.flush_if_due();
        true
    }
}

impl Open {
    /// Whether a message that makes a datagram of this length goes to all peers that are meant in one piece.
    #[inline]
    pub(super) fn fits(&mut self, target: Target, datagram_len: usize) -> bool {
        Outbound::fits_every_path(datagram_len) || self.fits_paths(target, datagram_len)
    }

    fn fits_paths(&mut self, target: Target, datagram_len: usize) -> bool {
        match self.resolve(target) {
            Meant::One(peer) => self.outbound.fits(peer, datagram_len),
            Meant::All => (0..self.outbound.listeners().len())
                .all(|index| self.outbound.fits(self.outbound.listeners()[index], datagram_len)),
            Meant::Unknown => true,
        }
    }

    /// The size of the largest datagram that goes to all peers that are meant.
    pub(super) fn datagram_size_to(&self, target: Target) -> usize {
        let size_to = |peer: PeerId| self.outbound.datagram_size_to(peer);
        let sizes = |peers: &[PeerId]| peers.iter().copied().map(size_to).min();
        match self.resolve(target) {
            Meant::One(peer) => size_to(peer),
            Meant::All => sizes(self.outbound.listeners()).unwrap_or(self.outbound.datagram_size()),
            Meant::Unknown => self.outbound.datagram_size(),
        }
    }

    /// Sends a pack whose datagrams are too large for the paths.
    #[cold]
    pub(super) fn send_cut_up(
        &mut self,
        target: Target,
        pack: &Pack,
        size: usize,
    ) -> Result<(), Box<Failed>> {
        let mut packs = self.cut_up(slice::from_ref(pack), 0, size);
        self.send_each(target, pack.messages(), |open, peer| open.send_packs(peer, &mut packs))
    }

    fn cut_up(&self, packs: &[Pack], from: usize, size: usize) -> Vec<Pack> {
        Pack::cut_up(packs, from, size, || self.link.encoder.next_large())
    }

    /// Sends a best-effort message in fragments.
    pub(super) fn send_large(&mut self, target: Target, datagram: &[u8]) -> Result<(), Box<Failed>> {
        let size = self.datagram_size_to(target);
        self.send_each(target, 1, |open, peer| open.send_parts(peer, &datagram[HEADER_LEN..], size))
    }

    /// Sends the message of this frame in fragments that fit datagrams of this size.
    pub(super) fn send_parts(&mut self, peer: PeerId, frame: &[u8], size: usize) -> Result<(), Box<Failed>> {
        let number = self.link.encoder.next_large();
        let Some(mut packs) = Pack::of_large(frame, number, size) else { return Err(too_large(frame.len())) };
        if !self.outbound.may_pack(peer) {
            // The echo of the handshake must arrive first.
            self.send_to(peer, &mut vec![0; HEADER_LEN], 0).map_err(Failed::of_one)?;
        }
        self.send_packs(peer, &mut packs)
    }

    /// Sends a pack, cut up if the path turns out to be smaller.
    pub(super) fn send_datagrams(&mut self, peer: PeerId, pack: &mut Pack) -> Result<(), Box<Failed>> {
        match self.try_datagrams(peer, pack) {
            Err(failed) if failed.cut_from.is_some() => {
                self.send_rest(peer, slice::from_ref(pack), failed.cut_from.unwrap_or(0))
            }
            sent => sent,
        }
    }

    /// Sends packs until one is refused, cut up if the path turns out to be smaller.
    fn send_packs(&mut self, peer: PeerId, packs: &mut [Pack]) -> Result<(), Box<Failed>> {
        let mut left: u64 = packs.iter().map(Pack::messages).sum();
        let mut sent = 0;
        for index in 0..packs.len() {
            let (messages, datagrams) = (packs[index].messages(), packs[index].datagrams().len());
            match self.try_datagrams(peer, &mut packs[index]) {
                Ok(()) => {}
                Err(failed) => match failed.cut_from {
                    Some(from) => return self.send_rest(peer, packs, sent + from),
                    None => return Err(Failed::new(left - messages + failed.messages, failed.error)),
                },
            }
            left -= messages;
            sent += datagrams;
        }
        Ok(())
    }

    /// Sends what these packs hold from datagram `from` on in datagrams that the path carries. Each call follows a refusal
    /// that made the path smaller, so the calls end.
    #[cold]
    fn send_rest(&mut self, peer: PeerId, packs: &[Pack], from: usize) -> Result<(), Box<Failed>> {
        let mut packs = self.cut_up(packs, from, self.outbound.datagram_size_to(peer));
        self.send_packs(peer, &mut packs)
    }

    /// Sends a datagram of reliable messages. If it is larger than the path, the network fragments it (IP): its frames have
    /// numbers, so they cannot be cut any more.
    pub(super) fn send_reliably(
        &mut self,
        due: DueDatagram,
        datagram: &mut Vec<u8>,
    ) -> Result<(), Box<Failed>> {
        if datagram.len() + TRAILER_LEN > self.outbound.datagram_size_to(due.peer) {
            let Some((to, bytes)) = self.outbound.seal(due.peer, datagram, &mut self.sealed) else {
                return Err(self.not_sealed(due.peer, due.messages));
            };
            let (len, sent) = (bytes.len(), self.socket.send_in_ip_fragments(bytes, to));
            return self.sent_in_ip_fragments((due.peer, to), (len, sent), due.messages);
        }
        match self.send_to(due.peer, datagram, due.messages) {
            Err(failed) if failed.cut_from.is_some() => {
                let Some(to) = self.outbound.address_of(due.peer) else { return Err(failed) };
                // It is sealed. Plain, its number was not used up; with a key, the very same bytes may be sent again.
                let bytes = if self.outbound.is_secured() { &self.sealed } else { &*datagram };
                let (len, sent) = (bytes.len(), self.socket.send_in_ip_fragments(bytes, to));
                self.sent_in_ip_fragments((due.peer, to), (len, sent), due.messages)
            }
            sent => sent,
        }
    }

    /// Notes what became of a sealed datagram of `len` bytes that is larger than the path.
    #[cold]
    fn sent_in_ip_fragments(
        &mut self,
        (peer, to): (PeerId, SocketAddr),
        (len, sent): (usize, io::Result<()>),
        messages: u64,
    ) -> Result<(), Box<Failed>> {
        if let Err(error) = sent {
            return Err(self.refused((peer, to), len, messages, &error));
        }
        self.outbound.sent(peer, SentDatagrams::one(len, messages));
        Ok(())
    }

    /// Sends the probe of the path's size that is due. If the system knows that the path is smaller, tries what it knows.
    #[cold]
    pub(super) fn send_probe(&mut self, peer: PeerId, now: Now, datagram: &mut Vec<u8>) {
        self.mark(Priority::Normal);
        for _ in 0..PROBES_AT_ONCE {
            if self.outbound.apply(Command::Probe(peer), now, datagram).is_none() {
                return;
            }
            let Some((to, bytes)) = self.outbound.seal(peer, datagram, &mut self.sealed) else { return };
            let len = bytes.len();
            let Err(error) = self.socket.send(bytes, to) else {
                self.outbound.sent(peer, SentDatagrams::one(len, 0));
                return;
            };
            let fault = SocketFault::of_send(&error);
            // Some network cards always refuse in this way what is larger than the other end of their cable takes.
            if self.outbound.probe_not_sent(peer, fault == SocketFault::OutOfBuffers) {
                self.suit_paths();
            }
            if fault != SocketFault::TooLarge {
                return;
            }
            // What the system knows may be older than what has arrived since: the path has grown again.
            self.learn_path(peer, to, (self.outbound.datagram_size_to(peer) + 1)..len);
        }
    }

    /// Asks the system for the size of the path after it has refused a datagram of this `size`. Returns whether smaller
    /// datagrams may go through.
    pub(super) fn finds_smaller_path(&mut self, peer: PeerId, to: SocketAddr, size: usize) -> bool {
        self.link.wire == Wire::Native && self.learn_path(peer, to, 0..size)
    }

    /// Learns the size of the path from the system, which has refused a datagram of the size at the end of `within`. What it knows counts
    /// if it is in this range. Returns whether smaller datagrams than before are sent now.
    fn learn_path(&mut self, peer: PeerId, to: SocketAddr, within: Range<usize>) -> bool {
        let known = self.socket.path_datagram_size(to).filter(|known| within.contains(known));
        let is_smaller = self.outbound.path_told(peer, within.end, known);
        self.suit_paths();
        is_smaller
    }

    /// Looks at the path to this address again: the network reports (ICMP) that it is smaller.
    fn look_at_path(&mut self, to: SocketAddr) {
        let Some(peer) = self.outbound.peer_at(to).filter(|_| self.link.wire == Wire::Native) else { return };
        if let Some(size) = self.socket.path_datagram_size(to) {
            self.outbound.path_told(peer, size, Some(size));
            self.suit_paths();
        }
    }

    /// Lets new packs have the size that the paths have now, after that of one path may have changed.
    pub(super) fn suit_path_to(&self, peer: PeerId) {
        let widest = self.link.datagram_size().max(self.outbound.datagram_size_to(peer));
        let mut sizes = self.outbound.peers().iter().map(|&peer| self.outbound.datagram_size_to(peer));
        // Most often the first of many paths is as wide as any.
        if sizes.any(|size| size == widest) {
            self.link.set_datagram_size(widest);
        } else {
            self.suit_paths();
        }
    }

    /// Lets new packs have the size that the paths have now.
    fn suit_paths(&self) {
        let sizes = self.outbound.peers().iter().map(|&peer| self.outbound.datagram_size_to(peer));
        self.link.set_datagram_size(sizes.max().unwrap_or(self.outbound.datagram_size()));
    }
}
