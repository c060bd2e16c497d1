//! Runs many seeds, on every core, and adds up their figures.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::ends::Ends;
use super::scenario::{self, Figures};

/// The settings of a campaign.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) ends: Ends,
    /// How many seeds.
    pub(crate) seeds: u64,
    /// The first seed.
    pub(crate) first: u64,
    /// Every n-th seed runs a second time and must give the same trace.
    pub(crate) repeat_every: u64,
}

/// How many violations are shown at most.
const MAX_SHOWN: usize = 20;

/// The sums of all seeds.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    pub(crate) seeds: u64,
    pub(crate) repeated: u64,
    pub(crate) all: Figures,
    pub(crate) outcomes: BTreeMap<&'static str, u64>,
    /// How long healing took, sorted at the end.
    pub(crate) healed_in: Vec<Duration>,
    pub(crate) violations: u64,
    pub(crate) shown: Vec<String>,
}

/// Runs all seeds.
pub(crate) fn run(plan: Plan) -> Sums {
    let (next, sums) = (AtomicU64::new(0), Mutex::new(Sums::default()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= plan.seeds {
                        return;
                    }
                    let seed = plan.first + index;
                    let repeat = index.is_multiple_of(plan.repeat_every);
                    let result = run_seed(plan.ends, seed, repeat);
                    sums.lock().expect("no thread panics while it holds the lock").add(seed, repeat, result);
                }
            });
        }
    });
    let mut sums = sums.into_inner().expect("no thread panics while it holds the lock");
    sums.healed_in.sort_unstable();
    sums
}

fn run_seed(ends: Ends, seed: u64, repeat: bool) -> Result<Figures, String> {
    let figures = scenario::run(ends, seed)?;
    if repeat {
        let again = scenario::run(ends, seed)?;
        if again.trace != figures.trace {
            return Err(format!(
                "the same seed gave two traces: {:016x} and {:016x}",
                figures.trace, again.trace
            ));
        }
    }
    Ok(figures)
}

impl Sums {
    fn add(&mut self, seed: u64, repeated: bool, result: Result<Figures, String>) {
        self.seeds += 1;
        self.repeated += u64::from(repeated);
        let figures = match result {
            Ok(figures) => figures,
            Err(violation) => {
                self.violations += 1;
                if self.shown.len() < MAX_SHOWN {
                    self.shown.push(format!("seed {seed}: {violation}"));
                }
                return;
            }
        };
        self.all.datagrams += figures.datagrams;
        self.all.messages += figures.messages;
        self.all.received += figures.received;
        self.all.restarts += figures.restarts;
        self.all.cuts += figures.cuts;
        self.all.moves += figures.moves;
        self.all.keys += figures.keys;
        self.all.replaced += figures.replaced;
        self.all.network.merge(&figures.network);
        self.all.fates.add(figures.fates);
        for (outcome, count) in figures.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
        self.healed_in.push(figures.healed_in);
        // The exclusive or does not depend on the order of the seeds.
        self.all.trace ^= figures.trace;
    }
}
