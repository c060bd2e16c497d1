//! Runs the sending half again.

use alloc::vec::Vec;

use super::comparison::{Comparison, Rerun, RerunSettings, after_mark, now_of};
use super::step::Step;
use super::words;
use crate::endpoint::outbound::{Outbound, SentDatagrams};
use crate::endpoint::recorder::{Kind, WAS_SENT};
use crate::peer::PeerId;
use crate::ring::{Entry, RingContents};
use crate::snapshot::read;
use crate::time::Instant;
use crate::wire::native::Pack;

/// Runs the calls of a sending half again. `see` gets each of them and what came of it. What its user sent, and what the receiving
/// half asked of it, is as recorded.
#[must_use]
pub fn rerun_outbound(
    contents: &RingContents,
    settings: &RerunSettings<'_>,
    mut see: impl FnMut(&Step<'_>),
) -> Rerun {
    let mut comparison = Comparison::new(settings.change.is_none());
    let mut before: Option<(u64, Outbound)> = None;
    for segment in &contents.segments {
        let read_mark =
            after_mark(segment).and_then(|(mark, entries)| Some((mark, entries, Outbound::from_mark(mark)?)));
        let Some((mark, entries, mut outbound)) = read_mark else {
            comparison.result.unreadable += 1;
            before = None;
            continue;
        };
        let follows = before.take().filter(|(period, _)| period + 1 == segment.period);
        match (follows, settings.change) {
            // What was changed goes on.
            (Some((_, changed)), Some(_)) => outbound = changed,
            (None, Some(change)) => outbound.change(change),
            (Some((_, ended)), None) => comparison.states(mark, |out| ended.save_mark(out)),
            (None, None) => {}
        }
        let is_changed = settings.change.is_some();
        let mut run = Run { outbound, shift: 0, is_changed, see: &mut see };
        let run_again = entries.iter().take_while(|entry| run.one(entry, &mut comparison).is_some()).count();
        comparison.result.left_out += (entries.len() - run_again) as u64;
        let is_whole = run_again == entries.len();
        before = is_whole.then_some((segment.period, run.outbound));
    }
    comparison.result
}

struct Run<'a> {
    outbound: Outbound,
    shift: i64,
    is_changed: bool,
    see: &'a mut dyn FnMut(&Step<'_>),
}

impl Run<'_> {
    fn one(&mut self, entry: &Entry<'_>, comparison: &mut Comparison) -> Option<()> {
        let kind = Kind::of(entry.kind)?;
        comparison.digests(self.outbound.digest(), entry.digest);
        if kind as u8 >= Kind::Datagram as u8 {
            comparison.begins(entry, || words::of(kind, None, entry));
            comparison.result.datagrams += u64::from(matches!(kind, Kind::Seal | Kind::SealPack));
        }
        let at = Instant::from_nanos(entry.time);
        let outbound = &mut self.outbound;
        let peer = || entry.word(0).map(PeerId::from_word);
        match kind {
            Kind::Shift => self.shift = entry.word(0)?.cast_signed(),
            Kind::Note => {}
            Kind::Command => {
                let command = read(entry.bytes)?;
                outbound.apply(command, now_of(entry, self.shift), &mut Vec::new());
            }
            Kind::Seal => {
                let (mut datagram, mut sealed) = (entry.bytes.to_vec(), Vec::new());
                let peer = peer()?;
                let mut len = datagram.len();
                if let Some((to, bytes)) = outbound.seal(peer, &mut datagram, &mut sealed) {
                    (self.see)(&Step::Sealed { at, peer, to, bytes });
                    len = bytes.len();
                }
                if entry.flags & WAS_SENT != 0 {
                    outbound.sent(peer, SentDatagrams::one(len, entry.number.into()));
                    (self.see)(&Step::Sent(at, peer, [1, entry.number.into()]));
                }
            }
            Kind::SealPack => {
                let (mut pack, mut sealed) = (read::<Pack>(entry.bytes)?, Vec::new());
                let peer = peer()?;
                if let Some(pack) = outbound.seal_pack(peer, &mut pack, &mut sealed) {
                    for (bytes, _) in pack.datagrams() {
                        (self.see)(&Step::Sealed { at, peer, to: pack.to, bytes });
                    }
                }
            }
            Kind::Sent => {
                let [datagrams, bytes, messages] = [entry.word(1)?, entry.word(2)?, entry.word(3)?];
                let bytes = usize::try_from(bytes).ok()?;
                outbound.sent(peer()?, SentDatagrams { datagrams, bytes, messages });
                (self.see)(&Step::Sent(at, peer()?, [datagrams, messages]));
            }
            Kind::Offer => {
                let expires = entry.word(2).filter(|&at| at != u64::MAX).map(Instant::from_nanos);
                let offered = outbound.offer(peer()?, entry.bytes, entry.word(1)?, expires);
                // What it returned is in the digest.
                let _ = offered;
            }
            Kind::Deliver => {
                outbound.poll_delivery(at, entry.word(0)? != 0, &mut Vec::new());
            }
            Kind::NotSent => outbound.not_sent(read(entry.bytes)?),
            Kind::Polled => {
                match outbound.poll_outcome() {
                    Some((_, outcome)) => (self.see)(&Step::Outcome(at, outcome)),
                    // It may end otherwise, or at another time.
                    None if self.is_changed => {}
                    None => return None,
                }
            }
            Kind::Abandon => outbound.abandon(),
            Kind::Fits => {
                let _ = outbound.fits(peer()?, entry.word(1)?.try_into().ok()?);
            }
            Kind::PathTold => {
                let known = entry.word(2).filter(|&known| known != u64::MAX);
                let known = known.map(usize::try_from).transpose().ok()?;
                outbound.path_told(peer()?, entry.word(1)?.try_into().ok()?, known);
            }
            Kind::ProbeNotSent => {
                outbound.probe_not_sent(peer()?, entry.word(1)? != 0);
            }
            _ => return None,
        }
        Some(())
    }
}
