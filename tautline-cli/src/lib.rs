//! The program `tautline`: shows, tests and measures real-time UDP links.
//!
//! The program writes data to stdout and messages for people to stderr. Each way to end has a documented exit code
//! ([`tools::exit`]). `main.rs` runs it, and so does `python -m tautline`.
//!
//! [`cli`] defines the command line and calls the subcommands in [`commands`]. The subcommands use [`tools`].
//! Imports point in this direction only: a tool never imports a subcommand, and no subcommand imports another one.
//! `tests/layers.rs` checks this.

#![forbid(unsafe_code)]
#![allow(rustdoc::private_intra_doc_links, reason = "the reader of this page is a developer of the program")]

mod cli;
mod commands;
mod tools;

use std::ffi::OsString;

/// Runs the program and returns its exit code. `words` is the command line; its first word is the program's name.
///
/// `itself` is the command line that runs this function in another process. `bench` needs it, because it measures between two
/// processes. `None` means the file of this process.
///
/// Ends the process itself after a help text, and if the command line is wrong.
pub fn run(words: impl IntoIterator<Item = OsString>, itself: Option<Vec<OsString>>) -> u8 {
    if let Some(itself) = itself {
        tools::itself::set(itself);
    }
    let exit = cli::parse(words).run().unwrap_or_else(|failure| {
        if !failure.is_quiet() {
            tools::output::complain(&failure);
        }
        failure.exit()
    });
    exit as u8
}
