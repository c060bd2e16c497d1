//! Tests of the coalescer: which messages wait, and for how long.

use crate::sync::Arc;
use std::time::Duration;

use crate::sending::coalescer::{Coalescer, CoalescerSignals, CoalescerWatch};
use crate::sending::job::Terms;
use crate::{Priority, Target};
use tautline_proto::Instant as Steady;

const DELAY_NS: i64 = 20_000;

fn coalescer() -> Coalescer {
    coalescer_with_signals().0
}

fn coalescer_with_signals() -> (Coalescer, Arc<CoalescerSignals>) {
    let signals = Arc::new(CoalescerSignals::default());
    (Coalescer::new(Duration::from_nanos(DELAY_NS.cast_unsigned()), 1452, Arc::clone(&signals)), signals)
}

fn at(ns: i64) -> Steady {
    Steady::from_nanos(ns.cast_unsigned())
}

/// Whether each of `count` messages, `gap_ns` apart, is part of a stream.
fn stream(coalescer: &mut Coalescer, start: i64, count: usize, gap_ns: i64) -> Vec<bool> {
    let times = (0..).map(|index| at(start + index * gap_ns));
    times.take(count).map(|at| coalescer.is_streaming(&Target::All, at)).collect()
}

#[test]
fn the_first_sixteen_messages_of_a_stream_do_not_wait() {
    // Also right after the start of the clock.
    for start in [1, 1_000_000] {
        let waits = stream(&mut coalescer(), start, 20, 100);
        assert_eq!(waits.iter().position(|&waits| waits), Some(16), "{start}");
        assert!(waits[16..].iter().all(|&waits| waits));
    }
}

#[test]
fn messages_as_far_apart_as_the_delay_never_wait() {
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
    // Messages that are twice the delay apart are not a stream.
    assert!(!stream(&mut coalescer, 1_200_000, 20, 2 * DELAY_NS)[5..].contains(&true));
}

#[test]
fn request_response_traffic_is_never_coalesced() {
    let (mut coalescer, signals) = coalescer_with_signals();
    for index in 0..1000 {
        signals.turned();
        assert!(!coalescer.is_streaming(&Target::All, at(1_000_000 + index * 5_000)));
    }
}

#[test]
fn a_stream_in_both_directions_is_coalesced() {
    let (mut coalescer, signals) = coalescer_with_signals();
    let waits = (0..1000).filter(|index| {
        if index % 10 == 0 {
            signals.turned();
        }
        coalescer.is_streaming(&Target::All, at(1_000_000 + index * 500))
    });
    assert!(waits.count() > 900);
}

#[test]
fn alternating_messages_to_two_peers_do_not_wait() {
    let mut coalescer = coalescer();
    let targets = [7, 8].map(|port| Target::Address(([127, 0, 0, 1], port).into()));
    let waits = |index: usize| {
        let sent_at = at(1_000_000 + 100 * i64::try_from(index).unwrap());
        coalescer.is_streaming(&targets[index % 2], sent_at)
    };
    assert!(!(0..100).any(waits));
}

#[test]
fn the_driver_is_woken_once_and_looks_until_no_message_comes() {
    let (mut coalescer, signals) = coalescer_with_signals();
    let mut watch = CoalescerWatch::new(Arc::clone(&signals), Duration::ZERO);
    assert!(watch.look(|| panic!("nothing waits")).is_none());
    assert!(coalescer.push(&[1, 0, 0, 0], &Terms::default()));
    assert_eq!([signals.need_a_watch(), signals.need_a_watch()], [true, false]);
    let send = || {
        let (pack, ..) = coalescer.take();
        coalescer.give_back(pack);
    };
    assert!(watch.look(send).is_some());
    assert!(watch.look(|| panic!("nothing waits")).is_none(), "no message came since");
    assert!(coalescer.push(&[1, 0, 0, 0], &Terms::default()));
    assert!(signals.need_a_watch());
}

#[test]
fn a_pack_has_the_priority_of_its_most_urgent_message() {
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
