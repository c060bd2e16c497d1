//! Why datagrams and messages are dropped: one list of reasons for all crates, and how often each occurred.
//!
//! The endpoint, the library and the program use the same names, so that statistics can be added up.

use core::fmt;

use crate::counter::Counter;
use crate::snapshot::{Reader, Saved, Writer};

/// Defines the enum together with its table, so that every reason has a name and an explanation.
macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $text:literal;)+) => {
        /// Why a datagram or a message was dropped.
        ///
        /// Each drop is counted under exactly one reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum DropReason { $($(#[$doc])* $variant),+ }

        impl DropReason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the name in statistics and logs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Returns a sentence that tells an operator what happened and what to do.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

drop_reasons! {
    /// Shorter than the smallest datagram of this wire.
    TooShort, "too_short", "the datagram is shorter than any datagram of this wire";
    /// The checksum is wrong.
    BadCrc, "bad_crc",
        "the CRC-32 does not match: the datagram was damaged, or comes from another program";
    /// A datagram of tautline's other wire.
    OtherWire, "other_wire", "the sender speaks the other wire: set `wire` to the same value at both ends";
    /// A datagram of another protocol.
    NotTautline, "not_tautline", "the datagram belongs to neither of tautline's wires";
    /// A native datagram of a version that this build does not know.
    OtherVersion, "other_version",
        "the sender speaks another version of the native wire: install the same version of tautline at both ends";
    /// A classic datagram whose sender has another `use_crc` than this end.
    OtherCrc, "other_crc", "the sender's `use_crc` is not that of this end: give both ends the same value";
    /// A classic datagram whose sender has another `use_sequence` than this end.
    OtherSequence, "other_sequence",
        "the sender's `use_sequence` is not that of this end: give both ends the same value";
    /// A classic datagram whose sender has another `use_crc` and another `use_sequence` than this end.
    OtherCrcAndSequence, "other_crc_and_sequence",
        "the sender's `use_crc` and `use_sequence` are not those of this end: give both ends the same values";
    /// Flags that this build does not support.
    UnsupportedFlags, "unsupported_flags",
        "the sender uses a feature of the native wire that this build does not have: update tautline at this end";
    /// The contents break the rules of the wire, although the checksum is right, if there is one.
    Malformed, "malformed", "the contents break the rules of the wire: the sender is faulty, or speaks another protocol";
    /// A classic envelope whose `metadata` is missing or not an object.
    BadMetadata, "bad_metadata", "the envelope's `metadata` is missing, or is not an object";
    /// A classic envelope without `data`.
    NoData, "no_data", "the envelope's `data` is missing: let the sender send null if there is nothing to say";
    /// A classic envelope without `message_id`.
    NoMessageId, "no_message_id", "the envelope's `message_id` is missing: it may be any JSON value";
    /// A classic envelope whose `timestamp` is missing or not a number.
    BadTimestamp, "bad_timestamp",
        "the envelope's `timestamp` is missing, or is not a number: it is a finite float, or an integer of 64 bits";
    /// A classic envelope whose `message_type` is missing or unknown.
    BadMessageType, "bad_message_type",
        "the envelope's `message_type` is missing or unknown: it is the name of one of the seven types, in lower case";
    /// A classic envelope whose `priority` is missing or not 1 to 4.
    BadPriority, "bad_priority", "the envelope's `priority` is missing, or is not the number 1, 2, 3 or 4";
    /// A classic envelope whose `source` is missing, or neither text nor null.
    BadSource, "bad_source", "the envelope's `source` is missing, or is neither text nor null";
    /// A classic envelope whose `destination` is neither text nor null.
    BadDestination, "bad_destination", "the envelope's `destination` is neither text nor null";
    /// A classic datagram that holds a Python pickle. It is never decoded.
    Pickle, "pickle",
        "the datagram holds a Python pickle, which can execute code and is never decoded: let the sender send JSON";
    /// A classic envelope with half of a surrogate pair, or with bytes that are not UTF-8.
    NotUnicode, "not_unicode",
        "a text of the envelope is not valid Unicode: it holds half of a surrogate pair (as some file names in Python do), or bytes that are not UTF-8";
    /// A payload that is not what its content type says.
    BadPayload, "bad_payload", "the payload is not what its content type says";
    /// A payload that is nested deeper than the limit.
    TooDeep, "too_deep", "a value of the message is nested deeper than `max_depth`";
    /// A payload with NaN or an infinity, which the settings refuse.
    NotFinite, "not_finite", "a value of the message is NaN or an infinity, and `nonfinite` is \"refuse\"";
    /// A payload that is larger than the limit.
    TooLarge, "too_large", "the payload is larger than `max_message_size`";
    /// No session with this id is known here.
    UnknownSession, "unknown_session", "the session is not known here, usually because one end was restarted";
    /// The datagram came from another address than that of the session's peer, or of the client's server.
    WrongAddress, "wrong_address", "the datagram came from an address that is not the expected peer's";
    /// An echo whose token was not issued here, or too long ago.
    BadToken, "bad_token", "the address token is wrong or expired";
    /// The sender may not become a peer, or may not send messages of this type.
    NotAllowed, "not_allowed",
        "the sender is in none of the networks of `allow`, or its key may not send messages of this type";
    /// A plain datagram at a secured end.
    NotSecured, "not_secured", "the sender has no key, and this end takes secured datagrams only: give the sender the key";
    /// A secured datagram at a plain end.
    Secured, "secured", "the sender's link is secured, and this end has no key: give this end the key";
    /// The handshake of a client whose key is not among those of this end, or that does not have the key that it names.
    UnknownKey, "unknown_key", "the sender has none of the keys that this end accepts";
    /// A sealed datagram that is not what a holder of the session's keys has sent.
    BadTag, "bad_tag", "the datagram was changed on the way, or is a forgery";
    /// Strangers' handshakes have used up their share of the driver's time.
    Overloaded, "overloaded", "more strangers call than their share of the driver's time allows: an honest one calls again";
    /// The peer table is full, and none of its peers has to make room.
    PeerTableFull, "peer_table_full", "the peer table is full: raise `max_peers`";
    /// The sequence number or the delivery number was received before.
    Duplicate, "duplicate", "it was received before";
    /// The sequence number lies before the window. So a duplicate cannot be told from a late datagram, which was already
    /// counted as lost.
    TooOld, "too_old", "it came so late that it was already counted as lost";
    /// The sequence number is implausibly far ahead.
    NumberLeap, "number_leap",
        "its number is implausibly far ahead: the sender is faulty, or nothing from it arrived for a long time; the datagrams that follow it are accepted";
    /// A large message that has lost a fragment, or an ordered message that has lost its predecessor.
    Incomplete, "incomplete", "a part of the message never came: it was lost, or the sender abandoned the message";
    /// Too many incomplete or held-back messages wait, of this peer or of all. The sender sends a reliable message again.
    NoRoom, "no_room",
        "too many incomplete or held-back messages are waiting, of this peer or of all: if the message is reliable, the sender sends it again";
    /// A handshake datagram that does not fit the state of the connection.
    Unexpected, "unexpected", "a handshake datagram came that this end was not waiting for";
    /// The message was older than its lifespan, or may have been, when it was to be passed to the user or sent.
    Expired, "expired", "the message was older than its lifespan";
    /// A newer message of the same stream came while this one waited.
    Superseded, "superseded", "a newer message of the same stream came while this one waited (`history`)";
    /// A newer message of the same stream came before this one.
    Stale, "stale", "a newer message of the same stream had come before this one (`history`)";
    /// Another peer owns the stream of the message.
    NotOwner, "not_owner",
        "another peer owns the stream: claim it, or wait until its owner releases it or is silent for its `deadline` (`owner`)";
    /// A watchdog of its stream has tripped and latches, or was reset after the message was made.
    Latched, "latched", "commands had stopped, and the stream is stopped until somebody resets its watchdog (`reset`)";
    /// The inbox was full.
    InboxFull, "inbox_full", "the inbox was full: receive messages faster, or raise `inbox_capacity` or `queue_bytes`";
    /// A handler's backlog was full.
    BacklogFull, "backlog_full", "the handler's backlog was full: messages come faster than the handler takes them (`handler_backlog`, `queue_bytes`)";
    /// The interface was closed while the message waited.
    Closed, "closed", "the interface was closed while the message waited";
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The number of reasons.
const REASONS: usize = DropReason::ALL.len();

/// Counts how often each reason occurred. There is one writer at a time.
#[derive(Debug)]
pub(crate) struct DropCounters([Counter; REASONS]);

impl Default for DropCounters {
    fn default() -> Self {
        Self([const { Counter::new() }; REASONS])
    }
}

impl DropCounters {
    /// Counts one drop.
    pub(crate) fn count(&self, reason: DropReason) {
        self.count_many(reason, 1);
    }

    /// Counts `count` drops for one reason.
    pub(crate) fn count_many(&self, reason: DropReason, count: u64) {
        self.0[reason as usize].add(count);
    }

    /// Returns the counts as a plain value.
    #[must_use]
    pub(crate) fn snapshot(&self) -> Drops {
        Drops(core::array::from_fn(|index| self.0[index].value()))
    }
}

/// How often each reason occurred, as a plain value. `{:?}` shows the reasons that occurred.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Drops([u64; REASONS]);

impl core::fmt::Debug for Drops {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_map().entries(self.iter().filter(|(_, count)| *count > 0)).finish()
    }
}

impl Default for Drops {
    fn default() -> Self {
        Self([0; REASONS])
    }
}

impl Drops {
    /// Returns how often this reason occurred.
    #[must_use]
    pub const fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Returns the sum over all reasons.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns the reasons that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&reason| (reason, self.of(reason))).filter(|&(_, count)| count > 0)
    }

    /// Adds `count` drops for `reason`.
    pub fn add(&mut self, reason: DropReason, count: u64) {
        self.0[reason as usize] += count;
    }

    /// Adds every count of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }
}

impl Saved for DropCounters {
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

    #[test]
    fn every_reason_has_its_own_name_and_counter() {
        let counters = DropCounters::default();
        for &reason in DropReason::ALL {
            counters.count(reason);
        }
        let drops = counters.snapshot();
        assert!(DropReason::ALL.iter().all(|&reason| drops.of(reason) == 1));
        assert_eq!(drops.total(), DropReason::ALL.len() as u64);
        let names: hashbrown::HashSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
    }

    #[test]
    fn drops_show_the_reasons_that_occurred() {
        let mut drops = Drops::default();
        drops.add(DropReason::Expired, 3);
        assert_eq!(alloc::format!("{drops:?}"), "{Expired: 3}");
    }
}
