//! Records that show one fault each.

use serde_json::json;
use tautline::{MessageType, PeerId};

use super::super::story::{At, Heard, Received, Story};
use super::{Cause, of};

const MS: u64 = 1_000_000;

/// When the watchdog trips.
const TRIP: At = 10_000 * MS;

const PEER: &str = "127.0.0.1:5000";

/// A peer that sent 500 datagrams a second, until 100 ms before a watchdog tripped.
fn silence() -> Story {
    let mut story = Story { cause_at: TRIP, ..Story::default() };
    story.incident.insert("cause".into(), "watchdog".into());
    story.peers.insert(PeerId::none(), PEER.parse().expect("an address"));
    story.received.extend((0..450).map(|number| received(TRIP - 1_000 * MS + 2 * MS * number, number)));
    story
}

fn received(at: At, number: u64) -> Received {
    Received { at, peer: PeerId::none(), number: Some(number), in_kernel: 0, len: 60 }
}

fn names(story: &Story) -> Vec<&'static str> {
    of(story).iter().map(Cause::name).collect()
}

#[test]
fn only_a_closed_port_shows_that_a_process_has_ended() {
    for (fault, name) in [
        ("PortUnreachable", "peer killed"),
        ("HostUnreachable", "network cut"),
        ("NetworkUnreachable", "network cut"),
        ("NetworkDown", "network cut"),
    ] {
        let mut story = silence();
        let fields = json!({ "address": PEER, "fault": fault, "problem": "No route to host" });
        story.events.push((TRIP - 50 * MS, json!({ "event": "PeerUnreachable", "fields": fields })));
        assert_eq!(names(&story), [name], "{fault}");
    }
}

#[test]
fn a_silent_peer_is_told_with_what_was_sent_to_it_until_the_record_ends() {
    let mut story = silence();
    story.sent.extend((0..40).map(|index| (TRIP + 5 * MS * index, PeerId::none(), 1)));
    let found = of(&story);
    assert_eq!(found[0].name(), "peer stopped or network cut");
    let sentence = &found[0].sentence;
    assert!(
        sentence.contains("silent for 102.0 ms") && sentence.contains("195.0 ms after the trip"),
        "{sentence}"
    );
    assert!(sentence.contains("(40 datagrams)"), "{sentence}");
}

#[test]
fn a_few_losses_are_named_if_they_made_the_silence() {
    let mut story = silence();
    story.received.push(received(TRIP + 20 * MS, 455));
    assert_eq!(names(&story), ["network loss"], "5 are missing");
    story.left_out = 4;
    assert_eq!(names(&story), ["network loss"], "4 of them may have come, and did not fit into the file");
    story.left_out = 5;
    assert_eq!(names(&story), ["peer stopped"], "all of them may have come");
    let mut story = silence();
    story.received.push(received(TRIP + 20 * MS, 450));
    assert_eq!(names(&story), ["peer stopped"], "none is missing");
    assert!(of(&story)[0].sentence.contains("the next number"));
    // The classic wire may have no numbers.
    story.received.iter_mut().for_each(|received| received.number = None);
    assert_eq!(names(&story), ["peer stopped"]);
    assert!(of(&story)[0].sentence.contains("cannot tell which"));
}

#[test]
fn a_silence_that_ended_long_before_somebody_asked_is_named() {
    let mut story = silence();
    story.incident.insert("cause".into(), "signal".into());
    story.received.iter_mut().for_each(|received| received.at -= 1_000 * MS);
    story
        .received
        .extend((450..800).map(|number| received(TRIP - 700 * MS + 2 * MS * (number - 450), number)));
    assert_eq!(names(&story), ["peer stopped"]);
    assert!(of(&story)[0].sentence.contains("nothing for 402.0 ms"), "{}", of(&story)[0].sentence);
    // This end was late to read what had come in time.
    story.received[450..].iter_mut().for_each(|received| received.in_kernel = 390 * MS);
    assert_eq!(names(&story), ["driver late"]);
}

#[test]
fn a_flood_that_is_short_is_named_beside_a_fast_peer() {
    let mut story = silence();
    story.received.extend((450..8_000).map(|number| received(TRIP - 90 * MS + 12_000 * number, number)));
    story.received.sort_by_key(|received| received.at);
    let stranger = "10.0.0.9:9".parse().expect("an address");
    let drops = (0..3_000)
        .map(|number| (TRIP - 90 * MS + 10_000 * number, stranger, tautline::DropReason::Malformed));
    story.dropped.extend(drops);
    assert_eq!(names(&story).first(), Some(&"flood"));
}

/// A peer sends packs of messages for a moment. The last of them found no room in the kernel, which nobody counted.
#[test]
fn what_a_flood_of_a_peer_loses_at_this_end_is_no_shrunk_path() {
    let mut story = Story { cause_at: TRIP, ..Story::default() };
    story.peers.insert(PeerId::none(), PEER.parse().expect("an address"));
    // The time before the end, the first number, how many there are, how far apart, and how large.
    for (before, first, count, apart, len) in [
        (2_500 * MS, 0, 75, 20 * MS, 60),
        (1_000 * MS, 75, 2_500, MS / 10, 1_200),
        (700 * MS, 3_000, 35, 20 * MS, 60),
    ] {
        let new = |number| Received { len, ..received(TRIP - before + apart * number, first + number) };
        story.received.extend((0..count).map(new));
    }
    assert_eq!(names(&story), ["network loss"]);
}

#[test]
fn replaced_messages_are_named_only_if_nothing_else_was_found() {
    let heard = |number| Heard {
        at: TRIP - number * MS,
        peer: PeerId::none(),
        message_type: MessageType::Command,
        age: None,
        on_the_way: 0,
        bytes: 8,
    };
    for (dropped, name) in [("handlers_dropped", "slow handler"), ("inbox_dropped", "slow reader")] {
        let mut story = Story { cause_at: TRIP, ..Story::default() };
        story.heard.extend((0..500).map(heard));
        story.statistics.push((TRIP, json!({ dropped: { "superseded": 400 }, "messages_received": 500 })));
        assert_eq!(names(&story), [name]);
        story.statistics.push((
            TRIP,
            json!({ dropped: { "superseded": 400 }, "messages_received": 500, "handler_panics": 1 }),
        ));
        assert_eq!(names(&story), ["handler panic"]);
        story.statistics.push((TRIP, json!({ dropped: { "superseded": 40 }, "messages_received": 500 })));
        assert!(names(&story).is_empty(), "most were taken");
    }
}
