//! The line's part in reliable messages.

use crate::sync::Arc;

use tautline_proto::endpoint::Refusal;
use tautline_proto::wire::native::HEADER_LEN;
use tautline_proto::{Instant as Steady, PeerId};

use super::{Line, Meant, unknown};
use crate::message::target::Target;
use crate::sending::failed::Failed;
use crate::sending::job::Job;

use crate::error::SendError;
use crate::sending::deliveries::UnderWay;
use crate::sending::receipt::Tracker;
use tautline_proto::MessageType;
use tautline_proto::endpoint::Outcome;

/// The number of datagrams of a reliable message that its sender writes itself. The driver writes the rest.
const OWN_DATAGRAMS: usize = 8;

/// What is known of a reliable message beside its bytes.
#[derive(Debug)]
pub(crate) struct Reliably {
    pub(crate) message_type: MessageType,
    pub(crate) channel: u16,
    /// When its lifespan ends.
    pub(crate) expires: Option<Steady>,
    pub(crate) has_receipt: bool,
    /// Its message id, if that is a number.
    pub(crate) number: Option<u64>,
}

/// What became of a reliable message that was offered.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) outcome: Result<(), Box<Failed>>,
    pub(crate) tracker: Option<Arc<Tracker>>,
    /// The driver must look earlier than it plans to.
    pub(crate) wake_driver: bool,
}

impl Line {
    /// Takes a reliable message, and sends what the window allows now. If one peer does not take the message, other peers may have
    /// taken it.
    pub(crate) fn offer(&mut self, job: &Job, how: &Reliably, now: Steady) -> Offered {
        let failed = |failed| Offered { outcome: Err(failed), tracker: None, wake_driver: false };
        if self.open.is_none() || job.terms.opening != self.openings {
            return failed(Failed::new(1, SendError::NotConnected));
        }
        if !job.terms.is_urgent() {
            // The waiting messages were submitted before.
            self.flush();
        }
        let due_before = self.deliveries.signs().due();
        let Self { open, deliveries, .. } = self;
        let open = open.as_mut().expect("nobody closes it meanwhile");
        let frame = &job.datagram[HEADER_LEN..];
        let tracker = how.has_receipt.then(|| deliveries.tracker());
        let outcome = open.send_each(job.terms.target, 1, |open, peer| {
            let offered = open.outbound.offer(peer, frame, deliveries.next_receipt(), how.expires);
            offered.map_err(|refusal| not_taken(peer, refusal, job.datagram.len()))?;
            deliveries.begin(UnderWay {
                peer,
                message_type: how.message_type,
                channel: how.channel,
                tracker: tracker.clone(),
                number: how.number,
            });
            Ok(())
        });
        deliveries.update(&mut open.outbound);
        for _ in 0..OWN_DATAGRAMS {
            if self.deliveries.signs().due().is_none_or(|due| due > now) || !self.deliver(now, false) {
                break;
            }
        }
        self.count(&outcome, job.terms.sent_at);
        let signs = self.deliveries.signs();
        let sooner = signs.due().is_some_and(|due| due_before.is_none_or(|before| due < before));
        Offered { outcome, tracker, wake_driver: sooner || signs.have_ended() }
    }

    /// Sends the next datagram of reliable messages that is due. Returns whether there was one.
    pub(crate) fn deliver(&mut self, now: Steady, others_wait: bool) -> bool {
        let Some(open) = &mut self.open else { return false };
        let mut datagram = std::mem::take(&mut open.scratch);
        let due = open.outbound.poll_delivery(now, others_wait, &mut datagram);
        if let Some(due) = due {
            open.mark(due.priority);
            if open.send_reliably(due, &mut datagram).is_err() {
                open.outbound.not_sent(due);
                self.counters.refused.add(1);
            }
        }
        open.scratch = datagram;
        self.deliveries.update(&mut open.outbound);
        due.is_some()
    }

    /// Whether each peer that is meant has room for one more reliable message.
    pub(crate) fn has_room(&self, target: Target) -> bool {
        let Some(open) = &self.open else { return true };
        match open.resolve(target) {
            Meant::One(peer) => open.outbound.has_room(peer),
            Meant::All => open.outbound.listeners().iter().all(|&peer| open.outbound.has_room(peer)),
            Meant::Unknown => true,
        }
    }

    /// Takes the reliable messages that ended and whose outcome somebody may want to know, and whether a peer of those that ended has
    /// ample room now. The caller publishes the outcomes after it has released the line.
    pub(crate) fn take_ended(&mut self) -> (Vec<(UnderWay, Outcome)>, bool) {
        let (ended, peers) = self.deliveries.take_ended();
        let makes_room = self
            .open
            .as_ref()
            .is_none_or(|open| peers.iter().any(|&peer| open.outbound.has_ample_room(peer)));
        (ended, makes_room)
    }
}

#[cold]
fn not_taken(peer: PeerId, refusal: Refusal, size: usize) -> Box<Failed> {
    match refusal {
        Refusal::UnknownPeer => unknown(peer, 1),
        Refusal::TooLarge => too_large(size),
        _ => Failed::new(1, SendError::WindowFull { peer }),
    }
}

#[cold]
pub(super) fn too_large(size: usize) -> Box<Failed> {
    Failed::new(1, SendError::TooManyParts { size })
}
