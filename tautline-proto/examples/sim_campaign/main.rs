//! Tests the safety and liveness of endpoints by simulation: thousands of bad networks, each with its own seed.
//!
//! ```text
//! cargo run --release -p tautline-proto --features sim --example sim_campaign -- --seeds 10000
//! cargo run --release -p tautline-proto --features sim --example sim_campaign -- --seed 4711
//! cargo run --release -p tautline-proto --features sim --example sim_campaign -- --reliable 1000000
//! cargo run --release -p tautline-proto --features sim --example sim_campaign -- --saturated 60
//! cargo run --release -p tautline-proto --features sim --example sim_campaign -- --cycles 600
//! cargo run --release -p tautline-proto --features sim --example sim_campaign -- --control 10000
//! cargo run --release -p tautline-proto --all-features --example sim_campaign -- --key --seeds 10000
//! cargo run --release -p tautline-proto --all-features --example sim_campaign -- --key --control 10000
//! ```
//!
//! Each seed runs a server and two clients whose clocks drift. The network has up to 50 % loss, with or without bursts, 20 %
//! duplicates, 10 % damaged datagrams, reordering, jitter and sometimes a limited rate. Nodes are restarted and the network is
//! cut. Then the network heals. Every message that a node receives must be right, every counter must equal the truth, and all
//! nodes must be connected again in time.
//!
//! `--key`, before any other option, gives the ends a key: the links are secured (feature `secure`), and the addresses of clients
//! change.
//!
//! `--seed` runs one seed alone. `--reliable` sends this many reliable messages at 30 % loss. `--saturated` measures for this
//! many seconds how long best-effort messages wait while retransmissions fill a slow socket. `--control` runs this many seeds of
//! three controllers that want to command one plant; `--fault NAME` behind it breaks a rule on purpose, which must be noticed.

#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for a terminal

mod campaign;
mod control;
mod cycles;
mod ends;
mod ledger;
mod reliable;
mod scenario;
mod truth;
mod window;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use campaign::{Plan, Sums, run};
use control::{ControlFigures, Fault};
use cycles::cycles;
use ends::Ends;
use reliable::{Reliable, Saturated, reliable, saturated};

/// What to do.
enum Task {
    Campaign(Plan),
    Reliable(u64),
    Saturated(u64),
    Cycles(u64),
    Control(u64, Fault),
}

fn main() -> ExitCode {
    let (ends, task) = match task(std::env::args().skip(1)) {
        Ok(task) => task,
        Err(problem) => {
            eprintln!(
                "{problem}; usage: sim_campaign [--key] [--seeds N] [--seed FIRST] | --reliable MESSAGES \
                 | --saturated SECONDS | --cycles SECONDS | --control SEEDS [--fault NAME]"
            );
            return ExitCode::from(2);
        }
    };
    let start = Instant::now();
    let is_good = match task {
        Task::Campaign(plan) => {
            let sums = run(plan);
            print_summary(&sums, start.elapsed());
            sums.violations == 0
        }
        Task::Reliable(count) => print_reliable(&reliable(ends, count, SEED), start.elapsed()),
        Task::Saturated(seconds) => print_saturated(&saturated(ends, seconds, SEED)),
        Task::Cycles(seconds) => print_cycles(ends, seconds),
        Task::Control(seeds, fault) => print_control(ends, seeds, fault, start),
    };
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The seed of the other tasks.
const SEED: u64 = 1;

fn task(mut arguments: impl Iterator<Item = String>) -> Result<(Ends, Task), String> {
    let (mut ends, mut seeds, mut first) = (Ends::Plain, None, None);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let text = arguments.next().unwrap_or_default();
            text.parse::<u64>().map_err(|_| format!("{text:?} is not a number"))
        };
        match argument.as_str() {
            "--key" => ends = Ends::secured().ok_or("--key needs the feature `secure`")?,
            "--seeds" => seeds = Some(number()?),
            "--seed" => first = Some(number()?),
            "--reliable" => return number().map(|count| (ends, Task::Reliable(count))),
            "--saturated" => return number().map(|seconds| (ends, Task::Saturated(seconds))),
            "--cycles" => return number().map(|seconds| (ends, Task::Cycles(seconds))),
            "--control" => {
                let seeds = number()?;
                return fault(arguments).map(|fault| (ends, Task::Control(seeds, fault)));
            }
            _ => return Err(format!("{argument:?} is unknown")),
        }
    }
    // `--seed` without `--seeds` runs one seed.
    let seeds = seeds.unwrap_or(if first.is_some() { 1 } else { 1000 });
    Ok((ends, Task::Campaign(Plan { ends, seeds, first: first.unwrap_or(1), repeat_every: 50 })))
}

/// Reads `--fault NAME`, which may be left out.
fn fault(mut arguments: impl Iterator<Item = String>) -> Result<Fault, String> {
    let Some(option) = arguments.next() else { return Ok(Fault::None) };
    let name = arguments.next().filter(|_| option == "--fault").unwrap_or_default();
    let known = Fault::ALL.into_iter().find(|fault| fault.name() == name);
    known.ok_or_else(|| format!("the faults are {}", Fault::ALL.map(Fault::name).join(", ")))
}

/// Runs all seeds. A fault must be noticed.
fn print_control(ends: Ends, seeds: u64, fault: Fault, start: Instant) -> bool {
    let (mut all, mut violations) = (ControlFigures::default(), Vec::new());
    for seed in 1..=seeds {
        match control::run(ends, seed, fault) {
            Ok(figures) => all.add(&figures),
            Err(violation) => violations.push(format!("seed {seed}: {violation}")),
        }
    }
    println!("{seeds} seeds in {:.1} s, fault: {}", start.elapsed().as_secs_f64(), fault.name());
    println!("{all:#?}");
    println!("violations  {}", violations.len());
    violations.iter().take(5).for_each(|violation| println!("  {violation}"));
    violations.is_empty() == (fault == Fault::None)
}

fn print_reliable(sums: &Reliable, took: Duration) -> bool {
    println!(
        "{} reliable messages at 30 % loss: {} delivered, {} received, {} received twice, {} other outcomes, \
         {} without an outcome, {} second outcomes",
        sums.offered,
        sums.delivered,
        sums.received,
        sums.twice,
        sums.other_outcomes,
        sums.without_outcome,
        sums.second_outcomes
    );
    println!(
        "{} datagrams in {:.1} s of simulated time, {:.1} s of real time; trace {:016x}",
        sums.datagrams,
        sums.took.as_secs_f64(),
        took.as_secs_f64(),
        sums.trace
    );
    sums.is_perfect()
}

fn print_saturated(found: &Saturated) -> bool {
    let at = |share: usize| found.waits.get(found.waits.len().saturating_sub(1) * share / 100).copied();
    let (median, p99, most) = (at(50), at(99), at(100));
    println!(
        "{} datagrams, of which at least {} are retransmissions: of {} best-effort messages that arrived, half waited for the \
         socket for at most {:?}, 99 % for at most {:?}, all for at most {:?} (the largest datagram takes {:?})",
        found.datagrams,
        found.retransmissions,
        found.waits.len(),
        median.unwrap_or_default(),
        p99.unwrap_or_default(),
        most.unwrap_or_default(),
        found.serialisation
    );
    most.is_some_and(|most| most <= found.serialisation)
}

fn print_cycles(ends: Ends, seconds: u64) -> bool {
    let mut is_good = true;
    for (follows, words) in [(false, "by its own clock"), (true, "following the controller")] {
        let found = cycles(ends, seconds, 100, follows, SEED);
        println!(
            "a plant with clocks 100 ppm apart, {words}: of {} cycles {} used a message twice, {} messages were missed; \
             locked after {:?}, rate {:+.2} ppm, trace {:016x}",
            found.cycles,
            found.doubled,
            found.missed,
            found.locked_after.unwrap_or_default(),
            found.rate_ppm,
            found.trace
        );
        is_good &= !follows || (found.cycles > 0 && found.doubled + found.missed == 0);
    }
    is_good
}

fn print_summary(sums: &Sums, took: Duration) {
    let all = &sums.all;
    let network = &all.network;
    println!("{} seeds in {:.1} s, {} of them run twice", sums.seeds, took.as_secs_f64(), sums.repeated);
    println!(
        "datagrams   {} sent and {} copies made: {} lost, {} lost in a cut, {} dropped by a full queue, {} arrived \
         ({} damaged, {} reordered)",
        all.datagrams,
        network.copies,
        network.lost,
        network.partitioned,
        network.queue_full,
        network.delivered,
        network.corrupted,
        network.reordered
    );
    println!(
        "counters    {} received, {} lost, {} late, {} duplicate: equal to the endpoints' counters",
        all.fates.received, all.fates.lost, all.fates.late, all.fates.duplicate
    );
    println!("messages    {} sent, {} received, each unchanged and once", all.messages, all.received);
    let outcomes: Vec<String> = sums.outcomes.iter().map(|(name, count)| format!("{count} {name}")).collect();
    println!("reliable    {}", outcomes.join(", "));
    println!(
        "events      {} restarts, {} cuts, {} changes of address, {} changes of the key ({} took over in their session)",
        all.restarts, all.cuts, all.moves, all.keys, all.replaced
    );
    if let (Some(longest), Some(median)) =
        (sums.healed_in.last(), sums.healed_in.get(sums.healed_in.len() / 2))
    {
        println!("healing     half of the seeds within {median:?}, all within {longest:?}");
    }
    println!("trace       {:016x} (all seeds together)", all.trace);
    println!("violations  {}", sums.violations);
    sums.shown.iter().for_each(|violation| println!("  {violation}"));
}
