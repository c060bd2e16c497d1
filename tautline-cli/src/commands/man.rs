//! `tautline man`: prints or writes the manual, from the same definition as `--help`.

use std::path::{Path, PathBuf};

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::tools::exit::{EXIT_CODES, Exit, Failure};
use crate::tools::files::make_folder;
use crate::tools::link::TIMES;
use crate::tools::output;

/// Print the manual page, or write all pages into a folder
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline man | man -l -
  tautline man ~/.local/share/man/man1")]
pub(crate) struct Args {
    /// The folder for tautline.1, tautline-demo.1 and so on; it is created if it does not exist
    dir: Option<PathBuf>,
}

/// Prints or writes the pages of the command line that `definition` describes.
pub(crate) fn run(args: &Args, definition: clap::Command) -> Result<Exit, Failure> {
    let mut definition = definition.disable_help_subcommand(true);
    // Gives every subcommand its full name and the global options.
    definition.build();
    let Some(dir) = &args.dir else {
        output::data(&page(&definition))?;
        return Ok(Exit::Done);
    };
    make_folder(dir, "manual")?;
    write_all(dir, &definition)
        .map_err(|error| Failure::failed(format!("cannot write the manual to {}: {error}", dir.display())))?;
    Ok(Exit::Done)
}

/// Writes the pages of a command and of all its subcommands.
fn write_all(dir: &Path, command: &clap::Command) -> std::io::Result<()> {
    std::fs::write(dir.join(format!("{}.1", name(command))), page(command))?;
    command.get_subcommands().try_for_each(|subcommand| write_all(dir, subcommand))
}

/// Returns the name of a page: tautline-bench-latency.
fn name(command: &clap::Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn page(command: &clap::Command) -> String {
    let mut text = Vec::new();
    let man = Man::new(command.clone());
    let written = man
        .render_title(&mut text)
        .and_then(|()| man.render_name_section(&mut text))
        .and_then(|()| man.render_synopsis_section(&mut text))
        .and_then(|()| man.render_description_section(&mut text))
        .and_then(|()| man.render_options_section(&mut text))
        .and_then(|()| match command.has_subcommands() {
            true => man.render_subcommands_section(&mut text),
            false => Ok(()),
        })
        .and_then(|()| sections(command).to_writer(&mut text));
    written.expect("writing to a Vec cannot fail");
    String::from_utf8_lossy(&text).into_owned()
}

/// Returns the sections that the help has at its end, under the names that manual pages have for them.
fn sections(command: &clap::Command) -> Roff {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut roff = Roff::new();
    if let Some((_, times)) = TIMES.split_once(": ").filter(|_| help.contains(TIMES)) {
        roff.control("SH", ["TIMES"]).text([roman(times)]);
    }
    roff.control("SH", ["EXAMPLES"]);
    for example in help.lines().filter_map(|line| line.strip_prefix("  tautline ")) {
        roff.control("PP", []).control("EX", []);
        roff.text([roman(format!("    tautline {example}"))]).control("EE", []);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES.lines().filter_map(|line| line.trim().split_once("  ")) {
        roff.control("TP", []).text([bold(code)]).text([roman(meaning)]);
    }
    roff
}
