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

    /// Opens the line: messages can be sent.
    pub(crate) fn open(&mut self, outbound: Outbound, socket: Arc<Socket>) {
        self.open = Some(Open { outbound, socket, scratch: Vec::new() });
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
        let open = self.open.as_mut().ok_or(SendError::NotConnected)?;
        let result = match job.target {
            Target::All => open.send_to_all(&mut job.datagram),
            Target::Peer(peer) => open.send_to(peer, &mut job.datagram, 1),
            Target::Address(address) => match open.outbound.peer_at(address) {
                Some(peer) => open.send_to(peer, &mut job.datagram, 1),
                None => Err(SendError::UnknownPeer { target: job.target }),
            },
        };
        match &result {
            Ok(()) => self.counters.last_sent_ns.set(job.made.as_nanos().cast_unsigned()),
            Err(SendError::Refused { .. } | SendError::Busy) => self.counters.refused.add(1),
            Err(SendError::Partly { failed, .. }) => self.counters.refused.add(*failed as u64),
            Err(_) => {}
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
