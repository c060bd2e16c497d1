//! What an accepted datagram holds: its messages, read one by one.

use alloc::vec::Vec;

use super::EndpointConfig;
use super::assembly::Whole;
use crate::drops::DropReason;
use crate::message::{Delivery, MessageRef};
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
    Classic(Option<MessageRef<'a>>),
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
    pub(super) contents: Contents<'a>,
    pub(super) numbered: core::slice::Iter<'a, Option<u64>>,
    pub(super) wholes: core::slice::Iter<'a, Whole>,
    pub(super) name: &'a str,
    pub(super) rx: Option<&'a PeerRxCounters>,
    pub(super) config: &'a EndpointConfig,
    pub(super) counters: &'a InboundCounters,
}

impl<'a> Iterator for Messages<'a> {
    type Item = MessageRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<MessageRef<'a>> {
        let message = match &mut self.contents {
            Contents::Classic(message) => message.take(),
            Contents::Native { .. } => self.next_valid(),
        }?;
        if let Some(rx) = self.rx {
            rx.messages.add(1);
        }
        Some(message)
    }
}

impl<'a> Messages<'a> {
    /// Counts a message that was taken from here and that nobody is offered, for a reason that only the caller can know.
    pub fn refuse(&self, reason: DropReason) {
        self.counters.messages_dropped.count(reason);
    }

    /// The next message whose fields and payload pass; the others are counted.
    #[inline]
    fn next_valid(&mut self) -> Option<MessageRef<'a>> {
        while let Some((frame, id)) = self.next_frame() {
            match self.config.check(frame.decode(id, self.name)) {
                Ok(message) => return Some(message),
                Err(reason) => self.counters.messages_dropped.count(reason),
            }
        }
        None
    }

    /// The next message to be delivered, and what it is called if it has no id of its own.
    #[inline]
    fn next_frame(&mut self) -> Option<(MessageFrame<'a>, u64)> {
        let Contents::Native { frames, next_id } = &mut self.contents else { return None };
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
    pub(super) fn check<'a>(
        &self,
        decoded: Result<MessageRef<'a>, DropReason>,
    ) -> Result<MessageRef<'a>, DropReason> {
        let message = decoded?;
        if message.payload.len() > self.max_message_size {
            return Err(DropReason::TooLarge);
        }
        (self.check_payload)(message.content_type, message.payload)?;
        Ok(message)
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
