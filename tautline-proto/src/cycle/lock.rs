//! The loop that keeps the phase of a [`Schedule`](super::Schedule) at a constant distance from a peer's messages.
//!
//! It is a second-order phase-locked loop of type 2 with critical damping: a proportional and an integral part, as in
//! F. M. Gardner, Phaselock Techniques, 3rd edition, chapters 2 and 4, and in the servos of clocks (RFC 5905 §11.3; linuxptp's
//! `pi` servo). The proportional part moves the next deadline. The integral part is the difference of the two clocks' rates.
//! It begins with a wide band, to come near its place soon, and narrows to average over [`LONGEST_MEMORY`] messages.
//!
//! Everything is bounded: one cycle is never longer or shorter than its period by more than [`MAX_SHIFT`] and the rate.

use core::time::Duration;

/// The most that one cycle is moved, as a part of the period.
const MAX_SHIFT: f64 = 0.01;

/// The largest difference of the rates. Crystals differ by up to 200 ppm, and NTP slews a clock by up to 500 ppm.
const MAX_RATE: f64 = 1000e-6;

/// The messages that the loop averages over when it begins, and when it is locked. The proportional gain is one part of that.
const SHORTEST_MEMORY: f64 = 4.0;
const LONGEST_MEMORY: f64 = 128.0;

/// By how much each message makes the memory longer. The loop settles within twice its memory, so the band must narrow more
/// slowly than that.
const NARROWING: f64 = 0.25;

/// An error beyond this part of the period is far.
const FAR: f64 = 0.125;

/// After so many far errors in a row the loop begins anew, with a wide band. A single message that is late changes little.
const MANY_FAR: u32 = 8;

/// After so many errors in a row that are not far, the loop counts as locked.
const MANY_NEAR: u32 = 32;

/// A silence of so many times the usual distance of two messages is a silence of the peer.
const SILENCE: u64 = 10;

/// The largest distance of two messages, in cycles, that counts as usual.
const MAX_USUAL_GAP: u64 = 100;

/// How a schedule follows its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockState {
    /// No message of the peer has come yet. The schedule runs by its own clock.
    Waiting,
    /// The schedule moves to the peer's phase, by at most a hundredth of a period in each cycle.
    Locking,
    /// 32 messages in a row were less than an eighth of a period away from their place, and since then no eight in a row
    /// were farther away.
    Locked,
    /// The peer is silent. The schedule goes on with the last rate.
    Coasting,
}

/// How well a schedule follows its peer.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Following {
    /// What the schedule does now.
    pub state: LockState,
    /// How far the latest message was from its place; on average over some time if locked.
    pub error: Duration,
    /// How much longer the peer's period is than the nominal one by this clock, in millionths; negative if it is shorter.
    pub rate_ppm: f64,
    /// How often the schedule has lost the peer's phase and begun to lock anew.
    pub relocks: u64,
}

/// One message of the peer.
pub(super) struct Observation {
    /// How much later the deadline should have been, in nanoseconds, at most half a period.
    pub(super) error: f64,
    /// The cycles since the last call of [`PhaseLock::observe`] or [`PhaseLock::silent`].
    pub(super) cycles: u64,
    /// The nominal period in nanoseconds.
    pub(super) period: f64,
}

/// The state of the loop.
#[derive(Clone, Debug)]
pub(super) struct PhaseLock {
    offset: u64,
    rate: f64,
    memory: f64,
    /// The far errors in a row.
    far: u32,
    /// The errors in a row that were not far, up to [`MANY_NEAR`].
    near: u32,
    /// The cycles since the latest message; `None` before the first one.
    since: Option<u64>,
    /// The usual distance of two messages, in cycles.
    gap: u64,
    /// The smoothed size of the error, in nanoseconds.
    error: f64,
    relocks: u64,
}

impl PhaseLock {
    /// Begins with a guess of the rate.
    pub(super) const fn new(offset: u64, rate: f64) -> Self {
        Self {
            offset,
            rate,
            memory: SHORTEST_MEMORY,
            far: 0,
            near: 0,
            since: None,
            gap: 1,
            error: 0.0,
            relocks: 0,
        }
    }

    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the difference of the rates, as a part of the period.
    pub(super) const fn rate(&self) -> f64 {
        self.rate
    }

    /// Records that no message came in these cycles.
    pub(super) fn silent(&mut self, cycles: u64) {
        self.since = self.since.map(|since| since.saturating_add(cycles));
    }

    /// Takes a message into account. Returns the correction of the next deadline, in nanoseconds.
    pub(super) fn observe(&mut self, seen: &Observation) -> f64 {
        let Observation { error, cycles, period } = *seen;
        let gap = self.since.map_or(1, |since| since.saturating_add(cycles)).max(1);
        (self.since, self.gap) = (Some(0), gap.min(MAX_USUAL_GAP));
        self.judge(error / period);
        let size = if error < 0.0 { -error } else { error };
        self.error += (size - self.error) / self.memory;
        let gain = 1.0 / self.memory;
        let bound = MAX_SHIFT * period;
        let shift = (gain * error).clamp(-bound, bound);
        if shift.to_bits() == (gain * error).to_bits() {
            // Critical damping: the integral gain is a quarter of the square. While the shift is at its bound, the integral
            // would only wind up.
            let rate = self.rate + gain * gain / 4.0 * error / (period * gap as f64);
            self.rate = rate.clamp(-MAX_RATE, MAX_RATE);
            self.memory = (self.memory + NARROWING).min(LONGEST_MEMORY);
        }
        shift
    }

    /// Decides whether the loop is locked, or begins anew.
    fn judge(&mut self, error: f64) {
        if (-FAR..=FAR).contains(&error) {
            self.far = 0;
            self.near = (self.near + 1).min(MANY_NEAR);
        } else {
            self.far += 1;
            if self.far == MANY_FAR {
                self.relocks += u64::from(self.near == MANY_NEAR);
                (self.far, self.near, self.memory) = (0, 0, SHORTEST_MEMORY);
            } else if self.near < MANY_NEAR {
                self.near = 0;
            }
        }
    }

    pub(super) fn report(&self, period: u64) -> Following {
        let state = match self.since {
            None => LockState::Waiting,
            Some(since) if since > self.gap * SILENCE => LockState::Coasting,
            Some(_) if self.near == MANY_NEAR => LockState::Locked,
            Some(_) => LockState::Locking,
        };
        let error = Duration::from_secs_f64(self.error.min(period as f64) / 1e9);
        Following { state, error, rate_ppm: self.rate * 1e6, relocks: self.relocks }
    }
}
