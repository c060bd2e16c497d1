//! The words of ownership: which streams have one owner at a time, how an owner changes, and how a claim ends.
//!
//! The rules themselves are in `inbound/ownership.rs`.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::message::{MessageType, StreamId};
use crate::peer::PeerId;
use crate::snapshot::{Reader, Saved, Writer, saved};

/// The number of message types.
const TYPES: usize = MessageType::ALL.len();

/// The streams that have one owner at a time, and for how long their owner may be silent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedStreams([OfType; TYPES]);

/// The streams of one type. `None`: the stream has no owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OfType {
    common: Option<Duration>,
    /// Sorted by channel.
    channels: Vec<(u16, Option<Duration>)>,
}

impl OwnedStreams {
    /// Gives the streams of a type, or one channel of it, one owner at a time. Another peer may send once the owner was silent for
    /// longer than `silence`. With `None`, every peer may send. A channel goes before its type.
    pub fn set(&mut self, message_type: MessageType, channel: Option<u16>, silence: Option<Duration>) {
        let of_type = &mut self.0[index_of(message_type)];
        let Some(channel) = channel else {
            of_type.common = silence;
            return;
        };
        match of_type.channels.binary_search_by_key(&channel, |&(channel, _)| channel) {
            Ok(index) => of_type.channels[index].1 = silence,
            Err(index) => of_type.channels.insert(index, (channel, silence)),
        }
    }

    /// Returns for how long the owner of this stream may be silent. `None` if the stream has no owner.
    #[must_use]
    #[inline]
    pub fn silence(&self, stream: StreamId) -> Option<Duration> {
        let of_type = &self.0[index_of(stream.message_type)];
        match of_type.channels.binary_search_by_key(&stream.channel, |&(channel, _)| channel) {
            Ok(index) => of_type.channels[index].1,
            Err(_) => of_type.common,
        }
    }

    /// Returns whether no stream has an owner.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let is_owned = |of_type: &OfType| {
            of_type.common.is_some() || of_type.channels.iter().any(|(_, silence)| silence.is_some())
        };
        !self.0.iter().any(is_owned)
    }
}

/// The wire numbers types from 1.
fn index_of(message_type: MessageType) -> usize {
    usize::from(message_type.to_wire() - 1)
}

/// A right to send on a stream: from the moment when a peer became its owner until another did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tenure {
    /// The stream's place in the table of owned streams: below [`MAX_OWNED_STREAMS`].
    pub place: u16,
    /// The number of the owner's period, which no other period of any stream has. Never 0.
    pub period: u64,
}

/// How many streams with an owner an endpoint knows at once. When the table is full, a stream without an owner, or whose owner was
/// silent for too long, makes room. If there is none, messages of further streams are dropped.
pub const MAX_OWNED_STREAMS: usize = 1024;

/// A change of the owner of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnerChange {
    /// The stream.
    pub stream: StreamId,
    /// The owner before. `None` if there was none.
    pub from: Option<PeerId>,
    /// The owner now. `None` if there is none: the next peer to send becomes the owner.
    pub to: Option<PeerId>,
    /// Why it changed.
    pub reason: OwnerReason,
    /// The stream's place, and the number of the present or the last period.
    pub tenure: Tenure,
}

/// Why the owner of a stream changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OwnerReason {
    /// The new owner was the first to send on a stream without an owner.
    First,
    /// The owner before was silent for too long.
    Silent,
    /// The new owner claimed the stream.
    Claimed,
    /// The owner released the stream.
    Released,
    /// The session of the owner has ended: it was closed, lost, or replaced after a restart.
    Gone,
    /// The receiver has freed the stream, for example because a watchdog tripped.
    Freed,
}

impl OwnerReason {
    /// Returns the name in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Silent => "silent",
            Self::Claimed => "claimed",
            Self::Released => "released",
            Self::Gone => "gone",
            Self::Freed => "freed",
        }
    }
}

impl fmt::Display for OwnerReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a claim or a release ended at one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClaimOutcome {
    /// We own the stream.
    Granted,
    /// We do not own the stream any more.
    Released,
    /// The claim was granted, and another peer has taken the stream over since.
    Overtaken,
    /// Streams of this type and channel have no owner at the peer: every peer may send (`owner` is off there).
    Unowned,
    /// The peer refuses: we may not own the stream, or it has no room for one more stream.
    Refused,
    /// The peer did not answer in time. Versions without ownership never answer.
    Unanswered,
    /// The session has ended first.
    PeerLost,
}

impl ClaimOutcome {
    /// Returns the name in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Released => "released",
            Self::Overtaken => "overtaken",
            Self::Unowned => "unowned",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
            Self::PeerLost => "peer_lost",
        }
    }
}

impl fmt::Display for ClaimOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a claim or a release was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClaimError {
    /// The peer is gone.
    UnknownPeer,
    /// Too many claims and releases to this peer wait for their answers.
    TooMany,
    /// The classic wire has no frames for it.
    NeedsNativeWire,
}

saved!(OfType { common, channels });

impl Saved for OwnedStreams {
    fn save(&self, out: &mut Writer) {
        self.0.save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Saved::load(from).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_channel_goes_before_its_type() {
        let mut owned = OwnedStreams::default();
        assert!(owned.is_empty());
        owned.set(MessageType::Command, Some(7), None);
        assert!(owned.is_empty(), "nothing has an owner");
        owned.set(MessageType::Command, None, Some(MS));
        owned.set(MessageType::Command, Some(3), Some(MS * 2));
        owned.set(MessageType::Status, Some(0), Some(MS * 3));
        let silence = |message_type, channel| owned.silence((message_type, channel).into());
        assert_eq!(silence(MessageType::Command, 0), Some(MS));
        assert_eq!(silence(MessageType::Command, 3), Some(MS * 2));
        assert_eq!(silence(MessageType::Command, 7), None);
        assert_eq!(silence(MessageType::Status, 0), Some(MS * 3));
        assert_eq!(silence(MessageType::Status, 1), None);
        assert_eq!(silence(MessageType::Data, 0), None);
        assert!(!owned.is_empty());
    }
}
