//! The program `tautline`: shows, tests and measures real-time UDP links.
//!
//! The program writes data to stdout and messages for people to stderr. Each way to end has a documented exit code
//! ([`tools::exit`]).
//!
//! [`cli`] defines the command line and calls the subcommands in [`commands`]. The subcommands use [`tools`].
//! Imports point in this direction only: a tool never imports a subcommand, and no subcommand imports another one.
//! `tests/layers.rs` checks this.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod tools;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::parse().run() {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !failure.is_quiet() {
                tools::output::complain(&failure);
            }
            failure.exit().into()
        }
    }
}
