//! Forges datagrams of a secured link.
//!
//! ```text
//! cargo run --release -p tautline-proto --features secure --example forgery_campaign -- [COUNT] [--seed N]
//! ```
//!
//! Each of the COUNT datagrams (10,000 by default) is a true one that was changed, repeated, sent back to its sender, or moved to
//! another session, direction or number. No end may accept it or answer it, and each must be dropped under a reason. Between them, true
//! messages must arrive.
//!
//! The exit code is 1 after a violation. The same seed gives the same result.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for a terminal

mod campaign;
#[path = "../mutation_campaign/mutate.rs"]
mod mutate;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;

use campaign::{Kind, run};

fn main() -> ExitCode {
    let (mut count, mut seed) = (10_000, 1);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let (number, place) = match argument.as_str() {
            "--seed" => (arguments.next().unwrap_or_default(), &mut seed),
            _ => (argument, &mut count),
        };
        let Ok(number) = number.parse() else {
            eprintln!("{number:?} is not a number\nusage: forgery_campaign [COUNT] [--seed N]");
            return ExitCode::from(2);
        };
        *place = number;
    }
    match run(count, seed) {
        Ok(tally) => {
            for (kind, forged) in Kind::ALL.into_iter().zip(tally.forged) {
                println!("{kind:32}{forged:>12}");
            }
            println!("{:32}{:>12}\n", "accepted", 0);
            for (reason, count) in tally.drops.iter() {
                println!("{:32}{count:>12}", reason.name());
            }
            println!(
                "{:32}{:>12}\n\n{} true messages arrived between them",
                "dropped",
                tally.drops.total(),
                tally.messages
            );
            ExitCode::SUCCESS
        }
        Err(violation) => {
            eprintln!("violation: {violation}");
            ExitCode::FAILURE
        }
    }
}
