//! Claims and releases between two ends: what this end has asked of a peer, and what it has answered. docs/protocol.md §7.6.
//!
//! The requests to a peer are numbered and go one after the other: a request is repeated until it is answered, and only then
//! comes the next. So the other end need only remember the last number: a repeated request gets the same answer again, and an
//! older one is ignored.

use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

use super::ownership::low_half;
use crate::endpoint::owner::{ClaimError, ClaimOutcome};
use crate::message::StreamId;
use crate::snapshot::saved;
use crate::time::Instant;
use crate::wire::native::{Ownership, OwnershipAct};

/// How many requests to a peer wait for their answers at most.
const MAX_WAITING: usize = 64;

/// A request is repeated after this time.
const REPEAT_AFTER: Duration = Duration::from_millis(25);

/// How often a request is sent at most: for one second.
const MAX_TRIES: u32 = 40;

/// How many streams' owner periods at a peer are remembered. If there are more, all are forgotten, and the user may be told twice
/// of one owner.
const MAX_KNOWN: usize = 256;

/// What two ends have asked of each other.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Our requests. The first was sent, the others wait for its answer.
    waiting: VecDeque<Request>,
    last_number: u32,
    /// How often the first request was sent.
    tries: u32,
    next_at: Option<Instant>,
    /// The newest owner period at the peer of which we know, by stream.
    known: BTreeMap<StreamId, u32>,
    /// Our last answer to the peer.
    answer: Option<Ownership>,
}

/// A claim or a release of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) ticket: u64,
    pub(super) stream: StreamId,
    act: OwnershipAct,
    number: u32,
}

/// What to do about the first request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Send(Ownership),
    /// It was not answered.
    GiveUp(Request),
}

impl Claims {
    /// Adds a request of the user.
    pub(super) fn ask(
        &mut self,
        act: OwnershipAct,
        stream: StreamId,
        ticket: u64,
        now: Instant,
    ) -> Result<(), ClaimError> {
        if self.waiting.len() >= MAX_WAITING {
            return Err(ClaimError::TooMany);
        }
        self.last_number += 1;
        self.waiting.push_back(Request { ticket, stream, act, number: self.last_number });
        self.next_at.get_or_insert(now);
        Ok(())
    }

    /// Returns when [`poll`](Self::poll) has something to do.
    pub(super) const fn next_timeout(&self) -> Option<Instant> {
        self.next_at
    }

    /// Returns what is due. Call it until nothing is.
    pub(super) fn poll(&mut self, now: Instant) -> Due {
        if self.next_at.is_none_or(|at| at > now) {
            return Due::Nothing;
        }
        let Some(first) = self.waiting.front().copied() else { return Due::Nothing };
        if self.tries == MAX_TRIES {
            self.finish(now);
            return Due::GiveUp(first);
        }
        self.tries += 1;
        self.next_at = Some(now.plus(REPEAT_AFTER));
        Due::Send(Ownership { act: first.act, stream: first.stream, number: first.number, period: 0 })
    }

    /// Takes an answer of the peer. Returns the request that it ends. An answer to another request is old and means nothing.
    pub(super) fn answered(&mut self, answer: &Ownership, now: Instant) -> Option<(Request, ClaimOutcome)> {
        let is_meant = |first: &&Request| (answer.number, answer.stream) == (first.number, first.stream);
        let first = *self.waiting.front().filter(is_meant)?;
        let outcome = match answer.act {
            OwnershipAct::Granted if self.learn(answer.stream, answer.period) => ClaimOutcome::Granted,
            OwnershipAct::Granted => ClaimOutcome::Overtaken,
            OwnershipAct::Released => ClaimOutcome::Released,
            OwnershipAct::Unowned => ClaimOutcome::Unowned,
            _ => ClaimOutcome::Refused,
        };
        self.finish(now);
        Some((first, outcome))
    }

    /// Takes a notice of the peer. Returns whether it is about an owner of which we did not know.
    pub(super) fn denied(&mut self, notice: &Ownership) -> bool {
        let before = self.known.get(&notice.stream).copied();
        before != Some(notice.period) && self.learn(notice.stream, notice.period)
    }

    /// Notes an owner's period at the peer. Returns `false` if we know of a later one.
    fn learn(&mut self, stream: StreamId, period: u32) -> bool {
        let is_older = |known: &u32| period.wrapping_sub(*known).cast_signed() < 0;
        if self.known.get(&stream).is_some_and(is_older) {
            return false;
        }
        if self.known.len() >= MAX_KNOWN && !self.known.contains_key(&stream) {
            self.known.clear();
        }
        self.known.insert(stream, period);
        true
    }

    fn finish(&mut self, now: Instant) {
        self.waiting.pop_front();
        self.tries = 0;
        self.next_at = (!self.waiting.is_empty()).then_some(now);
    }

    /// Returns the requests that have no answer. The session has ended.
    pub(super) fn unanswered(self) -> impl Iterator<Item = Request> {
        self.waiting.into_iter()
    }

    /// Returns the answer to a request of the peer. `decide` decides about a new one; a repeated one gets the answer that it got
    /// before, and an older one gets none.
    pub(super) fn answer_to(
        &mut self,
        request: &Ownership,
        decide: impl FnOnce() -> (OwnershipAct, u64),
    ) -> Option<Ownership> {
        let last = self.answer.map_or(0, |answer| answer.number);
        if request.number > last {
            let (act, period) = decide();
            let (stream, number) = (request.stream, request.number);
            self.answer = Some(Ownership { act, stream, number, period: low_half(period) });
        }
        self.answer.filter(|answer| answer.number == request.number)
    }
}

saved!(Claims { waiting, last_number, tries, next_at, known, answer });
saved!(Request { ticket, stream, act, number });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageType;

    const STREAM: StreamId = StreamId { message_type: MessageType::Command, channel: 0 };

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn frame(act: OwnershipAct, number: u32, period: u32) -> Ownership {
        Ownership { act, stream: STREAM, number, period }
    }

    #[test]
    fn a_request_is_repeated_until_it_is_answered_and_then_the_next_one_is_sent() {
        let mut claims = Claims::default();
        claims.ask(OwnershipAct::Claim, STREAM, 71, at(0)).expect("room");
        claims.ask(OwnershipAct::Release, STREAM, 72, at(0)).expect("room");
        assert_eq!(claims.poll(at(0)), Due::Send(frame(OwnershipAct::Claim, 1, 0)));
        assert_eq!(claims.poll(at(24)), Due::Nothing);
        assert_eq!(claims.poll(at(25)), Due::Send(frame(OwnershipAct::Claim, 1, 0)));
        assert!(claims.answered(&frame(OwnershipAct::Released, 2, 0), at(26)).is_none(), "not asked yet");
        let (request, outcome) =
            claims.answered(&frame(OwnershipAct::Granted, 1, 5), at(26)).expect("its answer");
        assert_eq!((request.ticket, outcome), (71, ClaimOutcome::Granted));
        assert!(claims.answered(&frame(OwnershipAct::Granted, 1, 5), at(26)).is_none(), "a second time");
        assert_eq!(claims.poll(at(26)), Due::Send(frame(OwnershipAct::Release, 2, 0)));
        let (request, outcome) =
            claims.answered(&frame(OwnershipAct::Released, 2, 0), at(27)).expect("its answer");
        assert_eq!((request.ticket, outcome), (72, ClaimOutcome::Released));
        assert_eq!((claims.next_timeout(), claims.poll(at(99))), (None, Due::Nothing));
    }

    #[test]
    fn a_request_that_nobody_answers_is_given_up_and_their_number_is_bounded() {
        let mut claims = Claims::default();
        for ticket in 0..MAX_WAITING as u64 {
            claims.ask(OwnershipAct::Claim, STREAM, ticket, at(0)).expect("room");
        }
        assert_eq!(claims.ask(OwnershipAct::Claim, STREAM, 99, at(0)), Err(ClaimError::TooMany));
        let mut sent = 0;
        let given_up = loop {
            match claims.poll(claims.next_timeout().expect("one waits")) {
                Due::Send(_) => sent += 1,
                Due::GiveUp(request) => break request.ticket,
                Due::Nothing => panic!("something is due"),
            }
        };
        assert_eq!((given_up, sent), (0, MAX_TRIES));
        assert_eq!(claims.unanswered().count(), MAX_WAITING - 1);
    }

    #[test]
    fn a_repeated_request_gets_the_same_answer_and_an_older_one_none() {
        let mut claims = Claims::default();
        let granted = |period| move || (OwnershipAct::Granted, period);
        let never = || panic!("it was decided before");
        let claim = |number| frame(OwnershipAct::Claim, number, 0);
        assert_eq!(claims.answer_to(&claim(1), granted(4)), Some(frame(OwnershipAct::Granted, 1, 4)));
        assert_eq!(claims.answer_to(&claim(1), never), Some(frame(OwnershipAct::Granted, 1, 4)));
        assert_eq!(claims.answer_to(&claim(3), granted(6)), Some(frame(OwnershipAct::Granted, 3, 6)));
        assert_eq!(claims.answer_to(&claim(1), never), None);
        assert_eq!(claims.answer_to(&claim(2), never), None);
        assert_eq!(claims.answer_to(&claim(3), never), Some(frame(OwnershipAct::Granted, 3, 6)));
    }

    #[test]
    fn a_notice_counts_once_and_an_older_one_not_at_all() {
        let mut claims = Claims::default();
        let notice = |period| frame(OwnershipAct::Denied, 0, period);
        assert!(claims.denied(&notice(4)));
        assert!(!claims.denied(&notice(4)));
        assert!(!claims.denied(&notice(3)));
        assert!(claims.denied(&notice(5)));
        // The notice that another peer has claimed the stream may overtake the answer to our own claim before.
        claims.ask(OwnershipAct::Claim, STREAM, 1, at(0)).expect("room");
        assert!(claims.denied(&notice(7)));
        let (_, outcome) = claims.answered(&frame(OwnershipAct::Granted, 1, 6), at(1)).expect("its answer");
        assert_eq!(outcome, ClaimOutcome::Overtaken);
    }

    #[test]
    fn the_number_of_known_streams_is_bounded() {
        let mut claims = Claims::default();
        for channel in 0..u16::try_from(MAX_KNOWN * 3).expect("few") {
            let stream = StreamId { channel, ..STREAM };
            assert!(claims.denied(&Ownership { stream, ..frame(OwnershipAct::Denied, 0, 1) }));
            assert!(claims.known.len() <= MAX_KNOWN);
        }
    }
}
