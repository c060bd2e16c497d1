//! The thread of a watchdog may sleep without a limit, if it cannot know when to look again. The next sign of life wakes
//! it, on every schedule. A lost wake-up would be a deadlock, which shuttle reports.

use super::explore;
use shuttle::sync::Arc;
use shuttle::sync::atomic::Ordering;
use shuttle::thread;

use crate::watchdog::feed::{Alarm, Feed, Seen};
use crate::watchdog::periods::Periods;

/// The time-out.
const LENGTH: u64 = 10;

/// A feed for the calling thread, and the alarm that wakes the thread.
fn feed() -> (Arc<Feed>, Alarm) {
    let alarm = Alarm { thread: thread::current(), look_at_all: Arc::default() };
    (Arc::new(Feed::new(Periods::strict(LENGTH), alarm.clone())), alarm)
}

/// Sleeps like the thread of the watchdogs, until `wanted` accepts the feed: looks once, and then only after an alarm.
fn sleep_until(feed: &Feed, alarm: &Alarm, wanted: impl Fn(&Seen) -> bool) -> Seen {
    let mut looks = true;
    loop {
        if let Some(seen) = looks.then(|| feed.want()).flatten().filter(&wanted) {
            return seen;
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
            move || feed.feed(1)
        });
        let seen = sleep_until(&feed, &alarm, |_| true);
        assert_eq!((seen.last, seen.due), (1, 1 + LENGTH));
        driver.join().unwrap();
    });
}

#[test]
fn the_end_of_a_silence_is_noticed_however_many_signs_of_life_end_it() {
    explore(|| {
        let (feed, alarm) = feed();
        feed.feed(1);
        let driver = thread::spawn({
            let feed = Arc::clone(&feed);
            move || [100, 101, 102].into_iter().for_each(|now| feed.feed(now))
        });
        let seen = sleep_until(&feed, &alarm, |seen| seen.due > 50);
        assert_eq!(seen.due, seen.last + LENGTH, "both are from the same feed");
        sleep_until(&feed, &alarm, |seen| seen.last == 102);
        driver.join().unwrap();
    });
}

#[test]
fn connecting_arms_beside_the_first_sign_of_life() {
    explore(|| {
        let (feed, alarm) = feed();
        let (driver, user) = (Arc::clone(&feed), Arc::clone(&feed));
        let driver = thread::spawn(move || driver.feed(7));
        let user = thread::spawn(move || user.arm(5));
        sleep_until(&feed, &alarm, |_| true);
        driver.join().unwrap();
        user.join().unwrap();
        let seen = feed.look().expect("armed");
        assert_eq!((seen.last, seen.due), (7, 7 + LENGTH), "the later time counts");
    });
}
