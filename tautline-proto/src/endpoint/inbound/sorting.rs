//! Sorts the reliable and large messages of one datagram: which to deliver, which to keep, which to drop.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::delivery::{Added, DeliveryState, KeptMessage, LARGE_ID, RELIABLE_ID, Room, Taken};
use super::ownership::{Gate, Origin};
use super::peer::InboundPeer;
use super::registry::Registry;
use super::rights::NotAllowed;
use crate::drops::DropReason;
use crate::endpoint::command::Command;
use crate::endpoint::config::EndpointConfig;
use crate::message::{Delivery, MessageRef, StreamId};
use crate::rights::Rights;
use crate::stats::InboundCounters;
use crate::time::Instant;
use crate::wire::native::{Fragment, Frame, Frames, KIND_LEN, MessageFrame};

/// The largest buffer that is kept for the next large message, in bytes.
const MAX_SPARE: usize = 1 << 16;

/// What there is to deliver of a datagram with reliable messages or fragments.
#[derive(Debug, Default)]
pub(super) struct SortedMessages {
    /// For each reliable message of the datagram, in their order: the default id to deliver it with, or `None` if it is not
    /// delivered.
    pub(super) default_ids: Vec<Option<u64>>,
    /// Messages that are delivered after the datagram's own messages.
    pub(super) complete: Vec<KeptMessage>,
    /// The buffer of a message that was delivered, for the next large one.
    pub(super) spare: Vec<u8>,
}

impl SortedMessages {
    /// Sorts the reliable messages and the fragments of a datagram.
    ///
    /// They are acknowledged before the user sees them. So the acknowledgement is sent even if the user closes the connection
    /// after the last message. A message on a stream that another peer owns is not acknowledged.
    pub(super) fn sort(&mut self, registry: &mut Registry, origin: Origin, frames: Frames<'_>) {
        self.default_ids.clear();
        self.spare_a_buffer();
        let Registry { config, counters, peers, outputs, owners, not_allowed, .. } = registry;
        let id = origin.peer;
        let kept_of_all = peers.kept();
        let Some(peer) = peers.get(id) else { return };
        let gate = owners.as_deref_mut().map(|owners| Gate { owners, outputs, origin });
        let now = origin.now;
        let most_kept = config.max_kept_of_all().saturating_sub(kept_of_all - peer.kept());
        let mut sorter = Sorter {
            peer,
            sorted: self,
            config,
            counters,
            not_allowed,
            gate,
            now,
            most_kept,
            has_forwarded: false,
            message: MessageRef::default(),
            bare_kind: None,
        };
        frames.for_each(|frame| sorter.sort(&frame));
        let Some(delivery) = peer.delivery.as_deref_mut() else { return };
        let reliable = &mut delivery.reliable;
        reliable.release(&mut self.complete);
        counters.messages_dropped.count_many(DropReason::Incomplete, reliable.take_abandoned());
        if let Some((base, bitmap)) = reliable.acknowledge() {
            outputs.commands.push_back(Command::Acknowledge(id, base, bitmap));
        }
        // Incomplete messages must expire.
        if let Some(at) = delivery.next_timeout() {
            peers.schedule(id, at);
        }
        peers.count_kept(id);
    }
}

impl SortedMessages {
    /// Drops the messages of the datagram before, but for one of their buffers.
    fn spare_a_buffer(&mut self) {
        let delivered = self.complete.pop().map(|message| message.body);
        self.complete.clear();
        if let Some(buffer) = delivered.filter(|buffer| buffer.capacity() <= MAX_SPARE) {
            self.spare = buffer;
        }
    }
}

/// Sorts the frames of one datagram, one after the other.
struct Sorter<'a, 'd> {
    peer: &'a mut InboundPeer,
    sorted: &'a mut SortedMessages,
    config: &'a EndpointConfig,
    counters: &'a InboundCounters,
    not_allowed: &'a NotAllowed,
    gate: Option<Gate<'a>>,
    now: Instant,
    /// How many bytes this peer's messages may take, beside those of other peers.
    most_kept: usize,
    /// Forward frames count once for each datagram, like all control frames.
    has_forwarded: bool,
    /// The reliable message that was decoded last.
    message: MessageRef<'d>,
    /// The kind of `message`, if it has no optional fields. `None` after a message that could not be decoded.
    bare_kind: Option<[u8; KIND_LEN]>,
}

impl<'d> Sorter<'_, 'd> {
    fn sort(&mut self, frame: &Frame<'d>) {
        match frame {
            Frame::Message(frame) => match frame.delivery() {
                // Best-effort messages are decoded later. So are messages of a class that this build does not know.
                None | Some(Delivery::BestEffort) => {}
                Some(delivery) => {
                    let default_id = self.take_reliable(*frame, delivery);
                    self.sorted.default_ids.push(default_id);
                }
            },
            Frame::Fragment(fragment) if fragment.total as usize > self.config.max_body_len() => {
                match fragment.delivery {
                    Delivery::BestEffort => self.refuse_large(fragment, DropReason::TooLarge),
                    // As often as it comes, like a message in one piece.
                    _ if fragment.index == 0 => self.drop(DropReason::TooLarge),
                    _ => {}
                }
            }
            Frame::Fragment(fragment) if fragment.delivery == Delivery::BestEffort => {
                self.take_best_effort_fragment(fragment);
            }
            Frame::Fragment(fragment) => self.take_reliable_fragment(fragment),
            Frame::Forward(base) if !self.has_forwarded => {
                self.has_forwarded = true;
                self.delivery().reliable.forward(*base);
            }
            _ => {}
        }
    }

    fn delivery(&mut self) -> &mut DeliveryState {
        self.peer.delivery.get_or_insert_with(Box::default)
    }

    /// Takes a reliable message that arrived in one piece. Returns the default id to deliver it with, if it is delivered in
    /// its place in the datagram.
    fn take_reliable(&mut self, frame: MessageFrame<'d>, delivery: Delivery) -> Option<u64> {
        // A message that cannot be read is not acknowledged, so that the sender learns that it did not arrive.
        let checked = self.decode(frame).and_then(|()| self.config.check(&self.message));
        let checked = checked.and_then(|()| self.check_sender(frame.stream()));
        let numbers = frame.numbers().ok_or(DropReason::Malformed);
        let numbers = match checked.and(numbers) {
            Ok(numbers) => numbers,
            Err(reason) => {
                self.drop(reason);
                return None;
            }
        };
        let (room, now) = (self.room(), self.now);
        match self.delivery().reliable.take(numbers, frame, room, now) {
            Taken::Deliver(number) if delivery == Delivery::Ordered && !self.sorted.complete.is_empty() => {
                // It may have to follow a message that is delivered after the datagram's own messages.
                self.sorted.complete.push(KeptMessage::copy(frame, number, now));
                None
            }
            Taken::Deliver(number) => Some(RELIABLE_ID | number),
            Taken::Kept => None,
            taken => {
                self.count(&taken);
                None
            }
        }
    }

    /// Decodes a message of any kind.
    fn decode(&mut self, frame: MessageFrame<'d>) -> Result<(), DropReason> {
        let alike = self.bare_kind.and_then(|kind| frame.decode_alike_into(kind, &mut self.message, 0));
        if alike.is_some() {
            return Ok(());
        }
        let decoded = frame.decode_into(&mut self.message, 0, "");
        self.bare_kind = frame.kind_if_bare().filter(|_| decoded.is_ok());
        decoded
    }

    fn take_reliable_fragment(&mut self, fragment: &Fragment<'_>) {
        // Only the first fragment shows the stream. Without it, the message never becomes complete.
        if let Err(reason) = self.check_sender(fragment.stream()) {
            return self.drop(reason);
        }
        let (room, now) = (self.room(), self.now);
        let complete = &mut self.sorted.complete;
        let delivery = self.peer.delivery.get_or_insert_with(Box::default);
        let taken = delivery.reliable.take_fragment(fragment, room, now, complete);
        self.count(&taken);
    }

    /// Returns how much room there is for reliable messages.
    fn room(&mut self) -> Room {
        let (each, most) = (self.config.max_kept_bytes(), self.most_kept);
        Room { each, of_all: most.saturating_sub(self.delivery().large.kept()) }
    }

    /// Checks that the peer may send on this stream: by its key, and because no other peer owns the stream.
    fn check_sender(&mut self, stream: Option<StreamId>) -> Result<(), DropReason> {
        let rights = self.peer.rights;
        let Some(stream) = stream else {
            return if rights == Rights::NONE { Err(DropReason::NotAllowed) } else { Ok(()) };
        };
        if !rights.allows(stream.message_type) {
            self.not_allowed.note(self.peer.id, stream.message_type);
            return Err(DropReason::NotAllowed);
        }
        let Some(gate) = &mut self.gate else { return Ok(()) };
        if gate.admits(stream) { Ok(()) } else { Err(DropReason::NotOwner) }
    }

    /// Takes a fragment of a best-effort message. If there is no room, the oldest incomplete messages are dropped, because
    /// the newest are worth most.
    fn take_best_effort_fragment(&mut self, fragment: &Fragment<'_>) {
        // Owners matter when the message is complete, rights at once: without its first fragment, it never is.
        let rights = self.peer.rights;
        if let Some(stream) = fragment.stream().filter(|stream| !rights.allows(stream.message_type)) {
            self.not_allowed.note(self.peer.id, stream.message_type);
            return self.refuse_large(fragment, DropReason::NotAllowed);
        }
        if rights == Rights::NONE {
            return self.refuse_large(fragment, DropReason::NotAllowed);
        }
        if rights != Rights::ALL && self.delivery().has_refused(fragment.number()) {
            return;
        }
        let (first, now) = (u64::from(fragment.numbers.number), self.now);
        let max_bytes = self.config.max_kept_bytes();
        let DeliveryState { reliable, large, .. } =
            &mut **self.peer.delivery.get_or_insert_with(Box::default);
        let mut dropped = 0;
        if !large.contains(first) {
            let (total, most) = (fragment.total as usize, self.most_kept.saturating_sub(reliable.kept()));
            while !large.has_room(total, most) && large.drop_oldest() {
                dropped += 1;
            }
        }
        let added = loop {
            match large.add(first, fragment, max_bytes, now, &mut self.sorted.spare) {
                Added::NoRoom if large.drop_oldest() => dropped += 1,
                added => break added,
            }
        };
        self.counters.messages_dropped.count_many(DropReason::Incomplete, dropped);
        match added {
            Added::Complete(flags, since, body) => {
                let message = KeptMessage { default_id: LARGE_ID | first, flags, body, since };
                self.sorted.complete.push(message);
            }
            Added::Contradiction => self.drop(DropReason::Malformed),
            Added::Incomplete | Added::NoRoom => {}
        }
    }

    /// Drops a large best-effort message, of which this may be one of many fragments.
    fn refuse_large(&mut self, fragment: &Fragment<'_>, reason: DropReason) {
        if self.delivery().refuse(fragment.number()) {
            self.drop(reason);
        }
    }

    fn count(&self, taken: &Taken) {
        match taken {
            Taken::Duplicate => self.drop(DropReason::Duplicate),
            Taken::NoRoom => self.drop(DropReason::NoRoom),
            Taken::Contradiction => self.drop(DropReason::Malformed),
            Taken::Deliver(_) | Taken::Kept => {}
        }
    }

    fn drop(&self, reason: DropReason) {
        self.counters.messages_dropped.count(reason);
    }
}
