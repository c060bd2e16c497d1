//! `tautline replay`: sends the messages of a recording again, at the times at which they came.

mod reading;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use tautline::{Endpoint, MessageType, Role, SendError, UdpInterface};

use self::reading::{Part, Reading};
use crate::tools::exit::{Exit, Failure};
use crate::tools::interrupt::{Interrupt, LOOK_EVERY};
use crate::tools::latency::Percentiles;
use crate::tools::link::{LinkArgs, called, duration, open, types};
use crate::tools::output;
use crate::tools::repeated::Repeated;
use crate::tools::timed::Timed;

/// Send the messages of a recording again, at their pace
///
/// FILE is what `tautline record` wrote; several files of one recording are sent one after the other. A file that was cut off is
/// sent as far as it goes.
///
/// Each message has its type, priority, id, channel, delivery class and lifespan again, and a new time stamp. At the end the
/// program tells how late it sent: the timing error.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline replay run.mcap 127.0.0.1:9000
  tautline replay run.mcap 127.0.0.1:9000 --speed 2 --from 30s --type command
  tautline replay run-0001.mcap run-0002.mcap 127.0.0.1:9000 --json")]
pub(crate) struct Args {
    /// The recording
    #[arg(value_name = "FILE.mcap", required = true)]
    files: Vec<PathBuf>,
    /// The receiver: host:port, [ipv6]:port or host (port 8080)
    #[arg(value_parser = called)]
    endpoint: Endpoint,
    /// Multiply the speed by this, from 0.01 to 1000
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = speed, allow_hyphen_values = true)]
    speed: f64,
    /// Begin this long after the first message, such as 30s
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true)]
    from: Option<Duration>,
    /// Send only messages of this type; you can repeat this option
    #[arg(long = "type", value_name = "TYPE", value_parser = types())]
    types: Vec<MessageType>,
    /// Print what was sent, and the timing error, as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkArgs,
}

/// Reads a speed. A value parser for clap.
fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (0.01..=1000.0).contains(speed));
    speed.ok_or_else(|| "expected a number from 0.01 to 1000".to_owned())
}

/// How many times a message is tried while the socket buffer or the window is full.
const BUSY_TRIES: u32 = 1000;
/// The time between two tries.
const BUSY_WAIT: Duration = Duration::from_millis(1);

/// Sends the recording.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    check_order(args)?;
    let mut reading = Reading::begin(args)?;
    let config = args.link.config_of(Role::Client, Some(&args.endpoint))?;
    let interface = open(config, |_| {})?;
    let interrupt = Interrupt::install()?;
    let mut replay = Replay::new(args);
    let played = replay.play(&mut reading, &interface, &interrupt);
    interface.flush();
    while interface.statistics().deliveries.waiting > 0 && !interrupt.is_asked() {
        std::thread::sleep(BUSY_WAIT);
    }
    replay.refused += interface.statistics().queued_send_failures;
    interface.disconnect();
    replay.report(args)?;
    played?;
    replay.outcome()
}

/// Refuses an endpoint in place of the first file.
fn check_order(args: &Args) -> Result<(), Failure> {
    let swapped = args.files.first().and_then(|first| first.to_str());
    let is_endpoint = |first: &&str| first.contains(':') && first.parse::<Endpoint>().is_ok();
    match swapped.filter(is_endpoint).filter(|first| !Path::new(first).exists()) {
        Some(endpoint) => Err(Failure::usage(format!(
            "there is no file {endpoint}: the files come first, then the endpoint, such as: tautline replay run.mcap {endpoint}"
        ))),
        None => Ok(()),
    }
}

/// The loop that sends, and its counts.
#[derive(Debug)]
struct Replay {
    timed: Timed,
    started: Instant,
    sent: u64,
    refused: u64,
    first_refusal: Option<String>,
    /// Documents that are no messages.
    bad: u64,
}

impl Replay {
    fn new(args: &Args) -> Self {
        let (timed, started) = (Timed::new(args.speed), Instant::now());
        Self { timed, started, sent: 0, refused: 0, first_refusal: None, bad: 0 }
    }

    fn play(
        &mut self,
        reading: &mut Reading,
        interface: &UdpInterface,
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
        self.started = Instant::now();
        while !interrupt.is_asked() {
            match reading.next(LOOK_EVERY)? {
                None => {}
                Some(Part::End) => break,
                Some(Part::Message(message)) => {
                    self.timed.wait(message.received, interrupt);
                    if !interrupt.is_asked() {
                        self.send(&message, interface);
                    }
                }
                Some(Part::Bad(problem)) => {
                    // All of them would be too many lines, and say the same.
                    if self.bad == 0 {
                        output::warn(format_args!("a message was not sent: {problem}"));
                    }
                    self.bad += 1;
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, message: &Repeated, interface: &UdpInterface) {
        for _ in 0..BUSY_TRIES {
            match interface.send(&message.payload, &message.metadata) {
                Ok(_) => {
                    self.sent += 1;
                    return;
                }
                Err(SendError::Busy | SendError::WindowFull { .. }) => std::thread::sleep(BUSY_WAIT),
                Err(error) => return self.refuse(error.to_string()),
            }
        }
        self.refuse("the line was busy for too long".to_owned());
    }

    fn refuse(&mut self, problem: String) {
        self.refused += 1;
        self.first_refusal.get_or_insert(problem);
    }

    fn report(&self, args: &Args) -> Result<(), Failure> {
        let (seconds, errors) = (self.started.elapsed().as_secs_f64(), self.timed.errors());
        if args.json {
            #[derive(Serialize)]
            struct Line {
                messages_sent: u64,
                refused: u64,
                bad_messages: u64,
                seconds: f64,
                timing_error_us: Percentiles,
            }
            let Self { sent, refused, bad, .. } = *self;
            let line = Line {
                messages_sent: sent,
                refused,
                bad_messages: bad,
                seconds: (seconds * 1e3).round() / 1e3,
                timing_error_us: errors,
            };
            return output::data(&(serde_json::to_string(&line).expect("numbers are JSON") + "\n"));
        }
        let timing = if self.sent > 0 { format!("; timing error {}", errors.line()) } else { String::new() };
        output::note(format_args!(
            "sent {} messages to {} in {seconds:.3} s{timing}",
            self.sent, args.endpoint
        ));
        Ok(())
    }

    fn outcome(&self) -> Result<Exit, Failure> {
        if self.refused > 0 {
            let why = self.first_refusal.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            let all = self.sent + self.refused;
            return Err(Failure::failed(format!("{} of {all} messages were not sent{why}", self.refused)));
        }
        Ok(if self.bad > 0 { Exit::BadInput } else { Exit::Done })
    }
}
