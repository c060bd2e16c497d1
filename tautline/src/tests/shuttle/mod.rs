//! Scenarios that shuttle runs on thousands of schedules: locks, queues, wake-ups, the hand-over, the watchdogs' feed.
//!
//! Run with `RUSTFLAGS="--cfg shuttle" cargo test -p tautline --lib shuttle --target-dir target/shuttle`. A lost wake-up
//! shows as a deadlock. A failure prints the schedule, and `shuttle::replay(scenario, "...")` runs exactly that one again.

mod handover;
mod handover_order;
mod inbox;
mod pool;
mod wakeups;
mod watchdog;

/// Schedules tried per scenario and scheduler.
const SCHEDULES: usize = 1500;

/// Tries a scenario: threads chosen at random, then threads preempted at few, well-chosen points.
fn explore(scenario: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(scenario.clone(), SCHEDULES);
    shuttle::check_pct(scenario, SCHEDULES, 3);
}
