//! Which messages the coalescer lets wait, and for how long.

use crate::sync::Arc;
use std::time::Duration;

use crate::sending::coalescer::{Coalescer, CoalescerSignals, CoalescerWatch};
use crate::sending::job::Terms;
use crate::{Priority, Target, WallTime};

const DELAY_NS: i64 = 20_000;

fn coalescer() -> Coalescer {
    coalescer_with_signals().0
}

fn coalescer_with_signals() -> (Coalescer, Arc<CoalescerSignals>) {
    let signs = Arc::new(CoalescerSignals::default());
    (Coalescer::new(Duration::from_nanos(DELAY_NS.cast_unsigned()), 1452, Arc::clone(&signs)), signs)
}

/// Whether each of `count` messages, `gap_ns` apart, is part of a stream.
fn stream(coalescer: &mut Coalescer, start: i64, count: usize, gap_ns: i64) -> Vec<bool> {
    let times = (0..).map(|index| WallTime::from_nanos(start + index * gap_ns));
    times.take(count).map(|at| coalescer.is_streaming(&Target::All, at)).collect()
}

#[test]
fn the_first_sixteen_of_a_stream_do_not_wait() {
    let waits = stream(&mut coalescer(), 1_000_000, 20, 100);
    assert_eq!(waits.iter().position(|&waits| waits), Some(16));
    assert!(waits[16..].iter().all(|&waits| waits));
}

#[test]
fn messages_as_far_apart_as_the_gate_never_wait() {
    assert!(!stream(&mut coalescer(), 1_000_000, 200, DELAY_NS).contains(&true));
}

#[test]
fn a_pause_ends_a_stream() {
    let mut coalescer = coalescer();
    stream(&mut coalescer, 1_000_000, 20, 100);
    assert!(!stream(&mut coalescer, 2_000_000, 16, 100).contains(&true));
}

#[test]
fn an_interruption_does_not_end_a_stream() {
    let mut coalescer = coalescer();
    stream(&mut coalescer, 1_000_000, 40, 100);
    assert_eq!(stream(&mut coalescer, 1_100_000, 3, 100), [true; 3]);
    // But messages that far apart are none.
    assert!(!stream(&mut coalescer, 1_200_000, 20, 2 * DELAY_NS)[5..].contains(&true));
}

#[test]
fn one_answer_for_each_message_is_a_dialogue() {
    let (mut coalescer, signs) = coalescer_with_signals();
    for index in 0..1000 {
        signs.turned();
        assert!(!coalescer.is_streaming(&Target::All, WallTime::from_nanos(1_000_000 + index * 5_000)));
    }
}

#[test]
fn a_stream_both_ways_is_a_stream() {
    let (mut coalescer, signs) = coalescer_with_signals();
    let waits = (0..1000).filter(|index| {
        if index % 10 == 0 {
            signs.turned();
        }
        coalescer.is_streaming(&Target::All, WallTime::from_nanos(1_000_000 + index * 500))
    });
    assert!(waits.count() > 900);
}

#[test]
fn messages_to_several_peers_in_turn_do_not_wait_for_one_another() {
    let mut coalescer = coalescer();
    let targets = [7, 8].map(|port| Target::Address(([127, 0, 0, 1], port).into()));
    let waits = |index: usize| {
        let made = WallTime::from_nanos(1_000_000 + 100 * i64::try_from(index).unwrap());
        coalescer.is_streaming(&targets[index % 2], made)
    };
    assert!(!(0..100).any(waits));
}

#[test]
fn a_clock_set_back_lets_nobody_wait() {
    let mut coalescer = coalescer();
    stream(&mut coalescer, 1_000_000_000, 20, 100);
    assert!(!coalescer.is_streaming(&Target::All, WallTime::from_nanos(5)));
}

#[test]
fn the_driver_is_woken_once_and_looks_until_nothing_comes() {
    let (mut coalescer, signs) = coalescer_with_signals();
    let mut watch = CoalescerWatch::new(Arc::clone(&signs), Duration::ZERO);
    assert!(watch.look(|| panic!("nothing waits")).is_none());
    assert!(coalescer.push(&[1, 0, 0, 0], &Terms::default()));
    assert_eq!([signs.need_a_watch(), signs.need_a_watch()], [true, false]);
    let send = || {
        let (pack, ..) = coalescer.take();
        coalescer.give_back(pack);
    };
    assert!(watch.look(send).is_some());
    assert!(watch.look(|| panic!("nothing waits")).is_none(), "nothing came since");
    assert!(coalescer.push(&[1, 0, 0, 0], &Terms::default()));
    assert!(signs.need_a_watch());
}

#[test]
fn those_that_wait_are_as_urgent_as_the_most_urgent_of_them() {
    let mut coalescer = coalescer();
    let mut push = |priority| {
        assert!(coalescer.push(&[1, 0, 0, 0], &Terms { priority, ..Terms::default() }));
        coalescer.priority()
    };
    assert_eq!(push(Priority::Low), Priority::Low);
    assert_eq!(push(Priority::High), Priority::High);
    assert_eq!(push(Priority::Normal), Priority::High);
    let (pack, ..) = coalescer.take();
    coalescer.give_back(pack);
    assert!(coalescer.push(&[1, 0, 0, 0], &Terms { priority: Priority::Low, ..Terms::default() }));
    assert_eq!(coalescer.priority(), Priority::Low);
}
