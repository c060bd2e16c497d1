//! Builds every peer, measures the peers in interleaved rounds, and writes the tables and plots of docs/benchmarks.md, and the
//! table of the README.
//!
//! `bench/run --help` has the options.

mod building;
mod drops;
mod kinds;
mod machine;
mod measure;
mod namespace;
mod neighbour;
mod options;
mod peers;
mod plot;
mod process;
mod report;
mod summary;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use building::build;
use measure::{Cores, Places};
use options::Options;
use peers::CONTESTANTS;
use report::{Table, row, splice};

/// The tables stand between these two lines of docs/benchmarks.md and of the README.
const MARKS: [&str; 2] = ["<!-- written by bench/run -->", "<!-- end of what bench/run writes -->"];

/// The folder of the plots, beside docs/benchmarks.md.
const PLOTS: &str = "benchmarks";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == [neighbour::COMMAND] {
        neighbour::be_busy();
        return ExitCode::SUCCESS;
    }
    match Options::parse(&arguments).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let bench = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let programs = program.parent().ok_or("the runner has no directory")?.to_owned();
    let mut tables: Vec<Table> = options.kinds().into_iter().map(Table::new).collect();
    prepare(&bench, &programs, options, &mut tables);
    // Reads the load after building, because building is a load too.
    let mut machine = machine::describe(&bench);
    let cores = Cores::of_this_machine();
    machine.push(("placement", placement(cores)));
    let places = Places { bench, programs, cores };
    for round in 0..=options.rounds {
        eprintln!("round {round} of {}{}", options.rounds, if round == 0 { " (warm-up)" } else { "" });
        measure_round(&places, options, &mut tables, round == 0);
    }
    if let Some(directory) = &options.plots {
        write_plots(directory, &tables)?;
    }
    let text = compose(&places.bench, options, &machine, &tables);
    let date = machine.iter().find(|(name, _)| *name == "date").map_or("", |(_, date)| date);
    let summary = summary::summary(&tables, date);
    if options.only_prints {
        println!("{text}");
        if options.has_every_table() {
            println!("{summary}");
        }
        return if options.is_smoke { smoke_verdict(&tables) } else { Ok(()) };
    }
    let docs = places.bench.join("../docs");
    write_plots(&docs.join(PLOTS), &tables)?;
    write(&docs.join("benchmarks.md"), &text)?;
    write(&docs.join("../README.md"), &summary)
}

/// Builds every contestant that a table needs. Notes in the tables which contestants are skipped, and why.
fn prepare(bench: &Path, programs: &Path, options: &Options, tables: &mut [Table]) {
    let is_wanted = |contestant: &_| options.kinds().iter().any(|kind| options.wants(contestant, *kind));
    for (index, why) in build(bench, programs, is_wanted) {
        eprintln!("{} is skipped: {why}", CONTESTANTS[index].name);
        for table in tables.iter_mut().filter(|table| options.wants(&CONTESTANTS[index], table.kind)) {
            table.failures[index] = Some(why.clone());
        }
    }
}

fn placement(cores: Option<Cores>) -> String {
    match cores {
        Some(Cores { server, client }) => {
            format!("the server's process on core {server}, the client's on core {client}")
        }
        None => "chosen by the scheduler (there is only one core, or no taskset)".to_owned(),
    }
}

fn measure_round(places: &Places, options: &Options, tables: &mut [Table], is_warm_up: bool) {
    for table in tables {
        for (index, contestant) in CONTESTANTS.iter().enumerate() {
            if !options.wants(contestant, table.kind) || table.failures[index].is_some() {
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

/// Fails if a contestant of the smoke test has no figures.
fn smoke_verdict(tables: &[Table]) -> Result<(), String> {
    let failures = tables.iter().flat_map(|table| &table.failures);
    failures.flatten().next().map_or(Ok(()), |why| Err(why.clone()))
}

fn compose(bench: &Path, options: &Options, machine: &[(&str, String)], tables: &[Table]) -> String {
    let mut text = String::from("\n| machine | |\n|---|---|\n");
    for (name, value) in machine {
        row(&mut text, [(*name).to_owned(), value.clone()]);
    }
    row(
        &mut text,
        ["rounds".to_owned(), format!("{}, after a warm-up round that does not count", options.rounds)],
    );
    for table in tables {
        text.push('\n');
        text.push_str(&table.markdown());
        if has_plot(table) {
            let _ = write!(text, "\n![{}]({PLOTS}/{}.svg)\n", table.kind.title(), table.kind.name());
        }
    }
    text.push_str("\n### The contestants\n\n| | version | what it is |\n|---|---|---|\n");
    let took_part = |index: &usize| tables.iter().any(|table| table.lines().any(|line| line == *index));
    for contestant in (0..CONTESTANTS.len()).filter(took_part).map(|index| &CONTESTANTS[index]) {
        let version = machine::version(bench, contestant).unwrap_or_default();
        row(&mut text, [contestant.name.to_owned(), version, contestant.what.to_owned()]);
    }
    text.push('\n');
    text
}

/// Whether a table has a plot. Those with contestants of their own have figures of several kinds.
fn has_plot(table: &Table) -> bool {
    !table.kind.has_own_contestants()
}

fn write_plots(directory: &Path, tables: &[Table]) -> Result<(), String> {
    std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    for table in tables.iter().filter(|table| has_plot(table)) {
        let file = directory.join(format!("{}.svg", table.kind.name()));
        let Some(svg) = plot::plot(table) else { continue };
        std::fs::write(&file, svg).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(())
}

fn write(file: &Path, tables: &str) -> Result<(), String> {
    let problem = |error: std::io::Error| format!("{}: {error}", file.display());
    let old = std::fs::read_to_string(file).map_err(problem)?;
    let new =
        splice(&old, MARKS, tables).ok_or_else(|| format!("{}: the marks are missing", file.display()))?;
    std::fs::write(file, new).map_err(problem)
}
