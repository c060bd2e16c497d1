//! What stands behind the transmit hand-over: the endpoint's sending half and the socket.

mod ready;
mod reliable;

use crate::sync::Arc;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use tautline_proto::PeerId;
use tautline_proto::endpoint::{Command, Outbound, SentDatagrams};
use tautline_proto::wire::native::{HEADER_LEN, Pack};
use tautline_proto::{Now, Priority, WallTime};

use crate::error::SendError;
use crate::machine::clock::wall_now;
use crate::machine::fault::{FaultCounters, SocketFault};
use crate::machine::socket::Socket;
use crate::message::target::Target;
use crate::sending::deliveries::{Deliveries, DeliverySigns};
use crate::sending::failed::{Failed, SendCounters};
use crate::sending::gate::Gate;
use crate::sending::handover::Writer;
use crate::sending::job::{Job, Terms};
use crate::sending::link::{Link, Sent};

pub(crate) use ready::Ready;
pub(crate) use reliable::Reliably;

/// The writer of the hand-over; without an open line while the interface is disconnected.
#[derive(Debug, Default)]
pub(crate) struct Line {
    open: Option<Open>,
    openings: u64,
    counters: Arc<SendCounters>,
    deliveries: Deliveries,
    faults: Arc<FaultCounters>,
    /// The first failure of a queued message since it was last asked for.
    reported: Option<SendError>,
}

#[derive(Debug)]
struct Open {
    /// How messages are encoded for it.
    link: Arc<Link>,
    outbound: Outbound,
    socket: Arc<Socket>,
    gate: Gate,
    /// Which priority the socket's mark is for; `None` where datagrams are not marked.
    marked: Option<Priority>,
    /// Where control datagrams are built.
    scratch: Vec<u8>,
    faults: Arc<FaultCounters>,
}

impl Line {
    pub(crate) fn delivery_signs(&self) -> Arc<DeliverySigns> {
        self.deliveries.signs()
    }

    pub(crate) fn counters(&self) -> Arc<SendCounters> {
        Arc::clone(&self.counters)
    }

    /// What the system refused, by its kind; others count there too.
    pub(crate) fn faults(&self) -> Arc<FaultCounters> {
        Arc::clone(&self.faults)
    }

    /// Opens the line: messages that were encoded for this opening, which it names, can be sent. `marks`: datagrams are
    /// marked by priority.
    pub(crate) fn open(
        &mut self,
        outbound: Outbound,
        socket: Arc<Socket>,
        gate: Gate,
        marks: bool,
        link: impl FnOnce(u64) -> Link,
    ) -> Arc<Link> {
        self.openings += 1;
        let link = Arc::new(link(self.openings));
        // What a socket sends at first is ordinary.
        let marked = marks.then_some(Priority::Normal);
        let (scratch, faults) = (Vec::new(), self.faults());
        self.open = Some(Open { link: Arc::clone(&link), outbound, socket, gate, marked, scratch, faults });
        link
    }

    /// Closes the line after telling the peers, and gives the sending half back. Nothing is sent any more.
    pub(crate) fn close(&mut self) -> Option<Outbound> {
        self.flush();
        let mut open = self.open.take()?;
        for peer in open.outbound.peers().to_vec() {
            let mut datagram = std::mem::take(&mut open.scratch);
            if open.outbound.write_close(&mut datagram) {
                // A goodbye that is lost is made up for by the peer's liveness time-out.
                let _ = open.send_control(peer, &mut datagram);
            }
            open.scratch = datagram;
        }
        open.outbound.abandon();
        self.deliveries.update(&mut open.outbound);
        Some(open.outbound)
    }

    /// Carries out an order of the receiving half; why its datagram, if it is for one, could not be sent.
    pub(crate) fn command(&mut self, command: Command, now: Now) -> Option<SendError> {
        if matches!(command, Command::Open(_) | Command::Forget(..)) {
            // For those who are peers now.
            self.flush();
        }
        let open = self.open.as_mut()?;
        let mut datagram = std::mem::take(&mut open.scratch);
        datagram.clear();
        let peer = open.outbound.apply(command, now, &mut datagram);
        let failed = peer.and_then(|peer| open.send_control(peer, &mut datagram).err());
        open.scratch = datagram;
        self.deliveries.update(&mut open.outbound);
        let failed = failed?;
        self.counters.refused.add(1);
        Some(failed.error)
    }

    /// What went wrong with queued messages since the last call.
    pub(crate) fn take_report(&mut self) -> Option<SendError> {
        self.reported.take()
    }

    /// How many peers a target means; one where it is not known whom.
    pub(crate) fn peers_meant(&self, target: Target) -> usize {
        match (target, &self.open) {
            (Target::All, Some(open)) => open.outbound.peers().len().max(1),
            _ => 1,
        }
    }

    /// Sends what waits at the gate.
    pub(crate) fn flush(&mut self) {
        let Some(open) = self.open.as_mut().filter(|open| !open.gate.is_empty()) else { return };
        if open.gate.is_expired() {
            let (pack, ..) = open.gate.take();
            self.counters.expired.add(pack.messages());
            open.gate.give_back(pack);
            return;
        }
        open.mark(open.gate.priority());
        let (mut pack, target, made) = open.gate.take();
        let outcome = open.send_pack(target, &mut pack);
        open.gate.give_back(pack);
        open.gate.sent_until(wall_now());
        self.count(&outcome, made);
        if let Err(failed) = outcome {
            self.report(*failed);
        }
    }

    /// Sends the job, or lets its message wait at the gate: where it is part of a stream, or `more` follow at once.
    fn send(&mut self, job: &mut Job, more: bool) -> Result<Sent, Box<Failed>> {
        // A sender may have been at its encoding while the interface was connected anew, perhaps on the other wire.
        if self.open.is_none() || job.terms.opening != self.openings {
            return Err(Failed::new(job.messages(), SendError::NotConnected));
        }
        let Job { datagram, pack, terms } = job;
        let open = self.open.as_mut().expect("nobody closes it meanwhile");
        if !pack.is_empty() {
            return self.transmit(terms, |open| open.send_pack(terms.target, pack));
        }
        if open.lets_wait(terms, more) {
            let frame = &datagram[HEADER_LEN.min(datagram.len())..];
            if Pack::admits(open.gate.datagram_size(), frame.len()) {
                self.gather(frame, terms);
                return Ok(Sent::Queued);
            }
        }
        self.send_one(terms, datagram)
    }

    /// Lets a message wait at the gate, which admits it.
    fn gather(&mut self, frame: &[u8], terms: &Terms) {
        let push = |open: &mut Open| open.gate.is_for(&terms.target) && open.gate.push(frame, terms);
        if !self.open.as_mut().is_some_and(push) {
            self.flush();
            let pushed = self.open.as_mut().is_some_and(push);
            debug_assert!(pushed, "an empty pack takes what it admits");
        }
        self.flush_if_due();
    }

    /// Sends what waits at the gate if it has waited for long enough.
    #[inline]
    fn flush_if_due(&mut self) {
        if self.open.as_ref().is_some_and(|open| open.gate.is_due()) {
            self.flush();
        }
    }

    /// Sends one message.
    fn send_one(&mut self, terms: &Terms, datagram: &mut Vec<u8>) -> Result<Sent, Box<Failed>> {
        self.transmit(terms, |open| match open.outbound.is_large(datagram.len()) {
            true => open.send_large(terms.target, datagram),
            false => open.send_datagram(terms.target, datagram),
        })
    }

    /// Sends, behind what was sent before.
    #[inline]
    fn transmit(
        &mut self,
        terms: &Terms,
        send: impl FnOnce(&mut Open) -> Result<(), Box<Failed>>,
    ) -> Result<Sent, Box<Failed>> {
        if !terms.is_urgent() {
            self.flush();
        }
        let open = self.open.as_mut().expect("nobody closes it meanwhile");
        open.mark(terms.priority);
        let outcome = send(open);
        self.count(&outcome, terms.made);
        outcome.map(|()| Sent::Written)
    }

    fn count(&mut self, outcome: &Result<(), Box<Failed>>, made: WallTime) {
        use SendError::{Busy, Partly, Refused};
        if let Err(failed) = outcome {
            let first = if let Partly { first, .. } = &failed.error { first } else { &failed.error };
            if matches!(first, Refused { .. } | Busy) {
                self.counters.refused.add(failed.messages);
            }
            if !matches!(failed.error, Partly { .. }) {
                return;
            }
        }
        self.counters.last_sent_ns.set(made.as_nanos().cast_unsigned());
    }

    /// Keeps a failure whose sender has gone, for the driver to make known.
    fn report(&mut self, failed: Failed) {
        self.counters.queued.add(failed.messages);
        self.reported.get_or_insert(failed.error);
    }
}

impl Open {
    /// Whether a message waits at the gate if it fits into a datagram there: it is part of a stream, or `more` follow at once.
    /// What cannot be sent at all does not.
    #[inline]
    fn lets_wait(&mut self, terms: &Terms, more: bool) -> bool {
        if self.gate.is_off() || terms.is_urgent() {
            return false;
        }
        (self.gate.is_streaming(&terms.target, terms.made) || more) && self.may_pack(&terms.target)
    }

    /// Whether messages to this target may share datagrams.
    #[inline]
    fn may_pack(&self, target: &Target) -> bool {
        if !self.gate.is_empty() && self.gate.is_for(target) {
            // Others do already.
            return true;
        }
        let may = |peer: &PeerId| self.outbound.may_pack(*peer);
        match self.resolve(*target) {
            Meant::One(peer) => may(&peer),
            Meant::All => !self.outbound.peers().is_empty() && self.outbound.peers().iter().all(may),
            Meant::Unknown => false,
        }
    }

    /// Marks what is sent next as being of this priority, where that was asked for and is a change.
    #[inline]
    fn mark(&mut self, priority: Priority) {
        if self.marked.is_some_and(|marked| marked != priority) {
            self.marked = Some(priority);
            // Where the system refuses, that was told when connecting.
            let _ = self.socket.mark(priority);
        }
    }

    fn resolve(&self, target: Target) -> Meant {
        match target {
            Target::All => Meant::All,
            Target::Peer(peer) => Meant::One(peer),
            Target::Address(address) => self.outbound.peer_at(address).map_or(Meant::Unknown, Meant::One),
        }
    }

    /// Sends one message.
    fn send_datagram(&mut self, target: Target, datagram: &mut Vec<u8>) -> Result<(), Box<Failed>> {
        let body = datagram.len();
        self.send_each(target, 1, |open, peer| {
            datagram.truncate(body);
            open.send_to(peer, datagram, 1)
        })
    }

    /// Sends several messages.
    fn send_pack(&mut self, target: Target, pack: &mut Pack) -> Result<(), Box<Failed>> {
        self.send_each(target, pack.messages(), |open, peer| open.send_datagrams(peer, pack, true))
    }

    /// Sends `messages` messages to each who is meant, whatever happens with the others.
    fn send_each(
        &mut self,
        target: Target,
        messages: u64,
        mut send: impl FnMut(&mut Self, PeerId) -> Result<(), Box<Failed>>,
    ) -> Result<(), Box<Failed>> {
        match self.resolve(target) {
            Meant::One(peer) => return send(self, peer).map_err(|failed| failed.of(messages)),
            Meant::Unknown => return Err(Failed::new(messages, SendError::UnknownPeer { target })),
            Meant::All => {}
        }
        let count = self.outbound.peers().len();
        let mut sum: Option<Box<Failed>> = None;
        for index in 0..count {
            if let Err(failed) = send(self, self.outbound.peers()[index]) {
                match &mut sum {
                    Some(sum) => sum.messages += failed.messages,
                    None => sum = Some(failed),
                }
            }
        }
        match sum {
            None if count == 0 => Err(Failed::new(messages, SendError::NoPeers)),
            None => Ok(()),
            Some(failed) => Err(failed.of(count as u64 * messages)),
        }
    }

    /// Sends a datagram of the protocol's own. Marked as ordinary: heartbeats measure the way and show whether it is open, so
    /// they should not fare better than most messages do.
    fn send_control(&mut self, peer: PeerId, datagram: &mut Vec<u8>) -> Result<(), Box<Failed>> {
        self.mark(Priority::Normal);
        self.send_to(peer, datagram, 0)
    }

    fn send_to(&mut self, peer: PeerId, datagram: &mut Vec<u8>, messages: u64) -> Result<(), Box<Failed>> {
        let Some(to) = self.outbound.seal(peer, datagram) else { return Err(unknown(peer, messages)) };
        // The number is spent only when the kernel has the datagram.
        self.socket.send(datagram, to).map_err(|error| self.refused(to, messages, &error))?;
        self.outbound.sent(peer, SentDatagrams::one(datagram.len(), messages));
        Ok(())
    }

    /// Sends a pack with one call, or its datagrams one by one until one is refused. Its frames are messages if they `count`.
    fn send_datagrams(&mut self, peer: PeerId, pack: &mut Pack, count: bool) -> Result<(), Box<Failed>> {
        let messages = if count { pack.messages() } else { 0 };
        let Some(to) = self.outbound.seal_pack(peer, pack) else { return Err(unknown(peer, messages)) };
        let datagrams = pack.datagrams().len() as u64;
        if datagrams > 1
            && let Some(sent) = self.socket.send_segments(pack.bytes(), pack.datagram_size(), to)
        {
            sent.map_err(|error| self.refused(to, messages, &error))?;
            self.outbound.sent(peer, SentDatagrams { datagrams, bytes: pack.bytes().len(), messages });
            return Ok(());
        }
        let mut left = messages;
        for (datagram, frames) in pack.datagrams() {
            self.socket.send(datagram, to).map_err(|error| self.refused(to, left, &error))?;
            let messages = if count { frames } else { 0 };
            self.outbound.sent(peer, SentDatagrams::one(datagram.len(), messages));
            left -= messages;
        }
        if datagrams > 1 {
            self.socket.forbid_segments();
        }
        Ok(())
    }

    /// What a call that failed means for its messages; counted as a fault of the system.
    #[cold]
    fn refused(&self, to: SocketAddr, messages: u64, error: &io::Error) -> Box<Failed> {
        let fault = SocketFault::of_send(error);
        self.faults.count(fault);
        let error = match error.kind() {
            io::ErrorKind::WouldBlock => SendError::Busy,
            _ => SendError::Refused { to, fault, problem: error.to_string() },
        };
        Failed::new(messages, error)
    }
}

/// Who is meant by a target.
#[derive(Clone, Copy, Debug)]
enum Meant {
    All,
    One(PeerId),
    Unknown,
}

#[cold]
fn unknown(peer: PeerId, messages: u64) -> Box<Failed> {
    Failed::new(messages, SendError::UnknownPeer { target: Target::Peer(peer) })
}

impl Writer for Line {
    type Job = Job;
    type Outcome = Result<Sent, Box<Failed>>;

    fn write(&mut self, job: &mut Job) -> Self::Outcome {
        self.send(job, false)
    }

    fn write_queued(&mut self, job: &mut Job) {
        if job.terms.expires.is_some_and(|expires| expires <= Instant::now()) {
            self.counters.expired.add(job.messages());
            return;
        }
        if let Err(failed) = self.send(job, true) {
            self.report(*failed);
        }
    }

    fn end_of_queue(&mut self) {
        let waits_on = self.open.as_ref().is_none_or(|open| open.gate.was_streaming());
        if !waits_on {
            self.flush();
        }
    }
}

#[cfg(test)]
mod tests;
