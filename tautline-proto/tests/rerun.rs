//! What a black box holds is run again: the same outputs, and a difference is found where it begins.
//!
//! `examples/rerun_campaign` runs the large campaign.

#[path = "../examples/rerun_campaign/bad_run.rs"]
mod bad_run;

use std::time::Duration;

use bad_run::{Links, Sums, as_it_was, record, run};
use tautline_proto::endpoint::{RerunSettings, Step, rerun_inbound, rerun_outbound};
use tautline_proto::{RingContents, RingSegment};

fn run_again(links: Links) {
    let mut sums = Sums::default();
    for seed in 1..=4 {
        sums.add(&run(links, seed).unwrap_or_else(|problem| panic!("{links:?}, seed {seed}: {problem}")));
    }
    assert!(sums.inputs > 2_000 && sums.messages > 200, "{sums:?}");
    assert!(sums.wrapped > 5 && sums.states > 10, "the rings wrap, and states are compared: {sums:?}");
}

#[test]
fn bad_runs_are_run_again_with_equal_outputs_and_states() {
    run_again(Links::Plain);
}

#[test]
#[cfg(feature = "secure")]
fn bad_runs_of_secured_links_are_run_again_without_their_keys() {
    run_again(Links::Secured);
}

/// Where the datagrams of a segment begin, in bytes: their heads, and when they came. docs/incidents.md has the layout.
fn datagrams(segment: &RingSegment) -> Vec<(usize, u64)> {
    let word = |at: usize| segment.bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let (mut found, mut at) = (Vec::new(), 0);
    while let (Some(head), Some(time)) = (word(at), word(at + 8)) {
        if head & 0xff == 16 {
            found.push((at, time));
        }
        let words = 3 + (head >> 8 & 0xff) + (head >> 32).div_ceil(8);
        at += usize::try_from(words * 8).expect("small");
    }
    found
}

/// A record with many datagrams in its first segment.
fn long_record() -> RingContents {
    let records = (1..).map(|seed| record(Links::Plain, seed)).flat_map(|records| records.inbound);
    let mut long =
        records.filter(|record| record.segments.first().is_some_and(|first| datagrams(first).len() > 40));
    long.next().expect("there is one")
}

#[test]
fn a_datagram_that_is_changed_on_purpose_is_found_as_the_first_difference() {
    let record = long_record();
    for number in [3, 17, 38] {
        let mut changed = record.clone();
        let (at, time) = datagrams(&changed.segments[0])[number];
        // In the datagram's header, behind the head of the entry.
        changed.segments[0].bytes[at + 24 + 5] ^= 1;
        let mut seen = None;
        let rerun = rerun_inbound(&changed, &as_it_was(), |step| {
            if let Step::Datagram { now, .. } = step {
                seen = seen.or((now.steady.as_nanos() == time).then_some(()));
            }
        });
        let difference = rerun.difference.expect("it differs");
        assert_eq!(difference.at.as_nanos(), time, "datagram {number}: {difference:?}");
        assert!(difference.what.starts_with("a datagram of "), "{difference:?}");
        assert!(seen.is_some());
    }
    assert_eq!(rerun_inbound(&record, &as_it_was(), |_| {}).difference, None);
}

#[test]
fn a_time_that_is_changed_on_purpose_is_found() {
    let record = long_record();
    let differs = |number: usize| {
        let mut changed = record.clone();
        let (at, _) = datagrams(&record.segments[0])[number];
        // The datagram came 1.1 s earlier. What was missing then is not lost yet, and heartbeats measure another time.
        let byte = at + 8 + 3;
        changed.segments[0].bytes[byte] = changed.segments[0].bytes[byte].wrapping_sub(64);
        rerun_inbound(&changed, &as_it_was(), |_| {}).difference.is_some()
    };
    // Not every datagram brings something that depends on its time.
    assert!((10..30).any(differs));
}

#[test]
fn another_setting_leads_to_other_events_and_is_not_compared() {
    let records = record(Links::Plain, 1).inbound;
    let silences = |settings: &RerunSettings<'_>| {
        let mut silences = 0;
        for record in &records {
            let rerun = rerun_inbound(record, settings, |step| {
                silences +=
                    u64::from(matches!(step, Step::Event(_, tautline_proto::endpoint::Event::Silent(_))));
            });
            assert_eq!(rerun.difference, None);
        }
        silences
    };
    let change = |config: &mut tautline_proto::endpoint::EndpointConfig| {
        config.liveness_timeout = Duration::from_millis(5);
    };
    let mut changed = as_it_was();
    changed.change = Some(&change);
    let (before, after) = (silences(&as_it_was()), silences(&changed));
    assert!(after > before, "{before} and {after} silences");
}

#[test]
fn a_record_that_is_cut_off_anywhere_is_run_as_far_as_it_goes() {
    let record = long_record();
    let last = record.segments.last().expect("there is one").bytes.len();
    for cut in (0..last).step_by(997) {
        let mut short = record.clone();
        short.segments.last_mut().expect("there is one").bytes.truncate(cut);
        let rerun = rerun_inbound(&short, &as_it_was(), |_| {});
        assert_eq!(rerun.difference, None, "after {cut} bytes");
    }
}

#[test]
fn the_sending_half_seals_the_same_datagrams_again() {
    let mut sealed = 0;
    for record in record(Links::Plain, 4).outbound {
        let rerun = rerun_outbound(&record, &as_it_was(), |step| {
            sealed += u64::from(matches!(step, Step::Sealed { bytes, .. } if !bytes.is_empty()));
        });
        assert_eq!((rerun.difference, rerun.unreadable), (None, 0));
    }
    assert!(sealed > 100, "{sealed}");
}
