//! A peer that was silent for long, and came back: what kept it away, or whether this end was the one that stood still.

use std::collections::BTreeMap;
use std::ops::Range;

use tautline::{DropReason, PeerId};

use super::super::story::{At, LATE, LONG, Received, Story};
use super::super::words::span;
use super::cause::{Cause, Kind};
use super::silence::{LONG_SILENCE_NS, reported};

/// Used if nothing else was found: a peer was silent for long, and came back long before somebody asked for the file.
pub(super) fn held_up(story: &Story) -> Option<Cause> {
    let mut latest = BTreeMap::new();
    let mut longest = None;
    for (index, received) in story.received.iter().enumerate().filter(|(_, of)| story.is_near(of.at)) {
        // When it came, and not when it was read.
        let came = received.at - received.in_kernel;
        // A peer in a new session has another number, and the same address.
        let end = story.peers.get(&received.peer);
        let (before, peer) = latest.insert(end, (came, received.peer)).unwrap_or((came, received.peer));
        longest = longest.max(Some((came.saturating_sub(before), before, peer, index)));
    }
    let (silent, last, peer, back) = longest.filter(|(silent, ..)| *silent >= LONG_SILENCE_NS)?;
    let back = &story.received[back];
    if let Some(cause) = stood_still(story, peer, last..last + silent) {
        return Some(cause);
    }
    if back.peer != peer {
        return Some(came_back_anew(story, (peer, last), back));
    }
    if let Some((.., missing)) = story.gaps().iter().find(|(at, of, _)| (*at, *of) == (back.at, peer)) {
        let sentence = format!(
            "nothing came from {} for {}, from {}, and {missing} datagrams of it are missing: the network lost them",
            story.who(peer),
            span(silent),
            story.when(last)
        );
        return Some(Cause::new(Kind::LossBurst, sentence));
    }
    let sentence = format!(
        "{} sent nothing for {}, from {}, and then went on: {}",
        story.who(peer),
        span(silent),
        story.when(last),
        held_up_by(story, back.number.is_some())
    );
    Some(Cause::new(Kind::PeerStopped, sentence))
}

/// This process did nothing during most of the silence of a peer. On the native wire it sends heartbeats, until it takes the peer for
/// silent.
fn stood_still(story: &Story, peer: PeerId, silence: Range<At>) -> Option<Cause> {
    if story.settings.get("wire").is_some_and(|wire| wire == "classic") || story.sent.is_empty() {
        return None;
    }
    let interval =
        story.settings.get("heartbeat_interval").and_then(|text| tautline::parse_duration(text).ok());
    let heartbeats = interval
        .map_or(LONG_SILENCE_NS, |interval| 3 * u64::try_from(interval.as_nanos()).unwrap_or(At::MAX / 3));
    let sent = story.sent.iter().map(|(at, ..)| *at);
    let read = story.received.iter().map(|received| received.at);
    let told = story.events.iter().map(|(at, _)| *at);
    let mut active: Vec<At> = sent.chain(read).chain(told).collect();
    active.sort_unstable();
    let overlap = |(from, until): (At, At)| until.min(silence.end).saturating_sub(from.max(silence.start));
    let pauses = active.windows(2).map(|pair| (pair[0], pair[1]));
    let (from, until) = pauses.max_by_key(|pause| overlap(*pause))?;
    let was_given_up = story.near("PeerSilent").any(|(at, event)| {
        (silence.start..=from).contains(at) && event["fields"]["peer"].as_str() == Some(&peer.to_string())
    });
    let sentence = || {
        format!(
            "this process neither sent nor read anything for {}, from {}, and so did not hear {}: it was stopped, had to wait for \
             the processor, or called its driver late",
            span(until - from),
            story.when(from),
            story.who(peer)
        )
    };
    let is_most = overlap((from, until)) * 2 >= silence.end - silence.start && until - from >= heartbeats;
    (is_most && !was_given_up).then(|| Cause::new(Kind::DriverLate, sentence()))
}

/// A silent peer came back in a new session, so no numbers tell whether something was lost.
pub(super) fn came_back_anew(story: &Story, (peer, last): (PeerId, At), back: &Received) -> Cause {
    let returned = format!("came back in a new session ({}) {}", back.peer, story.when(back.at));
    let is_goodbye = |reason: &str| reason == "closed_by_peer";
    let name = peer.to_string();
    let left =
        story.near("PeerDisconnected").find(|(_, event)| event["fields"]["peer"].as_str() == Some(&name));
    if left.is_some_and(|(_, event)| event["fields"]["reason"].as_str().is_some_and(is_goodbye)) {
        let sentence = format!("{} ended the link itself, and {returned}", story.who(peer));
        return Cause::new(Kind::PeerClosed, sentence);
    }
    let address = story.peers.get(&peer).copied();
    let place = address.map_or_else(|| "?".to_owned(), |address| address.to_string());
    let silence = format!(
        "{} at {place} was silent for {}, from {}",
        story.who(peer),
        span(back.at.saturating_sub(last)),
        story.when(last)
    );
    if let Some(cause) = reported(story, last..back.at, &silence, &place) {
        return Cause::new(cause.kind, format!("{}. It {returned}", cause.sentence));
    }
    // It answers each handshake datagram that waited for it. The first answer makes the session, the others are dropped.
    let period = back.at.saturating_sub(LONG)..back.at + LATE;
    let answers = story.dropped.iter().filter(|(at, from, reason)| {
        period.contains(at) && Some(*from) == address && *reason == DropReason::Unexpected
    });
    let answers = answers.count();
    if answers >= 2 {
        let sentence = format!(
            "{silence}, and {returned}. With this came {answers} more answers to what was sent to it meanwhile, so no network was \
             cut: it was held up or stopped"
        );
        Cause::new(Kind::PeerStopped, sentence)
    } else {
        let sentence = format!(
            "{silence}, and {returned}: it was stopped or started again, or the network was cut. This end cannot tell which"
        );
        Cause::new(Kind::PeerStoppedOrCut, sentence)
    }
}

/// What may have kept a peer from sending, if its numbers show no loss.
pub(super) fn held_up_by(story: &Story, has_number: bool) -> &'static str {
    let is_classic = story.settings.get("wire").is_some_and(|wire| wire == "classic");
    match (has_number, is_classic) {
        (false, _) => {
            "it was held up or stopped, or the network was cut. Without sequence numbers, this end cannot tell which"
        }
        // The classic wire has no heartbeats, so a peer that only answers is silent if it gets nothing.
        (true, true) => "it was held up or stopped, or it got nothing that it would answer",
        (true, false) => "it was held up or stopped",
    }
}
