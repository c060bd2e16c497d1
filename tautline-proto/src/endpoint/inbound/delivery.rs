//! The receiving half's part in reliable and large messages: which frames of a datagram are delivered, and what was kept
//! of earlier ones.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::Inbound;
use super::accepted::Numbered;
use super::peers::Peer;
use super::reassembly::{Added, Assembly, Whole};
use super::reliable_receiver::{Fate, Inflow, RELIABLE_ID};
use crate::drops::DropReason;
use crate::endpoint::command::Command;
use crate::endpoint::config::EndpointConfig;
use crate::message::Delivery;
use crate::peer::PeerId;
use crate::stats::InboundCounters;
use crate::time::Instant;
use crate::wire::native::{Fragment, Frame, Frames, MessageFrame};

/// The default id of a large best-effort message is its number and this: no datagram's number comes so far.
const LARGE_ID: u64 = 1 << 62;

/// What came of a datagram with reliable messages or fragments.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// For each reliable message of the datagram, in their order, the number to deliver it as, if it is.
    pub(super) numbered: Numbered,
    /// What is delivered after the datagram's own messages.
    pub(super) wholes: Vec<Whole>,
}

/// Kept of large and reliable messages; made when the first comes.
#[derive(Debug, Default)]
pub(super) struct Kept {
    inflow: Inflow,
    large: Assembly,
}

impl Kept {
    /// How many messages are lost if the session ends now.
    pub(super) fn undelivered(&self) -> u64 {
        self.inflow.undelivered() + self.large.len()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.large.next_timeout()
    }

    /// Gives up large messages that have lost a part.
    pub(super) fn expire(&mut self, now: Instant, counters: &InboundCounters) {
        let expired = self.large.expire(now);
        counters.messages_dropped.count_many(DropReason::Incomplete, expired);
    }
}

impl Inbound {
    /// Looks at the reliable messages and the fragments of a datagram; what is to be delivered is left in `sorted`. They are
    /// acknowledged before anybody sees them: whoever ends the connection after the last one still has it acknowledged.
    pub(super) fn sort_messages(&mut self, id: PeerId, frames: Frames<'_>, now: Instant) {
        let Self { sorted, config, counters, peers, .. } = self;
        sorted.numbered.clear();
        sorted.wholes.clear();
        let Some(peer) = peers.get(id) else { return };
        let mut sorter = Sorter { peer, sorted, config, counters, now, has_forwarded: false };
        frames.for_each(|frame| sorter.sort(&frame));
        let Some(Kept { inflow, .. }) = peer.kept.as_deref_mut() else { return };
        inflow.release(&mut sorted.wholes);
        counters.messages_dropped.count_many(DropReason::Incomplete, inflow.take_given_up());
        self.acknowledge(id);
        self.watch_large(id);
    }

    /// Makes sure that somebody looks after incomplete messages.
    fn watch_large(&mut self, id: PeerId) {
        let kept = self.peers.get(id).and_then(|peer| peer.kept.as_ref());
        if let Some(at) = kept.and_then(|kept| kept.next_timeout()) {
            self.peers.schedule(id, at);
        }
    }

    /// Tells a peer which of its reliable messages have arrived, if any came since the last time.
    fn acknowledge(&mut self, id: PeerId) {
        let kept = self.peers.get(id).and_then(|peer| peer.kept.as_mut());
        if let Some((base, bitmap)) = kept.and_then(|kept| kept.inflow.acknowledge()) {
            self.commands.push_back(Command::Acknowledge(id, base, bitmap));
        }
    }
}

/// Looks at the frames of one datagram, one after the other.
struct Sorter<'a> {
    peer: &'a mut Peer,
    sorted: &'a mut Sorted,
    config: &'a EndpointConfig,
    counters: &'a InboundCounters,
    now: Instant,
    /// Control frames count once per datagram.
    has_forwarded: bool,
}

impl Sorter<'_> {
    fn sort(&mut self, frame: &Frame<'_>) {
        match frame {
            Frame::Message(frame) => match frame.delivery() {
                // What is best effort, or not of this build, is read later.
                None | Some(Delivery::BestEffort) => {}
                Some(delivery) => {
                    let number = self.take(*frame, delivery);
                    self.sorted.numbered.push(number);
                }
            },
            Frame::Fragment(fragment) if fragment.total as usize > self.config.most_body_len() => {
                self.drop(DropReason::TooLarge);
            }
            Frame::Fragment(fragment) if fragment.delivery == Delivery::BestEffort => {
                self.take_large(fragment);
            }
            Frame::Fragment(fragment) => self.take_part(fragment),
            Frame::Forward(base) if !self.has_forwarded => {
                self.has_forwarded = true;
                self.kept().inflow.forward(*base);
            }
            _ => {}
        }
    }

    fn kept(&mut self) -> &mut Kept {
        self.peer.kept.get_or_insert_with(Box::default)
    }

    /// The number to deliver a reliable message as, where it stands in the datagram.
    fn take(&mut self, frame: MessageFrame<'_>, delivery: Delivery) -> Option<u64> {
        // One that nobody can read is not acknowledged: its sender learns that it did not get through.
        let checked = frame.decode(0, "").and_then(|message| self.config.check(&message));
        let numbers = frame.numbers().ok_or(DropReason::Malformed);
        let numbers = match checked.and(numbers) {
            Ok(numbers) => numbers,
            Err(reason) => {
                self.drop(reason);
                return None;
            }
        };
        let most_bytes = self.config.most_kept_bytes();
        let now = self.now;
        match self.kept().inflow.take(numbers, frame, most_bytes, now) {
            Fate::Deliver(number) if delivery == Delivery::Ordered && !self.sorted.wholes.is_empty() => {
                // Perhaps after one of those.
                self.sorted.wholes.push(Whole::of(frame, number, now));
                None
            }
            Fate::Deliver(number) => Some(RELIABLE_ID | number),
            Fate::Kept => None,
            fate => {
                self.count(&fate);
                None
            }
        }
    }

    fn take_part(&mut self, fragment: &Fragment<'_>) {
        let (most_bytes, now) = (self.config.most_kept_bytes(), self.now);
        let wholes = &mut self.sorted.wholes;
        let kept = self.peer.kept.get_or_insert_with(Box::default);
        let fate = kept.inflow.take_part(fragment, most_bytes, now, wholes);
        self.count(&fate);
    }

    /// A part of a best-effort message: the newest are worth most.
    fn take_large(&mut self, fragment: &Fragment<'_>) {
        let (first, now) = (u64::from(fragment.numbers.number), self.now);
        let most_bytes = self.config.most_kept_bytes();
        let large = &mut self.kept().large;
        let mut dropped = 0;
        let added = loop {
            match large.add(first, fragment, most_bytes, now) {
                Added::NoRoom if large.drop_oldest() => dropped += 1,
                added => break added,
            }
        };
        self.counters.messages_dropped.count_many(DropReason::Incomplete, dropped);
        match added {
            Added::Complete(flags, since, body) => {
                self.sorted.wholes.push(Whole { default_id: LARGE_ID | first, flags, body, since });
            }
            Added::Wrong => self.drop(DropReason::Malformed),
            Added::Kept | Added::NoRoom => {}
        }
    }

    fn count(&self, fate: &Fate) {
        match fate {
            Fate::Duplicate => self.drop(DropReason::Duplicate),
            Fate::NoRoom => self.drop(DropReason::NoRoom),
            Fate::Wrong => self.drop(DropReason::Malformed),
            Fate::Deliver(_) | Fate::Kept => {}
        }
    }

    fn drop(&self, reason: DropReason) {
        self.counters.messages_dropped.count(reason);
    }
}
