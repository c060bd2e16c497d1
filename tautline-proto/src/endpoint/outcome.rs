//! How a reliable message ends, and why one is refused.

use crate::snapshot::saved_variants;
use core::fmt;

/// How a reliable message ended. Each message has exactly one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The peer's interface has received it.
    Delivered,
    /// Its lifespan was over before the peer acknowledged it.
    Expired,
    /// It was sent as often as allowed and not acknowledged. It may still have arrived, because acknowledgements can be lost
    /// too.
    Abandoned,
    /// The connection to the peer ended before the acknowledgement came: either end closed it, or the peer was silent for too
    /// long.
    PeerLost,
    /// One of the ends was restarted, and a new session has replaced the old one. Whether the message arrived is not known.
    Unknown,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: &'static [Self] =
        &[Self::Delivered, Self::Expired, Self::Abandoned, Self::PeerLost, Self::Unknown];

    /// Returns the name in statistics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Expired => "expired",
            Self::Abandoned => "abandoned",
            Self::PeerLost => "peer_lost",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Delivered => "delivered",
            Self::Expired => "not acknowledged within its lifespan",
            Self::Abandoned => "not acknowledged after the last try",
            Self::PeerLost => "not acknowledged before the connection ended",
            Self::Unknown => "unknown, because one end was restarted",
        })
    }
}

/// Why a reliable message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The peer is gone.
    UnknownPeer,
    /// Too many messages wait for the peer's acknowledgement.
    WindowFull,
    /// It has more fragments than can wait for acknowledgements at once.
    TooLarge,
}

saved_variants!(Outcome { 0 = Delivered, 1 = Expired, 2 = Abandoned, 3 = PeerLost, 4 = Unknown });
