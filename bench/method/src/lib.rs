//! The method by which every peer is measured: the messages, the timing, and the output.
//!
//! A peer program implements [`Peer`] and calls [`main`]. It never reads the clock for a measurement and never prints;
//! this crate does both in the same way for every peer. The server and the client are two processes on loopback:
//!
//! ```text
//! peer-x echo --mode M                                        answers every message with its own bytes
//! peer-x sink --mode M                                        counts every message
//! peer-x latency --mode M --to A --messages N --size S [--rate HZ]
//! peer-x together --mode M --messages N --size S [--rate HZ]  echo and latency in one process
//! peer-x throughput --mode M --to A --seconds T --size S [--rate HZ]
//! ```
//!
//! A server prints `{"address": ...}` when it is ready. When its standard input closes, it prints a line of results and
//! ends. A client prints one line of results.

mod command;
mod latency;
mod loss;
mod memory;
mod serving;
mod throughput;

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

pub use latency::Latency;
pub use loss::Loss;
pub use serving::{Count, Ready};
pub use throughput::Throughput;

use command::Command;

/// How long a client waits for an answer before the message counts as lost.
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);

/// The largest message, in bytes.
pub const MAX_SIZE: usize = 60_000;

/// The bytes that a windowed sender has under way, within the bounds of [`WINDOW`].
const BYTES_UNDER_WAY: usize = 1 << 20;

/// The fewest and the most messages that a windowed sender has under way.
const WINDOW: std::ops::RangeInclusive<u64> = 16..=4_096;

/// Returns how many messages of this size a windowed sender may have under way: a megabyte, between 16 and 4,096 messages.
#[must_use]
pub fn window(size: usize) -> u64 {
    ((BYTES_UNDER_WAY / size.max(1)) as u64).clamp(*WINDOW.start(), *WINDOW.end())
}

/// The result of a peer program. The runner shows the text of an error in its table.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// A peer: one way of carrying messages. `mode` names a variant of it. A peer without variants ignores `mode`.
pub trait Peer {
    /// Answers every message with its own bytes until the process ends.
    ///
    /// # Errors
    ///
    /// When the peer cannot go on.
    fn echo(mode: &str, ready: Ready) -> Outcome<Infallible>;

    /// Counts every message that reaches the application after all checks, until the process ends.
    ///
    /// # Errors
    ///
    /// When the peer cannot go on.
    fn sink(mode: &str, ready: Ready, received: &'static Count) -> Outcome<Infallible>;

    /// Sends the messages of `run` to `to`, one at a time, and passes the answers to `run`.
    ///
    /// # Errors
    ///
    /// When the peer cannot go on.
    fn latency(mode: &str, to: &str, run: &mut Latency) -> Outcome<()>;

    /// Sends messages to `to` until `run` ends.
    ///
    /// # Errors
    ///
    /// When the peer cannot go on.
    fn throughput(mode: &str, to: &str, run: &mut Throughput) -> Outcome<()>;
}

/// Runs the whole program of a peer.
#[must_use]
pub fn main<P: Peer>() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match Command::parse(&arguments).map_err(Into::into).and_then(|command| run::<P>(&command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run<P: Peer>(command: &Command) -> Outcome<()> {
    let mode = command.mode();
    match command {
        Command::Echo { .. } => P::echo(mode, Ready::new(false)).map(|never| match never {}),
        Command::Sink { .. } => {
            P::sink(mode, Ready::new(true), &serving::RECEIVED).map(|never| match never {})
        }
        Command::Latency { to, messages, size, rate, .. } => {
            let mut run = Latency::new(*messages, *size, *rate);
            P::latency(mode, to, &mut run)?;
            print_line(&run.report())
        }
        Command::Together { messages, size, rate, .. } => {
            let to = serve_here::<P>(mode)?;
            let mut run = Latency::new(*messages, *size, *rate);
            P::latency(mode, &to, &mut run)?;
            print_line(&run.report())
        }
        Command::Throughput { to, seconds, size, rate, .. } => {
            let mut run = Throughput::new(*size, Duration::from_secs_f64(*seconds), *rate);
            P::throughput(mode, to, &mut run)?;
            print_line(&run.report())
        }
    }
}

/// Starts the echo in a thread of this process. Returns its address.
fn serve_here<P: Peer>(mode: &str) -> Outcome<String> {
    let (tell, told) = mpsc::channel();
    let (ready, mode) = (Ready::here(tell.clone()), mode.to_owned());
    std::thread::spawn(move || {
        let Err(error) = P::echo(&mode, ready);
        let _ = tell.send(Err(error.to_string()));
    });
    Ok(told.recv()??)
}

fn print_line(report: &impl serde::Serialize) -> Outcome<()> {
    println!("{}", serde_json::to_string(report)?);
    Ok(())
}

/// Allows this process so many open files, if the system does.
pub fn allow_open_files(count: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = |maximum| Rlimit { current: limit.current.map(|now| now.max(count)), maximum };
    // A process needs a privilege to raise its hard limit. Without it, the hard limit is the most there is.
    let _ = setrlimit(Resource::Nofile, wanted(limit.maximum.map(|most| most.max(count))))
        .or_else(|_| setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }));
}

/// Returns the CPU time that this process has used, in seconds.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default().as_secs_f64()
}
