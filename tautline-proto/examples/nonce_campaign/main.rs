//! Looks for a number that is sealed twice under one key.
//!
//! ```text
//! cargo run --release -p tautline-proto --features secure --example nonce_campaign -- [SCHEDULES] [--seed N]
//! ```
//!
//! Each schedule (1,000 by default) is a random order of messages to all, restarts, new calls, new keys, losses, repetitions, sends
//! that the kernel refuses, and packs of which it takes a part. The exit code is 1 if a number was sealed twice.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for a terminal

mod campaign;
#[path = "../mutation_campaign/mutate.rs"]
#[allow(dead_code)] // only the generator is used
mod mutate;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;

fn main() -> ExitCode {
    let (mut schedules, mut seed) = (1_000, 1);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let (number, place) = match argument.as_str() {
            "--seed" => (arguments.next().unwrap_or_default(), &mut seed),
            _ => (argument, &mut schedules),
        };
        let Ok(number) = number.parse() else {
            eprintln!("{number:?} is not a number\nusage: nonce_campaign [SCHEDULES] [--seed N]");
            return ExitCode::from(2);
        };
        *place = number;
    }
    match campaign::run(schedules, seed) {
        Ok(tally) => {
            println!("{tally:#?}\nno number was sealed twice");
            ExitCode::SUCCESS
        }
        Err(violation) => {
            eprintln!("violation: {violation}");
            ExitCode::FAILURE
        }
    }
}
