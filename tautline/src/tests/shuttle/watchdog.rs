//! The feed of a watchdog on every schedule. Each silence is told once and in order, whoever notices it first. After the trip
//! of a latch nothing passes until the reset. The thread may sleep without a limit, and the next change wakes it: a lost
//! wake-up would be a deadlock, which shuttle reports.

use super::explore;
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;
use tautline_proto::silence::{Periods, Rule, State};

use crate::sync::latches::{Admission, Latch, Latches};
use crate::watchdog::feed::{Alarm, Feed};

/// The time-out.
const LENGTH: u64 = 10;

fn feed_with(latch: Option<Latch>) -> (Arc<Feed>, Alarm) {
    let alarm = Alarm { thread: thread::current(), look_at_all: Arc::default() };
    let rule = Rule { periods: Periods::strict(LENGTH), latches: latch.is_some() };
    (Arc::new(Feed::new(rule, latch, alarm.clone())), alarm)
}

/// A feed for the calling thread, and the alarm that wakes the thread.
fn feed() -> (Arc<Feed>, Alarm) {
    feed_with(None)
}

/// A feed that latches, and its latch.
fn latching() -> (Arc<Feed>, Arc<Latches>, Latch) {
    let latches = Arc::new(Latches::default());
    let latch = Latch::new(Arc::clone(&latches), 3);
    (feed_with(Some(latch.clone())).0, latches, latch)
}

/// Sleeps like the thread of the watchdogs, until `wanted` accepts the feed: looks once, and then only after an alarm.
fn sleep_until(feed: &Feed, alarm: &Alarm, wanted: impl Fn(State) -> bool) -> State {
    let mut looks = true;
    loop {
        if looks {
            feed.want();
            let state = feed.word().state();
            if wanted(state) {
                return state;
            }
        }
        thread::park();
        looks = alarm.look_at_all.swap(false, Ordering::Acquire);
    }
}

#[test]
fn the_first_sign_of_life_is_noticed() {
    explore(|| {
        let (feed, alarm) = feed();
        let driver = thread::spawn({
            let feed = Arc::clone(&feed);
            move || assert!(feed.sign(1, 1))
        });
        let state = sleep_until(&feed, &alarm, |state| state != State::Waiting);
        assert_eq!(state, State::Armed { due: 1 + LENGTH });
        assert_eq!(feed.last_before(1 + LENGTH), Some(1));
        driver.join().unwrap();
    });
}

#[test]
fn the_end_of_a_silence_is_noticed_however_many_signs_of_life_end_it() {
    explore(|| {
        let (feed, alarm) = feed();
        feed.sign(1, 1);
        assert!(feed.trip(feed.word()));
        let driver = thread::spawn({
            let feed = Arc::clone(&feed);
            move || [100, 101, 102].into_iter().for_each(|now| assert!(feed.sign(now, now)))
        });
        sleep_until(&feed, &alarm, |state| matches!(state, State::Armed { .. }));
        let told = feed.next_gap().expect("it was written before the word");
        assert_eq!((told.gap.from, told.gap.due, told.gap.until), (1, 1 + LENGTH, 100));
        driver.join().unwrap();
        assert_eq!(feed.next_gap(), None);
    });
}

#[test]
fn a_silence_is_told_once_whether_the_thread_or_the_driver_notices_it() {
    explore(|| {
        let (feed, _) = feed();
        feed.sign(1, 1);
        let driver = thread::spawn({
            let feed = Arc::clone(&feed);
            move || [50, 51, 90].into_iter().for_each(|now| assert!(feed.sign(now, now)))
        });
        // What the thread does when it is late.
        let word = feed.word();
        let tripped = matches!(word.state(), State::Armed { due } if due <= 60) && feed.trip(word);
        driver.join().unwrap();
        let gaps: Vec<_> = std::iter::from_fn(|| feed.next_gap()).map(|told| told.gap).collect();
        let ends: Vec<_> = gaps.iter().map(|gap| (gap.from, gap.until)).collect();
        // The thread may trip it between the signs at 50 and 51. Then the sign at 51 ends a silence too, at the
        // due time at the earliest.
        let early = [(1, 50), (50, 60), (60, 90)];
        assert!(ends == [(1, 50), (51, 90)] || (tripped && ends == early), "{ends:?}");
        assert!(gaps.windows(2).all(|pair| pair[0].due < pair[1].due), "each has its own due time");
        assert_eq!(feed.word().state(), State::Armed { due: 90 + LENGTH });
    });
}

#[test]
fn connecting_arms_beside_the_first_sign_of_life() {
    explore(|| {
        let (feed, alarm) = feed();
        let (driver, user) = (Arc::clone(&feed), Arc::clone(&feed));
        let driver = thread::spawn(move || driver.sign(7, 7));
        let user = thread::spawn(move || user.arm(5));
        sleep_until(&feed, &alarm, |state| state != State::Waiting);
        assert!(driver.join().unwrap());
        user.join().unwrap();
        assert_eq!(feed.word().state(), State::Armed { due: 7 + LENGTH }, "the later time counts");
        assert_eq!(feed.last_before(7 + LENGTH), Some(7));
    });
}

#[test]
fn nothing_passes_after_a_latch_has_tripped() {
    explore(|| {
        let (feed, ..) = latching();
        feed.sign(1, 1);
        let is_told = Arc::new(AtomicBool::new(false));
        let driver = thread::spawn({
            let (feed, is_told) = (Arc::clone(&feed), Arc::clone(&is_told));
            move || {
                for now in [8, 9, 30] {
                    let was_told = is_told.load(Ordering::SeqCst);
                    let passes = feed.sign(now, now);
                    assert!(!(was_told && passes), "the failsafe ran before this sign");
                    assert!(!passes || now < 30, "it is late in any case");
                }
            }
        });
        let word = feed.word();
        if feed.trip(word) {
            is_told.store(true, Ordering::SeqCst);
        }
        driver.join().unwrap();
        assert!(feed.word().is_tripped());
        let told = feed.next_gap().expect("the silence is told once");
        assert!(told.is_refused && feed.next_gap().is_none());
    });
}

#[test]
fn what_passed_before_a_trip_is_not_taken_after_the_reset() {
    explore(|| {
        let (feed, latches, latch) = latching();
        feed.sign(1, 1);
        let admit = |feed: &Feed, latches: &Latches, now| {
            let admission = latches.begin();
            feed.sign(now, now).then(|| admission.with(&latch))
        };
        let early: Admission = admit(&feed, &latches, 2).expect("it is armed");
        let taker = thread::spawn({
            let (latches, feed) = (Arc::clone(&latches), Arc::clone(&feed));
            move || {
                let was_tripped = feed.word().is_tripped();
                assert!(!latches.admit(early) || !was_tripped);
            }
        });
        let driver = thread::spawn({
            let (latches, feed) = (Arc::clone(&latches), Arc::clone(&feed));
            move || {
                assert!(feed.trip(feed.word()));
                // Nobody is told of the reset before this.
                assert!(!latches.admit(early), "tripped");
                assert!(feed.reset(20));
                assert!(!latches.admit(early), "reset");
                assert!(!feed.sign(21, 19), "it was made before the reset");
                assert!(feed.sign(21, 21), "it was made after it");
                assert!(!latches.admit(early), "armed again");
            }
        });
        driver.join().unwrap();
        taker.join().unwrap();
        let late = admit(&feed, &latches, 22).expect("it is armed");
        assert!(latches.admit(late));
    });
}
