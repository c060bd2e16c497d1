//! What the network did: losses, delays, a path that carries smaller packets.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::story::{Received, Story};
use super::cause::{Cause, Kind};
use super::counts::{BURST, number};
use super::flood::flood_of_a_peer;
use super::silence::{DELAY_NS, delayed_silence, ended_silence};
use crate::tools::words::counted;

pub(super) fn path_shrunk(story: &Story) -> Option<Cause> {
    let mut sizes = BTreeMap::new();
    let told = story.events.iter().find_map(|(at, event)| {
        let (peer, mtu) = (event["fields"]["peer"].as_str()?, event["fields"]["mtu"].as_u64()?);
        let before = sizes.insert(peer, mtu).filter(|before| *before > mtu && story.is_near(*at))?;
        let sentence = format!(
            "the path to {peer} carries packets of {mtu} bytes only, and carried {before} before; larger ones were lost"
        );
        Some(Cause::new(Kind::PathShrunk, sentence))
    });
    // What the kernel of this end has dropped was not lost on the path. Only Linux counts that, so elsewhere a flood must show it.
    let is_lost_here = || story.kernel_drops() > 0 || flood_of_a_peer(story).is_some();
    told.or_else(|| silently_shrunk(story).filter(|_| !is_lost_here()))
}

/// Every path carries datagrams that are smaller than this.
const NARROWEST: usize = 500;

/// A path that lets only small datagrams through, and tells nobody: large ones stop at once, and numbers are missing from then on.
fn silently_shrunk(story: &Story) -> Option<Cause> {
    story.peers.keys().find_map(|peer| {
        let received: Vec<&Received> =
            story.received.iter().filter(|received| received.peer == *peer && received.number.is_some()).collect();
        let (last, end) = (received.last()?, story.end());
        // From the end backwards: `largest` is the largest datagram that came after the present one.
        let mut largest = last.len;
        let at = received.iter().rposition(|received| {
            let is_larger = received.len > largest + largest / 4;
            largest = largest.max(received.len);
            is_larger
        })?;
        let (until, since) = received.split_at(at + 1);
        let (large, begin) = (until.last()?, until.first()?);
        let small = since.iter().map(|received| received.len).max()?;
        let wide = until.iter().filter(|received| received.len > small + small / 4).count() as u64;
        // This many large ones would have come since, at the rate of before.
        let due = wide * end.saturating_sub(large.at) / (large.at - begin.at).max(1);
        let (mut before, mut missing) = (0, 0);
        for (at, _, count) in story.gaps().into_iter().filter(|(_, of, _)| of == peer) {
            *(if at > large.at { &mut missing } else { &mut before }) += count;
        }
        // A network that always loses some datagrams has lost some before, too.
        let is_new = missing * until.len() as u64 > 3 * before * since.len() as u64;
        let sentence = || {
            format!(
                "datagrams of {} with up to {} bytes came until {}, and since then only those with up to {small}; {missing} are \
                 missing: the path carries smaller packets than before, and tells nobody",
                story.who(*peer),
                large.len,
                story.when(large.at)
            )
        };
        // A few large datagrams may be probes of the path.
        let is_large = large.len >= NARROWEST && story.is_near(large.at) && wide >= BURST;
        let is_shrunk = is_large && since.len() >= 3 && due >= BURST && missing >= BURST && is_new;
        is_shrunk.then(|| Cause::new(Kind::PathShrunk, sentence()))
    })
}

pub(super) fn loss_burst(story: &Story) -> Option<Cause> {
    // What the kernel of this end has dropped was not lost on the network.
    let dropped_here = story.kernel_drops();
    let gaps = story.gaps();
    let lost: u64 = gaps.iter().map(|(.., missing)| missing).sum();
    let (at, peer, most) = gaps.iter().max_by_key(|(.., missing)| *missing)?;
    let sentence = || {
        format!(
            "the network lost {} of peers on the way here; the longest run was {most} of {}, which ended {}",
            counted(lost, "datagram"),
            story.who(*peer),
            story.when(*at)
        )
    };
    // A few are enough if they made the silence after which a watchdog tripped.
    let is_silence = story.has_tripped()
        && ended_silence(story)
            .is_some_and(|(peer, at)| gaps.iter().any(|(gap, of, _)| (*gap, *of) == (at, peer)));
    ((lost >= BURST || is_silence) && lost > dropped_here).then(|| Cause::new(Kind::LossBurst, sentence()))
}

/// Used if nothing else was found: the statistics have counted losses from before the record.
pub(super) fn counted_loss(story: &Story) -> Option<Cause> {
    story.short_record()?;
    let lost = story.growth(|statistics| number(statistics, "lost")) - story.kernel_drops() as f64;
    let sentence = || {
        format!(
            "the network lost {lost:.0} datagrams of peers on the way here. Only the statistics show that: the record does not \
             reach back that far. A larger `black_box` keeps more"
        )
    };
    (lost >= BURST as f64).then(|| Cause::new(Kind::LossBurst, sentence()))
}

/// Messages were dropped because they were older than their lifespan. If no other cause is named, the network or the sender always
/// takes too long.
pub(super) fn too_old(story: &Story) -> Option<Cause> {
    let expired = |statistics: &Value| {
        ["messages_dropped", "inbox_dropped", "handlers_dropped"]
            .map(|dropped| number(&statistics[dropped], "expired"))
            .iter()
            .sum()
    };
    let expired = story.growth(expired);
    let oldest =
        story.heard.iter().filter(|heard| story.is_near(heard.at)).filter_map(|heard| heard.age).max();
    let oldest = oldest.map_or_else(String::new, |age| {
        format!("; the oldest that came was {:.1} ms old", age.as_secs_f64() * 1e3)
    });
    let sentence =
        || format!("{expired:.0} messages were dropped because they were older than their lifespan{oldest}");
    (expired >= if story.has_tripped() { 1.0 } else { 10.0 }).then(|| Cause::new(Kind::TooOld, sentence()))
}

/// Messages came much later than others of the same peer, though they were read at once. If a watchdog tripped, this counts if the
/// silence ended with such a message.
pub(super) fn network_delay(story: &Story) -> Option<Cause> {
    let delays = story.delays();
    let is_late: Vec<_> = if story.has_tripped() {
        let (peer, since, least) = delayed_silence(story)?;
        delays.iter().filter(|(at, of, delay)| *of == peer && *at > since && *delay >= least).collect()
    } else {
        delays.iter().filter(|(.., delay)| *delay >= DELAY_NS).collect()
    };
    let (at, peer, longest) = is_late.iter().max_by_key(|(.., delay)| *delay)?;
    let sentence = || {
        format!(
            "{} messages came late: one of {} was {:.1} ms longer on the way than the quickest, {}; it was read at once, so the \
             network or its sender held it back",
            is_late.len(),
            story.who(*peer),
            *longest as f64 / 1e6,
            story.when(*at)
        )
    };
    (story.has_tripped() || is_late.len() as u64 >= BURST).then(|| Cause::new(Kind::NetworkDelay, sentence()))
}
