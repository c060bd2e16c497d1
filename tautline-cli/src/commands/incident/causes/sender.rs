//! Finds the peer whose silence led to the file, and a peer that is alive but no longer sends what a watchdog waits for.

use tautline::{MessageType, PeerId};

use super::super::story::{At, Heard, Story};
use super::super::words::span;
use super::cause::{Cause, Kind};
use super::silence::LONG_SILENCE_NS;

/// The peer whose silence is examined: the one that the tripped watchdog names, or else the one that sent its messages last, or
/// else the one that was heard last before the cause. Other peers may have gone on meanwhile.
pub(super) fn suspect(story: &Story) -> Option<PeerId> {
    let named = story.watched().and_then(|watched| {
        let (_, peer) = watched.rsplit_once(" of ")?;
        story.peers.keys().copied().find(|of| of.to_string() == peer)
    });
    let sender = || {
        let message_type = watched_type(story)?;
        let is_before = |heard: &&Heard| heard.at <= story.cause_at && heard.message_type == message_type;
        story.heard.iter().rev().find(is_before).map(|heard| heard.peer)
    };
    let last = || {
        let last = story.received.iter().rev().find(|received| received.at <= story.cause_at)?.peer;
        let is_silent = |peer: &PeerId| {
            story.silence_of(*peer).is_some_and(|(at, silent)| story.is_near(at) && silent >= LONG_SILENCE_NS)
        };
        // Without a watchdog, a peer that went away without a word.
        let mut gone = story.peers.keys().copied().filter(|peer| is_silent(peer) && !has_left(story, *peer));
        Some(if story.has_tripped() || is_silent(&last) { last } else { gone.next().unwrap_or(last) })
    };
    named.or_else(sender).or_else(last)
}

/// Whether this end knows why the peer is not there any more, such as a goodbye.
fn has_left(story: &Story, peer: PeerId) -> bool {
    let peer = peer.to_string();
    story.near("PeerDisconnected").any(|(_, event)| event["fields"]["peer"].as_str() == Some(&peer))
}

/// The type of messages that the watchdog that tripped waits for.
fn watched_type(story: &Story) -> Option<MessageType> {
    let name = story.watched()?.split([' ', '.']).next()?;
    MessageType::ALL.iter().copied().find(|message_type| message_type.name() == name)
}

/// The peer's datagrams come without a gap, but none holds what the watchdog waits for.
pub(super) fn sender_stopped(story: &Story) -> Option<Cause> {
    let (message_type, peer) = (watched_type(story)?, suspect(story)?);
    let mut sent =
        story.heard.iter().filter(|heard| heard.peer == peer && heard.message_type == message_type);
    let back = sent.clone().find(|heard| heard.at > story.cause_at).map(|heard| heard.at);
    let last = sent.rfind(|heard| heard.at <= story.cause_at)?.at;
    let end = back.unwrap_or(story.end());
    let is_meanwhile = |at: At| last < at && at < end;
    let others = story.received.iter().filter(|received| received.peer == peer && is_meanwhile(received.at));
    let (mut before, mut longest, mut count) = (last, 0, 0);
    for other in others {
        longest = longest.max(other.at - before);
        (before, count) = (other.at, count + 1);
    }
    longest = longest.max(end - before);
    let is_lost = story.gaps().iter().any(|(at, of, _)| *of == peer && last < *at && *at <= end);
    // During all of this time, and not only at its beginning.
    let is_alive = count >= 2 && longest * 4 < (end - last) * 3;
    let goes_on = match back {
        Some(back) => format!("The next {message_type} came {}", story.when(back)),
        None => format!("No {message_type} came until the record ends, {}", story.when(end)),
    };
    let sentence = || {
        format!(
            "{} at {} sent no {message_type} for {} before the trip, though it is alive: {count} other datagrams of it \
             came, and none is missing. {goes_on}. So its program sent none",
            story.who(peer),
            story.peers.get(&peer).map_or_else(|| "?".to_owned(), ToString::to_string),
            span(story.cause_at - last),
        )
    };
    (is_alive && !is_lost).then(|| Cause::new(Kind::SenderStopped, sentence()))
}
