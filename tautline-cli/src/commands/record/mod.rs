//! `tautline record`: writes the messages of a link into an MCAP file.

mod link;
mod proxy;

use std::time::{Duration, Instant};

use serde::Serialize;
use tautline::recording::{Counts, MessageView, RecordedTotals, Recorder};
use tautline::{Endpoint, MessageType};

use crate::tools::exit::{Exit, Failure};
use crate::tools::interrupt::Interrupt;
use crate::tools::link::{LinkArgs, at_most_an_hour, listening, types};
use crate::tools::output;
use crate::tools::recording::{FileArgs, failure};
use crate::tools::words::counted;

/// Record the messages of a link in an MCAP file
///
/// PlotJuggler, Foxglove and Python read the file.
///
/// The program is a server at ENDPOINT, and records what clients send to it. With --connect it is a client, and records what the server
/// at ENDPOINT sends. With --proxy it is a proxy between the clients, which send to LISTEN, and the server at TARGET, and records both
/// directions. A proxy needs no other setting: it knows both wires. Only the two ends can read a secured link; its datagrams are counted.
///
/// Each message is the document that `listen` prints, with a JSON schema of its fields. Its log time is when it was received, and
/// its publish time the time stamp of its sender. Each sender, type and channel has a topic, such as /controller/command.
///
/// A file is complete after Ctrl-C. If the program is killed, or the disk is full, at most the last 0.1 s is missing. Messages that
/// could not be written in time are counted, and the program tells their number at the end (exit code 1).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline record 127.0.0.1:9002 -o run.mcap
  tautline record --connect plant.local:9000 -o plant.mcap --type status
  tautline record --proxy 127.0.0.1:9001 127.0.0.1:9000 -o both.mcap --seconds 60
  tautline record :9000 -o run.mcap --split-size 100MB --split-every 10min --keep 20")]
pub(crate) struct Args {
    /// The address to listen on, or to connect to with --connect: host:port, [ipv6]:port, host (port 8080) or :port for every
    /// address; port 0 takes any free one [default: `endpoint` in the settings]
    #[arg(value_parser = listening)]
    endpoint: Option<Endpoint>,
    /// Connect to the server at ENDPOINT and record what it sends
    #[arg(long)]
    connect: bool,
    /// Carry datagrams between the clients that send to LISTEN and the server at TARGET, and record both directions
    #[arg(
        long,
        num_args = 2,
        value_names = ["LISTEN", "TARGET"],
        conflicts_with_all = ["endpoint", "connect", "wire", "no_crc", "no_sequence", "key", "config"]
    )]
    proxy: Option<Vec<Endpoint>>,
    #[command(flatten)]
    files: FileArgs,
    /// Record only messages of this type; you can repeat this option
    #[arg(long = "type", value_name = "TYPE", value_parser = types())]
    types: Vec<MessageType>,
    /// End after this time
    #[arg(long, value_name = "TIME", value_parser = at_most_an_hour, allow_hyphen_values = true)]
    seconds: Option<Duration>,
    /// Print what was recorded as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkArgs,
}

/// Records until Ctrl-C, or for `--seconds`.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let outcome = match args.proxy.as_deref() {
        Some([listen, target]) => proxy::record(args, listen, target),
        _ => link::record(args),
    };
    outcome?.report(args)
}

/// What a recording needs while it goes on.
struct Recording<'a> {
    args: &'a Args,
    recorder: Recorder,
    interrupt: Interrupt,
    started: Instant,
    warned_of: u64,
}

impl<'a> Recording<'a> {
    /// Opens what is recorded, and then the file: if there is nothing to record, a file that is there stays as it is.
    fn begin<T>(args: &'a Args, open: impl FnOnce() -> Result<T, Failure>) -> Result<(Self, T), Failure> {
        args.files.check()?;
        let interrupt = Interrupt::install()?;
        let source = open()?;
        let recorder = Recorder::open(args.files.files()).map_err(|error| failure(&error))?;
        Ok((Self { args, recorder, interrupt, started: Instant::now(), warned_of: 0 }, source))
    }

    fn goes_on(&self) -> bool {
        let is_over = self.args.seconds.is_some_and(|length| self.started.elapsed() >= length);
        !is_over && !self.interrupt.is_asked()
    }

    /// Records a message, if its type is wanted.
    fn take(&mut self, message: &MessageView<'_>, counts: &dyn Fn() -> Counts) -> Result<(), Failure> {
        let is_wanted = self.args.types.is_empty() || self.args.types.contains(&message.message_type);
        if is_wanted {
            self.recorder.write(message, counts).map_err(|error| failure(&error))?;
        }
        Ok(())
    }

    /// Does what is due after a while. `missed` messages or datagrams were not recorded so far.
    fn turn(&mut self, missed: u64) -> Result<(), Failure> {
        // The first one is told at once, further ones when they have doubled: a few lines, however many there are.
        if missed > 0 && missed >= 2 * self.warned_of {
            self.warned_of = missed;
            output::warn(format_args!(
                "{missed} so far were not recorded: they come faster than they can be written"
            ));
        }
        self.recorder.turn().map_err(|error| failure(&error))
    }

    fn finish(self, counts: Counts) -> Result<RecordedTotals, Failure> {
        self.recorder.finish(counts).map_err(|error| failure(&error))
    }
}

/// What became of a recording.
#[derive(Debug)]
struct Outcome {
    totals: RecordedTotals,
    /// What was not recorded because it came too fast.
    missed: u64,
    /// Datagrams that could not be read: sealed, damaged, or none of tautline's.
    unread: u64,
}

impl Outcome {
    fn report(&self, args: &Args) -> Result<Exit, Failure> {
        let Self { totals, missed, unread } = self;
        if args.json {
            #[derive(Serialize)]
            struct Line {
                messages_recorded: u64,
                not_recorded: u64,
                unread_datagrams: u64,
                files: u64,
                bytes: u64,
            }
            let line = Line {
                messages_recorded: totals.messages,
                not_recorded: *missed,
                unread_datagrams: *unread,
                files: totals.files,
                bytes: totals.bytes,
            };
            output::data(&(serde_json::to_string(&line).expect("numbers are JSON") + "\n"))?;
        }
        let (messages, files) = (counted(totals.messages, "message"), counted(totals.files, "file"));
        output::note(format_args!("recorded {messages} in {files} of {} bytes", totals.bytes));
        match missed {
            0 => Ok(Exit::Done),
            _ => Err(Failure::failed(format!(
                "{missed} were not recorded: they came faster than they could be written; choose a faster disk, or \
                 record fewer types (--type)"
            ))),
        }
    }
}
