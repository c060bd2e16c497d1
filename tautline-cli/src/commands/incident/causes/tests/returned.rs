//! A peer that was silent, and came back before the file was written: in its session or in a new one.

use serde_json::json;
use tautline::{DropReason, PeerId};

use super::super::super::story::{At, Received, Story};
use super::{MS, PEER, TRIP, names, of, received, with_another_peer};

/// Somebody asks for the file of an end that sends a heartbeat each 100 ms. Its peer was silent from 2.0 s to 1.0 s before.
fn returned(new: PeerId) -> Story {
    let mut story = Story { cause_at: TRIP, written_at: TRIP, ..Story::default() };
    story.incident.insert("cause".into(), "signal".into());
    for peer in [PeerId::none(), new] {
        story.peers.insert(peer, PEER.parse().expect("an address"));
    }
    story.received.extend((0..=10).map(|n| received(TRIP - 3_000 * MS + 100 * MS * n, n)));
    story.received.extend((0..=10).map(|n| {
        let number = if new == PeerId::none() { 11 + n } else { n };
        Received { peer: new, ..received(TRIP - 1_000 * MS + 100 * MS * n, number) }
    }));
    story.sent.extend((0..60).map(|n| (TRIP - 3_000 * MS + 50 * MS * n, PeerId::none(), 1)));
    story
}

/// Another session of the peer.
fn anew() -> PeerId {
    super::a_peer()
}

fn event(story: &mut Story, before: u64, kind: &str, fields: &serde_json::Value) {
    story.events.push((TRIP - before * MS, json!({ "event": kind, "fields": fields })));
    story.events.sort_by_key(|(at, _)| *at);
}

fn told(story: &Story) -> String {
    let found = of(story);
    assert_eq!(found.len(), 1, "{found:?}");
    format!("{}: {}", found[0].name(), found[0].sentence)
}

#[test]
fn a_peer_that_was_killed_and_started_again_is_named() {
    let mut story = returned(anew());
    let refused = json!({ "address": PEER, "fault": "PortUnreachable", "problem": "Connection refused" });
    event(&mut story, 1_950, "PeerUnreachable", &refused);
    let replaced = json!({ "peer": PeerId::none().to_string(), "reason": "replaced" });
    event(&mut story, 1_000, "PeerDisconnected", &replaced);
    let killed = told(&story);
    assert!(killed.starts_with("peer killed: ") && killed.contains("silent for 1000.0 ms"), "{killed}");
    assert!(
        killed.contains("It came back in a new session") && killed.contains("1000.0 ms before"),
        "{killed}"
    );
    // What was reported after it came back is not the reason.
    let mut story = returned(anew());
    event(&mut story, 900, "PeerUnreachable", &refused);
    assert!(told(&story).starts_with("peer stopped or network cut: "), "{}", told(&story));
}

#[test]
fn a_peer_that_was_stopped_and_got_a_new_session_is_named() {
    let mut story = returned(anew());
    let unclear = told(&story);
    assert!(unclear.starts_with("peer stopped or network cut: "), "{unclear}");
    assert!(unclear.contains("cannot tell"), "{unclear}");
    // It has answered what waited for it.
    let from = PEER.parse().expect("an address");
    story.dropped.extend((0..14).map(|n| (TRIP - 999 * MS + n, from, DropReason::Unexpected)));
    story.statistics.push((TRIP, json!({ "datagrams_dropped": { "unexpected": 14 } })));
    let stopped = told(&story);
    assert!(stopped.starts_with("peer stopped: ") && stopped.contains("14 more answers"), "{stopped}");
}

/// What it dropped when the peer came back explains nothing.
#[test]
fn what_was_dropped_is_not_named_beside_a_peer_that_was_stopped() {
    let mut story = returned(PeerId::none());
    story.statistics.push((TRIP, json!({ "datagrams_dropped": { "unexpected": 14 } })));
    assert!(told(&story).starts_with("peer stopped: "), "{}", told(&story));
}

#[test]
fn a_peer_that_left_and_came_back_has_left() {
    let mut story = returned(anew());
    let goodbye = json!({ "peer": PeerId::none().to_string(), "reason": "closed_by_peer" });
    event(&mut story, 1_990, "PeerDisconnected", &goodbye);
    assert!(told(&story).starts_with("peer closed: "), "{}", told(&story));
}

#[test]
fn a_new_session_at_the_same_address_is_no_other_peer_for_a_watchdog() {
    let mut story = returned(anew());
    story.cause_at = TRIP - 1_900 * MS;
    story.incident.insert("cause".into(), "watchdog".into());
    assert!(told(&story).contains("came back in a new session"), "{}", told(&story));
    let other = with_another_peer(returned(PeerId::none()));
    assert!(told(&other).starts_with("peer stopped: "), "one at another address is: {}", told(&other));
}

/// What the peer sent at first waited for this process. Then it took this end for silent, and sent nothing more.
#[test]
fn a_peer_is_not_blamed_for_the_time_in_which_this_process_stood_still() {
    let stood_still = |waiting: u64| {
        let mut story = returned(PeerId::none());
        let is_meanwhile = |at: At| (TRIP - 2_000 * MS + 1..TRIP - 1_000 * MS).contains(&at);
        story.sent.retain(|(at, ..)| !is_meanwhile(*at));
        let late = (0..waiting)
            .map(|n| Received { in_kernel: (900 - 100 * n) * MS, ..received(TRIP - 1_000 * MS, 11 + n) });
        story.received.iter_mut().filter(|of| of.at >= TRIP - 1_000 * MS).for_each(|of| {
            of.number = of.number.map(|number| number + waiting);
        });
        story.received.extend(late);
        story.received.sort_by_key(|received| (received.at, received.number));
        story
    };
    for waiting in [0, 4] {
        let found = told(&stood_still(waiting));
        assert!(found.starts_with("driver late: this process neither sent nor read"), "{waiting}: {found}");
        assert!(found.contains("anything for 1000.0 ms, from 2000.0 ms before"), "{waiting}: {found}");
    }
    // The peer was the one: this end sent nothing more because it took it for silent.
    let mut story = stood_still(0);
    let peer = json!({ "peer": PeerId::none().to_string() });
    event(&mut story, 1_800, "PeerSilent", &peer);
    assert!(told(&story).starts_with("peer stopped: "), "{}", told(&story));
    // Its heartbeats are further apart.
    let mut story = stood_still(0);
    story.settings.insert("heartbeat_interval".into(), "500ms".into());
    assert_eq!(names(&story), ["peer stopped"]);
    // An end on the classic wire only sends what its user sends.
    let mut story = stood_still(0);
    story.settings.insert("wire".into(), "classic".into());
    assert_eq!(names(&story), ["peer stopped"]);
}

/// The file was written just after the process went on.
#[test]
fn a_driver_that_has_begun_to_read_again_is_not_told_to_read_nothing() {
    let mut story = returned(PeerId::none());
    story.received.truncate(11);
    story.received.push(Received { in_kernel: 1_900 * MS, ..received(TRIP + MS / 10, 11) });
    (story.last_input, story.due) = (Some(TRIP + MS / 10), Some(TRIP - 1_800 * MS));
    story.written_at = TRIP + MS;
    assert!(told(&story).starts_with("driver late: a datagram waited 1900.0 ms"), "{}", told(&story));
    story.received.pop();
    story.last_input = Some(TRIP - 1_900 * MS);
    assert!(told(&story).contains("read nothing from 1900.0 ms before"), "{}", told(&story));
}
