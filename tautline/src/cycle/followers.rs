//! Brings the times of a peer's messages from the driver to the [`Cycle`](super::Cycle)s that follow it.
//!
//! A [`Follower`] is the place between the two: the driver writes, the loop's thread reads, and neither waits.

use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::config::Selector;
use crate::machine::clock::Clock;
use crate::sync::driver_flags::DriverFlags;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, lock, try_lock};
use tautline_proto::{MessageRef, PeerId};

/// Another peer is followed when the present one was silent for so many periods.
const SILENCE: u32 = 100;

/// One cycle that follows messages of one interface.
#[derive(Debug)]
pub(crate) struct Follower {
    messages: Selector,
    /// The cycle's clock.
    clock: Clock,
    /// For how long the peer must be silent until another one is followed.
    silence: Duration,
    /// When the latest message was made, in nanoseconds of `clock`; 0 for none that is new. Order: relaxed, because the number
    /// is all there is to read. The driver stores it, the cycle takes it.
    made: AtomicU64,
    /// The peer that is followed, and when it was last heard. Only the driver uses it, so the lock is always free.
    peer: Mutex<Option<(PeerId, Instant)>>,
}

impl Follower {
    pub(super) fn new(messages: Selector, clock: Clock, period: Duration) -> Self {
        let silence = period.saturating_mul(SILENCE);
        Self { messages, clock, silence, made: AtomicU64::new(0), peer: Mutex::new(None) }
    }

    /// Takes the time of the latest message, if there is a new one.
    pub(super) fn take(&self) -> Option<tautline_proto::Instant> {
        let made = self.made.swap(0, Ordering::Relaxed);
        (made != 0).then(|| tautline_proto::Instant::from_nanos(made))
    }

    /// Records a message that was made at `made`, if it is of the followed stream and peer.
    fn heard(&self, message: &MessageRef<'_>, peer: PeerId, made: Instant, now: Instant) {
        let Selector { message_type, channel } = self.messages;
        if message.message_type != message_type || channel.is_some_and(|channel| channel != message.channel) {
            return;
        }
        let Some(mut followed) = try_lock(&self.peer) else { return };
        let is_other = |(present, at): (PeerId, Instant)| {
            present != peer && now.saturating_duration_since(at) < self.silence
        };
        if followed.is_some_and(is_other) {
            return;
        }
        *followed = Some((peer, now));
        let made = self.clock.steady(made).as_nanos();
        // 1 stands for all times before the cycle began.
        if made > 1 {
            self.made.store(made, Ordering::Relaxed);
        }
    }
}

/// All cycles that follow messages of one interface.
#[derive(Debug)]
pub(crate) struct Followers {
    /// Its `follows` says whether there are any.
    flags: Arc<DriverFlags>,
    list: ArcSwap<Vec<Arc<Follower>>>,
    /// Held while the list is changed.
    changing: Mutex<()>,
}

impl Followers {
    pub(crate) fn new(flags: Arc<DriverFlags>) -> Self {
        Self { flags, list: ArcSwap::default(), changing: Mutex::default() }
    }

    /// Tells all followers of a message that was made at `made`.
    #[cold]
    pub(crate) fn heard(&self, message: &MessageRef<'_>, peer: PeerId, made: Instant, now: Instant) {
        for follower in self.list.load().iter() {
            follower.heard(message, peer, made, now);
        }
    }

    pub(super) fn add(&self, follower: &Arc<Follower>) {
        self.change(|list| list.push(Arc::clone(follower)));
    }

    pub(super) fn remove(&self, follower: &Arc<Follower>) {
        self.change(|list| list.retain(|other| !Arc::ptr_eq(other, follower)));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Follower>>)) {
        let _changing = lock(&self.changing);
        let mut list = Vec::clone(&self.list.load());
        change(&mut list);
        self.flags.follows.store(!list.is_empty(), Ordering::Relaxed);
        self.list.store(Arc::new(list));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::numbered;
    use tautline_proto::{MessageType, Priority};

    const PERIOD: Duration = Duration::from_millis(1);

    #[test]
    fn the_time_of_a_message_is_taken_once() {
        let (clock, message) = (Clock::start(), numbered(1, Priority::Normal));
        let follower = Follower::new(message.message_type.into(), clock, PERIOD);
        let now = Instant::now() + PERIOD;
        assert_eq!(follower.take(), None);
        follower.heard(&message, PeerId::none(), now, now);
        follower.heard(&message, PeerId::none(), now + PERIOD, now + PERIOD);
        assert_eq!((follower.take(), follower.take()), (Some(clock.steady(now + PERIOD)), None));
    }

    #[test]
    fn only_the_followed_stream_counts() {
        let clock = Clock::start();
        let message = numbered(1, Priority::Normal);
        let now = Instant::now() + PERIOD;
        let heard = |selector: Selector| {
            let follower = Follower::new(selector, clock, PERIOD);
            follower.heard(&message, PeerId::none(), now, now);
            follower.take().is_some()
        };
        assert!(heard(message.message_type.into()));
        assert!(heard((message.message_type, message.channel).into()));
        assert!(!heard((message.message_type, message.channel + 1).into()));
        let another = MessageType::ALL.iter().copied().find(|other| *other != message.message_type);
        assert!(!heard(another.expect("there are several").into()));
    }

    #[test]
    fn a_message_from_before_the_cycle_began_is_ignored() {
        let before = Instant::now();
        std::thread::sleep(PERIOD);
        let message = numbered(1, Priority::Normal);
        let follower = Follower::new(message.message_type.into(), Clock::start(), PERIOD);
        follower.heard(&message, PeerId::none(), before, Instant::now());
        assert_eq!(follower.take(), None);
    }

    #[test]
    fn a_follower_that_is_removed_hears_nothing_more() {
        let followers = Followers::new(Arc::default());
        let message = numbered(1, Priority::Normal);
        let follower = Arc::new(Follower::new(message.message_type.into(), Clock::start(), PERIOD));
        assert!(!followers.flags.are_following());
        followers.add(&follower);
        assert!(followers.flags.are_following());
        let now = Instant::now() + PERIOD;
        followers.heard(&message, PeerId::none(), now, now);
        assert!(follower.take().is_some());
        followers.remove(&follower);
        assert!(!followers.flags.are_following());
        followers.heard(&message, PeerId::none(), now, now);
        assert!(follower.take().is_none());
    }
}
