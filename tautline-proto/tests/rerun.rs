//! What a black box holds is run again: the same outputs, and a difference is found where it begins.
//!
//! `examples/rerun_campaign` runs the large campaign.

#[path = "../examples/rerun_campaign/bad_run.rs"]
mod bad_run;

#[cfg(feature = "secure")]
use std::collections::HashMap;
use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use bad_run::{Links, Sums, as_it_was, record, run};
use tautline_proto::endpoint::{RerunSettings, Step, rerun_inbound, rerun_outbound};
use tautline_proto::{Now, RingContents, RingSegment};

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

/// What the rings of a quiet link hold, as a number. It changes with the entries of rings, and with the states in their marks.
#[cfg(feature = "secure")]
const QUIET_RECORD: u64 = 12_260_142_817_018_598_746;

/// If a program took the entries or states of another build for its own, it would report nonsense. So each format has a number.
#[test]
#[cfg(feature = "secure")]
fn a_record_that_changes_has_another_format() {
    use tautline_proto::MessageType;
    use tautline_proto::endpoint::{RECORD_FORMAT, Role};
    use tautline_proto::sim::{BlackBox, Clock, Impairments, World, config};

    let mut world = World::new(Impairments::default(), 1);
    world.record(1);
    let [plant, controller] = [(Role::Server, 1), (Role::Client, 2)].map(|(role, host)| {
        world.add(([10, 0, 0, host], 9000).into(), config(role, "end"), Clock::default())
    });
    world.dial(controller, ([10, 0, 0, 1], 9000).into());
    for step in 1..200 {
        for node in [plant, controller] {
            let head = world.head(node, MessageType::Command);
            world.send(node, &head, b"[0.5,1.5]");
        }
        while world.next(Duration::from_millis(step)).is_some() {}
    }
    let mut digest = 0_u64;
    for node in [plant, controller] {
        for BlackBox { inbound, outbound } in world.black_boxes(node) {
            for segment in [inbound, outbound].into_iter().flat_map(|ring| ring.contents().segments) {
                let mix = |sum: u64, byte: &u8| {
                    sum.rotate_left(5) ^ u64::from(*byte).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                };
                digest = segment.bytes.iter().fold(digest, mix);
            }
        }
    }
    assert_eq!(
        (RECORD_FORMAT, digest),
        ("5", QUIET_RECORD),
        "if entries or states have changed, raise RECORD_FORMAT (endpoint/recorder.rs); correct both here"
    );
}

/// The kinds of entries that the tests change. docs/incidents.md has the layout.
const DATAGRAM: u64 = 16;
#[cfg(feature = "secure")]
const SEALED: u64 = 27;
#[cfg(feature = "secure")]
const OPENED: u64 = 7;

/// Where the number of a datagram begins.
#[cfg(feature = "secure")]
const NUMBER_AT: usize = 12;

/// An entry of a segment: where it begins, where its contents are, and when it came.
#[derive(Debug)]
struct Found {
    begin: usize,
    contents: Range<usize>,
    time: u64,
}

/// The entries of one kind.
fn find(segment: &RingSegment, kind: u64) -> Vec<Found> {
    let word = |at: usize| segment.bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let (mut found, mut at) = (Vec::new(), 0);
    while let (Some(head), Some(time)) = (word(at), word(at + 8)) {
        let [words, len] = [head >> 8 & 0xff, head >> 32].map(|size| usize::try_from(size).expect("small"));
        let contents = at + 8 * (3 + words);
        if head & 0xff == kind {
            found.push(Found { begin: at, contents: contents..contents + len, time });
        }
        at = contents + 8 * (len / 8 + 1);
    }
    found
}

/// A record with many entries of this kind in its first segment.
fn record_with_many(links: Links, kind: u64) -> RingContents {
    let records = (1..).map(|seed| record(links, seed)).flat_map(|records| records.inbound);
    let mut long =
        records.filter(|record| record.segments.first().is_some_and(|first| find(first, kind).len() > 40));
    long.next().expect("there is one")
}

/// A record with many datagrams in its first segment.
fn long_record() -> RingContents {
    record_with_many(Links::Plain, DATAGRAM)
}

/// Changes a byte of an entry, and checks that the rerun tells the input of that time as the first difference.
fn assert_is_told(record: &RingContents, entry: &Found, at: usize, what: &str) {
    let mut changed = record.clone();
    changed.segments[0].bytes[at] ^= 1;
    let difference = rerun_inbound(&changed, &as_it_was(), |_| {}).difference;
    let difference = difference.unwrap_or_else(|| panic!("byte {at} makes no difference: {entry:?}"));
    assert_eq!(difference.at.as_nanos(), entry.time, "byte {at}: {difference:?}");
    // If it is the last input of a segment, the mark that follows shows the difference.
    assert!(difference.what.contains(what), "{difference:?}");
}

#[test]
fn a_datagram_that_is_changed_on_purpose_is_found_as_the_first_difference() {
    let record = long_record();
    let entries = find(&record.segments[0], DATAGRAM);
    // Of a datagram that was dropped, nobody sees what was in it.
    let mut accepted = HashSet::new();
    let _ = rerun_inbound(&record, &as_it_was(), |step| {
        if let Step::Datagram { now, accepted: Some(_), .. } = step {
            accepted.insert(now.steady.as_nanos());
        }
    });
    let accepted: Vec<_> = entries.iter().filter(|entry| accepted.contains(&entry.time)).collect();
    for entry in [3, 17, 30].map(|number: usize| accepted[number]) {
        // In the datagram's header.
        assert_is_told(&record, entry, entry.contents.start + 5, "a datagram of ");
    }
    assert_eq!(rerun_inbound(&record, &as_it_was(), |_| {}).difference, None);
}

/// The record holds no key, so that nothing checks whether it is what the key has opened: only the outputs show the change.
#[test]
#[cfg(feature = "secure")]
fn a_sealed_datagram_that_is_changed_on_purpose_is_found_as_the_first_difference() {
    let record = record_with_many(Links::Secured, OPENED);
    let segment = &record.segments[0];
    // The times when datagrams came that ended with a message, and had no other one.
    let mut delivered = HashMap::new();
    let rerun = rerun_inbound(&record, &as_it_was(), |step| {
        if let Step::Message { now, .. } = step {
            *delivered.entry(now.steady.as_nanos()).or_insert(0) += 1;
        }
    });
    assert_eq!(rerun.difference, None);
    let (opened, sealed) = (find(segment, OPENED), find(segment, SEALED));
    // The outputs of an input are compared when the next one comes.
    let last = sealed.last().expect("there are many").time;
    let is_alone = |time: u64| opened.iter().filter(|entry| entry.time == time).count() == 1;
    let ends_with_payload = |entry: &Found| segment.bytes[entry.contents.clone()].ends_with(&[7; 16]);
    let is_clear = |entry: &&Found| {
        let is_delivered = delivered.get(&entry.time) == Some(&1);
        entry.time < last && is_delivered && is_alone(entry.time) && ends_with_payload(entry)
    };
    let messages: Vec<_> = opened.iter().filter(is_clear).collect();
    assert!(messages.len() > 10, "{} messages", messages.len());
    for entry in &messages {
        assert_is_told(&record, entry, entry.contents.end - 1, "a sealed datagram of ");
    }
    for entry in sealed.iter().filter(|entry| messages.iter().any(|opened| opened.time == entry.time)) {
        // Another number in the header.
        assert_is_told(&record, entry, entry.contents.start + NUMBER_AT, "a sealed datagram of ");
    }
}

#[test]
fn a_time_that_is_changed_on_purpose_is_found() {
    let record = long_record();
    let differs = |number: usize| {
        let mut changed = record.clone();
        let entry = &find(&record.segments[0], DATAGRAM)[number];
        // The datagram came 1.1 s earlier. What was missing then is not lost yet, and heartbeats measure another time. Its time is the
        // second word.
        let byte = entry.begin + 8 + 3;
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
fn every_note_is_in_the_record_also_if_its_datagram_was_the_last_of_a_segment() {
    use std::sync::Arc;
    use tautline_proto::endpoint::{Role, Start, endpoint};
    use tautline_proto::{Ring, sim::config};

    const NOTES: u64 = 1_000;
    let (mut inbound, _outbound) = endpoint(config(Role::Server, "plant"), Start::default());
    // The record takes some 130 kB, most of the ring's segments.
    let ring = Ring::new(160 << 10);
    inbound.record(Arc::clone(&ring));
    let from = ([10, 0, 0, 2], 9000).into();
    for number in 0..NOTES {
        let len = usize::try_from(number % 64).expect("small");
        assert!(inbound.handle(Now::default(), from, &vec![0; len], &mut Vec::new()).is_none(), "junk");
        while inbound.poll_event(Now::default()).is_some() {}
        inbound.note([1, number, 0]);
    }
    let record = ring.contents();
    assert!(record.segments.len() > 10 && record.left_out == 0, "{} segments", record.segments.len());
    let mut found = Vec::new();
    let rerun = rerun_inbound(&record, &as_it_was(), |step| {
        if let Step::Note(_, [_, number, _]) = step {
            found.push(*number);
        }
    });
    assert_eq!(rerun.difference, None);
    assert_eq!(found, (0..NOTES).collect::<Vec<_>>());
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
