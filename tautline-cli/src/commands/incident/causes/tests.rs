//! Records that show one fault each.

mod returned;

use serde_json::json;
use tautline::{MessageType, PeerId};

use super::super::story::{At, Heard, Received, Story};
use super::{Cause, of};

const MS: u64 = 1_000_000;

/// When the watchdog trips.
const TRIP: At = 100_000 * MS;

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

/// Statistics of each second before the trip, the oldest first.
fn each_second(story: &mut Story, count: u64, statistics: impl Fn(u64) -> serde_json::Value) {
    story.statistics = (0..=count).map(|n| (TRIP - 1_000 * MS * (count - n), statistics(n))).collect();
}

/// The ring held only its end.
#[test]
fn a_flood_that_is_larger_than_the_ring_is_named() {
    let stranger = "10.0.0.9:9".parse().expect("an address");
    let flooded = |dropped: u64, accepted: u64| {
        let mut story = silence();
        story.dropped.extend(
            (0..700).map(|n| (TRIP - 70 * MS + 100_000 * n, stranger, tautline::DropReason::Malformed)),
        );
        each_second(&mut story, 5, |n| {
            let dropped = if n < 4 { 0 } else { dropped * (n - 3) / 2 };
            json!({ "datagrams_dropped": { "malformed": dropped }, "datagrams_accepted": accepted * n })
        });
        story
    };
    let story = flooded(30_000, 500);
    assert_eq!(names(&story).first(), Some(&"flood"));
    let sentence = &of(&story)[0].sentence;
    assert!(
        sentence.starts_with("30000 datagrams of strangers were dropped within 2.0 s, and 1000 of"),
        "{sentence}"
    );
    for (dropped, accepted) in [(1_900, 500), (30_000, 30_000)] {
        assert_ne!(names(&flooded(dropped, accepted)).first(), Some(&"flood"), "{dropped} beside {accepted}");
    }
    // Datagrams of a peer that were dropped are no flood of strangers.
    let mut story = flooded(30_000, 500);
    story.dropped.iter_mut().for_each(|(_, from, _)| *from = PEER.parse().expect("an address"));
    assert_ne!(names(&story).first(), Some(&"flood"));
}

/// It has run since before the trip, so the driver could not note it.
#[test]
fn an_inline_handler_that_has_not_returned_is_named() {
    let mut story = silence();
    story.last_input = story.received.last().map(|last| last.at);
    story.written_at = TRIP + 300 * MS;
    story.statistics.push((TRIP + 300 * MS, json!({ "inline_at_work": "handler of command" })));
    assert_eq!(names(&story), ["slow handler"]);
    let sentence = &of(&story)[0].sentence;
    assert!(sentence.contains("inline handler of command was called 102.0 ms before the trip"), "{sentence}");
    // It was called only just now, so it is not what took so long.
    story.last_input = Some(story.written_at - MS);
    assert_eq!(names(&story), ["peer silent"]);
}

#[test]
fn a_driver_that_nobody_calls_any_more_is_named() {
    let mut story = silence();
    story.last_input = story.received.last().map(|last| last.at);
    story.written_at = TRIP + 300 * MS;
    for (due, name) in [(200, "driver late"), (-200, "peer silent"), (201, "driver late")] {
        story.due = Some((story.written_at.cast_signed() - due * MS.cast_signed()).cast_unsigned());
        assert_eq!(names(&story), [name], "{due}");
    }
    // After the end of the connection nobody has to.
    let closed = json!({ "event": "StateChanged", "fields": { "from": "Connected", "to": "Disconnected" } });
    story.events.push((TRIP, closed));
    // The last event that names two addresses, and no states.
    let moved = json!({ "event": "PeerMoved", "fields": { "from": PEER, "to": "127.0.0.1:5001" } });
    story.events.push((TRIP, moved));
    assert_eq!(names(&story), ["peer silent"]);
}

#[test]
fn a_reader_that_fell_behind_long_ago_and_never_caught_up_is_named() {
    let behind = |reader: &str, waiting: &str, now: u64| {
        let mut story = silence();
        story.incident.insert("cause".into(), "signal".into());
        story.received.clear();
        let fields = json!({ "reader": reader, "waiting": 70 });
        story.events.push((TRIP - 60_000 * MS, json!({ "event": "ReaderBehind", "fields": fields })));
        each_second(&mut story, 60, |n| {
            let left = if n == 60 { now } else { 70 + n };
            json!({ waiting: left, "inbox_taken": 1, "handled": 1 })
        });
        of(&story).iter().map(|cause| format!("{}: {}", cause.name(), cause.sentence)).collect::<Vec<_>>()
    };
    let found = behind("inbox", "inbox_waiting", 900);
    assert!(found[0].starts_with("slow reader: ") && found[0].contains("900 messages"), "{found:?}");
    assert!(found[0].contains("60.0 s before"), "{found:?}");
    let found = behind("handler of command", "handlers_waiting", 900);
    assert!(found[0].starts_with("slow handler: the handler of command fell behind 60.0 s"), "{found:?}");
    assert!(behind("inbox", "inbox_waiting", 0).is_empty(), "it has caught up");
}

#[test]
fn an_inbox_that_nobody_reads_is_no_slow_reader_beside_handlers() {
    let story = |handled: u64, taken: u64| {
        let mut story = Story { cause_at: TRIP, ..Story::default() };
        let dropped = json!({ "drop_oldest": 400, "superseded": 400 });
        story.statistics.push((
            TRIP,
            json!({ "inbox_dropped": dropped, "messages_received": 500, "inbox_taken": taken, "handled": handled }),
        ));
        story
    };
    assert!(names(&story(500, 0)).is_empty());
    assert_eq!(names(&story(500, 1)), ["slow reader"]);
    assert_eq!(names(&story(0, 0)), ["slow reader"]);
    assert!(of(&story(0, 0))[0].sentence.contains("nobody has called `receive`"));
}

#[test]
fn a_link_that_did_not_come_up_is_told_with_what_was_missing() {
    let refused = json!({ "address": PEER, "fault": "PortUnreachable", "problem": "Connection refused" });
    let missing =
        json!({ "missing": "no route leads to 10.9.9.9:5000 (Network is unreachable (os error 101))" });
    for (event, fields, sentence) in [
        ("PeerUnreachable", refused, "nothing listens at 127.0.0.1:5000"),
        ("Waiting", missing, "no route leads to 10.9.9.9:5000 (Network is unreachable)"),
        ("KeyNeeded", json!({ "server": PEER }), "127.0.0.1:5000 lets in only clients with its key"),
        ("RecordFull", json!({}), "no answer came from the server"),
    ] {
        let mut story = Story { cause_at: TRIP, ..Story::default() };
        story.incident.insert("cause".into(), "error".into());
        story.events.push((TRIP - MS, json!({ "event": event, "fields": fields })));
        let failed = json!({ "from": "Connecting", "to": "Error", "cause": "Failed" });
        story.events.push((TRIP, json!({ "event": "StateChanged", "fields": failed })));
        assert_eq!(names(&story), ["not connected"]);
        assert!(of(&story)[0].sentence.starts_with(sentence), "{}", of(&story)[0].sentence);
    }
}

/// Some probes of the path came at first. The network loses a few of all datagrams.
#[test]
fn losses_behind_probes_of_the_path_are_no_shrunk_path_and_no_reason_for_a_silence() {
    for large in [5, 40] {
        let mut story = silence();
        story.received.retain(|received| received.number.is_none_or(|number| number % 20 != 7));
        story.received[..large].iter_mut().for_each(|received| received.len = 8_972);
        story.sent.push((TRIP, PeerId::none(), 1));
        assert_eq!(names(&story), ["peer stopped or network cut", "network loss"], "{large} large ones");
    }
}

/// Only an interface gives numbers to peers.
fn a_peer() -> PeerId {
    let plant = tautline::create_udp_server(tautline::Config::server("127.0.0.1:0")).expect("in order");
    plant.connect().expect("a free port");
    let address = plant.local_address().expect("connected");
    let client = tautline::create_udp_client(tautline::Config::client(address)).expect("in order");
    client.connect().expect("the plant answers");
    client.peers()[0].id
}

/// A peer that goes on, beside the one of [`silence`]: a datagram each 10 ms.
fn with_another_peer(mut story: Story) -> Story {
    let other = a_peer();
    story.peers.insert(other, "127.0.0.1:6000".parse().expect("an address"));
    let goes_on = |number| Received { peer: other, ..received(TRIP - 1_000 * MS + 10 * MS * number, number) };
    story.received.extend((0..130).map(goes_on));
    story.received.sort_by_key(|received| received.at);
    story
}

fn heard(at: At) -> Heard {
    let (peer, message_type) = (PeerId::none(), MessageType::Command);
    Heard { at, peer, message_type, age: None, on_the_way: 0, bytes: 8 }
}

/// A watchdog of commands trips at the end of the story.
fn watches(story: &mut Story, watched: &str) {
    let fields = json!({ "change": "tripped", "watched": watched });
    story.events.push((TRIP, json!({ "event": "Watchdog", "fields": fields })));
}

#[test]
fn a_peer_that_goes_on_does_not_hide_the_one_that_is_silent() {
    let told = |story: &Story| format!("{} {}", of(story)[0].name(), of(story)[0].sentence);
    // The watchdog waits for what only the silent one sends, or names it.
    for watched in ["command", "command.3 of arm", &format!("anything of {}", PeerId::none())] {
        let mut story = with_another_peer(silence());
        story.heard.push(heard(TRIP - 102 * MS));
        watches(&mut story, watched);
        assert!(
            told(&story).starts_with("peer silent") && told(&story).contains(PEER),
            "{watched}: {}",
            told(&story)
        );
    }
    // Somebody has asked for the file.
    let mut story = with_another_peer(silence());
    story.received.iter_mut().filter(|of| of.peer == PeerId::none()).for_each(|of| of.at -= 300 * MS);
    story.received.sort_by_key(|received| received.at);
    story.incident.insert("cause".into(), "signal".into());
    assert!(told(&story).starts_with("peer silent") && told(&story).contains(PEER), "{}", told(&story));
    let fields = json!({ "peer": PeerId::none().to_string(), "reason": "closed_by_peer" });
    story.events.push((TRIP - 400 * MS, json!({ "event": "PeerDisconnected", "fields": fields })));
    assert!(names(&story).is_empty(), "it has said goodbye");
}

/// Its heartbeats come: its program hangs, or it has nothing to say.
#[test]
fn a_peer_that_is_alive_but_sends_no_commands_is_named() {
    let alive = |lost: u64, until: u64| {
        let mut story = silence();
        story.heard.push(heard(TRIP - 102 * MS));
        let heartbeats = (1..).map(|n| received(TRIP - 102 * MS + 100 * MS * n, 449 + n + lost * n));
        story.received.extend(heartbeats.take_while(|of| of.at < TRIP + until * MS));
        story.sent.push((TRIP + 300 * MS, PeerId::none(), 1));
        watches(&mut story, "command");
        story
    };
    let story = alive(0, 300);
    assert_eq!(names(&story), ["sender stopped"]);
    let sentence = &of(&story)[0].sentence;
    assert!(
        sentence.contains("no command for 102.0 ms") && sentence.contains("until the record ends"),
        "{sentence}"
    );
    let mut story = alive(0, 300);
    story.heard.push(heard(TRIP + 250 * MS));
    assert!(of(&story)[0].sentence.contains("The next command came 250.0 ms after the trip"));
    assert_eq!(names(&alive(0, 1)), ["peer stopped or network cut"], "one heartbeat, and then nothing");
    assert!(!names(&alive(1, 300)).contains(&"sender stopped"), "what is missing may have been commands");
}

/// Each command comes, but too late: a watchdog does not count what is dropped.
#[test]
fn messages_that_are_too_old_are_named() {
    let mut story = silence();
    story
        .received
        .extend((450..500).map(|number| received(TRIP - 100 * MS + 2 * MS * (number - 450), number)));
    let old = |at| Heard { age: Some(std::time::Duration::from_millis(70)), ..heard(at) };
    story.heard.extend((0..500).map(|number| old(TRIP - 2 * MS * number)));
    story.heard.reverse();
    watches(&mut story, "command");
    assert!(names(&story).is_empty());
    story.statistics.push((TRIP, json!({ "messages_dropped": { "expired": 500 } })));
    assert_eq!(names(&story), ["messages too old"]);
    assert!(
        of(&story)[0].sentence.contains("the oldest that came was 70.0 ms old"),
        "{}",
        of(&story)[0].sentence
    );
}

#[test]
fn what_this_end_drops_is_named_if_nothing_else_was_found() {
    let mut story = silence();
    story
        .received
        .extend((450..500).map(|number| received(TRIP - 100 * MS + 2 * MS * (number - 450), number)));
    let dropped = json!({ "not_owner": 50, "latched": 900, "superseded": 900 });
    story.statistics.push((TRIP, json!({ "messages_dropped": dropped })));
    assert_eq!(names(&story), ["dropped here"]);
    assert!(of(&story)[0].sentence.starts_with("50 datagrams or messages"), "{}", of(&story)[0].sentence);
    story.statistics.push((TRIP, json!({ "messages_dropped": dropped, "handler_panics": 1 })));
    assert_eq!(names(&story), ["handler panic"]);
}

#[test]
fn a_record_that_is_shorter_than_the_incident_says_so() {
    let short = |lost: u64| {
        let mut story = silence();
        story.incident.insert("cause".into(), "signal".into());
        story.received.iter_mut().for_each(|received| received.at = TRIP - 90 * MS + received.at % (80 * MS));
        story.received.sort_by_key(|received| received.at);
        (0..).zip(&mut story.received).for_each(|(number, received)| received.number = Some(number));
        each_second(&mut story, 5, |n| json!({ "lost": if n < 4 { 0 } else { lost } }));
        story
    };
    let story = short(60);
    assert_eq!(names(&story), ["network loss"]);
    assert!(of(&story)[0].sentence.contains("lost 60 datagrams"), "{}", of(&story)[0].sentence);
    let mut story = short(0);
    let told = super::told(&story, &of(&story));
    assert!(
        told[0].starts_with("The file shows no fault. But its record reaches back only 90.0 ms"),
        "{told:?}"
    );
    story.statistics.remove(0);
    story.statistics.iter_mut().for_each(|(at, _)| *at = TRIP);
    assert_eq!(super::told(&story, &of(&story)), ["The file shows no fault."], "there was nothing before");
}

/// The watchdog's thread waits for no other thread, so a trip that is late shows that the whole process stood still.
#[test]
fn a_process_that_was_stopped_is_told_from_a_handler_that_takes_long() {
    let busy = |late: u64| {
        let mut story = silence();
        let begin = story.received.last().expect("there are some").at;
        story.busy.push((begin, 600 * MS));
        story.received.push(Received { in_kernel: 500 * MS, ..received(begin + 600 * MS, 450) });
        story.statistics.push((TRIP, json!({ "handled": 450 })));
        let fields = json!({ "change": "tripped", "watched": "command", "late_ns": late * MS });
        story.events.push((TRIP, json!({ "event": "Watchdog", "fields": fields })));
        story
    };
    assert_eq!(names(&busy(300)).first(), Some(&"driver late"));
    let mut story = busy(1);
    assert_eq!(names(&story).first(), Some(&"slow handler"));
    assert!(!of(&story)[0].sentence.contains("stopped"), "the trip came in time: {}", of(&story)[0].sentence);
    story.incident.insert("cause".into(), "signal".into());
    story.events.clear();
    assert_eq!(names(&story).first(), Some(&"slow handler"));
    assert!(of(&story)[0].sentence.contains("may have been stopped"), "{}", of(&story)[0].sentence);
}
