//! The messages of an accepted datagram, decoded one by one.

use core::hint::cold_path;
use core::mem::ManuallyDrop;

use super::delivery::KeptMessage;
use super::digest;
use super::ownership::Gate;
use super::peer::InboundPeer;
use super::rights::NotAllowed;
use super::sorting::SortedMessages;
use crate::drops::DropReason;
use crate::endpoint::config::EndpointConfig;
use crate::endpoint::owner::Tenure;
use crate::endpoint::recorder::Recorder;
use crate::message::{Delivery, MessageRef};
use crate::path::PeerClock;
use crate::peer::PeerId;
use crate::rights::Rights;
use crate::stats::{InboundCounters, PeerRxCounters};
use crate::time::Instant;
use crate::wire::native::{Frames, KIND_LEN, MessageFrame};

/// A datagram that passed every check. Its messages are not decoded yet.
#[derive(Debug)]
pub struct Accepted<'a> {
    pub(super) peer: PeerId,
    pub(super) late: bool,
    pub(super) is_elsewhere: bool,
    pub(super) number: Option<u64>,
    /// When it was handled.
    pub(super) at: Instant,
    /// None on the classic wire.
    pub(super) frames: Frames<'a>,
    /// The default id of the first message (native).
    pub(super) next_id: u64,
    /// The only message of a classic datagram.
    pub(super) classic: Option<MessageRef<'a>>,
}

impl Accepted<'_> {
    /// Returns the peer that sent it.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.peer
    }

    /// Returns how many messages it holds, whether they are handed out or not. A fragment does not count as a message.
    #[cfg(feature = "sim")]
    pub(crate) fn messages_held(&self) -> usize {
        let is_message =
            |frame: &crate::wire::native::Frame<'_>| matches!(frame, crate::wire::native::Frame::Message(_));
        usize::from(self.classic.is_some()) + self.frames.clone().filter(is_message).count()
    }

    /// Returns whether it arrived after a newer datagram.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        self.late
    }

    /// Returns whether it came from another address than the peer's: the peer has moved, or somebody has sent a copy of its datagram
    /// from there, which came first (secured links only).
    #[must_use]
    pub const fn is_from_elsewhere(&self) -> bool {
        self.is_elsewhere
    }

    /// Returns its full number, which rises during the peer's session (native) or until its restart (classic). `None` if
    /// datagrams have no numbers.
    #[must_use]
    pub const fn number(&self) -> Option<u64> {
        self.number
    }
}

/// The messages of one datagram, and the messages that it completes or that waited for it.
#[derive(Debug)]
pub struct Messages<'a> {
    frames: Frames<'a>,
    /// The default id of the next message frame.
    next_id: u64,
    /// The default ids of the reliable messages; `None` for each that is not delivered.
    default_ids: core::slice::Iter<'a, Option<u64>>,
    complete: core::slice::Iter<'a, KeptMessage>,
    /// Since when the message that was read last had been kept.
    kept_since: Option<Instant>,
    /// The sender.
    peer: Option<&'a InboundPeer>,
    rx: Option<&'a PeerRxCounters>,
    config: &'a EndpointConfig,
    counters: &'a InboundCounters,
    /// What the sender may send.
    rights: Rights,
    not_allowed: &'a NotAllowed,
    /// `None` if no stream has an owner.
    gate: Option<Gate<'a>>,
    /// Writes the black box, if there is one.
    recorder: Option<&'a mut Recorder>,
    /// The message that was read last, or the only message of a classic datagram. It is dropped only if it owns memory, which few do.
    message: ManuallyDrop<MessageRef<'a>>,
    /// The only message of a classic datagram, which was not read yet.
    classic: Option<&'a MessageRef<'a>>,
    /// The kind of `message`, if it has no optional fields. `None` after a message that could not be decoded, because
    /// `message` then holds fields of earlier ones.
    bare_kind: Option<[u8; KIND_LEN]>,
}

impl<'a> Iterator for Messages<'a> {
    type Item = MessageRef<'a>;

    fn next(&mut self) -> Option<MessageRef<'a>> {
        self.advance()?;
        self.hold();
        Some(MessageRef::clone(&self.message))
    }
}

/// Counts messages that the caller takes from a datagram and drops, for reasons that only the caller knows.
#[derive(Clone, Copy, Debug)]
pub struct Refusals<'a>(&'a InboundCounters);

impl Refusals<'_> {
    /// Counts one message.
    pub fn count(self, reason: DropReason) {
        self.0.messages_dropped.count(reason);
    }
}

impl<'a> Messages<'a> {
    #[inline]
    #[allow(clippy::too_many_arguments)] // parts of the inbound half, which are borrowed one by one
    pub(super) fn new(
        accepted: &'a Accepted<'a>,
        sorted: Option<&'a SortedMessages>,
        peer: Option<&'a InboundPeer>,
        config: &'a EndpointConfig,
        counters: &'a InboundCounters,
        not_allowed: &'a NotAllowed,
        gate: Option<Gate<'a>>,
        recorder: Option<&'a mut Recorder>,
    ) -> Self {
        let (default_ids, complete) = sorted.map_or_else(Default::default, |sorted| {
            cold_path();
            (sorted.default_ids.iter(), sorted.complete.iter())
        });
        #[cfg(feature = "secure")]
        let identity = peer.and_then(|peer| peer.secured.as_ref()).map(|secured| &*secured.identity);
        #[cfg(not(feature = "secure"))]
        let identity = None;
        Self {
            frames: accepted.frames.clone(),
            next_id: accepted.next_id,
            default_ids,
            complete,
            kept_since: None,
            peer,
            rx: peer.map(|peer| &*peer.rx),
            config,
            counters,
            rights: peer.map_or(Rights::ALL, |peer| peer.rights),
            not_allowed,
            gate,
            recorder,
            message: ManuallyDrop::new(MessageRef { identity, ..MessageRef::default() }),
            // Copied when it is read: a message that may be one of two is made somewhere else and then moved, which is slow.
            classic: accepted.classic.as_ref(),
            bare_kind: None,
        }
    }

    /// Returns how many datagrams of the sender are missing so far: numbers up to that of this datagram, which is `number`,
    /// that have not come. `None` if datagrams have no numbers. The count may fall when a late one comes.
    #[must_use]
    pub fn missing(&self, number: Option<u64>) -> Option<u64> {
        let received = self.rx?.datagrams.value();
        Some((number? + 1).saturating_sub(received))
    }

    /// Returns the counter for messages that the caller drops.
    #[must_use]
    pub const fn refusals(&self) -> Refusals<'a> {
        Refusals(self.counters)
    }

    /// Returns what is known of the sender's wall clock at `now`. `None` before the first measurement and on the classic
    /// wire.
    #[must_use]
    #[inline]
    pub fn peer_clock(&self, now: Instant) -> Option<PeerClock> {
        self.peer?.path.peer_clock(now)
    }

    /// Decodes the next message. As [`next`](Iterator::next), but without a copy of the message.
    #[inline]
    pub fn advance(&mut self) -> Option<&MessageRef<'a>> {
        self.advance_kept().map(|(message, _)| message)
    }

    /// As [`advance`](Self::advance), and also returns since when the message has been kept.
    ///
    /// That is `Some` for a message that this datagram completed, or that waited for it: the `now` with which its first
    /// fragment was handled.
    #[inline]
    pub fn advance_kept(&mut self) -> Option<(&MessageRef<'a>, Option<Instant>)> {
        match self.classic.take() {
            None => self.decode_next()?,
            Some(message) => {
                cold_path();
                *self.message = copy_of(message);
                if !self.is_admitted() {
                    self.counters.messages_dropped.count(DropReason::NotOwner);
                    return None;
                }
            }
        }
        if let Some(rx) = self.rx {
            rx.messages.add(1);
        }
        if let Some(recorder) = &mut self.recorder {
            cold_path();
            digest::message(recorder, &self.message);
        }
        Some((&self.message, self.kept_since))
    }

    /// Returns the message that was read last.
    #[must_use]
    #[inline]
    pub fn message(&self) -> &MessageRef<'a> {
        &self.message
    }

    /// Notes that the message that was read last is offered to the user: its sender owns the stream from now on. Returns the
    /// sender's right; `None` if the stream has no owner. The iterator calls it for every message.
    pub fn hold(&mut self) -> Option<Tenure> {
        let stream = self.message.stream();
        let gate = self.gate.as_mut()?;
        if let Some(recorder) = &mut self.recorder {
            digest::hold(recorder);
        }
        gate.hold(stream)
    }

    /// Returns whether any stream of this endpoint has an owner. If not, [`hold`](Self::hold) does nothing.
    #[must_use]
    #[inline]
    pub const fn can_be_held(&self) -> bool {
        self.gate.is_some()
    }

    /// Returns whether the sender may send on the stream of the message that was read last.
    #[inline(always)]
    fn is_admitted(&mut self) -> bool {
        self.gate.is_none() || self.is_admitted_by_gate()
    }

    #[inline(never)] // keeps this code out of the path of endpoints without owners
    fn is_admitted_by_gate(&mut self) -> bool {
        let stream = self.message.stream();
        self.gate.as_mut().is_none_or(|gate| gate.admits(stream))
    }

    /// Decodes the next message that passes every check, and counts the messages that do not.
    #[inline]
    fn decode_next(&mut self) -> Option<()> {
        while let Some((frame, id)) = self.next_frame() {
            let alike = self.bare_kind.and_then(|kind| frame.decode_alike_into(kind, &mut self.message, id));
            let decoded = alike.map_or_else(|| self.decode_any(frame, id), Ok);
            match decoded.and_then(|()| self.config.check(&self.message)) {
                Ok(()) if !self.rights.allows(self.message.message_type) => self.refuse(),
                Ok(()) if self.is_admitted() => return Some(()),
                Ok(()) => self.drop_message(DropReason::NotOwner),
                Err(reason) => self.drop_message(reason),
            }
        }
        None
    }

    #[cold]
    fn drop_message(&self, reason: DropReason) {
        self.counters.messages_dropped.count(reason);
    }

    /// Counts a message that its sender may not send.
    #[cold]
    fn refuse(&self) {
        self.counters.messages_dropped.count(DropReason::NotAllowed);
        if let Some(peer) = self.peer {
            self.not_allowed.note(peer.id, self.message.message_type);
        }
    }

    /// Decodes a message of any kind.
    #[inline]
    fn decode_any(&mut self, frame: MessageFrame<'a>, id: u64) -> Result<(), DropReason> {
        let name = self.peer.map_or("", |peer| &peer.name);
        let decoded = frame.decode_into(&mut self.message, id, name);
        self.bare_kind = frame.kind_if_bare().filter(|_| decoded.is_ok());
        decoded
    }

    /// Returns the next message to deliver, and its default id.
    #[inline]
    fn next_frame(&mut self) -> Option<(MessageFrame<'a>, u64)> {
        while let Some(frame) = self.frames.next_message() {
            let id = self.next_id;
            self.next_id += 1;
            if matches!(frame.delivery(), None | Some(Delivery::BestEffort)) {
                return Some((frame, id));
            }
            if let Some(&Some(id)) = self.default_ids.next() {
                return Some((frame, id));
            }
        }
        // Kept messages come last, so `kept_since` is not set for the messages before them.
        let kept = self.complete.next()?;
        self.kept_since = Some(kept.since);
        Some((kept.frame(), kept.default_id))
    }
}

impl Drop for Messages<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.message.owns_memory() {
            cold_path();
            drop_message(core::mem::take(&mut self.message));
        }
    }
}

/// Drops a message. The call keeps the long code for that out of the path of native messages.
#[inline(never)]
fn drop_message(message: MessageRef<'_>) {
    drop(message);
}

/// Copies the message of a classic datagram.
#[inline(never)] // keeps this long code out of the path of native messages
fn copy_of<'a>(message: &MessageRef<'a>) -> MessageRef<'a> {
    message.clone()
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;
    use alloc::vec;
    use alloc::vec::Vec;
    use core::time::Duration;

    use super::*;
    use crate::endpoint::{Role, WireFormat};
    use crate::message::{Id, MessageType, Priority};
    use crate::peer::SessionId;
    use crate::time::WallTime;
    use crate::wire::native::{self, Frame, HEADER_LEN, Head, Header};

    fn config() -> EndpointConfig {
        EndpointConfig { max_message_size: 4, ..EndpointConfig::new(Role::Server, WireFormat::Native) }
    }

    /// Encodes a message of one of 8 kinds: without optional fields, with all, reliable, too large, and four that cannot be
    /// decoded.
    fn frame(kind: u8, number: u8) -> Vec<u8> {
        let id = Id::from("id");
        let mut head = Head {
            message_type: MessageType::Command,
            priority: Priority::High,
            // The first two numbers share a channel.
            channel: u16::from(number) / 3,
            timestamp: WallTime::from_nanos(number.into()),
            ..Head::default()
        };
        if matches!(kind, 1 | 6) {
            let (message_id, correlation_id) = (Some(&id), Some(&id));
            let (source, destination) = (Some("source"), Some("destination"));
            let lifespan = Some(Duration::from_millis(1));
            head = Head { message_id, source, destination, correlation_id, lifespan, ..head };
        }
        if kind == 2 {
            head.delivery = Delivery::Reliable;
        }
        let mut frame = Vec::new();
        let started = native::begin_message(&mut frame, &head).expect("short texts");
        frame.extend_from_slice(if kind == 3 { b"large" } else { core::slice::from_ref(&number) });
        assert!(native::finish_message(&mut frame, started));
        match kind {
            // An unknown content type, message type and flag.
            4 => frame[5] = 0xff,
            5 => frame[4] |= 0x0f,
            6 => frame[1] |= 0x80,
            // The time stamp is cut short.
            7 => {
                frame.truncate(10);
                frame[3] = 6;
            }
            _ => {}
        }
        frame
    }

    #[test]
    fn no_field_of_a_message_is_left_in_the_next_message() {
        const KINDS: u8 = 8;
        let (config, counters, not_allowed) = (config(), InboundCounters::default(), NotAllowed::default());
        let kinds = || 0..KINDS;
        for kinds in
            kinds().flat_map(|one| kinds().flat_map(move |two| kinds().map(move |three| [one, two, three])))
        {
            let mut datagram = vec![0; HEADER_LEN];
            for (kind, number) in kinds.into_iter().zip(1..) {
                datagram.extend(frame(kind, number));
            }
            native::seal(
                &mut datagram,
                Header { session: SessionId::from_bits(7), sequence: 0, from_server: false },
            );
            let (_, frames) = native::parse(&datagram).expect("in order");
            let expected = frames.clone().zip(0..).filter_map(|(frame, id)| match frame {
                Frame::Message(frame) => frame.decode(id, "").ok(),
                _ => panic!("{frame:?}"),
            });
            let expected: Vec<_> =
                expected.filter(|message| message.payload.len() <= config.max_message_size).collect();
            // Every reliable message is delivered.
            let default_ids = (0..).zip(kinds).filter(|(_, kind)| *kind == 2).map(|(id, _)| Some(id));
            let sorted = SortedMessages { default_ids: default_ids.collect(), ..SortedMessages::default() };
            let (peer, at) = (PeerId::none(), Instant::from_nanos(1));
            let accepted = Accepted {
                peer,
                late: false,
                is_elsewhere: false,
                number: None,
                at,
                frames,
                next_id: 0,
                classic: None,
            };
            let messages =
                Messages::new(&accepted, Some(&sorted), None, &config, &counters, &not_allowed, None, None);
            assert_eq!(
                messages.collect::<Vec<_>>(),
                expected,
                "{}",
                kinds.map(|kind| kind.to_string()).concat()
            );
        }
    }
}
