//! What an accepted datagram holds: its messages, read one by one.

use super::EndpointConfig;
use crate::drops::DropReason;
use crate::message::MessageRef;
use crate::peer::PeerId;
use crate::stats::{InboundCounters, PeerRxCounters};
use crate::wire::native::{Frame, Frames};

/// A datagram that passed every check, its messages not yet read.
#[derive(Debug)]
pub struct Accepted<'a> {
    pub(super) peer: PeerId,
    pub(super) late: bool,
    pub(super) number: Option<u64>,
    pub(super) contents: Contents<'a>,
}

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

/// The messages of one datagram.
#[derive(Debug)]
pub struct Messages<'a> {
    pub(super) contents: Contents<'a>,
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
            Contents::Native { frames, next_id } => {
                next_valid(frames, self.name, next_id, self.config, self.counters)
            }
        }?;
        if let Some(rx) = self.rx {
            rx.messages.add(1);
        }
        Some(message)
    }
}

impl Messages<'_> {
    /// Counts a message that was taken from here and that nobody is offered, for a reason that only the caller can know.
    pub fn refuse(&self, reason: DropReason) {
        self.counters.messages_dropped.count(reason);
    }
}

/// The next message whose fields and payload pass; the others are counted.
#[inline]
fn next_valid<'a>(
    frames: &mut Frames<'a>,
    name: &'a str,
    next_id: &mut u64,
    config: &EndpointConfig,
    counters: &InboundCounters,
) -> Option<MessageRef<'a>> {
    for frame in frames {
        let Frame::Message(frame) = frame else { continue };
        let id = *next_id;
        *next_id += 1;
        let checked = frame.decode(id, name).and_then(|message| {
            if message.payload.len() > config.max_message_size {
                return Err(DropReason::TooLarge);
            }
            (config.check_payload)(message.content_type, message.payload)?;
            Ok(message)
        });
        match checked {
            Ok(message) => return Some(message),
            Err(reason) => counters.messages_dropped.count(reason),
        }
    }
    None
}
