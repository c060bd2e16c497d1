//! `tautline listen`: prints every message that a server or a client receives.

mod form;
mod plotjuggler;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::form::Form;
use self::plotjuggler::PlotJuggler;
use tautline::{
    DropReason, Drops, Endpoint, Event, Events, Message, MessageType, Role, Statistics, UdpInterface,
};

use crate::tools::echo::{Unanswered, echo};
use crate::tools::exit::{Exit, Failure};
use crate::tools::interrupt::{Interrupt, LOOK_EVERY};
use crate::tools::link::{
    LinkArgs, called, count, duration, listening, open, types, wait_over, with_all_commands, with_inbox,
};
use crate::tools::reload::Reload;
use crate::tools::waiting::ServerAway;
use crate::tools::{output, traffic};
use tautline::recording::canonical;

/// Listen on an address and print every message
///
/// On a terminal each message is a short line: time of day (UTC), type, sender, age, and as much of its data as fits. With --json, or in a
/// pipe, it is a line of JSON.
///
/// A line of JSON has five keys:
///
/// "metadata" has the seven keys of the classic envelope; "channel", "content_type", "delivery" and "lifespan_ms" are
/// added if they differ from their defaults.
///
/// "data" is the payload: JSON is copied unchanged (control characters are escaped, which means the same), MessagePack
/// and CBOR are translated to JSON, and raw bytes are written in hexadecimal.
///
/// "peer" is the sender's address. If the settings name the holders of keys, "identity" follows: who the sender is by its key. The
/// "source" is only what the sender calls itself.
///
/// "age_ms" is how old the data are at most. On the classic wire, and before heartbeats have measured the sender's clock, it
/// is the time since the message arrived.
///
/// "received" is when it arrived, in seconds since 1970 on this machine's clock. `tautline send --timed` sends the lines again.
///
/// SIGUSR2 lets it read its keys again (--key): it then accepts those that the file holds now, and ends the sessions of removed ones.
///
/// Ctrl-C ends the program, which then prints a summary on stderr. The exit code is 1 if messages could not be sent back.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline listen 127.0.0.1:9000
  tautline listen :9000 --reply --stats-every 1s
  tautline listen [::]:9000 --wire classic --type status --count 10 | jq .data
  tautline listen --connect plant.local:9000 --from plant --only force
  tautline listen 127.0.0.1:9000 --plotjuggler 127.0.0.1:9870")]
pub(crate) struct Args {
    /// The address to listen on: host:port, [ipv6]:port, host (port 8080) or :port for every address; port 0 takes any
    /// free one [default: `endpoint` in the settings]
    #[arg(value_parser = listening)]
    endpoint: Option<Endpoint>,
    /// Connect to the server at ENDPOINT, and print what it sends
    #[arg(long)]
    connect: bool,
    /// Send every message back to its sender, as `ping` expects, except for answers to what was sent back
    #[arg(long)]
    reply: bool,
    /// Print (and send back) only messages of this type; you can repeat this option
    #[arg(long = "type", value_name = "TYPE", value_parser = types())]
    types: Vec<MessageType>,
    /// Print only messages of this peer: the name of the sender, its address, or its address and port
    #[arg(long, value_name = "PEER")]
    from: Option<String>,
    /// Print only the data of each message
    #[arg(long)]
    data: bool,
    /// Print only this field of the data, such as force, arm.force or axes.0; messages without it are left out
    #[arg(long, value_name = "FIELD", conflicts_with = "data")]
    only: Option<String>,
    /// Send each message to PlotJuggler too: to the UDP server of its data sources, with the protocol JSON
    #[arg(long, value_name = "HOST:PORT", value_parser = called)]
    plotjuggler: Option<Endpoint>,
    /// End after this many printed messages
    #[arg(long, value_name = "N", value_parser = count, allow_hyphen_values = true)]
    count: Option<u64>,
    /// Print on stderr, at this interval such as 1s, what was received, lost and dropped
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true)]
    stats_every: Option<Duration>,
    /// Print messages as JSON on a terminal too, and every line on stderr: notes, warnings, errors, statistics and the summary
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkArgs,
}

/// Listens until Ctrl-C, or until `--count` messages are printed.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    if args.json {
        output::notes_as_json();
    }
    let config = args
        .link
        .config_of(if args.connect { Role::Client } else { Role::Server }, args.endpoint.as_ref())?;
    // Printing may take longer than receiving for a while.
    let inbox = config.inbox_capacity.unwrap_or(INBOX);
    let config = with_inbox(with_all_commands(config))?.inbox_capacity(inbox);
    let mut unanswered = Arc::<Unanswered>::default();
    let interface = open(config, |interface| {
        if args.reply {
            // Without --type, all types.
            let types = if args.types.is_empty() { MessageType::ALL } else { &args.types };
            unanswered = echo(interface, types);
        }
    })?;
    let (interrupt, reload) = (Interrupt::install()?, Reload::install()?);
    if args.connect {
        output::note_of_start("connected");
    } else if let Some(address) = interface.local_address() {
        if args.json {
            output::note_json(&serde_json::json!({ "listening": address }).to_string());
        } else {
            output::note_of_start(format_args!("listening on {address}"));
        }
    }
    let mut events = interface.events();
    let listened = print_messages(args, &interface, &mut events, (&interrupt, &reload));
    interface.flush();
    let statistics = interface.statistics();
    interface.disconnect();
    tell(&statistics, args.json);
    listened?;
    not_sent_back(&unanswered, &statistics).map_or(Ok(Exit::Done), Err)
}

fn tell(statistics: &Statistics, json: bool) {
    let report = traffic::report(statistics, json);
    if json { output::note_json(&report) } else { output::note(report) }
}

/// Returns the failure if messages were not sent back.
fn not_sent_back(unanswered: &Unanswered, statistics: &Statistics) -> Option<Failure> {
    let count = unanswered.count() + statistics.queued_send_failures;
    let why = unanswered.first().map(|why| format!(": {why}")).unwrap_or_default();
    let messages = if count == 1 { "message was" } else { "messages were" };
    (count > 0).then(|| Failure::failed(format!("{count} {messages} not sent back{why}")))
}

/// The messages that wait to be printed at most, unless the configuration says otherwise.
const INBOX: usize = 65_536;

/// After Ctrl-C, messages that still come are printed for at most this time.
const PRINTED_AFTER_END: Duration = Duration::from_millis(200);

/// Messages that wait are printed together, up to about this many bytes.
const PRINTED_TOGETHER: usize = 65_536;

/// At most so many messages are taken before it looks for Ctrl-C again. Not all of them are printed (--type).
const TAKEN_TOGETHER: u64 = 1_000;

fn print_messages(
    args: &Args,
    interface: &UdpInterface,
    events: &mut Events,
    (interrupt, reload): (&Interrupt, &Reload),
) -> Result<(), Failure> {
    let mut clock = StatsClock::new(args.stats_every);
    let mut drop_warnings = DropWarnings::new();
    let mut other_wire = OtherWire::default();
    let mut server_away = ServerAway::of(interface);
    let mut printer = Printer::new(args)?;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 && !interrupt.is_asked() {
        left -= printer.print_some(interface, clock.wait(), left)?.1;
        other_wire.warn(events);
        server_away.look(interface);
        reload.if_asked(interface);
        drop_warnings.look(|| interface.statistics());
        if clock.strikes() {
            tell(&interface.statistics(), args.json);
        }
    }
    // What has come is printed, and what comes meanwhile, too: senders of reliable messages have been told that they arrived. But
    // a fast sender does not hold up the end.
    let (mut waiting, end) = (interface.statistics().inbox.waiting, Instant::now() + PRINTED_AFTER_END);
    while left > 0 && (waiting > 0 || Instant::now() < end) {
        let (taken, printed) = printer.print_some(interface, Duration::ZERO, left)?;
        if taken == 0 {
            break;
        }
        waiting = waiting.saturating_sub(taken);
        left -= printed;
    }
    if let Some(refused) =
        printer.plotjuggler.map(|plotjuggler| plotjuggler.refused).filter(|refused| *refused > 0)
    {
        output::warn(format_args!(
            "{refused} messages were not sent to PlotJuggler: they are too large, or came too fast"
        ));
    }
    Ok(())
}

/// Prints the messages that are wanted.
struct Printer<'a> {
    args: &'a Args,
    form: Form,
    plotjuggler: Option<PlotJuggler>,
}

impl<'a> Printer<'a> {
    fn new(args: &'a Args) -> Result<Self, Failure> {
        let plotjuggler = args.plotjuggler.as_ref().map(PlotJuggler::open).transpose()?;
        Ok(Self { args, form: Form::of(args), plotjuggler })
    }

    /// Waits for a message, and prints what has come, at most `most` messages. Returns how many were taken and how many of them
    /// printed.
    fn print_some(
        &mut self,
        interface: &UdpInterface,
        wait: Duration,
        most: u64,
    ) -> Result<(u64, u64), Failure> {
        let mut received = wait_over(interface.receive(Some(wait)))?;
        let (mut taken, mut printed, mut lines) = (0, 0, String::new());
        while let Some(message) = received.take() {
            taken += 1;
            if let Some(line) = self.line(&message) {
                lines.push_str(&line);
                printed += 1;
            }
            if printed < most && taken < TAKEN_TOGETHER && lines.len() < PRINTED_TOGETHER {
                received = wait_over(interface.receive(Some(Duration::ZERO)))?;
            }
        }
        if !lines.is_empty() {
            output::data(&lines)?;
        }
        Ok((taken, printed))
    }

    /// Returns the line of a message, if it is wanted and has something to print. PlotJuggler gets the message too.
    fn line(&mut self, message: &Message) -> Option<String> {
        if !is_wanted(self.args, message) {
            return None;
        }
        if let Some(plotjuggler) = &mut self.plotjuggler {
            plotjuggler.send(message);
        }
        self.form.line(message)
    }
}

/// Whether to print this message. Without --type all types are printed, without --from those of all peers.
fn is_wanted(args: &Args, message: &Message) -> bool {
    let is_of_type = args.types.is_empty() || args.types.contains(&message.message_type());
    is_of_type && args.from.as_deref().is_none_or(|peer| is_from(message, peer))
}

/// Whether a message comes from this peer: a name, an address, or an address and a port.
fn is_from(message: &Message, peer: &str) -> bool {
    let address = canonical(message.address());
    let is_named = message.has_source() && message.source() == peer;
    is_named || address.to_string() == peer || address.ip().to_string() == peer
}

/// The times at which statistics are due. `None` means never.
struct StatsClock(Option<(Instant, Duration)>);

impl StatsClock {
    fn new(every: Option<Duration>) -> Self {
        Self(every.map(|every| (Instant::now() + every, every)))
    }

    /// Returns the longest time to wait for a message.
    fn wait(&self) -> Duration {
        let due = self.0.map(|(at, _)| at.saturating_duration_since(Instant::now()));
        due.unwrap_or(LOOK_EVERY).min(LOOK_EVERY)
    }

    /// Whether the statistics are due. If so, it sets the next time.
    fn strikes(&mut self) -> bool {
        let now = Instant::now();
        let Some((at, every)) = self.0.filter(|(at, _)| *at <= now) else { return false };
        self.0 = Some(((at + every).max(now), every));
        true
    }
}

/// Warns once for each reason why received data is not shown. The user then learns of a wrong setting while waiting for
/// messages.
struct DropWarnings {
    clock: StatsClock,
    reported: Vec<DropReason>,
}

/// How often the statistics are checked for drops.
const LOOK_FOR_DROPS_EVERY: Duration = Duration::from_secs(1);

impl DropWarnings {
    fn new() -> Self {
        Self { clock: StatsClock::new(Some(LOOK_FOR_DROPS_EVERY)), reported: Vec::new() }
    }

    fn look(&mut self, statistics: impl FnOnce() -> Statistics) {
        if self.clock.strikes() {
            for reason in self.news(&statistics()) {
                output::warn(format_args!(
                    "received data was dropped ({reason}): {}; the summary has the count",
                    reason.explanation()
                ));
            }
        }
    }

    /// Returns the reasons that were not reported yet.
    fn news(&mut self, statistics: &Statistics) -> Vec<DropReason> {
        let dropped =
            [&statistics.datagrams_dropped, &statistics.messages_dropped, &statistics.inbox.dropped];
        let reasons = dropped.into_iter().flat_map(Drops::iter).map(|(reason, _)| reason);
        let news = reasons.filter(|reason| !is_ordinary(*reason) && !self.reported.contains(reason));
        let news = news.collect::<Vec<_>>();
        self.reported.extend(&news);
        news
    }
}

/// Whether a reason needs no warning here: it occurs on every network or at every restart, or it has its own warning.
fn is_ordinary(reason: DropReason) -> bool {
    use DropReason::{Duplicate, OtherWire, TooOld, Unexpected, UnknownSession};
    matches!(reason, Duplicate | OtherWire | TooOld | Unexpected | UnknownSession)
}

/// Warns once of each peer that uses the other wire, the most common reason why no message arrives.
#[derive(Default)]
struct OtherWire {
    warned: BTreeSet<SocketAddr>,
}

/// The peers of which to warn. Strangers may send from any number of addresses.
const MOST_WARNED: usize = 64;

impl OtherWire {
    fn warn(&mut self, events: &mut Events) {
        while let Some(event) = events.next(Some(Duration::ZERO)) {
            if let Event::OtherWire { from } = event
                && self.is_new(from)
            {
                output::warn(format_args!(
                    "{from} uses the other wire: start both ends with the same --wire"
                ));
            }
        }
    }

    fn is_new(&mut self, from: SocketAddr) -> bool {
        self.warned.len() < MOST_WARNED && self.warned.insert(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_reported_once_and_ordinary_reasons_never() {
        let mut drop_warnings = DropWarnings::new();
        let mut statistics = Statistics::default();
        assert_eq!(drop_warnings.news(&statistics), []);
        statistics.datagrams_dropped.add(DropReason::BadCrc, 3);
        statistics.datagrams_dropped.add(DropReason::Duplicate, 1);
        assert_eq!(drop_warnings.news(&statistics), [DropReason::BadCrc]);
        statistics.datagrams_dropped.add(DropReason::BadCrc, 3);
        statistics.inbox.dropped.add(DropReason::InboxFull, 1);
        assert_eq!(drop_warnings.news(&statistics), [DropReason::InboxFull]);
    }

    #[test]
    fn each_peer_is_warned_of_once_and_not_of_any_number() {
        let mut warnings = OtherWire::default();
        let peer = |port: usize| SocketAddr::from(([10, 0, 0, 1], u16::try_from(port).expect("a port")));
        assert!(warnings.is_new(peer(1)) && !warnings.is_new(peer(1)));
        let told = (0..2 * MOST_WARNED).filter(|port| warnings.is_new(peer(*port))).count();
        assert_eq!(told, MOST_WARNED - 1);
    }
}
