//! `tautline incident`: says what a black box shows.
//!
//! [`story`] runs the file again and collects what happened, [`causes`] names what went wrong, [`timeline`] draws it, [`what_if`]
//! compares it with another setting, [`words`] puts times and events into words. [`ends`] lays the files of two ends side by side.

mod causes;
mod ends;
mod story;
mod timeline;
mod what_if;
mod words;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tautline::black_box::read::{BlackBoxError, BlackBoxFile, Rerun};

use self::ends::Ends;
use self::story::Story;
use crate::tools::exit::{Exit, Failure};
use crate::tools::files::write;
use crate::tools::output::{self, escaped, on_terminal};

/// Tell from the file of a black box what happened
///
/// With the setting `black_box` (option --black-box), each end keeps its latest inputs, and writes them to a file when a watchdog
/// trips or the connection fails. This subcommand says what the file shows: what went wrong, and what came last.
///
/// With the files of both ends of a link, it compares their clocks, and says what was lost in each direction.
///
/// --rerun runs the protocol again with these inputs, and compares every output. It ends with code 4 if one differs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline demo --black-box incidents --cut-after 3s
  tautline incident incidents/plant-1795965519400-watchdog.mcap
  tautline incident plant.mcap --rerun
  tautline incident plant.mcap --html incident.html
  tautline incident plant.mcap --what-if command.lifespan=5ms
  tautline incident plant.mcap controller.mcap")]
pub(crate) struct Args {
    /// The file
    file: PathBuf,
    /// The file of the other end of the link: both are shown on one time line, with what was lost on the way
    #[arg(value_name = "OTHER")]
    others: Vec<PathBuf>,
    /// Run the protocol again with the recorded inputs, and compare every output
    #[arg(long)]
    rerun: bool,
    /// Say what would have been different with another setting (`tautline config print` lists them). `lifespan` is that of all types
    #[arg(long, value_name = "KEY=VALUE", conflicts_with_all = ["rerun", "html"])]
    what_if: Option<String>,
    /// Draw the last seconds to this file, a page that needs nothing else
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Print what was found as one line of JSON
    #[arg(long, conflicts_with_all = ["rerun", "what_if"])]
    json: bool,
}

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let other = other_end(args)?;
    if let Some(path) = other.into_iter().chain([&*args.file]).find(|path| path.is_dir()) {
        return Err(folder(path));
    }
    let failure = |error: BlackBoxError| Failure::failed(format!("{}: {error}", args.file.display()));
    let file = BlackBoxFile::open(&args.file).map_err(failure)?;
    if let Some(other) = other {
        let read = BlackBoxFile::open(other);
        let other = read.map_err(|error| Failure::failed(format!("{}: {error}", other.display())))?;
        let ends = Ends::of([&file, &other])?;
        if let Some(path) = &args.html {
            write(path, "picture", &ends.page())?;
        }
        output::data(&on_terminal(ends.text()))?;
        return Ok(Exit::Done);
    }
    if let Some(change) = &args.what_if {
        output::data(&on_terminal(what_if::answer(&file, change)?))?;
        return Ok(Exit::Done);
    }
    let (story, reruns) = Story::of(&file).map_err(failure)?;
    let found = causes::of(&story);
    if let Some(path) = &args.html {
        write(path, "picture", &timeline::page(&story, &found))?;
    }
    if args.json {
        let causes: Vec<_> = found.iter().map(causes::Cause::json).collect();
        output::data(&format!("{}\n", serde_json::json!({ "causes": causes, "facts": story.facts() })))?;
        return Ok(Exit::Done);
    }
    let mut text = format!("{}What went wrong\n", story.doubt());
    causes::told(&story, &found).iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    text.push_str(&format!("\n{}", story.heading()));
    text.push_str(&format!("\nWhat came last before {}\n", story.cause()));
    story.last_things().iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    if args.rerun {
        text.push_str(&rerun_text(&reruns, &file));
    }
    output::data(&on_terminal(text))?;
    let differs = reruns.iter().any(|rerun| rerun.difference.is_some());
    Ok(if args.rerun && differs { Exit::NotMet } else { Exit::Done })
}

/// Returns the file of the other end, if there is one. A pattern such as `plant-*.mcap` may have named any number of files.
fn other_end(args: &Args) -> Result<Option<&Path>, Failure> {
    let is_about_one = args.rerun || args.what_if.is_some() || args.json;
    match &args.others[..] {
        [] => Ok(None),
        [other] if !is_about_one => Ok(Some(other)),
        others => {
            let newest =
                others.iter().chain([&args.file]).max_by_key(|path| written(path)).unwrap_or(&args.file);
            Err(Failure::usage(format!(
                "{} files are named: name one, such as {} (the newest), or without --rerun, --what-if and --json those of both ends \
                 of a link",
                others.len() + 1,
                newest.display()
            )))
        }
    }
}

/// When the file was written.
fn written(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|file| file.modified()).ok()
}

/// Refuses a folder, such as that of --black-box, and names the newest file in it.
fn folder(path: &Path) -> Failure {
    let newest = |end: &str| {
        let files = path.read_dir().into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let newest = files
            .filter(|file| file.extension().is_some_and(|of| of == end))
            .max_by_key(|file| written(file));
        newest.map(|file| escaped(&file.to_string_lossy()).into_owned())
    };
    let path = path.display();
    Failure::usage(match (newest("mcap"), newest("part")) {
        (Some(newest), _) => format!("{path} is a folder: name a file in it, such as {newest} (the newest)"),
        (None, Some(part)) => format!(
            "{path} is a folder, and no whole black box is in it. Name {part}: it is being written, or its program ended \
             before it was whole"
        ),
        (None, None) => {
            format!("{path} is a folder, and no black box is in it: name the file of a black box")
        }
    })
}

/// What a rerun has shown.
fn rerun_text(reruns: &[Rerun; 2], file: &BlackBoxFile) -> String {
    let mut text = String::from("\nRerun\n");
    let halves = [("receiving half", &file.inbound), ("sending half", &file.outbound)];
    for ((half, ring), rerun) in halves.into_iter().zip(reruns) {
        if ring.segments.is_empty() {
            text.push_str(&format!("  {half}: not in the file, so nothing was compared\n"));
            continue;
        }
        let Rerun { inputs, datagrams, states, difference, .. } = rerun;
        let result = match difference {
            // A ring that was never full has a mark at its beginning alone.
            None if *states == 0 => "every output is the same as in the record".to_owned(),
            None => format!(
                "every output is the same as in the record, and so are {states} states of the interface"
            ),
            Some(difference) => format!(
                "the first difference is at input {}, {}, {:.1} ms after the record begins",
                difference.input,
                difference.what,
                difference.at.as_nanos().saturating_sub(first_time(file)) as f64 / 1e6,
            ),
        };
        text.push_str(&format!("  {half}: {inputs} inputs, {datagrams} datagrams: {result}\n"));
    }
    text
}

/// When the record begins: the time in the head of its first entry.
fn first_time(file: &BlackBoxFile) -> u64 {
    let first =
        file.inbound.segments.first().and_then(|segment| segment.bytes.get(8..16)?.first_chunk::<8>());
    first.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
