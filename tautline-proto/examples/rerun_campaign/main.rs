//! Records simulated bad runs in black boxes that wrap many times, and runs what they hold again: every output must be the same.
//!
//! ```text
//! cargo run --release -p tautline-proto --features sim --example rerun_campaign -- 10000
//! cargo run --release -p tautline-proto --features sim,secure --example rerun_campaign -- --key 10000
//! ```
//!
//! Each run has a server and three clients, on both wires, over IPv4 and IPv6, with losses, duplicates, damage, reordering, cuts, restarts, reliable and
//! large messages, claims, full tables of peers and small paths. With `--key` the links are secured: keys are replaced, and addresses
//! change.

#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for a terminal

mod bad_run;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bad_run::{Links, Sums};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    #[allow(unused_mut)] // only `--key` changes it
    let mut links = Links::Plain;
    #[cfg(feature = "secure")]
    if arguments.next_if_eq("--key").is_some() {
        links = Links::Secured;
    }
    let argument = arguments.next().unwrap_or_else(|| "1000".into());
    let Ok(seeds) = argument.parse::<u64>() else {
        eprintln!(
            "{argument:?} is not a number of runs. Usage: rerun_campaign [--key] [RUNS] (--key needs the feature `secure`)"
        );
        return ExitCode::from(2);
    };
    let start = Instant::now();
    let (next, sums, problems) = (AtomicU64::new(1), Mutex::new(Sums::default()), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds {
                        return;
                    }
                    match bad_run::run(links, seed) {
                        Ok(run) => sums.lock().expect("no thread panics with it").add(&run),
                        Err(problem) => {
                            problems.lock().expect("no thread panics with it").push((seed, problem));
                        }
                    }
                }
            });
        }
    });
    let sums = sums.into_inner().expect("no thread panics with it");
    let problems = problems.into_inner().expect("no thread panics with it");
    println!("{seeds} runs in {:.1} s: {sums:#?}", start.elapsed().as_secs_f64());
    println!("{:.1} bytes an input", sums.bytes as f64 / sums.inputs.max(1) as f64);
    println!("differences  {}", problems.len());
    problems.iter().take(10).for_each(|(seed, problem)| println!("  seed {seed}: {problem}"));
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
