//! Tries every order in which a network, crashes and time can act on two ends, within bounds. Reports whether the rules of the
//! endpoint hold.
//!
//!     tautline-model [--states N] [--only NAME]
//!
//! `--states` ends each check after this many states, and those with keys after a twentieth of them: each of their states begins with
//! the arithmetic of a handshake. The exit code is 1 if a rule was broken. The program then shows the steps.

mod control;
mod model;
mod plan;
mod steps;
// Two ends and the network between them, from the protocol's tests.
#[path = "../../tautline-proto/tests/support/mod.rs"]
mod support;
#[cfg(test)]
mod tests;
#[path = "../../tautline-proto/tests/support/world.rs"]
mod world;

use std::process::ExitCode;
use std::time::Instant;

use control::control_plans;
use model::{Until, Verdict};
use plan::PLANS;

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
    let is_chosen = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let names: Vec<_> =
        PLANS.iter().map(|plan| plan.name).chain(control_plans().map(|plan| plan.name)).collect();
    if !names.iter().any(|name| is_chosen(name)) {
        eprintln!("unknown check; the checks are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    let (mut states, mut broken) = (0, 0);
    let mut add = |verdict: Verdict| {
        states += verdict.states;
        broken += usize::from(verdict.broken.is_some());
    };
    for plan in PLANS.iter().filter(|plan| is_chosen(plan.name)) {
        add(report(plan.name, || model::check(plan, options.until(plan.is_secured()))));
    }
    for plan in control_plans().filter(|plan| is_chosen(plan.name)) {
        add(report(plan.name, || model::check_control(&plan, options.until(plan.has_key))));
    }
    println!("{states} states visited, {broken} violations");
    ExitCode::from(u8::from(broken > 0))
}

/// Runs a check and prints its result.
fn report(name: &str, check: impl FnOnce() -> Verdict) -> Verdict {
    let begun = Instant::now();
    let verdict = check();
    let seconds = begun.elapsed().as_secs_f64();
    let extent = if verdict.is_complete { "all" } else { "the first" };
    println!(
        "{name:<12} {extent} {} states, at most {} steps, {seconds:.1} s",
        verdict.states, verdict.depth
    );
    println!("{:<12} seen: {}", "", verdict.seen.join(", "));
    if let Some((rule, steps)) = &verdict.broken {
        println!("broken rule: {rule}");
        for step in steps {
            println!("    {step}");
        }
    }
    verdict
}

/// How many times as long a state takes in a check with keys.
const KEYS_COST: usize = 20;

impl Options {
    /// When a check ends.
    fn until(&self, has_keys: bool) -> Until {
        let states = self.max_states.map(|most| if has_keys { most / KEYS_COST } else { most });
        Until { states, broken: None }
    }

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
