//! How a reliable message ends, and why one is not taken.

use core::fmt;

/// What became of a reliable message: exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The peer's interface has it.
    Delivered,
    /// Its lifespan was over before the peer acknowledged it.
    Expired,
    /// It was sent as often as is allowed and not acknowledged. It may have arrived: acknowledgements are lost too.
    Abandoned,
    /// The connection to the peer ended before it acknowledged: closed at either end, or silent for too long.
    PeerLost,
    /// The session was replaced by a new one, because one of the ends was restarted: nobody knows.
    Unknown,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: &'static [Self] =
        &[Self::Delivered, Self::Expired, Self::Abandoned, Self::PeerLost, Self::Unknown];

    /// The name in statistics and logs.
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
            Self::Unknown => "not known: one side was restarted",
        })
    }
}

/// Why a reliable message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The peer is gone.
    UnknownPeer,
    /// Too much waits to be acknowledged by the peer.
    WindowFull,
    /// It has more parts than can wait for acknowledgements at once.
    TooLarge,
}
