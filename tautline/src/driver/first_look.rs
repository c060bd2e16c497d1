//! Decides whether the driver reads the socket once more before it sleeps. The question arises when the first read after a
//! sleep took one datagram: more may wait.
//!
//! Where messages come one at a time, that read finds nothing. Without it, a message costs two system calls and not
//! three. But only that read shows since when the socket was empty, and so how old a datagram can be. So the driver
//! leaves the read out only while the kernel's time stamps tell when a datagram came. The stamps also show whether a
//! datagram was there before the sleep. If one was, the reads begin again.

use tautline_proto::Instant as Steady;

/// After so many reads in a row that find nothing, the read is left out.
const VAIN_READS: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct FirstLook {
    /// How many of these reads in a row have found nothing.
    in_vain: u32,
    /// When the present sleep began, if the read before it was left out.
    left_out_at: Option<Steady>,
    /// The last sleep ended with a datagram that a read before it would have found.
    missed: bool,
}

impl FirstLook {
    /// Whether the read is not worth its system call.
    pub(super) const fn is_vain(&self) -> bool {
        self.in_vain >= VAIN_READS
    }

    /// Records whether a read found something.
    pub(super) fn found(&mut self, something: bool) {
        self.in_vain = if something { 0 } else { self.in_vain.saturating_add(1) };
    }

    /// Records that a sleep begins without the read.
    pub(super) fn is_left_out(&mut self, at: Steady) {
        self.left_out_at = Some(at);
    }

    /// Whether the read before the last sleep was left out, and no datagram was read since.
    #[inline]
    pub(super) const fn was_left_out(&self) -> bool {
        self.left_out_at.is_some()
    }

    /// Records when the first datagram came that was read after the sleep; `None` if its stamp does not tell this.
    /// Returns when the sleep began, if the socket was empty at that time: the kernel hands datagrams over in the order
    /// in which they came.
    pub(super) fn came(&mut self, at: Option<Steady>) -> Option<Steady> {
        let began = self.left_out_at.take()?;
        if at.is_some_and(|at| at >= began) {
            return Some(began);
        }
        (self.in_vain, self.missed) = (0, true);
        None
    }

    /// Records that the sleep ended without a datagram.
    pub(super) fn nothing_came(&mut self) {
        self.left_out_at = None;
    }

    /// Whether the last datagram was there before the sleep, so that others may have come with it. Asked once.
    pub(super) fn has_missed(&mut self) -> bool {
        std::mem::take(&mut self.missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vain() -> FirstLook {
        let mut look = FirstLook::default();
        (0..VAIN_READS).for_each(|_| look.found(false));
        look
    }

    #[test]
    fn the_read_is_left_out_after_several_that_found_nothing() {
        let mut look = FirstLook::default();
        for _ in 0..VAIN_READS {
            assert!(!look.is_vain());
            look.found(false);
        }
        assert!(look.is_vain());
        look.found(true);
        assert!(!look.is_vain());
    }

    #[test]
    fn a_datagram_that_was_there_before_the_sleep_brings_the_read_back() {
        let [before, began, after] = [1, 2, 3].map(Steady::from_nanos);
        let mut look = vain();
        look.is_left_out(began);
        assert_eq!((look.came(Some(after)), look.has_missed()), (Some(began), false));
        assert_eq!((look.came(Some(before)), look.has_missed()), (None, false), "no sleep came before it");
        look.is_left_out(began);
        look.nothing_came();
        assert_eq!((look.came(Some(before)), look.has_missed()), (None, false), "nor before this one");
        for at in [Some(before), None] {
            let mut look = vain();
            look.is_left_out(began);
            assert_eq!((look.came(at), look.is_vain()), (None, false));
            assert!(look.has_missed() && !look.has_missed());
        }
    }
}
