//! What stands behind the transmit hand-over: the endpoint's sending half and the socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tautline_proto::PeerId;
use tautline_proto::endpoint::{Command, Outbound, Spent};
use tautline_proto::wire::native::{HEADER_LEN, Pack};
use tautline_proto::{Counter, Now, WallTime};

use crate::error::SendError;
use crate::gate::Gate;
use crate::handover::Writer;
use crate::message::wall_now;
use crate::send::Sent;
use crate::socket::Socket;

/// To whom a message goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Every peer: a client's only one is its server, a server's are all its clients.
    #[default]
    All,
    /// One peer.
    Peer(PeerId),
    /// The peer at this address.
    Address(SocketAddr),
}

impl From<PeerId> for Target {
    fn from(peer: PeerId) -> Self {
        Self::Peer(peer)
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

/// What a thread hands over: a message, or several in a pack.
#[derive(Debug, Default)]
pub(crate) struct Job {
    /// One message in a datagram whose header has still to be filled; not looked at where there is a pack.
    pub(crate) datagram: Vec<u8>,
    /// Several messages; empty for one.
    pub(crate) pack: Pack,
    pub(crate) terms: Terms,
}

/// What holds for all messages of a job.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) target: Target,
    /// They never wait.
    pub(crate) urgent: bool,
    /// The [opening](Line::open) that they were encoded for.
    pub(crate) opening: u64,
    /// When they were made.
    pub(crate) made: WallTime,
}

impl Job {
    fn failed(&self, error: SendError) -> Failed {
        Failed { messages: if self.pack.is_empty() { 1 } else { self.pack.messages() }, error }
    }
}

/// Why messages were not sent, and how many, counted once per peer.
#[derive(Debug)]
struct Failed {
    messages: u64,
    error: SendError,
}

/// Counters of sending as a whole; written under the transmit lock.
#[derive(Debug, Default)]
pub(crate) struct SendCounters {
    /// When the last datagram with a message was sent, on the wall clock (ns); 0 for never.
    pub(crate) last_sent_ns: Counter,
    /// Messages that the kernel refused, counted once per peer, and heartbeats.
    pub(crate) refused: Counter,
    /// Messages that were queued and then could not be sent, counted once per peer.
    pub(crate) queued: Counter,
}

/// The writer of the hand-over; without an open line while the interface is disconnected.
#[derive(Debug, Default)]
pub(crate) struct Line {
    open: Option<Open>,
    openings: u64,
    counters: Arc<SendCounters>,
    /// The first failure of a queued message since it was last asked for.
    reported: Option<SendError>,
}

#[derive(Debug)]
struct Open {
    outbound: Outbound,
    socket: Arc<Socket>,
    gate: Gate,
    /// Where control datagrams are built.
    scratch: Vec<u8>,
}

impl Line {
    pub(crate) fn counters(&self) -> Arc<SendCounters> {
        Arc::clone(&self.counters)
    }

    /// Opens the line: messages that were encoded for this opening, which it names, can be sent.
    pub(crate) fn open(&mut self, outbound: Outbound, socket: Arc<Socket>, gate: Gate) -> u64 {
        self.open = Some(Open { outbound, socket, gate, scratch: Vec::new() });
        self.openings += 1;
        self.openings
    }

    /// Closes the line after telling the peers, and gives the sending half back. Nothing is sent any more.
    pub(crate) fn close(&mut self) -> Option<Outbound> {
        self.flush();
        let mut open = self.open.take()?;
        for peer in open.outbound.peers().to_vec() {
            let mut datagram = std::mem::take(&mut open.scratch);
            if open.outbound.farewell(&mut datagram) {
                // A goodbye that is lost is made up for by the peer's liveness time-out.
                let _ = open.send_to(peer, &mut datagram, 0);
            }
            open.scratch = datagram;
        }
        Some(open.outbound)
    }

    /// Carries out an order of the receiving half.
    pub(crate) fn command(&mut self, command: Command, now: Now) {
        if matches!(command, Command::Open(_) | Command::Forget(_)) {
            // For those who are peers now.
            self.flush();
        }
        let Some(open) = &mut self.open else { return };
        let mut datagram = std::mem::take(&mut open.scratch);
        datagram.clear();
        if let Some(peer) = open.outbound.apply(command, now, &mut datagram)
            && open.send_to(peer, &mut datagram, 0).is_err()
        {
            self.counters.refused.add(1);
        }
        open.scratch = datagram;
    }

    /// What went wrong with queued messages since the last call.
    pub(crate) fn take_report(&mut self) -> Option<SendError> {
        self.reported.take()
    }

    /// Sends what waits at the gate.
    pub(crate) fn flush(&mut self) {
        let Some(open) = self.open.as_mut().filter(|open| !open.gate.is_empty()) else { return };
        let (mut pack, target, made) = open.gate.take();
        let outcome = open.send_pack(target, &mut pack);
        open.gate.give_back(pack);
        open.gate.sent_until(wall_now());
        self.count(&outcome, made);
        if let Err(failed) = outcome {
            self.report(failed);
        }
    }

    /// Sends the job, or lets its message wait at the gate: where it is part of a stream, or `more` follow at once.
    fn send(&mut self, job: &mut Job, more: bool) -> Result<Sent, Failed> {
        // A sender may have been at its encoding while the interface was connected anew, perhaps on the other wire.
        if self.open.is_none() || job.terms.opening != self.openings {
            return Err(job.failed(SendError::NotConnected));
        }
        if self.gather(job, more).map_err(|error| job.failed(error))? {
            return Ok(Sent::Queued);
        }
        if !job.terms.urgent {
            // They were sent before.
            self.flush();
        }
        let Some(open) = &mut self.open else { return Err(job.failed(SendError::NotConnected)) };
        let outcome = match job.pack.is_empty() {
            true => open.send_datagram(job.terms.target, &mut job.datagram),
            false => open.send_pack(job.terms.target, &mut job.pack),
        };
        self.count(&outcome, job.terms.made);
        outcome.map(|()| Sent::Written)
    }

    /// Whether the message waits at the gate now.
    fn gather(&mut self, job: &Job, more: bool) -> Result<bool, SendError> {
        let Some(open) = &mut self.open else { return Ok(false) };
        if open.gate.is_off() || job.terms.urgent || !job.pack.is_empty() {
            return Ok(false);
        }
        let waits = open.gate.is_streaming(job.terms.target, job.terms.made) || more;
        let frame = &job.datagram[HEADER_LEN.min(job.datagram.len())..];
        if !waits
            || !Pack::admits(open.gate.datagram_size(), frame.len())
            || !open.may_pack(job.terms.target)?
        {
            return Ok(false);
        }
        if !open.gate.is_for(job.terms.target) {
            self.flush();
        }
        let push = |line: &mut Self| {
            line.open.as_mut().is_some_and(|open| open.gate.push(frame, job.terms.target, job.terms.made))
        };
        if !push(self) {
            self.flush();
            let pushed = push(self);
            debug_assert!(pushed, "an empty pack takes what it admits");
        }
        if self.open.as_ref().is_some_and(|open| open.gate.is_due()) {
            self.flush();
        }
        Ok(true)
    }

    fn count(&mut self, outcome: &Result<(), Failed>, made: WallTime) {
        if let Err(Failed {
            messages,
            error: SendError::Refused { .. } | SendError::Busy | SendError::Partly { .. },
        }) = outcome
        {
            self.counters.refused.add(*messages);
        }
        if matches!(outcome, Ok(()) | Err(Failed { error: SendError::Partly { .. }, .. })) {
            self.counters.last_sent_ns.set(made.as_nanos().cast_unsigned());
        }
    }

    /// Keeps a failure whose sender has gone, for the driver to make known.
    fn report(&mut self, failed: Failed) {
        self.counters.queued.add(failed.messages);
        self.reported.get_or_insert(failed.error);
    }
}

impl Open {
    /// Whether messages to this target may share datagrams.
    fn may_pack(&self, target: Target) -> Result<bool, SendError> {
        if !self.gate.is_empty() && self.gate.is_for(target) {
            // Others do already.
            return Ok(true);
        }
        let may = |peer: &PeerId| self.outbound.may_pack(*peer);
        match self.resolve(target)? {
            Some(peer) => Ok(may(&peer)),
            None => Ok(!self.outbound.peers().is_empty() && self.outbound.peers().iter().all(may)),
        }
    }

    /// The one peer that is meant, `None` for all of them.
    fn resolve(&self, target: Target) -> Result<Option<PeerId>, SendError> {
        match target {
            Target::All => Ok(None),
            Target::Peer(peer) => Ok(Some(peer)),
            Target::Address(address) => {
                self.outbound.peer_at(address).map(Some).ok_or(SendError::UnknownPeer { target })
            }
        }
    }

    /// Sends one message.
    fn send_datagram(&mut self, target: Target, datagram: &mut Vec<u8>) -> Result<(), Failed> {
        let body = datagram.len();
        self.send_each(target, 1, |open, peer| {
            datagram.truncate(body);
            open.send_to(peer, datagram, 1).map_err(|error| Failed { messages: 1, error })
        })
    }

    /// Sends several messages.
    fn send_pack(&mut self, target: Target, pack: &mut Pack) -> Result<(), Failed> {
        self.send_each(target, pack.messages(), |open, peer| open.send_pack_to(peer, pack))
    }

    /// Sends `messages` messages to each who is meant, whatever happens with the others.
    fn send_each(
        &mut self,
        target: Target,
        messages: u64,
        mut send: impl FnMut(&mut Self, PeerId) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        if let Some(peer) = self.resolve(target).map_err(|error| Failed { messages, error })? {
            return send(self, peer).map_err(|failed| failed.of(messages));
        }
        let count = self.outbound.peers().len();
        let mut sum: Option<Failed> = None;
        for index in 0..count {
            if let Err(failed) = send(self, self.outbound.peers()[index]) {
                match &mut sum {
                    Some(sum) => sum.messages += failed.messages,
                    None => sum = Some(failed),
                }
            }
        }
        match sum {
            None if count == 0 => Err(Failed { messages, error: SendError::NoPeers }),
            None => Ok(()),
            Some(failed) => Err(failed.of(count as u64 * messages)),
        }
    }

    fn send_to(&mut self, peer: PeerId, datagram: &mut Vec<u8>, messages: u64) -> Result<(), SendError> {
        let unknown = SendError::UnknownPeer { target: Target::Peer(peer) };
        let to = self.outbound.seal(peer, datagram).ok_or(unknown)?;
        // The number is spent only when the kernel has the datagram.
        self.socket.send(datagram, to).map_err(|error| SendError::refused(to, &error))?;
        self.outbound.sent(peer, Spent::one(datagram.len(), messages));
        Ok(())
    }

    /// Sends a pack with one call, or its datagrams one by one until one is refused.
    fn send_pack_to(&mut self, peer: PeerId, pack: &mut Pack) -> Result<(), Failed> {
        let messages = pack.messages();
        let unknown = || SendError::UnknownPeer { target: Target::Peer(peer) };
        let sealed = self.outbound.seal_pack(peer, pack);
        let to = sealed.ok_or_else(|| Failed { messages, error: unknown() })?;
        let refused = |messages| move |error| Failed { messages, error: SendError::refused(to, &error) };
        let datagrams = pack.datagrams().len() as u64;
        if datagrams > 1
            && let Some(sent) = self.socket.send_segments(pack.bytes(), pack.datagram_size(), to)
        {
            sent.map_err(refused(messages))?;
            self.outbound.sent(peer, Spent { datagrams, bytes: pack.bytes().len(), messages });
            return Ok(());
        }
        let mut left = messages;
        for (datagram, count) in pack.datagrams() {
            self.socket.send(datagram, to).map_err(refused(left))?;
            self.outbound.sent(peer, Spent::one(datagram.len(), count));
            left -= count;
        }
        Ok(())
    }
}

impl Writer for Line {
    type Job = Job;
    type Outcome = Result<Sent, SendError>;

    fn write(&mut self, job: &mut Job) -> Self::Outcome {
        self.send(job, false).map_err(|failed| failed.error)
    }

    fn write_queued(&mut self, job: &mut Job) {
        if let Err(failed) = self.send(job, true) {
            self.report(failed);
        }
    }

    fn end_of_queue(&mut self) {
        let waits_on = self.open.as_ref().is_none_or(|open| open.gate.was_streaming());
        if !waits_on {
            self.flush();
        }
    }
}

impl SendError {
    fn refused(to: SocketAddr, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock => Self::Busy,
            _ => Self::Refused { to, kind: error.kind(), problem: error.to_string() },
        }
    }
}

impl Failed {
    /// What is told of it where `all` messages were to be sent.
    fn of(self, all: u64) -> Self {
        if all == 1 {
            return self;
        }
        let count = |messages: u64| usize::try_from(messages).unwrap_or(usize::MAX);
        let (sent, failed) = (count(all - self.messages), count(self.messages));
        Self {
            messages: self.messages,
            error: SendError::Partly { sent, failed, first: Box::new(self.error) },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tautline_proto::endpoint::{EndpointConfig, Event, Role, Start, WireFormat, endpoint};
    use tautline_proto::json::JsonLimits;
    use tautline_proto::wire::classic::{self, ClassicFormat};

    use super::*;

    const FORMAT: ClassicFormat = ClassicFormat { use_crc: true, use_sequence: true };

    const ENVELOPE: &[u8] = br#"{"metadata": {"message_id": "m", "timestamp": 1.0, "message_type": "data", "priority": 2, "source": "s"}, "data": 1}"#;

    /// A classic server's line whose clients are at these addresses, and what counts the sending to each.
    fn line_to(clients: &[SocketAddr]) -> (Line, Vec<Arc<tautline_proto::PeerTxCounters>>) {
        let config = EndpointConfig {
            role: Role::Server,
            wire: WireFormat::Classic(FORMAT),
            name: String::new(),
            max_peers: clients.len(),
            heartbeat_interval: Duration::from_secs(1),
            liveness_timeout: Duration::from_secs(1),
            peer_expiry: Duration::from_secs(1),
            max_message_size: 1000,
            json: JsonLimits::default(),
            check_payload: Arc::new(|_, _| Ok(())),
        };
        let (mut inbound, outbound) = endpoint(config, Start::default());
        let mut line = Line::default();
        let socket = Socket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        line.open(outbound, Arc::new(socket), Gate::default());
        for &client in clients {
            inbound.handle(Now::default(), client, &datagram(), &mut Vec::new()).expect("it is in order");
            while let Some(command) = inbound.poll_command() {
                line.command(command, Now::default());
            }
        }
        let mut counters = Vec::new();
        while let Some(event) = inbound.poll_event(Now::default()) {
            if let Event::Added(peer) = event {
                counters.push(peer.tx);
            }
        }
        (line, counters)
    }

    fn datagram() -> Vec<u8> {
        let mut datagram = vec![0; FORMAT.prefix_len()];
        datagram.extend_from_slice(ENVELOPE);
        classic::seal(&mut datagram, FORMAT, 0);
        datagram
    }

    fn job(target: Target) -> Job {
        let terms = Terms { target, opening: 1, made: WallTime::from_nanos(5), ..Terms::default() };
        Job { datagram: datagram(), terms, ..Job::default() }
    }

    /// Sending there needs a permission of its own, so the kernel refuses.
    fn refused() -> SocketAddr {
        SocketAddr::from((Ipv4Addr::BROADCAST, 9))
    }

    #[test]
    fn lost_in_the_kernel_reported_as_sent() {
        let (mut line, sent) = line_to(&[refused()]);
        let error = line.write(&mut job(Target::All)).unwrap_err();
        let SendError::Refused { to, kind, .. } = error else { panic!("{error}") };
        assert_eq!((to, kind), (refused(), io::ErrorKind::PermissionDenied));
        assert_eq!(line.counters().refused.value(), 1);
        assert_eq!(
            (sent[0].snapshot().messages, sent[0].snapshot().next_sequence),
            (0, 0),
            "no number is spent"
        );
        assert_eq!(line.counters().last_sent_ns.value(), 0);
    }

    #[test]
    fn one_that_cannot_be_reached_does_not_keep_it_from_the_others() {
        let others = [0, 1].map(|_| Socket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap());
        let [one, two] = others.each_ref().map(Socket::local_address);
        let (mut line, sent) = line_to(&[one, refused(), two]);
        let error = line.write(&mut job(Target::All)).unwrap_err();
        let SendError::Partly { sent: reached, failed, .. } = &error else { panic!("{error}") };
        assert_eq!((*reached, *failed), (2, 1));
        assert!(
            error
                .to_string()
                .starts_with("2 messages were sent (counted once per peer) and 1 were not: the kernel")
        );
        let messages: Vec<_> = sent.iter().map(|sent| sent.snapshot().messages).collect();
        assert_eq!(messages, [1, 0, 1]);
        assert_eq!(line.counters().last_sent_ns.value(), 5, "something was sent");
    }

    #[test]
    fn a_failure_after_queueing_is_counted_and_told_once() {
        let (mut line, _) = line_to(&[refused()]);
        line.write_queued(&mut job(Target::All));
        line.write_queued(&mut job(Target::All));
        assert_eq!(line.counters().queued.value(), 2);
        assert!(matches!(line.take_report(), Some(SendError::Refused { .. })));
        assert_eq!(line.take_report(), None);
    }
}
