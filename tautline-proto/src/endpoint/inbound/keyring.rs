//! The keys that open what a peer sends, and those that follow them. docs/protocol.md §11.6.
//!
//! `secured` makes new keys with the peer. Here it is decided which key opens a datagram, and when old keys are dropped.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use super::vault::Vault;
use crate::secure::{Begun, KeyId, OpenKey, SealKey};
use crate::snapshot::{Reader, Saved, Writer, saved};
use crate::time::Instant;

/// Old keys open for this long, and for so many numbers, after the first datagram that new keys have opened.
const RETIRES_AFTER: Duration = Duration::from_secs(1);
const RETIRES_AFTER_NUMBERS: u64 = 64;

/// The keys of a session that follow one another.
#[derive(Debug)]
pub(super) struct Keyring {
    current: OpenKey,
    /// The phase of `current`, which alternates.
    phase: bool,
    other: Other,
    /// The hash of the handshake that made the newest keys in use.
    pub(super) hash: [u8; 32],
    /// Since when this end seals with the keys that it has now, and what had been sent and received before.
    pub(super) since: Instant,
    pub(super) sent_before: u64,
    pub(super) received_before: u64,
    /// A client's message that the server has not answered.
    pub(super) begun: Option<Renewal>,
    /// When the server has asked the client for new keys last.
    pub(super) asked_at: Option<Instant>,
    /// When the server last answered a new message of the client.
    pub(super) answered_at: Option<Instant>,
}

/// The key of the other phase.
#[derive(Debug)]
enum Other {
    None,
    /// It comes next. The first datagram that it opens makes it the current one.
    Next(Next),
    /// It was the current one.
    Former {
        key: OpenKey,
        until: Instant,
        until_number: u64,
    },
}

/// Keys that come next.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) open: OpenKey,
    pub(super) coming: Box<Coming>,
}

/// What comes into use with keys.
#[derive(Debug)]
pub(super) struct Coming {
    /// At a server: what it seals with from the first datagram on that the new key has opened. A client seals with its new key at
    /// once.
    pub(super) seal: Option<Box<SealKey>>,
    /// At a server: the client's message, the newest number under which it has come, and the answer to it.
    pub(super) message: Vec<u8>,
    pub(super) number: u64,
    pub(super) answer: Vec<u8>,
    pub(super) hash: [u8; 32],
    /// The key that the two ends have called with.
    pub(super) key: KeyId,
}

/// A client's message that begins new keys. It is repeated until the server answers.
#[derive(Debug)]
pub(super) struct Renewal {
    pub(super) begun: Begun,
    pub(super) key: KeyId,
    pub(super) message: Vec<u8>,
    pub(super) repeat_at: Instant,
    pub(super) sent: u32,
}

impl Keyring {
    pub(super) const fn new(open: OpenKey, hash: [u8; 32], since: Instant) -> Self {
        Self {
            current: open,
            phase: false,
            other: Other::None,
            hash,
            since,
            sent_before: 0,
            received_before: 0,
            begun: None,
            asked_at: None,
            answered_at: None,
        }
    }

    /// Opens a datagram with the key of its phase. Returns the length of what was sealed, and the keys that have come into use with
    /// this datagram, if there are any.
    #[inline]
    pub(super) fn open(
        &mut self,
        vault: &mut Vault,
        (phase, number): (bool, u64),
        datagram: &mut [u8],
        clear: usize,
        now: Instant,
    ) -> Option<(usize, Option<Box<Coming>>)> {
        if phase == self.phase {
            let len = vault.open(&self.current, number, datagram, clear)?;
            if matches!(self.other, Other::Former { .. }) {
                self.retire(number, now);
            }
            return Some((len, None));
        }
        self.open_with_other(vault, number, datagram, clear, now)
    }

    #[cold]
    fn open_with_other(
        &mut self,
        vault: &mut Vault,
        number: u64,
        datagram: &mut [u8],
        clear: usize,
        now: Instant,
    ) -> Option<(usize, Option<Box<Coming>>)> {
        let key = match &self.other {
            Other::None => return None,
            Other::Next(next) => &next.open,
            Other::Former { key, .. } => key,
        };
        let len = vault.open(key, number, datagram, clear)?;
        if matches!(self.other, Other::Former { .. }) {
            return Some((len, None));
        }
        let Other::Next(next) = core::mem::replace(&mut self.other, Other::None) else { return None };
        let former = core::mem::replace(&mut self.current, next.open);
        self.phase = !self.phase;
        let (until, until_number) = (now.plus(RETIRES_AFTER), number + RETIRES_AFTER_NUMBERS);
        self.other = Other::Former { key: former, until, until_number };
        Some((len, Some(next.coming)))
    }

    #[cold]
    fn retire(&mut self, number: u64, now: Instant) {
        if let Other::Former { until, until_number, .. } = self.other
            && now >= until
            && number >= until_number
        {
            self.other = Other::None;
        }
    }

    /// Sets the keys that come next. Keys before the present ones are dropped.
    pub(super) fn set_next(&mut self, next: Next) {
        self.other = Other::Next(next);
    }

    /// Returns the keys that come next, if they are made already.
    pub(super) fn coming(&self) -> Option<&Coming> {
        match &self.other {
            Other::Next(next) => Some(&next.coming),
            _ => None,
        }
    }

    pub(super) fn coming_mut(&mut self) -> Option<&mut Coming> {
        match &mut self.other {
            Other::Next(next) => Some(&mut next.coming),
            _ => None,
        }
    }

    /// The phase of the keys that come next.
    pub(super) const fn next_phase(&self) -> bool {
        !self.phase
    }
}

// Hashes go into handshakes alone, and a rerun has none.
saved!(Keyring {
    current, phase, other, since, sent_before, received_before, begun, asked_at, answered_at,
} else {
    hash: [0; 32],
});
saved!(Next { open, coming });
saved!(Coming { seal, message, number, answer, key } else { hash: [0; 32] });
saved!(Renewal { begun, key, message, repeat_at, sent });

impl Saved for Other {
    fn save(&self, out: &mut Writer) {
        match self {
            Self::None => 0_u8.save(out),
            Self::Next(next) => {
                1_u8.save(out);
                next.save(out);
            }
            Self::Former { key, until, until_number } => {
                2_u8.save(out);
                key.save(out);
                (*until, *until_number).save(out);
            }
        }
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(match u8::load(from)? {
            0 => Self::None,
            1 => Self::Next(Saved::load(from)?),
            2 => {
                let (key, (until, until_number)) = Saved::load(from)?;
                Self::Former { key, until, until_number }
            }
            _ => return None,
        })
    }
}
