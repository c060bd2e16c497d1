//! `tautline man`: prints or writes the manual, from the same definition as `--help`.

use std::path::{Path, PathBuf};

use clap_mangen::Man;

use crate::tools::exit::{Exit, Failure};
use crate::tools::output;

/// Print the manual page, or write a page for every subcommand into a folder
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
    match &args.dir {
        Some(dir) => write_all(dir, definition)?,
        None => output::data(&page(definition))?,
    }
    Ok(Exit::Done)
}

fn write_all(dir: &Path, definition: clap::Command) -> Result<(), Failure> {
    let definition = definition.disable_help_subcommand(true);
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(definition, dir))
        .map_err(|error| Failure::failed(format!("cannot write the manual to {}: {error}", dir.display())))
}

fn page(command: clap::Command) -> String {
    let mut text = Vec::new();
    Man::new(command).render(&mut text).expect("writing to a Vec cannot fail");
    String::from_utf8_lossy(&text).into_owned()
}
