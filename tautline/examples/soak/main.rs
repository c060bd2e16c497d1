//! Runs a link under load for a long time. Two processes send to each other at 1 kHz, one message in a hundred reliably,
//! through a relay with every impairment and a cut of a second every minute.
//!
//! It prints what the ends use and count once a minute. At the end it checks that memory, descriptors and threads stayed flat
//! and that every datagram and message is accounted for, and fails if not.
//!
//! ```text
//! cargo run --release -p tautline --features sim --example soak -- --minutes 30
//! ```
//!
//! `--minutes` may be a fraction; `--rate` is in messages a second, each way; `--seed` seeds the impairments.

#![allow(clippy::print_stdout, clippy::print_stderr)] // figures, and what is wrong with the command line

mod end;
mod figures;
mod other;
mod relay;
mod verdict;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use other::Other;
use relay::Relay;
use verdict::Record;

/// The time between two reports.
const REPORTS: Duration = Duration::from_secs(60);

/// The longest time until nothing is in flight after the network is whole again.
const REST: Duration = Duration::from_secs(30);

/// The options of the command line.
#[derive(Clone, Copy, Debug)]
struct Options {
    minutes: f64,
    rate: f64,
    seed: u64,
}

fn options(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options { minutes: 30.0, rate: 1000.0, seed: 1 };
    for pair in arguments.chunks(2) {
        let [name, value] = pair else {
            return Err(format!("`{}` has no value: write it after the option", pair[0]));
        };
        let number = value.parse().ok().filter(|number: &f64| *number > 0.0);
        let number = number.ok_or_else(|| format!("`{name} {value}`: a positive number is expected"));
        match name.as_str() {
            "--minutes" => options.minutes = number?,
            "--rate" => options.rate = number?,
            "--seed" => {
                let whole =
                    value.parse().map_err(|_| format!("`--seed {value}`: a whole number is expected"));
                options.seed = whole?;
            }
            _ => return Err(format!("there is no option `{name}`: expected --minutes, --rate or --seed")),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mark, role, address, rate] = &arguments[..]
        && mark == "--end"
    {
        end::run(role, address, rate.parse().expect("this program has written it"));
        return ExitCode::SUCCESS;
    }
    match options(&arguments) {
        Ok(options) => soak(options),
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

fn soak(options: Options) -> ExitCode {
    let mut plant = Other::start("plant", "127.0.0.1:0", options.rate);
    let relay = Relay::start(plant.address(), options.seed);
    let mut controller = Other::start("controller", &relay.address().to_string(), options.rate);
    let length = Duration::from_secs_f64(options.minutes * 60.0);
    println!("{length:?} at {} messages a second each way, seed {}", options.rate, options.seed);
    let begun = Instant::now();
    let mut records = Vec::new();
    // The first report comes after a tenth of the time, when all tables and queues have reached their size.
    let mut next = (length / 10).min(REPORTS);
    while begun.elapsed() < length {
        std::thread::sleep(next.min(length.saturating_sub(begun.elapsed())));
        next = REPORTS;
        let record = Record::take(begun.elapsed(), &mut plant, &mut controller, &relay);
        println!("{record}");
        records.push(record);
    }
    relay.heal();
    plant.say("rest");
    controller.say("rest");
    let problems = rest(begun, &mut plant, &mut controller, &relay, &mut records);
    verdict::report(&records, &problems)
}

/// Waits until nothing is in flight and everything is accounted for. Returns what is not, when the time is over.
fn rest(
    begun: Instant,
    plant: &mut Other,
    controller: &mut Other,
    relay: &Relay,
    records: &mut Vec<Record>,
) -> Vec<String> {
    let until = Instant::now() + REST;
    loop {
        let record = Record::take(begun.elapsed(), plant, controller, relay);
        let problems = record.problems();
        if problems.is_empty() || Instant::now() > until {
            println!("{record}");
            records.push(record);
            return problems;
        }
        std::thread::sleep(Duration::from_millis(13));
    }
}
