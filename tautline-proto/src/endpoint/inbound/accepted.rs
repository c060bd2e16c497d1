//! What an accepted datagram holds: its messages, read one by one.

use alloc::vec::Vec;

use super::delivery::Sorted;
use super::peers::Peer;
use super::reassembly::Whole;
use crate::drops::DropReason;
use crate::endpoint::config::EndpointConfig;
use crate::message::{Delivery, MessageRef};
use crate::peer::PeerId;
use crate::stats::{InboundCounters, PeerRxCounters};
use crate::time::Instant;
use crate::wire::native::{Frame, Frames, KIND_LEN, MessageFrame};

/// A datagram that passed every check, its messages not yet read.
#[derive(Debug)]
pub struct Accepted<'a> {
    pub(super) peer: PeerId,
    pub(super) late: bool,
    pub(super) number: Option<u64>,
    pub(super) contents: Contents<'a>,
}

/// For each reliable message of a datagram the id to deliver it under, if it is delivered.
pub(super) type Numbered = Vec<Option<u64>>;

#[derive(Debug)]
pub(super) enum Contents<'a> {
    Classic(MessageRef<'a>),
    Native { frames: Frames<'a>, next_id: u64 },
}

impl Accepted<'_> {
    /// Who sent it.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.peer
    }

    /// Whether it came after a newer one.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        self.late
    }

    /// Its full number, which rises along the peer's session (native) or life (classic); `None` where datagrams have none.
    #[must_use]
    pub const fn number(&self) -> Option<u64> {
        self.number
    }
}

/// The messages of one datagram, and those that it completes or that waited for it.
#[derive(Debug)]
pub struct Messages<'a> {
    frames: Frames<'a>,
    /// The number of the next frame's message.
    next_id: u64,
    numbered: core::slice::Iter<'a, Option<u64>>,
    wholes: core::slice::Iter<'a, Whole>,
    /// Since when the one that was read last has been kept.
    kept_since: Option<Instant>,
    name: &'a str,
    rx: Option<&'a PeerRxCounters>,
    config: &'a EndpointConfig,
    counters: &'a InboundCounters,
    /// The one that was read last, or the classic wire's only one.
    message: MessageRef<'a>,
    /// Whether it is still to be handed out.
    is_unread: bool,
    /// Its kind, where it is bare; where it failed half way, fields of those before it are left.
    bare_kind: Option<[u8; KIND_LEN]>,
}

impl<'a> Iterator for Messages<'a> {
    type Item = MessageRef<'a>;

    fn next(&mut self) -> Option<MessageRef<'a>> {
        self.advance().cloned()
    }
}

/// Counts messages that were taken from a datagram and that nobody is offered, for reasons that only the caller can know.
#[derive(Clone, Copy, Debug)]
pub struct Refusals<'a>(&'a InboundCounters);

impl Refusals<'_> {
    /// Counts one.
    pub fn count(self, reason: DropReason) {
        self.0.messages_dropped.count(reason);
    }
}

impl<'a> Messages<'a> {
    #[inline]
    pub(super) fn new(
        contents: Contents<'a>,
        sorted: Option<&'a Sorted>,
        peer: Option<&'a Peer>,
        config: &'a EndpointConfig,
        counters: &'a InboundCounters,
    ) -> Self {
        let (numbered, wholes) =
            sorted.map_or((&[][..], &[][..]), |sorted| (&sorted.numbered, &sorted.wholes));
        let (name, rx) = peer.map_or(("", None), |peer| (peer.name.as_str(), Some(&*peer.rx)));
        let (numbered, wholes) = (numbered.iter(), wholes.iter());
        let (frames, next_id, message, is_unread) = match contents {
            Contents::Classic(message) => (Frames::default(), 0, message, true),
            Contents::Native { frames, next_id } => (frames, next_id, MessageRef::default(), false),
        };
        let (kept_since, bare_kind) = (None, None);
        Self {
            frames,
            next_id,
            numbered,
            wholes,
            kept_since,
            name,
            rx,
            config,
            counters,
            message,
            is_unread,
            bare_kind,
        }
    }

    /// What counts the messages that the caller refuses.
    #[must_use]
    pub const fn refusals(&self) -> Refusals<'a> {
        Refusals(self.counters)
    }

    /// As [`next`](Iterator::next), and the message stays where it was decoded.
    #[inline]
    pub fn advance(&mut self) -> Option<&MessageRef<'a>> {
        self.advance_kept().map(|(message, _)| message)
    }

    /// As [`advance`](Self::advance); and since when a message has been here that this datagram completed, or that waited
    /// for it: the `now` with which its first part was handled.
    #[inline]
    pub fn advance_kept(&mut self) -> Option<(&MessageRef<'a>, Option<Instant>)> {
        if !core::mem::take(&mut self.is_unread) {
            self.decode_next()?;
        }
        if let Some(rx) = self.rx {
            rx.messages.add(1);
        }
        Some((&self.message, self.kept_since))
    }

    /// Decodes the next message whose fields and payload pass; the others are counted.
    #[inline]
    fn decode_next(&mut self) -> Option<()> {
        while let Some((frame, id)) = self.next_frame() {
            let alike = self.bare_kind.and_then(|kind| frame.decode_alike_into(kind, &mut self.message, id));
            let decoded = alike.map_or_else(|| self.decode_any(frame, id), Ok);
            match decoded.and_then(|()| self.config.check(&self.message)) {
                Ok(()) => return Some(()),
                Err(reason) => self.counters.messages_dropped.count(reason),
            }
        }
        None
    }

    /// Decodes a message that need not be as the one before.
    fn decode_any(&mut self, frame: MessageFrame<'a>, id: u64) -> Result<(), DropReason> {
        let decoded = frame.decode_into(&mut self.message, id, self.name);
        self.bare_kind = frame.kind_if_bare().filter(|_| decoded.is_ok());
        decoded
    }

    /// The next message to be delivered, and what it is called if it has no id of its own.
    #[inline]
    fn next_frame(&mut self) -> Option<(MessageFrame<'a>, u64)> {
        for frame in &mut self.frames {
            let Frame::Message(frame) = frame else { continue };
            let id = self.next_id;
            self.next_id += 1;
            if matches!(frame.delivery(), None | Some(Delivery::BestEffort)) {
                return Some((frame, id));
            }
            if let Some(&Some(id)) = self.numbered.next() {
                return Some((frame, id));
            }
        }
        // They come last, so those before them are not marked.
        let whole = self.wholes.next()?;
        self.kept_since = Some(whole.since);
        Some((whole.frame(), whole.default_id))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString as _};
    use alloc::sync::Arc;
    use alloc::vec;
    use core::time::Duration;

    use super::*;
    use crate::endpoint::{Role, WireFormat};
    use crate::json::JsonLimits;
    use crate::message::{Id, MessageType, Priority};
    use crate::peer::SessionId;
    use crate::time::WallTime;
    use crate::wire::native::{self, HEADER_LEN, Head, Header};

    fn config() -> EndpointConfig {
        EndpointConfig {
            role: Role::Server,
            wire: WireFormat::Native,
            name: String::new(),
            max_peers: 1,
            heartbeat_interval: Duration::from_secs(1),
            liveness_timeout: Duration::from_secs(1),
            peer_expiry: Duration::from_secs(1),
            max_message_size: 4,
            datagram_size: 1452,
            most_tries: 20,
            json: JsonLimits::default(),
            check_payload: Arc::new(|_, _| Ok(())),
        }
    }

    /// A message's frame. `kind`: without optional fields, with all, sent reliably, too large; and frames that fail at once
    /// or half way.
    fn frame(kind: u8, number: u8) -> Vec<u8> {
        let id = Id::from("id");
        let mut head = Head {
            message_type: MessageType::Command,
            priority: Priority::High,
            // The first two have one in common.
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
            // A content type, a message type and flags of a later build.
            4 => frame[5] = 0xff,
            5 => frame[4] |= 0x0f,
            6 => frame[1] |= 0x80,
            // Cut short in the time stamp.
            7 => {
                frame.truncate(10);
                frame[3] = 6;
            }
            _ => {}
        }
        frame
    }

    #[test]
    fn nothing_of_a_message_is_left_in_the_next_one() {
        const KINDS: u8 = 8;
        let (config, counters) = (config(), InboundCounters::default());
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
            let anew = frames.clone().zip(0..).filter_map(|(frame, id)| match frame {
                Frame::Message(frame) => frame.decode(id, "").ok(),
                _ => panic!("{frame:?}"),
            });
            let anew: Vec<_> =
                anew.filter(|message| message.payload.len() <= config.max_message_size).collect();
            // The reliable ones are new.
            let numbered = (0..).zip(kinds).filter(|(_, kind)| *kind == 2).map(|(id, _)| Some(id));
            let sorted = Sorted { numbered: numbered.collect(), wholes: Vec::new() };
            let contents = Contents::Native { frames, next_id: 0 };
            let messages = Messages::new(contents, Some(&sorted), None, &config, &counters);
            assert_eq!(messages.collect::<Vec<_>>(), anew, "{}", kinds.map(|kind| kind.to_string()).concat());
        }
    }
}
