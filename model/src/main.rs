//! Tries every order in which a network, crashes and time can act on two ends, within bounds. Reports whether the rules of the
//! endpoint hold.
//!
//!     tautline-model [--states N] [--only NAME]
//!
//! `--states` ends each check after this many states. The exit code is 1 if a rule was broken. The program then shows the steps.

mod model;
mod plan;
// Two ends and the network between them, from the protocol's tests.
#[path = "../../tautline-proto/tests/support/mod.rs"]
mod support;
#[cfg(test)]
mod tests;
#[path = "../../tautline-proto/tests/support/world.rs"]
mod world;

use std::process::ExitCode;
use std::time::Instant;

use model::Verdict;
use plan::{PLANS, Plan};

/// The options of the command line.
#[derive(Debug, Default)]
struct Options {
    max_states: Option<usize>,
    only: Option<String>,
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let chosen: Vec<_> =
        PLANS.iter().filter(|plan| options.only.as_deref().is_none_or(|only| only == plan.name)).collect();
    if chosen.is_empty() {
        eprintln!("unknown check; the checks are: {}", PLANS.map(|plan| plan.name).join(", "));
        return ExitCode::from(2);
    }
    let (mut states, mut broken) = (0, 0);
    for plan in chosen {
        let verdict = report(plan, &options);
        states += verdict.states;
        broken += usize::from(verdict.broken.is_some());
    }
    println!("{states} states visited, {broken} violations");
    ExitCode::from(u8::from(broken > 0))
}

/// Runs a check and prints its result.
fn report(plan: &Plan, options: &Options) -> Verdict {
    let begun = Instant::now();
    let verdict = model::check(plan, options.max_states);
    let seconds = begun.elapsed().as_secs_f64();
    let extent = if verdict.is_complete { "all" } else { "the first" };
    println!(
        "{:<12} {extent} {} states, at most {} steps, {seconds:.1} s",
        plan.name, verdict.states, verdict.depth
    );
    println!("{:<12} seen: {}", "", verdict.seen.join(", "));
    if let Some((rule, steps)) = &verdict.broken {
        println!("broken rule: {rule}");
        for step in steps {
            println!("    {step:?}");
        }
    }
    verdict
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
            match argument.as_str() {
                "--states" => {
                    let states =
                        value.parse().map_err(|_| format!("--states takes a number, not {value}"))?;
                    options.max_states = Some(states);
                }
                "--only" => options.only = Some(value),
                _ => return Err(format!("unknown option {argument}: expected --states N or --only NAME")),
            }
        }
        Ok(options)
    }
}
