//! Tests of the backlog alone, without threads.

use super::*;
use crate::handlers::HandlerSettings;
use crate::handlers::backlog::{
    Admitted, CalledWorker, HandlerBacklog, HandlerJob, JobOutcome, StartedJob, WorkerStatus,
};
use crate::receiving::waiting::{Keep, Right, Stream};
use crate::sync::{AtomicU64, Ordering};
use crate::tests::peer;

fn backlog(concurrency: usize) -> HandlerBacklog<()> {
    let settings = HandlerSettings { concurrency, ordered: false, time_limit: HOUR, ..super::defaults() };
    HandlerBacklog::new(settings, false, Arc::default())
}

fn job(number: u64) -> HandlerJob<()> {
    let pool = Arc::new(Pool::default());
    let message = Message::copy(&pool, &numbered(number, Priority::Normal), arrival());
    HandlerJob { message, reply: () }
}

fn admit(backlog: &HandlerBacklog<()>, number: u64) {
    let Admitted { ready, dropped, .. } = backlog.admit(Priority::Normal, Limits::default(), job(number));
    assert!(ready && dropped.iter().all(Option::is_none));
}

/// Starts the next job, as a worker does.
fn start(backlog: &HandlerBacklog<()>) -> StartedJob<()> {
    assert!(backlog.stats().waiting > 0, "it would wait for ever");
    backlog.next_for_worker().expect("not stopped")
}

/// Abandons all running jobs. Returns their number.
fn expire(backlog: &HandlerBacklog<()>) -> usize {
    backlog.expire(Instant::now() + 2 * HOUR).0.len()
}

#[test]
fn workers_are_called_up_to_the_concurrency() {
    let backlog = backlog(2);
    assert_eq!(backlog.call_worker(), CalledWorker::None, "nothing waits");
    let mut called = Vec::new();
    for number in 0..3 {
        admit(&backlog, number);
        called.push(backlog.call_worker());
    }
    assert_eq!(called, [CalledWorker::New, CalledWorker::New, CalledWorker::None]);
    backlog.release_worker();
    assert_eq!(backlog.call_worker(), CalledWorker::New);
}

#[test]
fn an_overdue_worker_is_replaced_within_a_bound_and_makes_room_when_it_returns() {
    let backlog = backlog(1);
    let mut stuck = Vec::new();
    for number in 0..MAX_REPLACED_WORKERS as u64 {
        admit(&backlog, number);
        assert_eq!(backlog.call_worker(), CalledWorker::New);
        stuck.push(start(&backlog).id);
        assert_eq!(expire(&backlog), 1);
    }
    // The bound is reached: this worker is not replaced, and no worker is called for the next job.
    admit(&backlog, 100);
    assert_eq!(backlog.call_worker(), CalledWorker::New);
    let kept = start(&backlog).id;
    assert_eq!(expire(&backlog), 1);
    admit(&backlog, 101);
    assert_eq!(backlog.call_worker(), CalledWorker::None);

    assert_eq!(backlog.finish(kept, JobOutcome::Handled), WorkerStatus::Kept);
    assert_eq!(backlog.finish(stuck[0], JobOutcome::Handled), WorkerStatus::Replaced);
    let next = start(&backlog).id;
    assert_eq!(expire(&backlog), 1);
    assert_eq!(backlog.finish(next, JobOutcome::Handled), WorkerStatus::Replaced);
}

#[test]
fn a_job_is_counted_once_however_it_ends() {
    let backlog = backlog(10);
    let ends = [JobOutcome::Handled, JobOutcome::Panicked, JobOutcome::Stopped];
    for (number, outcome) in (0..).zip(ends) {
        admit(&backlog, number);
        backlog.finish(start(&backlog).id, outcome);
    }
    // A worker runs this job, so there is a worker to replace.
    admit(&backlog, 3);
    assert_eq!(backlog.call_worker(), CalledWorker::New);
    let overdue = start(&backlog).id;
    assert_eq!(expire(&backlog), 1);
    assert_eq!(expire(&backlog), 0);
    backlog.finish(overdue, JobOutcome::Handled);
    let stats = backlog.stats();
    assert_eq!((stats.handled, stats.panicked, stats.timed_out), (1, 1, 1));
    assert_eq!((stats.dropped.of(DropReason::Closed), stats.offered()), (1, 4));
}

#[test]
fn a_stopped_backlog_refuses_and_counts_new_jobs_and_its_workers_end() {
    let backlog = backlog(1);
    admit(&backlog, 0);
    assert_eq!(backlog.call_worker(), CalledWorker::New);
    assert_eq!(backlog.stop().count(), 1);
    assert!(backlog.next_for_worker().is_none());
    let Admitted { ready, dropped, .. } = backlog.admit(Priority::Critical, Limits::default(), job(1));
    assert!(!ready && dropped.iter().any(Option::is_some));
    assert_eq!(backlog.call_worker(), CalledWorker::None);
    assert_eq!(backlog.stats().dropped.of(DropReason::Closed), 2);
}

/// A stream with a history of 1, while all workers are busy.
#[test]
fn only_the_newest_message_of_a_stream_with_history_1_is_handled() {
    let backlog = backlog(1);
    let stream = Stream { peer: arrival().peer, message_type: Data, channel: 0 };
    let limits = Limits { keep: Some(Keep { stream, count: 1 }), ..Limits::default() };
    for number in 0..3 {
        let Admitted { ready, dropped, .. } = backlog.admit(Priority::Normal, limits.clone(), job(number));
        let dropped = dropped.iter().flatten().map(|job| number_of(&job.message)).next();
        assert_eq!((ready, dropped), (true, number.checked_sub(1)));
    }
    assert_eq!(number_of(&start(&backlog).job.message), 2);
    let stats = backlog.stats();
    assert_eq!((stats.dropped.of(DropReason::Superseded), stats.waiting, stats.running), (2, 0, 1));
    assert_eq!(stats.offered(), 3);
}

#[test]
fn a_message_whose_lifespan_is_over_is_not_handled() {
    let backlog = backlog(2);
    let expired = Limits { expires: Some(Instant::now()), ..Limits::default() };
    let lasting = Limits { expires: Some(Instant::now() + HOUR), ..Limits::default() };
    for (number, limits) in [(0, &expired), (1, &lasting), (2, &expired), (3, &expired)] {
        assert!(backlog.admit(Priority::Normal, limits.clone(), job(number)).ready);
    }
    assert_eq!(number_of(&start(&backlog).job.message), 1);
    assert!(backlog.next_for_spawner().is_none(), "the rest has expired");
    let stats = backlog.stats();
    assert_eq!((stats.dropped.of(DropReason::Expired), stats.waiting, stats.offered()), (3, 0, 4));
}

#[test]
fn a_message_of_a_former_owner_is_not_handled_and_the_new_owners_waits_for_its_call_that_runs() {
    let settings = HandlerSettings { concurrency: 4, ordered: true, time_limit: HOUR, ..super::defaults() };
    let backlog = HandlerBacklog::new(settings, false, Arc::default());
    let current = Arc::new(AtomicU64::new(1));
    let right = |period| Some(Right::new(Arc::clone(&current), period));
    let limits = |period| Limits { right: right(period), ..Limits::default() };
    assert!(backlog.admit(Priority::Normal, limits(1), job(0)).ready);
    let running = start(&backlog);
    assert!(!backlog.admit(Priority::Normal, limits(1), job(1)).ready, "one call of a peer at a time");
    current.store(2, Ordering::Release);
    let arrival = Arrival { peer: peer(9), ..arrival() };
    let message = Message::copy(&Arc::default(), &numbered(2, Priority::High), arrival);
    let other = HandlerJob { message, reply: () };
    assert!(!backlog.admit(Priority::High, limits(2), other).ready, "the former owner's call runs");
    assert!(backlog.next_for_spawner().is_none());
    backlog.finish(running.id, JobOutcome::Handled);
    assert_eq!(number_of(&start(&backlog).job.message), 2);
    assert!(backlog.next_for_spawner().is_none(), "the former owner's second message is dropped");
    let stats = backlog.stats();
    assert_eq!((stats.dropped.of(DropReason::NotOwner), stats.waiting, stats.offered()), (1, 0, 3));
}
