//! The line: the sending half of the endpoint and the socket, behind the transmit hand-over.
//!
//! Called by the thread that holds the transmit lock: a sender or the driver. It numbers datagrams and writes them to the
//! non-blocking socket. It never waits.

mod apart;
mod paths;
mod ready;
mod reliable;
mod runs;
mod to_peers;

use crate::sync::Arc;
use std::time::{Duration, Instant};

use tautline_proto::PeerId;
use tautline_proto::endpoint::{Command, Outbound};
use tautline_proto::wire::native::{HEADER_LEN, Pack};
use tautline_proto::{Instant as Steady, Now, Priority};

use crate::error::SendError;
use crate::machine::fault::FaultCounters;
use crate::machine::socket::Socket;
use crate::message::target::Target;
use crate::sending::coalescer::Coalescer;
use crate::sending::deliveries::{Deliveries, DeliverySigns};
use crate::sending::failed::{Failed, SendCounters};
use crate::sending::handover::{MAX_RUN, Writer, Written};
use crate::sending::job::{Job, Terms};
use crate::sending::link::{Link, Sent};

pub(crate) use ready::Ready;
pub(crate) use reliable::{Offered, Reliably};

/// The writer of the hand-over. Nothing is open while the interface is disconnected.
#[derive(Debug, Default)]
// In this order, so that what every message uses shares few cache lines.
#[repr(C)]
pub(crate) struct Line {
    counters: Arc<SendCounters>,
    open: Option<Open>,
    openings: u64,
    deliveries: Deliveries,
    faults: Arc<FaultCounters>,
    /// The first failure of a queued message since the last [`take_report`](Line::take_report).
    reported: Option<SendError>,
}

#[derive(Debug)]
// In this order, so that what every message uses shares few cache lines.
#[repr(C)]
struct Open {
    /// How messages are encoded for this connection.
    link: Arc<Link>,
    socket: Arc<Socket>,
    /// The buffer of control datagrams, and of messages that are framed under the lock.
    scratch: Vec<u8>,
    /// The priority that the socket marks datagrams with; `None` if they are not marked.
    marked: Option<Priority>,
    /// Whether there are so many listeners that a message for all is written in pieces.
    is_wide: bool,
    /// What was sealed with a key last (secured links only).
    sealed: Vec<u8>,
    outbound: Outbound,
    coalescer: Coalescer,
    faults: Arc<FaultCounters>,
    counters: Arc<SendCounters>,
}

impl Line {
    pub(crate) fn delivery_signs(&self) -> Arc<DeliverySigns> {
        self.deliveries.share_signs()
    }

    pub(crate) fn counters(&self) -> Arc<SendCounters> {
        Arc::clone(&self.counters)
    }

    /// The counters of what the system refused. The driver counts there too.
    pub(crate) fn faults(&self) -> Arc<FaultCounters> {
        Arc::clone(&self.faults)
    }

    /// Opens the line. Only messages that were encoded for this opening can be sent; `link` gets its number. With `marks`,
    /// datagrams are marked by priority.
    pub(crate) fn open(
        &mut self,
        outbound: Outbound,
        socket: Arc<Socket>,
        coalescer: Coalescer,
        marks: bool,
        link: impl FnOnce(u64) -> Link,
    ) -> Arc<Link> {
        self.openings += 1;
        let link = Arc::new(link(self.openings));
        // A new socket marks datagrams as ordinary.
        let marked = marks.then_some(Priority::Normal);
        let (scratch, sealed) = (Vec::new(), Vec::new());
        let (faults, counters) = (self.faults(), self.counters());
        self.open = Some(Open {
            link: Arc::clone(&link),
            outbound,
            socket,
            coalescer,
            marked,
            scratch,
            sealed,
            faults,
            counters,
            is_wide: false,
        });
        link
    }

    /// Tells the peers and closes the line. Returns the sending half. Nothing is sent any more.
    pub(crate) fn close(&mut self) -> Option<Outbound> {
        self.flush();
        let mut open = self.open.take()?;
        for peer in open.outbound.peers().to_vec() {
            let mut datagram = std::mem::take(&mut open.scratch);
            if open.outbound.write_close(&mut datagram) {
                // If the close frame is lost, the peer notices by its liveness time-out.
                let _ = open.send_control(peer, &mut datagram);
            }
            open.scratch = datagram;
        }
        open.outbound.abandon();
        self.deliveries.update(&mut open.outbound);
        Some(open.outbound)
    }

    /// Carries out a command of the receiving half. Returns the error if its datagram could not be sent.
    pub(crate) fn command(&mut self, command: Command, now: Now) -> Option<SendError> {
        if matches!(command, Command::Open(_) | Command::Forget(..)) {
            // Waiting messages are for the peers that there are now.
            self.flush();
        }
        let open = self.open.as_mut()?;
        let mut datagram = std::mem::take(&mut open.scratch);
        datagram.clear();
        let changes_rights = command.changes_rights();
        let path_to = command.changes_path_to();
        let peer = match command {
            Command::Probe(peer) => {
                open.send_probe(peer, now, &mut datagram);
                None
            }
            command => open.outbound.apply(command, now, &mut datagram),
        };
        if let Some(peer) = path_to {
            open.suit_path_to(peer);
        }
        if changes_rights {
            open.link.set_granted(open.outbound.granted_by_all());
        }
        let listeners = open.outbound.listeners().len();
        open.is_wide = listeners > MAX_RUN;
        self.counters.listeners.set(listeners as u64);
        let failed = peer.and_then(|peer| open.send_control(peer, &mut datagram).err());
        open.scratch = datagram;
        self.deliveries.update(&mut open.outbound);
        let failed = failed?;
        self.counters.refused.add(1);
        Some(failed.error)
    }

    /// The socket is at another place. It may be another socket, which marks datagrams as ordinary.
    pub(crate) fn socket_moved(&mut self) {
        if let Some(Open { marked: Some(marked), socket, .. }) = &self.open {
            let _ = socket.mark(*marked);
        }
    }

    /// Takes the first failure of a queued message since the last call.
    pub(crate) fn take_report(&mut self) -> Option<SendError> {
        self.reported.take()
    }

    /// The number of peers that a target means; 1 for an unknown target.
    pub(crate) fn peers_meant(&self, target: Target) -> usize {
        match (target, &self.open) {
            (Target::All, Some(open)) => open.outbound.listeners().len().max(1),
            _ => 1,
        }
    }

    /// Writes a message for many peers to the next of them, at most `most`; a pack, which takes longer, to one. Its sender has gone
    /// on.
    #[cold]
    fn write_piece(&mut self, job: &mut Job, most: usize) -> Written {
        if !job.terms.is_urgent() {
            self.flush();
        }
        let Some(open) = &mut self.open else {
            // How many peers it has not reached, nobody knows any more.
            self.report(*Failed::new(job.messages(), SendError::NotConnected));
            return Written { count: 1, is_done: true };
        };
        open.mark(job.terms.priority);
        let began = Instant::now();
        let body = job.datagram.len();
        let from = job.terms.written_to.map_or(0, |last| open.outbound.place_after(last));
        let most = if job.pack.is_empty() { most } else { 1 };
        let to = open.outbound.listeners().len().min(from + most);
        for place in from..to {
            let Some(open) = &mut self.open else { break };
            let peer = open.outbound.listeners()[place];
            job.terms.written_to = Some(peer);
            let outcome = open.send_job_to(peer, job, body);
            self.count(&outcome, job.terms.sent_at);
            if let Err(failed) = outcome {
                self.report(*failed);
            }
        }
        self.counters.to_all_ns.add(nanos(began.elapsed()));
        self.open.iter().for_each(Open::give_way);
        let listeners = self.open.as_ref().map_or(0, |open| open.outbound.listeners().len());
        Written { count: to.saturating_sub(from), is_done: to >= listeners }
    }

    /// Sends the messages that are being coalesced.
    #[inline]
    pub(crate) fn flush(&mut self) {
        if self.open.as_ref().is_some_and(|open| !open.coalescer.is_empty()) {
            self.flush_pack();
        }
    }

    #[inline(never)]
    fn flush_pack(&mut self) {
        let Some(open) = &mut self.open else { return };
        if open.coalescer.is_expired() {
            let (pack, ..) = open.coalescer.take();
            self.counters.expired.add(pack.messages());
            open.coalescer.give_back(pack);
            return;
        }
        open.mark(open.coalescer.priority());
        let (mut pack, target, sent_at) = open.coalescer.take();
        open.outbound.sends_at(sent_at);
        let outcome = open.send_pack(target, &mut pack);
        open.coalescer.give_back(pack);
        open.coalescer.sent_until(open.link.clock.steady_now());
        self.count(&outcome, sent_at);
        if let Err(failed) = outcome {
            self.report(*failed);
        }
    }

    /// Sends the job, or lets its message wait for coalescing: if it is part of a stream, or `more` follow at once.
    fn send(&mut self, job: &mut Job, more: bool) -> Result<Sent, Box<Failed>> {
        // The interface may have been connected anew while the sender encoded, perhaps with the other wire.
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
            if Pack::admits(open.coalescer.datagram_size(), frame.len()) {
                self.gather(frame, terms);
                return Ok(Sent::Queued);
            }
            if self.gather_large(frame, terms) {
                return Ok(Sent::Queued);
            }
        }
        if more && self.gather_apart(datagram, terms) {
            return Ok(Sent::Queued);
        }
        self.send_one(terms, datagram)
    }

    /// Lets a message wait for coalescing. It fits into a datagram there.
    fn gather(&mut self, frame: &[u8], terms: &Terms) {
        let push =
            |open: &mut Open| open.coalescer.is_for(&terms.target) && open.coalescer.push(frame, terms);
        if !self.open.as_mut().is_some_and(push) {
            self.flush();
            let pushed = self.open.as_mut().is_some_and(push);
            debug_assert!(pushed, "an empty pack takes what it admits");
        }
        self.flush_if_due();
    }

    /// Sends the messages that are being coalesced, if they have waited long enough.
    #[inline(always)] // once for each message of a stream
    fn flush_if_due(&mut self) {
        if self.open.as_ref().is_some_and(|open| open.coalescer.is_due()) {
            self.flush();
        }
    }

    /// Sends one message.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    fn send_one(&mut self, terms: &Terms, datagram: &mut Vec<u8>) -> Result<Sent, Box<Failed>> {
        self.transmit(terms, |open| match open.fits(terms.target, datagram.len()) {
            true => open.send_datagram(terms.target, datagram),
            false => open.send_large(terms.target, datagram),
        })
    }

    /// Sends after everything that was submitted before.
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
        open.outbound.sends_at(terms.sent_at);
        let outcome = send(open);
        self.count(&outcome, terms.sent_at);
        outcome.map(|()| Sent::Written)
    }

    fn count(&mut self, outcome: &Result<(), Box<Failed>>, sent_at: Steady) {
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
        self.counters.last_sent_ns.set(sent_at.as_nanos());
    }

    /// Keeps a failure whose sender has gone on, for the driver to publish.
    fn report(&mut self, failed: Failed) {
        self.counters.queued.add(failed.messages);
        self.reported.get_or_insert(failed.error);
    }
}

impl Open {
    /// Whether a message that fits into a datagram waits for coalescing: it is part of a stream, or `more` follow at once. A
    /// message that cannot be sent at all does not wait.
    #[allow(clippy::inline_always)] // it takes a fortieth of a message in a stream, if it is left to the compiler
    #[inline(always)]
    fn lets_wait(&mut self, terms: &Terms, more: bool) -> bool {
        if self.coalescer.is_off() || terms.is_urgent() {
            return false;
        }
        (self.coalescer.is_streaming(&terms.target, terms.sent_at) || more) && self.may_pack(&terms.target)
    }

    /// Whether messages to this target may share datagrams.
    #[inline(always)] // once for each message
    fn may_pack(&mut self, target: &Target) -> bool {
        if !self.coalescer.is_empty() && self.coalescer.is_for(target) {
            // Other messages to this target wait already.
            return true;
        }
        let may = |peer: &PeerId| self.outbound.may_pack(*peer);
        let may = match self.resolve(*target) {
            Meant::One(peer) => may(&peer),
            Meant::All => !self.outbound.listeners().is_empty() && self.outbound.listeners().iter().all(may),
            Meant::Unknown => false,
        };
        if may {
            self.coalescer.set_datagram_size(self.datagram_size_to(*target));
        }
        may
    }

    /// Sets the mark of the next datagrams to this priority, if datagrams are marked and the priority is another one.
    #[inline]
    fn mark(&mut self, priority: Priority) {
        if self.marked.is_some_and(|marked| marked != priority) {
            self.marked = Some(priority);
            // A refusal was reported when connecting.
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
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The peers that a target means.
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

    fn write_queued(&mut self, job: &mut Job, most: usize) -> Written {
        if job.terms.expires.is_some_and(|expires| expires <= Instant::now()) {
            self.counters.expired.add(job.messages());
            return Written { count: 1, is_done: true };
        }
        if self.is_wide(job) && job.terms.opening == self.openings {
            return self.write_piece(job, most);
        }
        let count = self.peers_meant(job.terms.target);
        if let Err(failed) = self.send(job, true) {
            self.report(*failed);
        }
        Written { count, is_done: true }
    }

    fn is_wide(&self, job: &Job) -> bool {
        let is_begun = job.terms.written_to.is_some();
        job.terms.target == Target::All && (is_begun || self.open.as_ref().is_some_and(|open| open.is_wide))
    }

    #[cold]
    fn refuse(&mut self, job: &mut Job) -> Self::Outcome {
        let messages = job.messages() * self.peers_meant(job.terms.target) as u64;
        self.counters.refused.add(messages);
        Err(Failed::new(messages, SendError::Busy))
    }

    fn end_of_queue(&mut self) {
        let waits_on = self.open.as_ref().is_none_or(|open| open.coalescer.was_streaming());
        if !waits_on {
            self.flush();
        }
    }
}

#[cfg(test)]
mod tests;
