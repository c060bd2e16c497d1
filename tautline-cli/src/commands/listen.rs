//! `tautline listen`: a server that prints every message as a line of JSON.

use std::time::{Duration, Instant};

use tautline::{DropReason, Drops, Endpoint, Event, Events, MessageType, Statistics, UdpInterface};

use crate::tools::echo::echo;
use crate::tools::exit::{Exit, Failure};
use crate::tools::interrupt::{Interrupt, LOOK_EVERY};
use crate::tools::link::{LinkArgs, count, duration, open, wait_over, with_inbox};
use crate::tools::{message_line, output, traffic};

/// Listen on an address and print every message as a line of JSON
///
/// A line holds "metadata" (the classic envelope's seven keys; "channel", "content_type", "delivery" and
/// "lifespan_ms" when they say something), "data", "peer" (the sender's address) and "age_ms" (since its time stamp, by both clocks).
/// JSON data stand in it as they came, MessagePack and CBOR are translated, raw bytes are hexadecimal.
/// Ctrl-C ends it with a summary on stderr.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline listen 127.0.0.1:9000
  tautline listen 0.0.0.0:9000 --reply --stats-every 1s
  tautline listen [::]:9000 --wire classic --type status --count 10 | jq .data")]
pub(crate) struct Args {
    /// The address to listen on: host:port, [ipv6]:port or host (port 8080); port 0 takes any free one
    endpoint: Endpoint,
    /// Send every message back to its sender, as `ping` expects
    #[arg(long)]
    reply: bool,
    /// Print (and send back) only messages of this type; may be given more than once
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<MessageType>,
    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = count, allow_hyphen_values = true)]
    count: Option<u64>,
    /// Tell on stderr what arrived, was lost and was dropped, this often, such as 1s
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true)]
    stats_every: Option<Duration>,
    /// Statistics and summary as JSON, too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkArgs,
}

/// Listens until interrupted, or until `--count`.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let config = args.link.config()?.role(tautline::Role::Server).endpoint(args.endpoint.to_string());
    let interface = open(with_inbox(config)?, |interface| {
        if args.reply {
            // Without a wish, all types.
            let types = if args.types.is_empty() { MessageType::ALL } else { &args.types };
            echo(interface, types);
        }
    })?;
    let interrupt = Interrupt::install()?;
    if let Some(address) = interface.local_address() {
        output::note(format_args!("listening on {address}"));
    }
    let mut events = interface.events();
    let listened = print_messages(args, &interface, &mut events, &interrupt);
    let report = traffic::report(&interface.statistics(), args.json);
    interface.disconnect();
    output::note(report);
    listened.map(|()| Exit::Done)
}

fn print_messages(
    args: &Args,
    interface: &UdpInterface,
    events: &mut Events,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let mut clock = StatsClock::new(args.stats_every);
    let mut drop_warnings = DropWarnings::new();
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 && !interrupt.is_asked() {
        let received = wait_over(interface.receive(Some(clock.wait())))?;
        if let Some(message) = received.filter(|message| is_wanted(&args.types, message.message_type())) {
            output::data(&message_line::line(&message))?;
            left -= 1;
        }
        warn_of_other_wire(events);
        drop_warnings.look(|| interface.statistics());
        if clock.strikes() {
            output::note(traffic::report(&interface.statistics(), args.json));
        }
    }
    Ok(())
}

/// Whether a message of this type was asked for; without a wish, all are.
fn is_wanted(types: &[MessageType], message_type: MessageType) -> bool {
    types.is_empty() || types.contains(&message_type)
}

/// When statistics are due.
struct StatsClock(Option<(Instant, Duration)>);

impl StatsClock {
    fn new(every: Option<Duration>) -> Self {
        Self(every.map(|every| (Instant::now() + every, every)))
    }

    /// How long a wait may be.
    fn wait(&self) -> Duration {
        let due = self.0.map(|(at, _)| at.saturating_duration_since(Instant::now()));
        due.unwrap_or(LOOK_EVERY).min(LOOK_EVERY)
    }

    /// Whether they are due; then the next ones are later.
    fn strikes(&mut self) -> bool {
        let now = Instant::now();
        let Some((at, every)) = self.0.filter(|(at, _)| *at <= now) else { return false };
        self.0 = Some(((at + every).max(now), every));
        true
    }
}

/// Says why something that came is not shown: once for every reason, so that a wrong setting at one end is told
/// while people wait for messages, not after they have given up.
struct DropWarnings {
    clock: StatsClock,
    told: Vec<DropReason>,
}

/// How often it looks.
const LOOK_FOR_DROPS_EVERY: Duration = Duration::from_secs(1);

impl DropWarnings {
    fn new() -> Self {
        Self { clock: StatsClock::new(Some(LOOK_FOR_DROPS_EVERY)), told: Vec::new() }
    }

    fn look(&mut self, statistics: impl FnOnce() -> Statistics) {
        if self.clock.strikes() {
            for reason in self.news(&statistics()) {
                output::warn(format_args!(
                    "something was dropped as {reason}: {}; the summary has the count",
                    reason.explanation()
                ));
            }
        }
    }

    /// The reasons that were not told yet.
    fn news(&mut self, statistics: &Statistics) -> Vec<DropReason> {
        let dropped =
            [&statistics.datagrams_dropped, &statistics.messages_dropped, &statistics.inbox.dropped];
        let reasons = dropped.into_iter().flat_map(Drops::iter).map(|(reason, _)| reason);
        let news = reasons.filter(|reason| !is_ordinary(*reason) && !self.told.contains(reason));
        let news = news.collect::<Vec<_>>();
        self.told.extend(&news);
        news
    }
}

/// What happens on every network and at every restart, and what has a warning of its own.
fn is_ordinary(reason: DropReason) -> bool {
    use DropReason::{Duplicate, OtherWire, TooOld, Unexpected, UnknownSession};
    matches!(reason, Duplicate | OtherWire | TooOld | Unexpected | UnknownSession)
}

/// The commonest reason why nothing comes. The library tells at most once a second.
fn warn_of_other_wire(events: &mut Events) {
    while let Some(event) = events.next(Duration::ZERO) {
        if let Event::OtherWire { from } = event {
            output::warn(format_args!(
                "{from} speaks the other wire: its --wire and the one here must be the same"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_told_once_and_ordinary_ones_never() {
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
}
