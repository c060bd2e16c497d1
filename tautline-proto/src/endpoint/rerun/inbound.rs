//! Runs the receiving half again.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::comparison::{Comparison, Rerun, RerunSettings, after_mark, now_of};
use super::step::Step;
use super::words;
use crate::endpoint::inbound::Inbound;
use crate::endpoint::owner::Tenure;
use crate::endpoint::recorder::{Kind, OUTPUTS_WAIT, known, origin_of};
use crate::message::StreamId;
use crate::peer::PeerId;
use crate::ring::{Entry, RingContents};
use crate::snapshot::read;
use crate::time::{Instant, Now};

/// Runs the inputs of a receiving half again. `see` gets each of them and what came of it.
#[must_use]
pub fn rerun_inbound(
    contents: &RingContents,
    settings: &RerunSettings<'_>,
    mut see: impl FnMut(&Step<'_>),
) -> Rerun {
    let mut comparison = Comparison::new(settings.change.is_none());
    let mut before: Option<(u64, Run<'_>)> = None;
    for segment in &contents.segments {
        let Some((mark, entries)) = after_mark(segment) else {
            comparison.result.unreadable += 1;
            continue;
        };
        let follows = before.take().filter(|(period, _)| period + 1 == segment.period);
        let is_changed = settings.change.is_some();
        let mut run = match follows {
            // What was changed goes on. What was recorded begins anew with each mark, so that each mark is tried.
            Some((_, run)) if is_changed => run,
            follows => {
                if let Some((_, run)) = &follows {
                    comparison.states(mark, |out| run.inbound.save_mark(out));
                }
                let Some(mut inbound) = Inbound::from_mark(mark) else {
                    comparison.result.unreadable += 1;
                    continue;
                };
                inbound.config_mut().check_payload = settings.check_payload.clone();
                if let Some(change) = settings.change {
                    change(inbound.config_mut());
                }
                if follows.is_none() {
                    let at = entries.first().map_or(0, |entry| entry.time);
                    see(&Step::Begins(Instant::from_nanos(at)));
                }
                Run { inbound, from: None, shift: 0, see: &mut see, scratch: Vec::new() }
            }
        };
        let is_whole = run.all(&entries, &mut comparison);
        before = is_whole.then_some((segment.period, run));
    }
    comparison.result.due = before.and_then(|(_, run)| run.inbound.next_timeout());
    comparison.result
}

struct Run<'a> {
    inbound: Inbound,
    from: Option<SocketAddr>,
    shift: i64,
    see: &'a mut dyn FnMut(&Step<'_>),
    scratch: Vec<u8>,
}

impl Run<'_> {
    /// Runs these entries. Returns `false` if the record ends in the middle of an input.
    fn all(&mut self, entries: &[Entry<'_>], comparison: &mut Comparison) -> bool {
        let mut last = Now::default();
        for (index, entry) in entries.iter().enumerate() {
            let Some(kind) = Kind::of(entry.kind) else { return false };
            if kind as u8 >= Kind::Datagram as u8 && kind != Kind::Hold {
                if entry.flags & OUTPUTS_WAIT == 0 {
                    self.drain(last);
                    comparison.digests(self.inbound.digest(), entry.digest);
                }
                comparison.result.datagrams += u64::from(matches!(kind, Kind::Datagram | Kind::Sealed));
                let from = self.from;
                comparison.begins(entry, || words::of(kind, from, entry));
                self.give_answers(&entries[index + 1..]);
            }
            last = now_of(entry, self.shift);
            if self.one(kind, entry, &entries[index + 1..]).is_none() || self.inbound.lacks_answers() {
                comparison.result.left_out += (entries.len() - index) as u64;
                return false;
            }
        }
        self.drain(last);
        true
    }

    /// What an input has drawn and seen stands behind it.
    fn give_answers(&mut self, after: &[Entry<'_>]) {
        for entry in behind(after) {
            match (Kind::of(entry.kind), entry.word(0), entry.word(1)) {
                (Some(Kind::Drawn), Some(answer), _) => self.inbound.give_answer(answer),
                (Some(Kind::Seen), Some(peer), Some(size)) => {
                    self.inbound.give_size(PeerId::from_word(peer), size);
                }
                #[cfg(feature = "secure")]
                (Some(Kind::SeenNumber), Some(peer), Some(number)) => {
                    self.inbound.give_number(PeerId::from_word(peer), number);
                }
                #[cfg(feature = "secure")]
                (Some(Kind::Opened), Some(is_some), _) => {
                    self.inbound.give_opened((is_some != 0).then_some(entry.bytes));
                }
                _ => {}
            }
        }
    }

    fn one(&mut self, kind: Kind, entry: &Entry<'_>, after: &[Entry<'_>]) -> Option<()> {
        let now = now_of(entry, self.shift);
        let at = now.steady;
        match kind {
            Kind::From => self.from = Some(origin_of(entry)?),
            Kind::Shift => self.shift = entry.word(0)?.cast_signed(),
            Kind::Note => {
                let words = [entry.word(0)?, entry.word(1)?, entry.word(2)?];
                (self.see)(&Step::Note(at, words));
            }
            Kind::Datagram => self.datagram(entry, entry.bytes, after)?,
            Kind::Sealed => self.datagram(entry, &unsealed(entry, after)?, after)?,
            #[cfg(feature = "secure")]
            Kind::NewHolders => self.inbound.replace_keys(read(entry.bytes)?, at),
            Kind::Timeout => self.inbound.handle_timeout(now),
            Kind::Dial => self.inbound.dial(read(entry.bytes)?, now),
            Kind::Claim | Kind::Release => {
                let (peer, stream) =
                    (PeerId::from_word(entry.word(0)?), StreamId::from_word(entry.word(1)?)?);
                let asked = match kind {
                    Kind::Claim => self.inbound.claim(peer, stream, entry.word(2)?, at),
                    _ => self.inbound.release(peer, stream, entry.word(2)?, at),
                };
                // What it returned is in the digest.
                let _ = asked;
            }
            Kind::Free => {
                let place = entry.word(0)?.try_into().ok()?;
                self.inbound.free(Tenure { place, period: entry.word(1)? });
            }
            Kind::RefuseStrangers => {
                self.inbound.refuse_strangers_until(Instant::from_nanos(entry.word(0)?));
            }
            Kind::Unreachable => self.inbound.unreachable(read(entry.bytes)?),
            Kind::Polled => self.drain(now),
            // Seen with their datagram, or their input.
            Kind::Hold | Kind::Drawn | Kind::Seen | Kind::SeenNumber | Kind::Opened => {}
            _ => return None,
        }
        Some(())
    }

    fn datagram(&mut self, entry: &Entry<'_>, bytes: &[u8], after: &[Entry<'_>]) -> Option<()> {
        let (now, from) = (now_of(entry, self.shift), self.from?);
        let came = known(entry.word(0)?);
        if let Some(at) = came {
            // Without owners, the earliest time is not recorded.
            self.inbound.came(at, entry.word(1).and_then(known).unwrap_or(at));
        }
        let mut scratch = core::mem::take(&mut self.scratch);
        let accepted = self.inbound.handle(now, from, bytes, &mut scratch);
        let origin = accepted.as_ref().map(|accepted| (accepted.peer(), accepted.number()));
        (self.see)(&Step::Datagram { now, from, came, bytes, accepted: origin });
        // The driver does the same before it reads the messages.
        self.drain(now);
        if let (Some(accepted), Some((peer, _))) = (accepted, origin) {
            let mut holds = holds(after).peekable();
            let mut messages = self.inbound.messages(&accepted);
            let clock = messages.peer_clock(now.steady);
            let mut read = 0;
            while messages.advance().is_some() {
                read += 1;
                (self.see)(&Step::Message { now, peer, clock, message: messages.message() });
                while holds.next_if_eq(&read).is_some() {
                    messages.hold();
                }
            }
        }
        self.scratch = scratch;
        Some(())
    }

    /// Takes everything that waits. What it is, is in the digest.
    fn drain(&mut self, now: Now) {
        while let Some(event) = self.inbound.poll_event(now) {
            (self.see)(&Step::Event(now, event));
        }
        while self.inbound.poll_command().is_some() {}
        while self.inbound.poll_reply().is_some() {}
    }
}

/// The entries that belong to the input before them.
fn behind<'a>(after: &'a [Entry<'a>]) -> impl Iterator<Item = &'a Entry<'a>> {
    let may_be_between = |entry: &&Entry<'_>| {
        use Kind::{Drawn, Hold, Note, Opened, Seen, SeenNumber};
        matches!(Kind::of(entry.kind), Some(Drawn | Seen | SeenNumber | Opened | Hold | Note))
    };
    after.iter().take_while(may_be_between)
}

/// A sealed datagram as far as it is known: its header, and what was in it if it was opened.
fn unsealed(entry: &Entry<'_>, after: &[Entry<'_>]) -> Option<Vec<u8>> {
    let len = usize::try_from(entry.word(2)?).ok().filter(|&len| len <= usize::from(u16::MAX))?;
    let opened = behind(after).find(|entry| Kind::of(entry.kind) == Some(Kind::Opened));
    let opened = opened.map_or(&[][..], |opened| opened.bytes);
    let mut datagram = [entry.bytes, opened].concat();
    datagram.resize(len, 0);
    Some(datagram)
}

/// After how many messages of the datagram before these entries the driver has offered one.
fn holds<'a>(after: &'a [Entry<'a>]) -> impl Iterator<Item = u64> + 'a {
    let ends = |entry: &&Entry<'_>| {
        !matches!(Kind::of(entry.kind), Some(Kind::Datagram | Kind::Sealed | Kind::Timeout))
    };
    let is_hold = |entry: &&Entry<'_>| Kind::of(entry.kind) == Some(Kind::Hold);
    after.iter().take_while(ends).filter(is_hold).filter_map(|entry| entry.word(0))
}
