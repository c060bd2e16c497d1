//! Tries every order in which a network, crashes and time can act on two ends, within bounds, and says whether what the
//! endpoint promises holds.
//!
//!     tautline-model [--states N] [--only NAME]
//!
//! `--states` ends each check after so many states. Ends with 1 if a rule was broken, and shows the steps to it.

mod model;
mod plan;
// The protocol's own: two ends and the network between them.
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

/// What the command line asks for.
#[derive(Debug, Default)]
struct Asked {
    most_states: Option<usize>,
    only: Option<String>,
}

fn main() -> ExitCode {
    let asked = match Asked::parse(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let chosen: Vec<_> =
        PLANS.iter().filter(|plan| asked.only.as_deref().is_none_or(|only| only == plan.name)).collect();
    if chosen.is_empty() {
        eprintln!("there is no such check: {}", PLANS.map(|plan| plan.name).join(", "));
        return ExitCode::from(2);
    }
    let (mut states, mut broken) = (0, 0);
    for plan in chosen {
        let verdict = report(plan, &asked);
        states += verdict.states;
        broken += usize::from(verdict.broken.is_some());
    }
    println!("{states} states visited, {broken} violations");
    ExitCode::from(u8::from(broken > 0))
}

/// Carries a check out and prints what came of it.
fn report(plan: &Plan, asked: &Asked) -> Verdict {
    let begun = Instant::now();
    let verdict = model::check(plan, asked.most_states);
    let seconds = begun.elapsed().as_secs_f64();
    let extent = if verdict.is_complete { "all" } else { "the first" };
    println!(
        "{:<12} {extent} {} states, at most {} steps, {seconds:.1} s",
        plan.name, verdict.states, verdict.depth
    );
    println!("{:<12} seen: {}", "", verdict.seen.join(", "));
    if let Some((rule, steps)) = &verdict.broken {
        println!("broken: {rule}");
        for step in steps {
            println!("    {step:?}");
        }
    }
    verdict
}

impl Asked {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut asked = Self::default();
        while let Some(argument) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
            match argument.as_str() {
                "--states" => {
                    let states =
                        value.parse().map_err(|_| format!("--states takes a number, not {value}"))?;
                    asked.most_states = Some(states);
                }
                "--only" => asked.only = Some(value),
                _ => return Err(format!("{argument} is neither --states N nor --only NAME")),
            }
        }
        Ok(asked)
    }
}
