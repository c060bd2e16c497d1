//! The bookkeeping by itself, where no thread can hide a wrong step.

use super::*;
use crate::handlers::Settings;
use crate::handlers::backlog::{Admitted, Backlog, Job, Outcome, Place, Started, Summons};
use crate::receiving::waiting::{Keep, Stream};

fn backlog(concurrency: usize) -> Backlog<()> {
    let settings = Settings { concurrency, ordered: false, time_limit: HOUR, ..super::defaults() };
    Backlog::new(settings, false)
}

fn job(number: u64) -> Job<()> {
    let pool = Arc::new(Pool::default());
    let message = Message::copy(&pool, &numbered(number, Priority::Normal), arrival());
    Job { message, reply: () }
}

fn admit(backlog: &Backlog<()>, number: u64) {
    let Admitted { ready, dropped } = backlog.admit(Priority::Normal, Limits::default(), job(number));
    assert!(ready && dropped.iter().all(Option::is_none));
}

/// What a worker does that finds a job waiting.
fn start(backlog: &Backlog<()>) -> Started<()> {
    assert!(backlog.stats().waiting > 0, "it would wait for ever");
    backlog.next_for_worker().expect("not stopped")
}

/// Gives up all that runs; says how many that were.
fn expire(backlog: &Backlog<()>) -> usize {
    backlog.expire(Instant::now() + 2 * HOUR).0.len()
}

#[test]
fn workers_are_summoned_up_to_the_concurrency() {
    let backlog = backlog(2);
    assert_eq!(backlog.summon(), Summons::Nobody, "nothing waits");
    let mut summons = Vec::new();
    for number in 0..3 {
        admit(&backlog, number);
        summons.push(backlog.summon());
    }
    assert_eq!(summons, [Summons::New, Summons::New, Summons::Nobody]);
    backlog.release_worker();
    assert_eq!(backlog.summon(), Summons::New);
}

#[test]
fn an_abandoned_worker_is_replaced_and_makes_room_when_it_returns() {
    let backlog = backlog(1);
    let mut stuck = Vec::new();
    for number in 0..MAX_ABANDONED_WORKERS as u64 {
        admit(&backlog, number);
        assert_eq!(backlog.summon(), Summons::New);
        stuck.push(start(&backlog).id);
        assert_eq!(expire(&backlog), 1);
    }
    // One more than may be abandoned: it keeps its place, and nobody comes for the next job.
    admit(&backlog, 100);
    assert_eq!(backlog.summon(), Summons::New);
    let kept = start(&backlog).id;
    assert_eq!(expire(&backlog), 1);
    admit(&backlog, 101);
    assert_eq!(backlog.summon(), Summons::Nobody);

    assert_eq!(backlog.finish(kept, Outcome::Handled), Place::Kept);
    assert_eq!(backlog.finish(stuck[0], Outcome::Handled), Place::Lost);
    let next = start(&backlog).id;
    assert_eq!(expire(&backlog), 1);
    assert_eq!(backlog.finish(next, Outcome::Handled), Place::Lost);
}

#[test]
fn a_job_counts_once_however_it_ends() {
    let backlog = backlog(10);
    let ends = [Outcome::Handled, Outcome::Panicked, Outcome::Stopped];
    for (number, outcome) in (0..).zip(ends) {
        admit(&backlog, number);
        backlog.finish(start(&backlog).id, outcome);
    }
    // Workers call it, so there is one to write off.
    admit(&backlog, 3);
    assert_eq!(backlog.summon(), Summons::New);
    let overdue = start(&backlog).id;
    assert_eq!(expire(&backlog), 1);
    assert_eq!(expire(&backlog), 0);
    backlog.finish(overdue, Outcome::Handled);
    let stats = backlog.stats();
    assert_eq!((stats.handled, stats.panicked, stats.timed_out), (1, 1, 1));
    assert_eq!((stats.dropped.of(DropReason::Closed), stats.offered()), (1, 4));
}

#[test]
fn a_stopped_backlog_counts_what_still_comes_and_sends_its_workers_home() {
    let backlog = backlog(1);
    admit(&backlog, 0);
    assert_eq!(backlog.summon(), Summons::New);
    assert_eq!(backlog.stop().count(), 1);
    assert!(backlog.next_for_worker().is_none());
    let Admitted { ready, dropped } = backlog.admit(Priority::Critical, Limits::default(), job(1));
    assert!(!ready && dropped.iter().any(Option::is_some));
    assert_eq!(backlog.summon(), Summons::Nobody);
    assert_eq!(backlog.stats().dropped.of(DropReason::Closed), 2);
}

/// Messages of one stream, of which one is kept, on their way to workers that are at something else.
#[test]
fn of_a_stream_that_keeps_its_newest_only_that_is_worked_on() {
    let backlog = backlog(1);
    let stream = Stream { peer: arrival().peer, message_type: Data, channel: 0 };
    let limits = Limits { expires: None, keep: Some(Keep { stream, count: 1 }) };
    for number in 0..3 {
        let Admitted { ready, dropped } = backlog.admit(Priority::Normal, limits, job(number));
        let dropped = dropped.iter().flatten().map(|job| number_of(&job.message)).next();
        assert_eq!((ready, dropped), (true, number.checked_sub(1)));
    }
    assert_eq!(number_of(&start(&backlog).job.message), 2);
    let stats = backlog.stats();
    assert_eq!((stats.dropped.of(DropReason::Superseded), stats.waiting, stats.running), (2, 0, 1));
    assert_eq!(stats.offered(), 3);
}

#[test]
fn what_has_outlived_its_lifespan_is_not_worked_on() {
    let backlog = backlog(2);
    let expired = Limits { expires: Some(Instant::now()), keep: None };
    let lasting = Limits { expires: Some(Instant::now() + HOUR), keep: None };
    for (number, limits) in [(0, expired), (1, lasting), (2, expired), (3, expired)] {
        assert!(backlog.admit(Priority::Normal, limits, job(number)).ready);
    }
    assert_eq!(number_of(&start(&backlog).job.message), 1);
    assert!(backlog.next_for_spawner().is_none(), "the rest has expired");
    let stats = backlog.stats();
    assert_eq!((stats.dropped.of(DropReason::Expired), stats.waiting, stats.offered()), (3, 0, 4));
}
