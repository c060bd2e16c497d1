//! Strangers or peers that send so much that others suffer.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tautline::PeerId;

use super::super::story::{Received, Story};
use super::cause::{Cause, Kind};

/// This many datagrams of strangers near the cause are a flood, if they are more than those of peers.
const FLOOD: usize = 2_000;

pub(super) fn flood(story: &Story) -> Option<Cause> {
    let peers: BTreeSet<_> = story.peers.values().collect();
    let near = || story.dropped.iter().filter(|(at, ..)| story.is_near(*at));
    let strangers: Vec<_> = near().filter(|(_, from, _)| !peers.contains(from)).collect();
    let (begin, ..) = strangers.first()?;
    let (end, from, reason) = strangers.last()?;
    // Only those that came during the flood count, so that a short flood is found too.
    let meanwhile =
        story.received.iter().filter(|received| (begin..=end).contains(&&received.at)).count() as u64;
    let recorded = (strangers.len() as u64, meanwhile, end - begin);
    // A small ring holds only the end of a large flood. The statistics have counted all of it.
    let counted = Some(counted(story)).filter(|_| strangers.len() * 2 > near().count());
    let floods = [Some(recorded), counted].into_iter().flatten();
    let (count, meanwhile, time) =
        floods.filter(|(count, meanwhile, _)| *count >= FLOOD as u64 && count > meanwhile).max()?;
    let sentence = format!(
        "{count} datagrams of strangers were dropped within {:.1} s, and {meanwhile} of peers came meanwhile; \
         the last came from {from} ({})",
        time as f64 / 1e9,
        reason.explanation(),
    );
    Some(Cause::new(Kind::Flood, sentence))
}

/// How many datagrams were dropped and how many were accepted near the cause. Only those seconds count in which more were dropped
/// than accepted. The third number is how long they are together.
fn counted(story: &Story) -> (u64, u64, u64) {
    let mut all = (0, 0, 0);
    for pair in story.statistics.windows(2) {
        let [(before_at, before), (at, after)] = pair else { continue };
        let total = |statistics: &Value| {
            let reasons = statistics["datagrams_dropped"].as_object().into_iter().flatten();
            reasons.filter_map(|(_, count)| count.as_u64()).sum::<u64>()
        };
        let accepted = |statistics: &Value| statistics["datagrams_accepted"].as_u64().unwrap_or(0);
        let dropped = total(after).saturating_sub(total(before));
        let accepted = accepted(after).saturating_sub(accepted(before));
        if story.is_near(*at) && dropped > accepted {
            all = (all.0 + dropped, all.1 + accepted, all.2 + (at - before_at));
        }
    }
    all
}

/// In this time, a peer that floods sends at least [`FAST`] datagrams or messages.
const SLOT_NS: u64 = 100_000_000;
const FAST: u64 = 200;

/// A peer floods if it sends this many times as fast as before. If the record has fewer than [`BEFORE`] slots from before, the peer
/// floods if it sends this many times as fast as all others together.
const TIMES_AS_FAST: u64 = 10;
const BEFORE: usize = 5;

/// A peer that sends far more than the others, or than it did before.
pub(super) fn flood_of_a_peer(story: &Story) -> Option<Cause> {
    let sent = sent_in_slots(story);
    let begin = sent.keys().map(|(_, slot)| *slot).min()?;
    // In the record, a flood may have overwritten what came before it.
    let is_new = |first: u64| first >= begin + BEFORE as u64 || story.is_near(begin * SLOT_NS);
    story.peers.iter().find_map(|(peer, address)| {
        let is_fast = |slot: u64, count: u64| count >= FAST && story.is_near((slot + 1) * SLOT_NS);
        let own = sent.iter().filter(|((of, _), _)| of == peer).map(|((_, slot), count)| (*slot, *count));
        let fast: BTreeMap<u64, u64> = own.clone().filter(|(slot, count)| is_fast(*slot, *count)).collect();
        let own_first = own.clone().next()?.0;
        let (first, flood) = (*fast.keys().next()?, fast.values().sum::<u64>());
        // Others may flood too. Their fast slots do not count.
        let meanwhile = sent.iter().filter(|((of, slot), count)| {
            of != peer && fast.contains_key(slot) && !is_fast(*slot, **count)
        });
        let others: u64 = meanwhile.map(|(_, count)| count).sum();
        let before: Vec<u64> = own.filter(|(slot, _)| *slot < first).map(|(_, count)| count).collect();
        let usual = before.iter().sum::<u64>() * fast.len() as u64 / before.len().max(1) as u64;
        let compared = if before.len() >= BEFORE {
            usual
        } else if is_new(own_first) && others > 0 {
            others
        } else {
            return None;
        };
        let sentence = || {
            format!(
                "{} at {address} sent {flood} datagrams or messages within {:.1} s; all other peers together sent {others} meanwhile",
                story.who(*peer),
                (fast.len() as u64 * SLOT_NS) as f64 / 1e9
            )
        };
        (flood >= FLOOD as u64 && flood >= TIMES_AS_FAST * compared).then(|| Cause::new(Kind::Flood, sentence()))
    })
}

/// How much each peer has sent in each slot: datagrams or messages, whichever are more.
fn sent_in_slots(story: &Story) -> BTreeMap<(PeerId, u64), u64> {
    let (mut datagrams, mut messages) = (BTreeMap::new(), BTreeMap::<_, u64>::new());
    let mut latest = BTreeMap::new();
    for Received { at, peer, number, .. } in &story.received {
        // Datagrams whose numbers are missing were sent too: the kernel may have dropped them.
        let number = number.unwrap_or_default();
        let before = latest.insert(*peer, number).unwrap_or(number);
        *datagrams.entry((*peer, at / SLOT_NS)).or_default() +=
            number.saturating_sub(before).clamp(1, 100_000);
    }
    for heard in &story.heard {
        *messages.entry((heard.peer, heard.at / SLOT_NS)).or_default() += 1;
    }
    for (slot, count) in messages {
        let sent: &mut u64 = datagrams.entry(slot).or_default();
        *sent = count.max(*sent);
    }
    datagrams
}
