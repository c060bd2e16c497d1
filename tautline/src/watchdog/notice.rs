//! Who was late, when expected traffic did not come in time: the sender, the path, or this process.
//!
//! The driver notices everything that might be a sign of life, also what is then dropped for its age, and remembers the
//! longest pause between two of them since the last sign of life. That pause has four lengths: when they were read, when they
//! arrived, when they were sent, and how many datagrams are missing between them.

use tautline_proto::{Counter, PeerId};

use super::SilenceCause;

/// A datagram or a message that the driver has read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting {
    /// When it was read, in nanoseconds of the interface's steady clock.
    pub(crate) read: u64,
    /// When it arrived, at the earliest.
    pub(crate) came: u64,
    /// Its time stamp, in nanoseconds of its sender's clock.
    pub(crate) sent: i64,
    /// How many datagrams of its sender are missing so far; `None` if datagrams have no numbers.
    pub(crate) missing: Option<u64>,
    pub(crate) peer: PeerId,
}

/// What was noticed since the last sign of life. One writer, the driver; the thread does not read it.
#[derive(Debug, Default)]
pub(super) struct Noticed {
    read: Counter,
    came: Counter,
    sent: Counter,
    /// One more than the number, or 0 if it is not known.
    missing: Counter,
    peer: Counter,
    pause: Pause,
}

/// The longest pause.
#[derive(Debug, Default)]
struct Pause {
    read: Counter,
    arrived: Counter,
    /// 0 if it is not known.
    sent: Counter,
    lost: Counter,
}

impl Noticed {
    #[inline]
    pub(super) fn notice(&self, sighting: &Sighting) {
        let pause = sighting.read.saturating_sub(self.read.value());
        // Messages that were read together make no pause.
        if pause > 0 {
            self.notice_pause(sighting, pause);
        }
    }

    fn notice_pause(&self, sighting: &Sighting, pause: u64) {
        let Sighting { read, came, sent, missing, peer } = *sighting;
        let (peer, missing) = (u64::from(peer.serial()) + 1, missing.map_or(0, |missing| missing + 1));
        if self.read.value() != 0 && pause > self.pause.read.value() {
            let is_same = self.peer.value() == peer;
            let sent_pause = sent.saturating_sub(self.sent.value().cast_signed()).max(0).cast_unsigned();
            let are_counted = is_same && missing > 0 && self.missing.value() > 0;
            self.pause.read.set(pause);
            self.pause.arrived.set(came.saturating_sub(self.came.value()));
            self.pause.sent.set(if is_same { sent_pause } else { 0 });
            self.pause.lost.set(u64::from(are_counted && missing > self.missing.value()));
        }
        self.read.set(read);
        self.came.set(came);
        self.sent.set(sent.cast_unsigned());
        self.missing.set(missing);
        self.peer.set(peer);
    }

    /// A sign of life has passed.
    #[inline]
    pub(super) fn passed(&self) {
        self.pause.read.set(0);
    }

    /// Who was late, if traffic may pause for `limit`. What was read last is acted on at `now`.
    pub(super) fn cause(&self, limit: u64, now: u64) -> SilenceCause {
        let Pause { read, arrived, sent, lost } = &self.pause;
        let was_sent_in_time = sent.value() > 0 && sent.value() < limit;
        // The process may have been stopped after the read, too.
        if read.value() + now.saturating_sub(self.read.value()) < limit {
            // Everything was read in time, and was dropped for its age.
            SilenceCause::Path
        } else if arrived.value() < limit && (was_sent_in_time || sent.value() == 0) {
            SilenceCause::ThisProcess
        } else if was_sent_in_time || lost.value() > 0 {
            SilenceCause::Path
        } else {
            SilenceCause::Sender
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 20;

    fn sighting(read: u64, came: u64, sent: i64, missing: u64) -> Sighting {
        Sighting { read, came, sent, missing: Some(missing), peer: PeerId::none() }
    }

    /// The cause, after these were noticed.
    fn cause(sightings: &[Sighting]) -> SilenceCause {
        let noticed = Noticed::default();
        sightings.iter().for_each(|sighting| noticed.notice(sighting));
        noticed.cause(LIMIT, sightings.last().map_or(0, |last| last.read))
    }

    #[test]
    fn the_sender_paused() {
        let before = sighting(1_000, 999, 5_000, 0);
        assert_eq!(cause(&[before, sighting(1_200, 1_200, 5_200, 0)]), SilenceCause::Sender);
        let unstamped = sighting(1_200, 1_000, 5_200, 0);
        assert_eq!(cause(&[before, unstamped]), SilenceCause::Sender);
    }

    #[test]
    fn the_path_lost_or_delayed_it() {
        let before = sighting(1_000, 999, 5_000, 0);
        assert_eq!(cause(&[before, sighting(1_200, 1_199, 5_200, 30)]), SilenceCause::Path);
        assert_eq!(cause(&[before, sighting(1_200, 1_199, 5_001, 0)]), SilenceCause::Path);
    }

    #[test]
    fn this_process_read_late_what_had_arrived() {
        let before = sighting(1_000, 999, 5_000, 0);
        assert_eq!(cause(&[before, sighting(1_200, 1_000, 5_001, 0)]), SilenceCause::ThisProcess);
        // What follows was read at once, and arrived until then.
        let later = sighting(1_201, 1_190, 5_191, 0);
        assert_eq!(cause(&[before, sighting(1_200, 1_000, 5_001, 0), later]), SilenceCause::ThisProcess);
    }

    #[test]
    fn this_process_stopped_between_reading_and_handing_out() {
        let noticed = Noticed::default();
        noticed.notice(&sighting(1_000, 999, 5_000, 0));
        noticed.notice(&sighting(1_001, 1_000, 5_001, 0));
        assert_eq!(noticed.cause(LIMIT, 1_200), SilenceCause::ThisProcess);
    }

    #[test]
    fn what_was_read_in_time_and_dropped_was_late_on_the_path() {
        let sightings: Vec<_> =
            (0..10_u32).map(|n| sighting(1_000 + u64::from(n) * 5, 999, 5_000, 0)).collect();
        assert_eq!(cause(&sightings), SilenceCause::Path);
    }

    #[test]
    fn a_pause_before_the_last_sign_of_life_does_not_count() {
        let noticed = Noticed::default();
        noticed.notice(&sighting(1_000, 999, 5_000, 0));
        noticed.notice(&sighting(1_200, 1_001, 5_002, 0));
        noticed.passed();
        noticed.notice(&sighting(1_300, 1_300, 5_102, 0));
        assert_eq!(noticed.cause(LIMIT, 1_300), SilenceCause::Sender);
    }
}
