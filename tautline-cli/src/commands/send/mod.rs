//! `tautline send`: one message, or one for each line of standard input.

mod lines;

use std::io::{self, IsTerminal};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use tautline::{
    ConnectionState, Delivery, DeliveryStats, Endpoint, Id, MessageType, Metadata, Payload, Priority,
    SendError, Target, UdpInterface, Wire,
};

use self::lines::{LONGEST, Line};
use crate::tools::exit::{Exit, Failure};
use crate::tools::interrupt::{Interrupt, LOOK_EVERY};
use crate::tools::link::{LinkArgs, complaint, count, duration, open, rate, whole};
use crate::tools::pace::Pace;
use crate::tools::progress::bar;
use crate::tools::{message_line, output};

/// Send one message, or one for each line of standard input
///
/// DATA is JSON. Without it, every line of standard input is one message; a line that cannot be sent is
/// named on stderr with its number, the others are sent all the same, and the exit code is 5.
///
/// Sent means handed to the network. On the native wire a server that falls silent meanwhile is reported (exit code
/// 1); on the classic wire nobody has to answer, and all that is noticed is a closed port.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline send 127.0.0.1:9000 '{\"force_n\": 1.5}' --type command
  tautline send 127.0.0.1:9000 '\"stop\"' --type command --priority critical
  tautline send 127.0.0.1:9000 '{\"gain\": 2}' --type configuration --delivery reliable
  tautline send 127.0.0.1:9000 '\"state?\"' --request 1s
  tautline send 127.0.0.1:9000 --rate 100 < recorded.jsonl")]
pub(crate) struct Args {
    /// Whom to send to: host:port, [ipv6]:port or host (port 8080)
    endpoint: Endpoint,
    /// The message's data, as JSON; without it, lines of standard input
    #[arg(allow_negative_numbers = true)]
    data: Option<String>,
    /// What the message is for: command, data, status, error, heartbeat, acknowledgment or configuration
    #[arg(long = "type", value_name = "TYPE", default_value_t = MessageType::Data)]
    message_type: MessageType,
    /// How urgent it is: low, normal, high or critical
    #[arg(long, default_value_t = Priority::Normal)]
    priority: Priority,
    /// Send the text as raw bytes, not as JSON (native wire only)
    #[arg(long)]
    raw: bool,
    /// Messages per second at most, from 0.01 to 20000
    #[arg(long, value_name = "HZ", value_parser = rate, allow_hyphen_values = true)]
    rate: Option<f64>,
    /// Send DATA this many times, or at most this many lines
    #[arg(long, value_name = "N", value_parser = count, allow_hyphen_values = true)]
    count: Option<u64>,
    /// Who made it, if not "tautline"
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Whom it is meant for
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// The message's own id; by default the interface gives one
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The id of the message that this one answers
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// Tells streams of one type apart (native wire only)
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        value_parser = whole("number", 0..=u16::MAX),
        allow_hyphen_values = true
    )]
    channel: u16,
    /// What is done for it to arrive: best_effort, reliable or ordered (native wire only); with the latter two, "sent" means
    /// acknowledged
    #[arg(long, value_name = "CLASS", default_value_t = Delivery::BestEffort)]
    delivery: Delivery,
    /// Worthless when it is older than this, such as 50ms (native wire only)
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true)]
    lifespan: Option<Duration>,
    /// Wait this long for the answer to each message and print it as a line of JSON
    #[arg(
        long,
        value_name = "TIME",
        value_parser = duration,
        conflicts_with_all = ["id", "json"],
        allow_hyphen_values = true
    )]
    request: Option<Duration>,
    /// Print what was sent as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkArgs,
}

/// Longer data, in bytes, are not repeated in an error.
const LONGEST_HINT: usize = 60;

/// How long the network may take to say that nobody is there; on a local network it takes less than 1 ms.
const COMPLAINT_WITHIN: Duration = Duration::from_millis(20);

/// A kernel whose buffer is full is asked again this often...
const BUSY_TRIES: u32 = 1000;
/// ...after this long.
const BUSY_WAIT: Duration = Duration::from_millis(1);

/// Sends what there is to send.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let config = args.link.config()?.role(tautline::Role::Client).endpoint(args.endpoint.to_string());
    // Wrong options and data are found before a server is called.
    check_options(args, config.wire.unwrap_or(Wire::Native))?;
    let data = args.data.as_ref().map(|data| data_payload(args, data)).transpose()?;
    let interface = open(config, |_| {})?;
    let interrupt = Interrupt::install()?;
    let mut events = interface.events();
    let mut sending = Sending::new(args, &interface, &interrupt);
    let sent = match data {
        Some(payload) => sending.repeat(&payload),
        None => sending.lines(),
    };
    sending.wait_for_acknowledgements();
    let Sending { sent: count, bad, unheard, .. } = sending;
    let unacknowledged = unacknowledged(&interface);
    // On the classic wire no server has to answer; that nobody is there is all that the network may say. (On
    // the native one a server did answer, and it may leave once it has what was sent.)
    let is_classic = interface.config().wire == Some(Wire::Classic);
    let complaint = is_classic.then(|| complaint(&mut events, &args.endpoint, COMPLAINT_WITHIN)).flatten();
    interface.disconnect();
    sent?;
    if let Some(failure) = complaint {
        return Err(failure);
    }
    report(args, count, bad)?;
    if let Some(failure) = unacknowledged {
        return Err(failure);
    }
    if unheard > 0 && !is_classic {
        return Err(silent(args, count, unheard));
    }
    Ok(if bad > 0 { Exit::BadInput } else { Exit::Done })
}

/// Options that the wire cannot carry.
fn check_options(args: &Args, wire: Wire) -> Result<(), Failure> {
    let sentence = match wire {
        Wire::Classic if args.raw => {
            "--raw is for the native wire: the classic one carries JSON only".to_owned()
        }
        Wire::Classic if args.channel != 0 => {
            "--channel is for the native wire: the classic one has no channels".to_owned()
        }
        Wire::Classic if args.delivery != Delivery::BestEffort => {
            "--delivery is for the native wire: the classic one sends each message once".to_owned()
        }
        Wire::Classic if args.lifespan.is_some() => {
            "--lifespan is for the native wire: the classic one cannot carry it".to_owned()
        }
        Wire::Native => match wrong_text(args) {
            Some((option, length)) => {
                format!("{option} has {length} bytes: the native wire carries 1 to {LONGEST_TEXT}")
            }
            None => return Ok(()),
        },
        Wire::Classic => return Ok(()),
    };
    Err(Failure::usage(sentence))
}

/// The longest text beside the data on the native wire, in bytes (docs/protocol.md §4.1).
const LONGEST_TEXT: usize = 255;

/// The first text that does not fit the native wire, and its length.
fn wrong_text(args: &Args) -> Option<(&'static str, usize)> {
    [
        ("--source", &args.source),
        ("--destination", &args.destination),
        ("--id", &args.id),
        ("--correlation-id", &args.correlation_id),
    ]
    .into_iter()
    .filter_map(|(option, text)| text.as_ref().map(|text| (option, text.len())))
    .find(|(_, length)| !(1..=LONGEST_TEXT).contains(length))
}

/// The payload of DATA.
fn data_payload(args: &Args, data: &str) -> Result<Payload, Failure> {
    payload(args, data.as_bytes()).map_err(|problem| {
        let hint = if data.starts_with(['"', '[', '{']) || data.len() > LONGEST_HINT {
            String::new() // no text that lacks its quotes
        } else {
            let quoted = serde_json::to_string(data).unwrap_or_default();
            format!("; text needs quotes of its own ('{quoted}') or --raw")
        };
        Failure::usage(format!("DATA cannot be sent: {problem}{hint}"))
    })
}

fn payload(args: &Args, text: &[u8]) -> Result<Payload, String> {
    if args.raw {
        Ok(Payload::raw(text))
    } else {
        Payload::json_text(text).map_err(|error| error.to_string())
    }
}

fn metadata(args: &Args) -> Metadata {
    let mut metadata = Metadata::new(args.message_type).priority(args.priority).channel(args.channel);
    metadata.source.clone_from(&args.source);
    metadata.destination.clone_from(&args.destination);
    metadata.message_id = args.id.as_deref().map(id);
    metadata.correlation_id = args.correlation_id.as_deref().map(id);
    metadata.delivery = (args.delivery != Delivery::BestEffort).then_some(args.delivery);
    metadata.lifespan = args.lifespan;
    metadata
}

/// Decimal digits are a number, which the native wire carries in 8 bytes; all else is text.
fn id(text: &str) -> Id<'static> {
    match text.parse::<u64>() {
        Ok(number) if number.to_string() == text => Id::from(number),
        _ => Id::from(text.to_owned()),
    }
}

/// What is told where reliable messages were not acknowledged.
fn unacknowledged(interface: &UdpInterface) -> Option<Failure> {
    let deliveries = interface.statistics().deliveries;
    let DeliveryStats { waiting, delivered, expired, abandoned, peer_lost, unknown, .. } = deliveries;
    let failed = waiting + expired + abandoned + peer_lost + unknown;
    let sentence = format!(
        "{failed} of {} messages were not acknowledged (expired {expired}, abandoned {abandoned}, peer lost {peer_lost}, \
         unknown {unknown}, under way {waiting})",
        failed + delivered
    );
    (failed > 0).then(|| Failure::failed(sentence))
}

/// The server was away for a part of it.
fn silent(args: &Args, sent: u64, unheard: u64) -> Failure {
    Failure::failed(format!(
        "{} fell silent: {unheard} of the {sent} messages were sent meanwhile and may be lost",
        args.endpoint
    ))
}

fn report(args: &Args, sent: u64, bad: u64) -> Result<(), Failure> {
    if args.json {
        return output::data(&format!("{{\"messages_sent\":{sent},\"bad_lines\":{bad}}}\n"));
    }
    let plural = if sent == 1 { "" } else { "s" };
    output::note(format_args!("sent {sent} message{plural} to {}", args.endpoint));
    Ok(())
}

/// The sending of one message after the other.
struct Sending<'a> {
    args: &'a Args,
    interface: &'a UdpInterface,
    interrupt: &'a Interrupt,
    metadata: Metadata,
    pace: Option<Pace>,
    progress: Progress,
    sent: u64,
    bad: u64,
    /// Those of `sent` that went out while the server was known to be silent or gone.
    unheard: u64,
}

impl<'a> Sending<'a> {
    fn new(args: &'a Args, interface: &'a UdpInterface, interrupt: &'a Interrupt) -> Self {
        let now = Instant::now();
        Self {
            args,
            interface,
            interrupt,
            metadata: metadata(args),
            pace: args.rate.map(|rate| Pace::new(rate, now)),
            progress: Progress::new(args),
            sent: 0,
            bad: 0,
            unheard: 0,
        }
    }

    /// DATA, `--count` times.
    fn repeat(&mut self, payload: &Payload) -> Result<(), Failure> {
        for _ in 0..self.args.count.unwrap_or(1) {
            self.wait_for_turn();
            if self.interrupt.is_asked() {
                break;
            }
            self.send(payload).map_err(Failure::failed)?;
            self.progress.show(self.sent, self.sent);
        }
        Ok(())
    }

    /// Each line of standard input, `--count` at most.
    fn lines(&mut self) -> Result<(), Failure> {
        if io::stdin().is_terminal() {
            output::note("reading lines of JSON from standard input; Ctrl-D ends it");
        }
        let lines = lines::of_stdin();
        let most = self.args.count.unwrap_or(u64::MAX);
        while self.sent + self.bad < most {
            let Some(line) = self.next_line(&lines)? else { break };
            self.wait_for_turn();
            if self.interrupt.is_asked() {
                break;
            }
            if let Err(problem) = self.send_line(&line) {
                self.bad += 1;
                let number = line.number;
                self.progress
                    .aside(|| output::complain(format_args!("line {number} was not sent: {problem}")));
            }
            self.progress.show(line.end, self.sent);
        }
        Ok(())
    }

    /// Waits for a line, with an eye on Ctrl-C; `None` when there is no more to send.
    fn next_line(&self, lines: &Receiver<io::Result<Line>>) -> Result<Option<Line>, Failure> {
        while !self.interrupt.is_asked() {
            match lines.recv_timeout(LOOK_EVERY) {
                Ok(Ok(line)) => return Ok(Some(line)),
                Ok(Err(error)) => {
                    return Err(Failure::failed(format!("cannot read standard input: {error}")));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(None)
    }

    fn send_line(&mut self, line: &Line) -> Result<(), String> {
        match &line.text {
            Some(text) => self.send(&payload(self.args, text)?),
            None => Err(format!("it is longer than {LONGEST} bytes")),
        }
    }

    fn send(&mut self, payload: &Payload) -> Result<(), String> {
        let mut tries = 0;
        // Looked at before: a server may leave as soon as it has what it wanted.
        let is_silent = self.interface.connection_state() == ConnectionState::Reconnecting;
        while let Err(error) = self.send_once(payload)? {
            tries += 1;
            let may_pass = matches!(error, SendError::Busy | SendError::WindowFull { .. });
            if !may_pass || tries == BUSY_TRIES {
                return Err(match error {
                    SendError::NoPeers => {
                        format!("the server is gone: {} messages were sent before", self.sent)
                    }
                    error => error.to_string(),
                });
            }
            std::thread::sleep(BUSY_WAIT);
        }
        self.sent += 1;
        self.unheard += u64::from(is_silent);
        Ok(())
    }

    /// Sends a message, or asks and prints the answer.
    fn send_once(&self, payload: &Payload) -> Result<Result<(), SendError>, String> {
        let Some(patience) = self.args.request else {
            return Ok(self.interface.send_payload(payload, &self.metadata).map(drop));
        };
        let request = match self.interface.request_payload_async(Target::All, payload, &self.metadata) {
            Ok(request) => request,
            Err(error) => return Ok(Err(error)),
        };
        let answer = request.wait(Some(patience)).map_err(|error| error.to_string())?;
        output::data(&message_line::line(&answer)).map_err(|failure| failure.to_string())?;
        Ok(Ok(()))
    }

    /// Waits until every reliable message is settled, with an eye on Ctrl-C.
    fn wait_for_acknowledgements(&self) {
        while self.interface.statistics().deliveries.waiting > 0 && !self.interrupt.is_asked() {
            std::thread::sleep(BUSY_WAIT);
        }
    }

    /// Keeps `--rate`, with an eye on Ctrl-C.
    fn wait_for_turn(&mut self) {
        let Some(pace) = &mut self.pace else { return };
        while !self.interrupt.is_asked() {
            let wait = pace.next().saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            std::thread::sleep(wait.min(LOOK_EVERY));
        }
        pace.sent(Instant::now());
    }
}

/// A bar on stderr, for long input and people who watch.
struct Progress {
    since: Instant,
    bar: Option<ProgressBar>,
    template: Option<(Option<u64>, &'static str)>,
}

/// What takes less needs no bar.
const BAR_AFTER: Duration = Duration::from_millis(500);

impl Progress {
    fn new(args: &Args) -> Self {
        let is_typed = args.data.is_none() && io::stdin().is_terminal();
        let template = match (args.data.is_some(), args.count) {
            _ if is_typed || !output::is_watched() => None,
            (true, None) => None,
            (true, count) => Some((count, "{wide_bar} {pos} of {len} messages, {eta} left")),
            (false, _) => match input_length() {
                Some(length) => {
                    Some((Some(length), "{wide_bar} {bytes} of {total_bytes}, {msg}, {eta} left"))
                }
                None => Some((None, "{spinner} {msg}, {bytes} in {elapsed}")),
            },
        };
        Self { since: Instant::now(), bar: None, template }
    }

    /// `position` of the input is done, `sent` messages went out.
    fn show(&mut self, position: u64, sent: u64) {
        if self.bar.is_none() && self.since.elapsed() > BAR_AFTER {
            self.bar = self.template.take().map(|(length, template)| bar(length, template));
            if let Some(bar) = &self.bar {
                bar.set_position(position);
                bar.reset_eta(); // the first position is no progress to reckon with
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_position(position);
            bar.set_message(format!("{sent} messages"));
        }
    }

    /// Says something else without tearing the bar.
    fn aside(&self, say: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How long standard input is, when it is a file.
fn input_length() -> Option<u64> {
    let metadata = std::fs::metadata("/dev/stdin").ok()?;
    metadata.is_file().then_some(metadata.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_a_number_and_all_else_is_text() {
        assert_eq!(id("17"), Id::Number(17));
        for text in ["017", "+1", "a", "99999999999999999999", ""] {
            assert_eq!(id(text), Id::from(text), "{text}");
        }
    }
}
