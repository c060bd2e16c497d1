//! The program `tautline`: show, listen, send and measure real-time UDP links.
//!
//! stdout is data, stderr is for people; every way to end has a documented exit code ([`exit`]). A file
//! per subcommand; [`cli`] lists them.

mod bench;
mod cli;
mod completions;
mod demo;
mod doctor;
mod echo;
mod exit;
mod impair;
mod interrupt;
mod latency;
mod lines;
mod link;
mod listen;
mod man;
mod message_line;
mod output;
mod pace;
mod ping;
mod progress;
mod proxy;
mod round_trips;
mod screen;
mod send;
mod svg;
mod text_chart;
mod traffic;
mod transcode;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::parse().run() {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !failure.is_quiet() {
                output::complain(&failure);
            }
            failure.exit().into()
        }
    }
}
