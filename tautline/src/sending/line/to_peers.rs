//! The line's way to each peer that a message is for: sealed, and written to the socket.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use tautline_proto::endpoint::{SealedPack, SentDatagrams};
use tautline_proto::wire::native::{HEADER_LEN, Pack};
use tautline_proto::{PeerId, Priority};

use super::runs::MOST_AT_ONCE;
use super::{Meant, Open, nanos, unknown};
use crate::error::SendError;
use crate::machine::fault::SocketFault;
use crate::message::target::Target;
use crate::sending::failed::Failed;
use crate::sending::handover::PIECE;
use crate::sending::job::Job;
use crate::sync::thread;

/// With at most so many listeners, the time of a message for all peers is not measured.
const FEW: usize = 8;

impl Open {
    /// Sends the messages of a job to one peer. `body` is the length of its datagram before it is sealed.
    pub(super) fn send_job_to(
        &mut self,
        peer: PeerId,
        job: &mut Job,
        body: usize,
    ) -> Result<(), Box<Failed>> {
        let target = Target::Peer(peer);
        if !job.pack.is_empty() {
            return self.send_pack(target, &mut job.pack);
        }
        job.datagram.truncate(body);
        let outcome = match self.fits(target, body) {
            true => self.send_datagram(target, &mut job.datagram),
            false => self.send_large(target, &job.datagram),
        };
        job.datagram.truncate(body);
        outcome
    }

    /// Sends one message.
    #[inline(always)] // the steps to a peer are one function
    pub(super) fn send_datagram(
        &mut self,
        target: Target,
        datagram: &mut Vec<u8>,
    ) -> Result<(), Box<Failed>> {
        let body = datagram.len();
        match self.one_meant(target, 1)? {
            Some(peer) => self.send_whole(peer, datagram, body).map_err(|failed| failed.of(1)),
            None => self.send_datagram_to_all(datagram, body),
        }
    }

    #[inline(never)] // so that the way to one peer stays short
    fn send_datagram_to_all(&mut self, datagram: &mut Vec<u8>, body: usize) -> Result<(), Box<Failed>> {
        self.send_each_listener(1, |open, peer| open.send_whole(peer, datagram, body))
    }

    /// Sends one message of `body` bytes to one peer, in parts if the system says that its path is too small.
    #[inline(always)] // as `send_datagram`
    fn send_whole(&mut self, peer: PeerId, datagram: &mut Vec<u8>, body: usize) -> Result<(), Box<Failed>> {
        datagram.truncate(body);
        match self.send_to(peer, datagram, 1) {
            Err(failed) if failed.cut_from.is_some() => self.send_as_parts(peer, &datagram[..body]),
            sent => sent,
        }
    }

    #[cold]
    fn send_as_parts(&mut self, peer: PeerId, datagram: &[u8]) -> Result<(), Box<Failed>> {
        self.send_parts(peer, &datagram[HEADER_LEN..], self.outbound.datagram_size_to(peer))
    }

    /// Sends several messages.
    pub(super) fn send_pack(&mut self, target: Target, pack: &mut Pack) -> Result<(), Box<Failed>> {
        let size = self.datagram_size_to(target);
        if pack.datagram_size() > size {
            return self.send_cut_up(target, pack, size);
        }
        self.send_each(target, pack.messages(), |open, peer| open.send_datagrams(peer, pack))
    }

    /// Sends `messages` messages to each peer that is meant. A failure at one peer does not stop the others.
    #[inline]
    pub(super) fn send_each(
        &mut self,
        target: Target,
        messages: u64,
        mut send: impl FnMut(&mut Self, PeerId) -> Result<(), Box<Failed>>,
    ) -> Result<(), Box<Failed>> {
        match self.one_meant(target, messages)? {
            Some(peer) => send(self, peer).map_err(|failed| failed.of(messages)),
            None => self.send_each_listener(messages, send),
        }
    }

    /// The only peer that is meant; `None` if all are meant, and there are several or none. `messages`: how many fail if the
    /// target is unknown.
    #[inline(always)] // as `send_datagram`
    fn one_meant(&self, target: Target, messages: u64) -> Result<Option<PeerId>, Box<Failed>> {
        match (self.resolve(target), self.outbound.listeners()) {
            (Meant::One(peer), _) | (Meant::All, &[peer]) => Ok(Some(peer)),
            (Meant::Unknown, _) => Err(Failed::new(messages, SendError::UnknownPeer { target })),
            (Meant::All, _) => Ok(None),
        }
    }

    #[inline(never)]
    fn send_each_listener(
        &mut self,
        messages: u64,
        mut send: impl FnMut(&mut Self, PeerId) -> Result<(), Box<Failed>>,
    ) -> Result<(), Box<Failed>> {
        let count = self.outbound.listeners().len();
        let began = (count > FEW).then(Instant::now);
        let mut sum: Option<Box<Failed>> = None;
        for index in 0..count {
            if index > 0 && index.is_multiple_of(PIECE) {
                self.give_way();
            }
            if let Err(failed) = send(self, self.outbound.listeners()[index]) {
                match &mut sum {
                    Some(sum) => sum.messages += failed.messages,
                    None => sum = Some(failed),
                }
            }
        }
        if let Some(began) = began {
            self.counters.to_all_ns.add(nanos(began.elapsed()));
        }
        match sum {
            None if count == 0 => Err(Failed::new(messages, SendError::NoPeers)),
            None => Ok(()),
            Some(failed) => Err(failed.of(count as u64 * messages)),
        }
    }

    /// Gives the core away if a datagram waits to be read: the driver may wait for this core. A thread that writes to many peers
    /// would keep it for milliseconds.
    #[cold]
    pub(super) fn give_way(&self) {
        if self.socket.has_waiting() {
            thread::yield_now();
        }
    }

    /// Sends a control datagram. It is marked as ordinary: heartbeats measure the path, so they must not be treated better
    /// than most messages.
    pub(super) fn send_control(&mut self, peer: PeerId, datagram: &mut Vec<u8>) -> Result<(), Box<Failed>> {
        self.mark(Priority::Normal);
        self.send_to(peer, datagram, 0)
    }

    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(super) fn send_to(
        &mut self,
        peer: PeerId,
        datagram: &mut Vec<u8>,
        messages: u64,
    ) -> Result<(), Box<Failed>> {
        let Some((to, bytes)) = self.outbound.seal(peer, datagram, &mut self.sealed) else {
            return Err(self.not_sealed(peer, messages));
        };
        let len = bytes.len();
        // On a plain link the number is used up only when the kernel has the datagram.
        if let Err(error) = self.socket.send(bytes, to) {
            return Err(self.refused((peer, to), len, messages, &error));
        }
        self.outbound.sent(peer, SentDatagrams::one(len, messages));
        Ok(())
    }

    /// Sends a pack with one call, or its datagrams one by one until one is refused.
    pub(super) fn try_datagrams(&mut self, peer: PeerId, pack: &mut Pack) -> Result<(), Box<Failed>> {
        let messages = pack.messages();
        let Some(sealed) = self.outbound.seal_pack(peer, pack, &mut self.sealed) else {
            return Err(self.not_sealed(peer, messages));
        };
        let (SealedPack { to, bytes, size, .. }, datagrams) = (sealed, sealed.datagrams().len() as u64);
        let len = bytes.len();
        let sent = match datagrams {
            1 => Some(self.socket.send(bytes, to)),
            _ if len <= MOST_AT_ONCE => self.socket.send_segments(bytes, size, to),
            _ => None,
        };
        let Some(sent) = sent else { return self.try_runs(peer, pack, (to, size)) };
        sent.map_err(|error| self.refused((peer, to), size.min(len), messages, &error))?;
        self.outbound.sent(peer, SentDatagrams { datagrams, bytes: len, messages });
        Ok(())
    }

    /// Why nothing could be sealed for this peer.
    #[cold]
    pub(super) fn not_sealed(&self, peer: PeerId, messages: u64) -> Box<Failed> {
        if self.outbound.keys_are_worn_out(peer) {
            return Failed::new(messages, SendError::KeysWornOut { peer });
        }
        unknown(peer, messages)
    }

    /// Returns what a failed system call means for its messages. If the path carries only smaller datagrams than this
    /// `size`, that is noted, and [`Failed::cut_from`] says so; else the fault is counted.
    #[cold]
    pub(super) fn refused(
        &mut self,
        (peer, to): (PeerId, SocketAddr),
        size: usize,
        messages: u64,
        error: &io::Error,
    ) -> Box<Failed> {
        let fault = self.socket.fault_of_send(error, to);
        let is_smaller = fault == SocketFault::TooLarge && self.finds_smaller_path(peer, to, size);
        if !is_smaller {
            self.faults.count(fault);
        }
        if fault.is_of_place() {
            // The driver looks for another place. Without this it would notice with its next heartbeat.
            self.link.life.displaced();
        }
        let error = match error.kind() {
            io::ErrorKind::WouldBlock => SendError::Busy,
            _ => SendError::Refused { to, fault, problem: error.to_string() },
        };
        let mut failed = Failed::new(messages, error);
        failed.cut_from = is_smaller.then_some(0);
        failed
    }
}
