//! The truth about every datagram that reached a node, which the node's counters must equal.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tautline_proto::endpoint::{Event, PeerHandle};
use tautline_proto::sim::{ReceivedDatagram, ReceivedMessage};
use tautline_proto::wire::native::parse;
use tautline_proto::{
    DropReason, Drops, InboundStats, Instant, PeerId, PeerRxCounters, PeerTxCounters, SessionId, Verdict,
};

use super::window::TrueWindow;

/// One session as a node sees it.
#[derive(Debug)]
struct Session {
    address: SocketAddr,
    rx: Arc<PeerRxCounters>,
    tx: Arc<PeerTxCounters>,
    window: TrueWindow,
    /// How often the peer had been restarted when it sent the messages of this session.
    life: Option<u64>,
}

/// What a node has received since its last restart.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    arrived: u64,
    bytes: u64,
    dropped: Drops,
    live: HashMap<SessionId, Session>,
    by_peer: HashMap<PeerId, SessionId>,
    /// The number of the latest datagram, and whether it was late. `None` if it brings no messages.
    last: Option<(u64, bool)>,
}

/// What happened to the numbers of a session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fates {
    pub(crate) received: u64,
    pub(crate) lost: u64,
    pub(crate) late: u64,
    pub(crate) duplicate: u64,
}

impl Truth {
    /// Records a datagram, and checks that the node handled it correctly.
    pub(crate) fn arrive(&mut self, arrival: &ReceivedDatagram, now: Instant) -> Result<(), String> {
        self.arrived += 1;
        self.bytes += arrival.datagram.len() as u64;
        self.last = None;
        if let Some(reason) = arrival.dropped {
            self.dropped.add(reason, 1);
        }
        if arrival.is_corrupted {
            return match arrival.dropped {
                Some(reason) => {
                    self.note_damaged(arrival, reason);
                    Ok(())
                }
                None => Err(format!("a damaged datagram was accepted: {arrival:?}")),
            };
        }
        let (id, sequence) = match sealed(&arrival.datagram) {
            Some(header) => header,
            None => {
                let parsed = parse(&arrival.datagram);
                let (header, mut frames) = parsed.map_err(|reason| format!("{reason:?}: {arrival:?}"))?;
                if frames.next().is_some_and(|frame| frame.is_unnumbered()) {
                    return Ok(());
                }
                (header.session, header.sequence)
            }
        };
        // A secured session moves.
        let is_sealed = sealed(&arrival.datagram).is_some();
        let known = self.live.get_mut(&id).filter(|session| is_sealed || session.address == arrival.from);
        let Some(session) = known else {
            return match arrival.dropped {
                Some(_) => Ok(()),
                None => Err(format!("accepted outside any session: {arrival:?}")),
            };
        };
        let number = u64::from(sequence);
        let verdict = session.window.arrive(number, now);
        let expected = match verdict {
            Verdict::New | Verdict::Late => None,
            Verdict::Duplicate => Some(DropReason::Duplicate),
            Verdict::TooOld => Some(DropReason::TooOld),
            Verdict::Leap => Some(DropReason::NumberLeap),
        };
        if arrival.dropped != expected {
            return Err(format!("number {number} is {verdict:?} and was {:?}", arrival.dropped));
        }
        self.last = expected.is_none().then_some((number, verdict == Verdict::Late));
        Ok(())
    }

    /// Notes a damaged datagram that a secured node has dropped without opening it, because it had received the number before.
    fn note_damaged(&mut self, arrival: &ReceivedDatagram, reason: DropReason) {
        let session = sealed(&arrival.datagram).and_then(|(id, _)| self.live.get_mut(&id));
        if let Some(session) = session.filter(|_| reason == DropReason::Duplicate) {
            session.window.duplicate += 1;
        }
    }

    /// Records a message that the node received. `life` is how often its sender had been restarted.
    pub(crate) fn message(&mut self, got: &ReceivedMessage, life: u64) -> Result<(), String> {
        let Some((number, is_late)) = self.last else {
            return Err(format!("a message from a dropped datagram: {got:?}"));
        };
        if (got.number, got.is_late) != (Some(number), is_late) {
            return Err(format!("datagram {number}, late {is_late}, brought {got:?}"));
        }
        let session = self.by_peer.get(&got.peer).and_then(|session| self.live.get_mut(session));
        let Some(session) = session else {
            return Err(format!("a message from a peer that is gone: {got:?}"));
        };
        if *session.life.get_or_insert(life) != life {
            return Err(format!("one session has messages from before and after a restart: {got:?}"));
        }
        Ok(())
    }

    /// Records a peer event. Returns the fates of the numbers if a session ended.
    pub(crate) fn event(&mut self, event: &Event, now: Instant) -> Result<Option<Fates>, String> {
        match event {
            Event::Added(peer) => self.add(peer).map(|()| None),
            Event::Removed(peer, _) => {
                let session = self.by_peer.remove(peer).and_then(|session| self.live.remove(&session));
                let session = session.ok_or_else(|| format!("{peer} was removed and never added"))?;
                session.check(now, true).map(Some)
            }
            Event::Moved { peer, from, to } => {
                let session = self.by_peer.get(peer).and_then(|session| self.live.get_mut(session));
                let session = session.ok_or_else(|| format!("{peer} moved and was never added"))?;
                match std::mem::replace(&mut session.address, *to) {
                    before if before == *from => Ok(None),
                    before => Err(format!("{peer} moved from {from}, and was at {before}")),
                }
            }
            _ => Ok(None),
        }
    }

    fn add(&mut self, peer: &PeerHandle) -> Result<(), String> {
        let id = peer.session.ok_or("a native peer without a session")?;
        let (address, rx, tx) = (peer.address, Arc::clone(&peer.rx), Arc::clone(&peer.tx));
        let session = Session { address, rx, tx, window: TrueWindow::default(), life: None };
        self.by_peer.insert(peer.id, id);
        match self.live.insert(id, session) {
            None => Ok(()),
            Some(_) => Err(format!("session {id} twice")),
        }
    }

    /// Checks the totals: received is accepted plus dropped, for each reason.
    pub(crate) fn check_totals(&self, stats: &InboundStats) -> Result<(), String> {
        let counted =
            (stats.datagrams_received(), stats.bytes + stats.bytes_dropped, stats.datagrams_dropped);
        let truth = (self.arrived, self.bytes, self.dropped);
        if counted == truth { Ok(()) } else { Err(format!("counted {counted:?}, in truth {truth:?}")) }
    }

    /// Checks the counters of all sessions that have not ended.
    pub(crate) fn check_sessions(&self, now: Instant) -> Result<Fates, String> {
        let mut all = Fates::default();
        for session in self.live.values() {
            all.add(session.check(now, false)?);
        }
        Ok(all)
    }

    /// Compares what this node has sent in its session with what the other end has received.
    pub(crate) fn check_against(
        &self,
        here: SocketAddr,
        other: &Self,
        there: SocketAddr,
    ) -> Result<(), String> {
        let mine = self.live.iter().filter(|(_, session)| session.address == there).collect::<Vec<_>>();
        let [(id, session)] = mine[..] else { return Err(format!("{} sessions with {there}", mine.len())) };
        let Some(twin) = other.live.get(id).filter(|twin| twin.address == here) else {
            return Err(format!("{there} does not know session {id}"));
        };
        let (sent, rx) = (session.tx.snapshot(), twin.rx.snapshot());
        if (rx.datagrams + rx.lost + rx.probes_lost, rx.missing, rx.expected_sequence)
            != (sent.datagrams, 0, sent.next_sequence)
        {
            return Err(format!("sent {sent:?}, and the other end counts {rx:?}"));
        }
        Ok(())
    }
}

/// Returns session and sequence of a sealed datagram. `None` for a plain one.
fn sealed(datagram: &[u8]) -> Option<(SessionId, u32)> {
    let session = SessionId::from_bits(u64::from_be_bytes(*datagram.get(4..)?.first_chunk()?));
    let sequence = u32::from_be_bytes(*datagram.get(12..)?.first_chunk()?);
    (datagram[3] & 2 != 0).then_some((session, sequence))
}

impl Session {
    /// Compares the counters with the truth. Missing numbers of a session that has ended are lost.
    fn check(&self, now: Instant, is_over: bool) -> Result<Fates, String> {
        let (mut lost, mut missing) = self.window.lost_and_missing(now);
        if is_over {
            (lost, missing) = (lost + missing, 0);
        }
        let TrueWindow { received, late, duplicate, next, .. } = self.window;
        let rx = self.rx.snapshot();
        // A number that was just lost is counted at the node's next visit.
        let counted = (rx.datagrams, rx.late, rx.duplicate, rx.lost + rx.missing, rx.expected_sequence);
        if counted != (received, late, duplicate, lost + missing, next) || rx.lost > lost {
            return Err(format!(
                "counted {rx:?}, in truth lost {lost}, missing {missing}, {:?}",
                self.window
            ));
        }
        Ok(Fates { received, lost, late, duplicate })
    }
}

impl Fates {
    pub(crate) fn add(&mut self, other: Self) {
        self.received += other.received;
        self.lost += other.lost;
        self.late += other.late;
        self.duplicate += other.duplicate;
    }
}
