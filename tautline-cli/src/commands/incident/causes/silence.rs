//! Why a peer was silent. It is judged last, because this end may only have been too late to hear it.

use std::ops::Range;

use serde_json::Value;
use tautline::PeerId;

use super::super::story::{At, LONG, Received, Story};
use super::super::words::span;
use super::cause::{Cause, Kind};
use super::returned::{came_back_anew, held_up_by};
use super::sender::{sender_stopped, suspect};
use crate::tools::output::without_codes;

/// A message that was on the way for this much longer than the quickest one was delayed.
pub(super) const DELAY_NS: u64 = 50_000_000;

/// Finds a silence that ended with a message that was on the way for half of it or longer. Returns the peer, when the silence began,
/// and the least delay of such a message.
pub(super) fn delayed_silence(story: &Story) -> Option<(PeerId, At, u64)> {
    let (peer, back) = ended_silence(story)?;
    let (last, _) = story.silence_of(peer)?;
    let least = DELAY_NS.max((back - last) / 2);
    let is_late = |(at, of, delay): &(At, PeerId, u64)| {
        *of == peer && *at > last && *at <= back + LONG && *delay >= least
    };
    story.delays().iter().any(is_late).then_some((peer, last, least))
}

/// A peer counts as silent if it was not heard for this time before a watchdog tripped.
const SILENCE_NS: u64 = 15_000_000;

/// The same for other causes: some heartbeats are missing.
pub(super) const LONG_SILENCE_NS: u64 = 300_000_000;

/// A peer that was heard just before the trip counts as gone if nothing of it came for this time afterwards.
const GONE_NS: u64 = 200_000_000;

pub(super) fn silence(story: &Story) -> Option<Cause> {
    // This end has read nothing meanwhile, so it does not know whether the peer was silent.
    if story.stuck().is_some() {
        return None;
    }
    if let Some(cause) = sender_stopped(story) {
        return Some(cause);
    }
    let peer = suspect(story)?;
    let least = if story.has_tripped() { SILENCE_NS } else { LONG_SILENCE_NS };
    let (last, silent) = story.silence_of(peer)?;
    let is_back =
        |received: &&Received| story.is_same_end(received.peer, peer) && received.at > story.cause_at;
    let back = story.received.iter().find(is_back);
    let is_gone =
        story.has_tripped() && back.is_none() && story.end().max(story.written_at) >= last + GONE_NS;
    if silent < least && !is_gone {
        return None;
    }
    // It was not silent: this end was late to read what had come.
    if back.is_some_and(|back| back.at - back.in_kernel < last + least) {
        return None;
    }
    if delayed_silence(story).is_some() {
        return None;
    }
    let address = story.peers.get(&peer)?;
    let is_goodbye = |event: &Value| {
        event["fields"]["reason"] == "closed_by_peer"
            && event["fields"]["peer"].as_str() == Some(&peer.to_string())
    };
    if story.near("PeerDisconnected").any(|(_, event)| is_goodbye(event)) {
        return Some(Cause::new(Kind::PeerClosed, format!("{} ended the link itself", story.who(peer))));
    }
    let silence = format!("{} at {address} was silent for {}", story.who(peer), span(silent));
    if let Some(cause) = reported(story, last..At::MAX, &silence, &address.to_string()) {
        return Some(cause);
    }
    if let Some(back) = back.filter(|back| back.peer != peer) {
        return Some(came_back_anew(story, (peer, last), back));
    }
    let lost = story.gaps().iter().any(|(at, of, _)| *of == peer && back.is_some_and(|back| *at == back.at));
    Some(match back {
        Some(back) if !lost => {
            let went_on = match back.number {
                Some(_) => "and then went on with the next number",
                None => "and then went on",
            };
            let why = held_up_by(story, back.number.is_some());
            let sentence =
                format!("{} sent nothing for {}, {went_on}: {why}", story.who(peer), span(back.at - last));
            Cause::new(Kind::PeerStopped, sentence)
        }
        Some(_) => return None,
        None => stayed_away(story, peer, last, &silence),
    })
}

/// What the system or the network reported when something was sent to the silent peer.
pub(super) fn reported(story: &Story, during: Range<At>, silence: &str, address: &str) -> Option<Cause> {
    let mut reports = story.near("PeerUnreachable").filter(|(at, event)| {
        (during.start.saturating_sub(SILENCE_NS)..during.end).contains(at)
            && event["fields"]["address"].as_str().is_none_or(|at| at == address)
    });
    let (_, report) = reports.next()?;
    Some(if report["fields"]["fault"] == "PortUnreachable" {
        let sentence = format!(
            "{silence}, and its machine says that nothing listens at its port: its process has ended without a goodbye"
        );
        Cause::new(Kind::PeerKilled, sentence)
    } else {
        let problem = without_codes(report["fields"]["problem"].as_str().unwrap_or("an error"));
        Cause::new(Kind::NetworkCut, format!("{silence}, and nothing could be sent to it: {problem}"))
    })
}

/// The cause where the peer did not come back.
fn stayed_away(story: &Story, peer: PeerId, last: At, silence: &str) -> Cause {
    let end = story.end();
    let until = if end > story.cause_at {
        format!(", and until the record ends, {}", story.when(end))
    } else {
        String::new()
    };
    // An answer to its last datagram was sent before the peer was gone, so it does not count.
    let sent = story.sent.iter().filter(|(at, to, _)| *to == peer && *at > last + LONG);
    let sent: u64 = sent.map(|(.., count)| count).sum();
    let silence = format!("{silence} without a goodbye{until}.");
    if sent > 0 {
        let sentence = format!(
            "{silence} What was sent to it meanwhile ({sent} datagrams) led to no error: its process is stopped, or the network \
             is cut. This end cannot tell which"
        );
        Cause::new(Kind::PeerStoppedOrCut, sentence)
    } else {
        let sentence = format!(
            "{silence} Nothing was sent to it meanwhile that could have led to an error: its process has ended or is stopped, or \
             the network is cut. This end cannot tell which"
        );
        Cause::new(Kind::PeerSilent, sentence)
    }
}

/// The peer that was silent at the cause, and when it came back.
pub(super) fn ended_silence(story: &Story) -> Option<(PeerId, At)> {
    let peer = suspect(story)?;
    let back =
        story.received.iter().find(|received| received.peer == peer && received.at > story.cause_at)?;
    Some((peer, back.at))
}
