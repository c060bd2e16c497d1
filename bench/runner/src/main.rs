//! Builds every peer, measures them in interleaved rounds, and writes docs/benchmarks.md's tables.
//!
//! `bench/run --help` has the options.

mod machine;
mod measure;
mod peers;
mod process;
mod report;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use measure::{Cores, Kind, Places};
use peers::{CONTESTANTS, Contestant, Program, RAW};
use report::{Table, row, splice};

const HELP: &str = "\
usage: bench/run [--smoke] [--rounds N] [--print]
  --smoke     two peers and a fraction of a second each: does it run?
  --rounds N  1 to 100, by default 5; one more is run before them and thrown away
  --print     show the tables and leave docs/benchmarks.md as it is (--smoke always does)";

const ROUNDS: usize = 5;
const MAX_ROUNDS: usize = 100;

const PYTHON_IS_NEW_ENOUGH: &str =
    "import sys; sys.exit(None if sys.version_info >= (3, 11) else 'Python 3.11 or newer is needed')";

/// Between these the tables stand in docs/benchmarks.md.
const MARKS: [&str; 2] = ["<!-- written by bench/run -->", "<!-- end of what bench/run writes -->"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match Options::parse(&arguments).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    is_smoke: bool,
    rounds: usize,
    only_prints: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self { is_smoke: false, rounds: ROUNDS, only_prints: false };
        let mut left = arguments.iter();
        while let Some(argument) = left.next() {
            match argument.as_str() {
                "--smoke" => options = Self { is_smoke: true, rounds: 1, only_prints: true },
                "--print" => options.only_prints = true,
                "--rounds" => {
                    let count = left.next().and_then(|text| text.parse().ok());
                    let valid = count.filter(|count| (1..=MAX_ROUNDS).contains(count));
                    options.rounds = valid.ok_or(HELP)?;
                }
                _ => return Err(HELP.to_owned()),
            }
        }
        Ok(options)
    }

    fn kinds(&self) -> [Kind; 3] {
        if self.is_smoke {
            return [
                Kind::PingPong { messages: 200 },
                Kind::Paced { messages: 100, rate: 1000 },
                Kind::Throughput { seconds: 0.1, size: 64 },
            ];
        }
        [
            Kind::PingPong { messages: 5000 },
            Kind::Paced { messages: 1000, rate: 1000 },
            Kind::Throughput { seconds: 1.0, size: 64 },
        ]
    }
}

fn run(options: &Options) -> Result<(), String> {
    let bench = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let programs = program.parent().ok_or("the runner has no directory")?.to_owned();
    let takes_part = |contestant: &Contestant| !options.is_smoke || contestant.in_smoke;
    let unbuilt = build(&bench, &takes_part);
    // After building, which is a load of its own.
    let mut machine = machine::describe(&bench);
    let cores = Cores::of_this_machine();
    machine.push(("placement", placement(cores)));
    let places = Places { bench, programs, cores };
    let mut tables = options.kinds().map(Table::new);
    for (index, contestant) in CONTESTANTS.iter().enumerate() {
        let why = unbuilt.get(&index);
        tables.iter_mut().for_each(|table| table.failures[index] = why.cloned());
        if let Some(why) = why {
            eprintln!("{} is skipped: {why}", contestant.name);
        }
    }
    for round in 0..=options.rounds {
        eprintln!("round {round} of {}{}", options.rounds, if round == 0 { " (warm-up)" } else { "" });
        measure_round(&places, &mut tables, &takes_part, round == 0);
    }
    let text = compose(&places.bench, options, &machine, &tables);
    if options.only_prints {
        println!("{text}");
        return smoke_verdict(&tables);
    }
    write(&places.bench.join("../docs/benchmarks.md"), &text)
}

fn placement(cores: Option<Cores>) -> String {
    match cores {
        Some(Cores { server, client }) => {
            format!("the server's process on core {server}, the client's on core {client}")
        }
        None => "left to the scheduler (one core, or no taskset)".to_owned(),
    }
}

/// Why contestants could not be built, by index. A package is built once, however many modes it has.
fn build(bench: &Path, takes_part: &impl Fn(&Contestant) -> bool) -> HashMap<usize, String> {
    let mut built: HashMap<Program, Option<String>> = HashMap::new();
    let mut failures = HashMap::new();
    for (index, contestant) in CONTESTANTS.iter().enumerate().filter(|(_, contestant)| takes_part(contestant))
    {
        let failure =
            built.entry(contestant.program).or_insert_with(|| build_one(bench, contestant.program).err());
        failures.extend(failure.clone().map(|why| (index, why)));
    }
    failures
}

fn build_one(bench: &Path, program: Program) -> Result<(), String> {
    let mut command = match program {
        Program::Package(package) => {
            let mut command = Command::new("cargo");
            command.args(["build", "--release", "--locked", "--quiet", "-p", package]);
            command
        }
        Program::Python(_) => {
            let mut command = Command::new("python3");
            command.args(["-c", PYTHON_IS_NEW_ENOUGH]);
            command
        }
    };
    let done = command.current_dir(bench).output().map_err(|error| error.to_string())?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let why = said.lines().find(|line| line.starts_with("error")).or_else(|| said.lines().next());
    Err(why.unwrap_or("cannot be built").to_owned())
}

fn measure_round(
    places: &Places,
    tables: &mut [Table],
    takes_part: &impl Fn(&Contestant) -> bool,
    is_warm_up: bool,
) {
    for table in tables {
        for (index, contestant) in CONTESTANTS.iter().enumerate() {
            if !takes_part(contestant) || table.failures[index].is_some() {
                continue;
            }
            let measured = places.measure(contestant, table.kind);
            if let Err(why) = &measured {
                eprintln!("{}: {why}", contestant.name);
                table.failures[index] = Some(why.clone());
            }
            if !is_warm_up {
                table.results[index].push(measured.ok());
            }
        }
    }
}

/// A smoke test must have figures of everybody.
fn smoke_verdict(tables: &[Table]) -> Result<(), String> {
    let failures = tables.iter().flat_map(|table| &table.failures);
    failures.flatten().next().map_or(Ok(()), |why| Err(why.clone()))
}

fn compose(bench: &Path, options: &Options, machine: &[(&str, String)], tables: &[Table]) -> String {
    let mut text = String::from("\n| machine | |\n|---|---|\n");
    for (name, value) in machine {
        row(&mut text, [(*name).to_owned(), value.clone()]);
    }
    row(&mut text, ["rounds".to_owned(), format!("{}, after one that is thrown away", options.rounds)]);
    for table in tables {
        text.push('\n');
        text.push_str(&table.markdown());
    }
    text.push_str("\n### Who took part\n\n| | version | what it is |\n|---|---|---|\n");
    let took_part =
        |index: usize| !tables[0].results[index].is_empty() || tables[0].failures[index].is_some();
    for (_, contestant) in
        CONTESTANTS.iter().enumerate().filter(|(index, _)| *index == RAW || took_part(*index))
    {
        let version = machine::version(bench, contestant.library).unwrap_or_default();
        row(&mut text, [contestant.name.to_owned(), version, contestant.what.to_owned()]);
    }
    text.push('\n');
    text
}

fn write(file: &Path, tables: &str) -> Result<(), String> {
    let problem = |error: std::io::Error| format!("{}: {error}", file.display());
    let old = std::fs::read_to_string(file).map_err(problem)?;
    let new =
        splice(&old, MARKS, tables).ok_or_else(|| format!("{}: the marks are missing", file.display()))?;
    std::fs::write(file, new).map_err(problem)
}
