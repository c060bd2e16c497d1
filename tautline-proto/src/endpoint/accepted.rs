//! What an accepted datagram holds: its messages, read one by one.

use alloc::vec::Vec;

use super::EndpointConfig;
use super::assembly::Whole;
use super::delivery::Sorted;
use super::peers::Peer;
use crate::drops::DropReason;
use crate::message::{ContentType, Delivery, MessageRef};
use crate::peer::PeerId;
use crate::stats::{InboundCounters, PeerRxCounters};
use crate::wire::native::{Frame, Frames, MessageFrame};

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
    unread: Unread<'a>,
    numbered: core::slice::Iter<'a, Option<u64>>,
    wholes: core::slice::Iter<'a, Whole>,
    name: &'a str,
    rx: Option<&'a PeerRxCounters>,
    config: &'a EndpointConfig,
    counters: &'a InboundCounters,
    /// The one that was read last.
    message: MessageRef<'a>,
    /// Whether it has no optional fields.
    is_bare: bool,
}

impl<'a> Iterator for Messages<'a> {
    type Item = MessageRef<'a>;

    fn next(&mut self) -> Option<MessageRef<'a>> {
        self.advance().cloned()
    }
}

/// What of a datagram is not read yet.
#[derive(Debug)]
enum Unread<'a> {
    /// Its only message, or nothing.
    Classic(bool),
    Native {
        frames: Frames<'a>,
        next_id: u64,
    },
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
        let (unread, message) = match contents {
            Contents::Classic(message) => (Unread::Classic(true), message),
            Contents::Native { frames, next_id } => {
                (Unread::Native { frames, next_id }, MessageRef::default())
            }
        };
        Self { unread, numbered, wholes, name, rx, config, counters, message, is_bare: false }
    }

    /// What counts the messages that the caller refuses.
    #[must_use]
    pub const fn refusals(&self) -> Refusals<'a> {
        Refusals(self.counters)
    }

    /// As [`next`](Iterator::next), and the message stays where it was decoded.
    #[inline]
    pub fn advance(&mut self) -> Option<&MessageRef<'a>> {
        match &mut self.unread {
            // It stands there already.
            Unread::Classic(is_unread) => core::mem::take(is_unread).then_some(())?,
            Unread::Native { .. } => self.decode_next()?,
        }
        if let Some(rx) = self.rx {
            rx.messages.add(1);
        }
        Some(&self.message)
    }

    /// Decodes the next message whose fields and payload pass; the others are counted.
    #[inline]
    fn decode_next(&mut self) -> Option<()> {
        while let Some((frame, id)) = self.next_frame() {
            let was_bare = core::mem::replace(&mut self.is_bare, frame.is_bare());
            let decoded = if was_bare && self.is_bare {
                frame.decode_bare_into(&mut self.message, id)
            } else {
                frame.decode_into(&mut self.message, id, self.name)
            };
            match decoded.and_then(|()| self.config.check(&self.message)) {
                Ok(()) => return Some(()),
                Err(reason) => self.counters.messages_dropped.count(reason),
            }
        }
        None
    }

    /// The next message to be delivered, and what it is called if it has no id of its own.
    #[inline]
    fn next_frame(&mut self) -> Option<(MessageFrame<'a>, u64)> {
        let Unread::Native { frames, next_id } = &mut self.unread else { return None };
        for frame in frames {
            let Frame::Message(frame) = frame else { continue };
            let id = *next_id;
            *next_id += 1;
            if matches!(frame.delivery(), None | Some(Delivery::BestEffort)) {
                return Some((frame, id));
            }
            if let Some(&Some(id)) = self.numbered.next() {
                return Some((frame, id));
            }
        }
        self.wholes.next().map(|whole| (whole.frame(), whole.default_id))
    }
}

impl EndpointConfig {
    /// Whether a message may be shown to the user.
    #[inline]
    pub(super) fn check(&self, message: &MessageRef<'_>) -> Result<(), DropReason> {
        if message.payload.len() > self.max_message_size {
            return Err(DropReason::TooLarge);
        }
        match message.content_type {
            ContentType::Raw => Ok(()),
            encoded => (self.check_payload)(encoded, message.payload),
        }
    }

    /// How many bytes of one peer's incomplete messages are kept, and as many of messages that wait for earlier ones.
    pub(super) const fn most_kept_bytes(&self) -> usize {
        2 * self.most_body_len()
    }

    /// How long a message's body is at most.
    pub(super) const fn most_body_len(&self) -> usize {
        self.max_message_size + MOST_METADATA
    }
}

/// The fixed and optional fields of a message and its numbers, generously.
const MOST_METADATA: usize = 2048;
