//! Feeds mutated datagrams of both wires to live endpoints with established sessions.
//!
//! ```text
//! cargo run --release -p tautline-proto --example mutation_campaign -- [COUNT] [--repair-crc] [--seed N]
//! ```
//!
//! Each of the COUNT datagrams (10,000 by default) is a valid datagram that was changed: 1 to 5 bits are flipped, or it is
//! truncated or extended. No endpoint may accept it.
//!
//! With `--repair-crc`, the CRC is corrected after the change. Then the counts must be exact, the tables and answers bounded and
//! the messages well formed, and strangers must not disturb the established session.
//!
//! The exit code is 1 after a violation. The same seed gives the same result.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for a terminal

mod campaign;
mod link;
mod mutate;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;

use campaign::{Plan, Tally, run};

fn main() -> ExitCode {
    let plan = match plan(std::env::args().skip(1)) {
        Ok(plan) => plan,
        Err(problem) => {
            eprintln!("{problem}\nusage: mutation_campaign [COUNT] [--repair-crc] [--seed N]");
            return ExitCode::from(2);
        }
    };
    match run(plan) {
        Ok((lanes, sum)) => {
            print_summary(&lanes, &sum);
            ExitCode::SUCCESS
        }
        Err(violation) => {
            eprintln!("violation: {violation}");
            ExitCode::FAILURE
        }
    }
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Result<Plan, String> {
    let mut plan = Plan { datagrams: 10_000, seed: 1, repair_crc: false };
    let number = |text: String| text.parse().map_err(|_| format!("{text:?} is not a number"));
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--repair-crc" => plan.repair_crc = true,
            "--seed" => plan.seed = number(arguments.next().unwrap_or_default())?,
            _ => plan.datagrams = number(argument)?,
        }
    }
    Ok(plan)
}

fn print_summary(lanes: &[(String, Tally)], sum: &Tally) {
    println!("{:32}{:>12}{:>12}{:>12}{:>12}", "attack on", "mutated", "accepted", "dropped", "disturbed");
    for (name, lane) in lanes.iter().map(|(name, lane)| (name.as_str(), lane)).chain([("all", sum)]) {
        let dropped = lane.drops.total();
        println!("{name:32}{:>12}{:>12}{dropped:>12}{:>12}", lane.mutated, lane.accepted, lane.disturbed);
    }
    println!("\n{:32}{:>12}", "dropped as", "datagrams");
    for (reason, count) in sum.drops.iter() {
        println!("{:32}{count:>12}", reason.name());
    }
    println!(
        "\n{} messages in accepted datagrams, {} exchanges between attacks",
        sum.messages, sum.exchanges
    );
}
