//! Scenarios that shuttle runs on thousands of schedules: locks, queues, wake-ups, the hand-over, the threads that
//! lead, the watchdogs' feed, the alarm of a cycle.
//!
//! Run with `RUSTFLAGS="--cfg shuttle" cargo test -p tautline --lib shuttle --target-dir target/shuttle`. A lost wake-up
//! shows as a deadlock. A failure prints its schedule, and `shuttle::replay(scenario, "...")` runs that schedule again.

mod cycle;
mod handover;
mod handover_order;
mod inbox;
mod leading;
mod pool;
mod wakeups;
mod watchdog;

/// The number of schedules for each scenario and scheduler.
const SCHEDULES: usize = 1500;

/// Runs a scenario on many schedules: first with random choices of threads, then with few preemptions at chosen points
/// (PCT).
fn explore(scenario: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(scenario.clone(), SCHEDULES);
    shuttle::check_pct(scenario, SCHEDULES, 3);
}
