//! What stands behind the transmit hand-over: the endpoint's sending half and the socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tautline_proto::PeerId;
use tautline_proto::endpoint::{Command, Outbound};
use tautline_proto::{Counter, Now, WallTime};

use crate::error::SendError;
use crate::handover::Writer;
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

/// A message ready to be numbered: encoded in a datagram whose header has still to be filled.
#[derive(Debug, Default)]
pub(crate) struct Job {
    pub(crate) datagram: Vec<u8>,
    pub(crate) target: Target,
    /// The [opening](Line::open) that it was encoded for.
    pub(crate) opening: u64,
    /// When the message was made.
    pub(crate) made: WallTime,
}

/// Counters of sending as a whole; written under the transmit lock.
#[derive(Debug, Default)]
pub(crate) struct SendCounters {
    /// When the last datagram with a message was sent, on the wall clock (ns); 0 for never.
    pub(crate) last_sent_ns: Counter,
    /// Datagrams that the kernel refused.
    pub(crate) refused: Counter,
    /// Messages that were queued and then could not be sent to anyone.
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
    /// Where control datagrams are built.
    scratch: Vec<u8>,
}

impl Line {
    pub(crate) fn counters(&self) -> Arc<SendCounters> {
        Arc::clone(&self.counters)
    }

    /// Opens the line: messages that were encoded for this opening, which it names, can be sent.
    pub(crate) fn open(&mut self, outbound: Outbound, socket: Arc<Socket>) -> u64 {
        self.open = Some(Open { outbound, socket, scratch: Vec::new() });
        self.openings += 1;
        self.openings
    }

    /// Closes the line after telling the peers, and gives the sending half back. Nothing is sent any more.
    pub(crate) fn close(&mut self) -> Option<Outbound> {
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

    fn send(&mut self, job: &mut Job) -> Result<(), SendError> {
        // A sender may have been at its encoding while the interface was connected anew, perhaps on the other wire.
        let open = self.open.as_mut().filter(|_| job.opening == self.openings);
        let open = open.ok_or(SendError::NotConnected)?;
        let result = match job.target {
            Target::All => open.send_to_all(&mut job.datagram),
            Target::Peer(peer) => open.send_to(peer, &mut job.datagram, 1),
            Target::Address(address) => match open.outbound.peer_at(address) {
                Some(peer) => open.send_to(peer, &mut job.datagram, 1),
                None => Err(SendError::UnknownPeer { target: job.target }),
            },
        };
        let refused = match &result {
            Err(SendError::Refused { .. } | SendError::Busy) => 1,
            Err(SendError::Partly { failed, .. }) => *failed as u64,
            _ => 0,
        };
        self.counters.refused.add(refused);
        if matches!(result, Ok(()) | Err(SendError::Partly { .. })) {
            self.counters.last_sent_ns.set(job.made.as_nanos().cast_unsigned());
        }
        result
    }
}

impl Open {
    fn send_to(&mut self, peer: PeerId, datagram: &mut Vec<u8>, messages: u64) -> Result<(), SendError> {
        let unknown = SendError::UnknownPeer { target: Target::Peer(peer) };
        let to = self.outbound.seal(peer, datagram).ok_or(unknown)?;
        // The number is spent only when the kernel has the datagram.
        self.socket.send(datagram, to).map_err(|error| SendError::refused(to, &error))?;
        self.outbound.sent(peer, datagram.len(), messages);
        Ok(())
    }

    /// Sends to every peer, whatever happens with the others.
    fn send_to_all(&mut self, datagram: &mut Vec<u8>) -> Result<(), SendError> {
        let body = datagram.len();
        let count = self.outbound.peers().len();
        let mut failed = 0;
        let mut first_failure = None;
        for index in 0..count {
            datagram.truncate(body);
            if let Err(error) = self.send_to(self.outbound.peers()[index], datagram, 1) {
                failed += 1;
                first_failure.get_or_insert(error);
            }
        }
        match first_failure {
            None if count == 0 => Err(SendError::NoPeers),
            None => Ok(()),
            Some(error) if count == 1 => Err(error),
            Some(error) => Err(SendError::Partly { sent: count - failed, failed, first: Box::new(error) }),
        }
    }
}

impl Writer for Line {
    type Job = Job;
    type Outcome = Result<(), SendError>;

    fn write(&mut self, job: &mut Job) -> Self::Outcome {
        self.send(job)
    }

    fn write_queued(&mut self, job: &mut Job) {
        if let Err(error) = self.send(job) {
            self.counters.queued.add(1);
            self.reported.get_or_insert(error);
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
        line.open(outbound, Arc::new(Socket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()));
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
        Job { datagram: datagram(), target, opening: 1, made: WallTime::from_nanos(5) }
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
            error.to_string().starts_with("sent to 2 peers but not to 1: the kernel did not send to 255.")
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
