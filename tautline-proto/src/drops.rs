//! Why something that arrived was not handed on: one list of names for the whole system.

use core::fmt;

use crate::counter::Counter;

/// Defines the enum together with its table, so that no reason can be without a name.
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

            /// The name in statistics and logs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

drop_reasons! {
    /// Shorter than the smallest datagram of this wire.
    TooShort, "too_short", "shorter than any datagram of this wire";
    /// The checksum is wrong: damaged on the way, or not from a tautline sender.
    BadCrc, "bad_crc", "the CRC-32 does not match: damaged on the way, or sent with other CRC settings";
    /// A datagram of tautline's other wire.
    OtherWire, "other_wire", "the other end speaks the other wire: compare the two `wire` settings";
    /// A datagram of some other protocol.
    NotTautline, "not_tautline", "not a datagram of either wire";
    /// A native datagram of a version that this build does not know.
    OtherVersion, "other_version", "a version of the native wire that this build does not speak";
    /// Flags that this build does not support.
    UnsupportedFlags, "unsupported_flags", "uses a feature of the native wire that this build does not have";
    /// The contents break the wire's rules, although nothing is wrong with the checksum if there is one.
    Malformed, "malformed", "breaks the wire's rules: its sender is faulty, or the two ends' CRC and sequence settings differ";
    /// A classic datagram holding a Python pickle; never decoded.
    Pickle, "pickle", "a Python pickle: executable, never decoded; make the sender's data JSON";
    /// A payload that is not what its content type says.
    BadPayload, "bad_payload", "the payload is not what its content type says";
    /// A payload nested deeper than the limit.
    TooDeep, "too_deep", "the payload is nested deeper than `max_depth`";
    /// A payload with NaN or an infinity, which the policy refuses.
    NotFinite, "not_finite", "the payload holds NaN or an infinity and `nonfinite` is \"refuse\"";
    /// A payload larger than the limit.
    TooLarge, "too_large", "the payload is larger than `max_message_size`";
    /// No session with this id is known here.
    UnknownSession, "unknown_session", "its session is not known here: one side was restarted";
    /// The session exists but belongs to another address.
    WrongAddress, "wrong_address", "its session belongs to another address";
    /// A hello's echo whose token was not issued here, or too long ago.
    BadToken, "bad_token", "its address token is wrong or expired";
    /// The peer table is full of living peers.
    PeerTableFull, "peer_table_full", "the peer table is full: raise `max_peers`";
    /// This sequence number was received before.
    Duplicate, "duplicate", "received before";
    /// Behind the window: too late to tell a duplicate from a late arrival; already counted lost.
    TooOld, "too_old", "older than the window: counted as lost before it came";
    /// A large or ordered message that has lost a part or what should come before it.
    Incomplete, "incomplete", "parts of it never came: lost on the way, or given up by the sender";
    /// Too many incomplete messages of its peer wait; a reliable one comes again.
    NoRoom, "no_room", "too many incomplete messages of its peer wait; it is to be sent again";
    /// A handshake datagram that fits no state here.
    Unexpected, "unexpected", "a handshake datagram that nobody here waits for";
    /// Older than its lifespan, or perhaps so, when it was to be handed out or sent.
    Expired, "expired", "older than its lifespan";
    /// A newer one of its stream came while it waited.
    Superseded, "superseded", "a newer one of its stream came while it waited (`history`)";
    /// A newer one of its stream came before it.
    Stale, "stale", "came after a newer one of its stream (`history`)";
    /// The receive queue was full.
    InboxFull, "inbox_full", "the inbox was full: read faster, or raise `inbox_capacity`";
    /// A handler's backlog was full.
    BacklogFull, "backlog_full", "the handler's backlog was full: it is slower than its messages come";
    /// The interface was closed with the message still waiting.
    Closed, "closed", "waited when the interface was closed";
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The number of reasons.
const REASONS: usize = DropReason::ALL.len();

/// How often each reason occurred: counters with one writer.
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

    /// The counts as a plain value.
    #[must_use]
    pub(crate) fn snapshot(&self) -> Drops {
        Drops(core::array::from_fn(|index| self.0[index].value()))
    }
}

/// How often each reason occurred, as a plain value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drops([u64; REASONS]);

impl Default for Drops {
    fn default() -> Self {
        Self([0; REASONS])
    }
}

impl Drops {
    /// How often this reason occurred.
    #[must_use]
    pub const fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// All reasons together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons that occurred, with their counts.
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
}
