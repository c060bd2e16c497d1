//! `tautline hz`: how regularly messages come, for each sender, type and channel.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use tautline::{Endpoint, Message, MessageType, Role, WallTime};

use crate::tools::exit::{Exit, Failure};
use crate::tools::interrupt::{Interrupt, LOOK_EVERY};
use crate::tools::link::{
    LinkArgs, at_most_an_hour, duration, listening, open, types, wait_over, with_all_commands, with_inbox,
};
use crate::tools::output::{self, BAD, FAINT, Styled, escaped};
use crate::tools::waiting::ServerAway;
use tautline::recording::MessageView;

/// Show how regularly messages come: rate, period, jitter, gaps
///
/// A stream is what one sender sends with one type on one channel. The jitter is the standard deviation of the period. A gap is a
/// period longer than twice the mean of the periods before it. All times are times of arrival.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline hz 127.0.0.1:9002
  tautline hz --connect plant.local:9000 --type status
  tautline hz 127.0.0.1:9002 --every 5s --seconds 60 --json")]
pub(crate) struct Args {
    /// The address to listen on, or to connect to with --connect: host:port, [ipv6]:port, host (port 8080) or :port for every
    /// address; port 0 takes any free one [default: `endpoint` in the settings]
    #[arg(value_parser = listening)]
    endpoint: Option<Endpoint>,
    /// Connect to the server at ENDPOINT, and look at what it sends
    #[arg(long)]
    connect: bool,
    /// Look only at messages of this type; you can repeat this option
    #[arg(long = "type", value_name = "TYPE", value_parser = types())]
    types: Vec<MessageType>,
    /// Print a line for each stream at this interval
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration, allow_hyphen_values = true)]
    every: Duration,
    /// End after this time
    #[arg(long, value_name = "TIME", value_parser = at_most_an_hour, allow_hyphen_values = true)]
    seconds: Option<Duration>,
    /// Print lines of JSON; the last lines are about the whole time
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkArgs,
}

/// The messages that wait at most, unless the configuration says otherwise.
const INBOX: usize = 65_536;
/// The most streams. Messages of further ones are counted, and not looked at.
const MOST_STREAMS: usize = 1_000;

/// Looks until Ctrl-C, or for `--seconds`.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let role = if args.connect { Role::Client } else { Role::Server };
    let config = args.link.config_of(role, args.endpoint.as_ref())?;
    let inbox = config.inbox_capacity.unwrap_or(INBOX);
    let interface = open(with_inbox(with_all_commands(config))?.inbox_capacity(inbox), |_| {})?;
    let (interrupt, started) = (Interrupt::install()?, Instant::now());
    match interface.local_address().filter(|_| !args.connect) {
        Some(address) => output::note_of_start(format_args!("listening on {address}")),
        None => output::note_of_start("connected"),
    }
    let (mut streams, mut server_away) = (Streams::default(), ServerAway::of(&interface));
    let mut next = started + args.every;
    while !interrupt.is_asked() && args.seconds.is_none_or(|length| started.elapsed() < length) {
        let wait = next.saturating_duration_since(Instant::now()).min(LOOK_EVERY);
        if let Some(message) = wait_over(interface.receive(Some(wait)))?
            && (args.types.is_empty() || args.types.contains(&message.message_type()))
        {
            streams.take(&message);
        }
        server_away.look(&interface);
        if Instant::now() >= next {
            next = (next + args.every).max(Instant::now());
            output::data(&streams.report(args.json, Part::Latest))?;
        }
    }
    interface.disconnect();
    output::data(&streams.report(args.json, Part::All))?;
    if streams.further > 0 {
        let further = streams.further;
        output::warn(format_args!(
            "{further} messages of more than {MOST_STREAMS} streams were not looked at"
        ));
    }
    Ok(Exit::Done)
}

/// Sender, type and channel.
type Key = (String, MessageType, u16);

/// Which time a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Since the last report.
    Latest,
    /// From the beginning to the end.
    All,
}

/// All streams.
#[derive(Debug, Default)]
struct Streams {
    streams: BTreeMap<Key, Stream>,
    further: u64,
}

/// The periods of one stream.
#[derive(Debug, Default)]
struct Stream {
    last: Option<WallTime>,
    all: Periods,
    latest: Periods,
}

/// Periods in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Periods {
    count: u64,
    sum: f64,
    squares: f64,
    least: f64,
    most: f64,
    gaps: u64,
}

/// How many periods must come before one can be called a gap.
const SETTLED: u64 = 5;

impl Periods {
    fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    fn deviation(&self) -> Option<f64> {
        let mean = self.mean()?;
        Some((self.squares / self.count as f64 - mean * mean).max(0.0).sqrt())
    }

    fn take(&mut self, period: f64, is_gap: bool) {
        self.least = if self.count == 0 { period } else { self.least.min(period) };
        self.most = self.most.max(period);
        self.count += 1;
        self.sum += period;
        self.squares += period * period;
        self.gaps += u64::from(is_gap);
    }
}

impl Stream {
    fn take(&mut self, at: WallTime) {
        let Some(last) = self.last.replace(at) else { return };
        let period = (at.nanos_since(last) as f64).max(0.0);
        let mean = self.all.mean().filter(|_| self.all.count >= SETTLED);
        let is_gap = mean.is_some_and(|mean| period > 2.0 * mean);
        self.all.take(period, is_gap);
        self.latest.take(period, is_gap);
    }
}

impl Streams {
    fn take(&mut self, message: &Message) {
        let view = MessageView::of(message);
        let key = (view.sender().into_owned(), view.message_type, view.channel);
        if self.streams.len() == MOST_STREAMS && !self.streams.contains_key(&key) {
            self.further += 1;
            return;
        }
        self.streams.entry(key).or_default().take(view.received);
    }

    /// Returns a line for each stream.
    fn report(&mut self, json: bool, part: Part) -> String {
        let mut text = String::new();
        if !json && part == Part::All {
            text.push_str(if self.streams.is_empty() {
                "no message came\n"
            } else {
                "from the beginning:\n"
            });
        }
        for ((sender, message_type, channel), stream) in &mut self.streams {
            let latest = std::mem::take(&mut stream.latest);
            let periods = if part == Part::All { stream.all } else { latest };
            let line = Line::new(sender, *message_type, *channel, &periods, part);
            text.push_str(&if json { line.json() } else { output::on_terminal(line.text()) });
            text.push('\n');
        }
        text
    }
}

/// What a line tells.
#[derive(Debug, Serialize)]
struct Line<'a> {
    sender: &'a str,
    message_type: &'a str,
    channel: u16,
    whole_time: bool,
    rate_hz: Option<f64>,
    period_ms: Option<f64>,
    jitter_ms: Option<f64>,
    least_ms: Option<f64>,
    most_ms: Option<f64>,
    gaps: u64,
}

impl<'a> Line<'a> {
    fn new(sender: &'a str, message_type: MessageType, channel: u16, periods: &Periods, part: Part) -> Self {
        let ms = |ns: f64| (ns / 1e3).round() / 1e3;
        let some = |ns: f64| (periods.count > 0).then(|| ms(ns));
        Self {
            sender,
            message_type: message_type.name(),
            channel,
            whole_time: part == Part::All,
            rate_hz: periods.mean().filter(|mean| *mean > 0.0).map(|mean| (1e12 / mean).round() / 1e3),
            period_ms: periods.mean().map(ms),
            jitter_ms: periods.deviation().map(ms),
            least_ms: some(periods.least),
            most_ms: some(periods.most),
            gaps: periods.gaps,
        }
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and text are JSON")
    }

    fn text(&self) -> String {
        let channel = if self.channel == 0 { String::new() } else { format!("/{}", self.channel) };
        let name = format!("{} {}{channel}", escaped(self.sender), self.message_type);
        let (Some(rate), Some(jitter), Some(least), Some(most)) =
            (self.rate_hz, self.jitter_ms, self.least_ms, self.most_ms)
        else {
            return format!("{name:<18} {}", Styled(FAINT, "no period"));
        };
        let gaps = match self.gaps {
            0 => "no gap".to_owned(),
            1 => Styled(BAD, "1 gap").to_string(),
            gaps => Styled(BAD, format!("{gaps} gaps")).to_string(),
        };
        format!("{name:<18} {rate:8.1} Hz  {least:.2} to {most:.2} ms  jitter {jitter:.2} ms  {gaps}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_at_the_end_says_that_no_message_came_but_not_in_json() {
        assert_eq!(Streams::default().report(false, Part::All), "no message came\n");
        assert_eq!(Streams::default().report(false, Part::Latest), "");
        assert_eq!(Streams::default().report(true, Part::All), "");
    }

    #[test]
    fn rate_jitter_and_gaps_are_those_of_the_periods() {
        let mut stream = Stream::default();
        let mut at = 0;
        for period in [0, 10, 12, 8, 10, 10, 30, 10] {
            at += period * 1_000_000;
            stream.take(WallTime::from_nanos(at));
        }
        let line = Line::new("arm", MessageType::Command, 3, &stream.all, Part::All);
        assert_eq!((line.period_ms, line.least_ms, line.most_ms), (Some(12.857), Some(8.0), Some(30.0)));
        assert_eq!((line.rate_hz, line.gaps), (Some(77.778), 1));
        assert!(line.text().contains("1 gap"), "{}", line.text());
        // A line of a busy stream fits a terminal of 80 columns.
        let mut busy = stream.all;
        (busy.least, busy.most, busy.gaps) = (1.23e6, 345.67e6, 128);
        let line = Line::new("tautline", MessageType::Command, 0, &busy, Part::All).text();
        assert!(console::measure_text_width(&line) < 80, "{line}");
        let none = Line::new("arm", MessageType::Command, 0, &Periods::default(), Part::All);
        assert!(none.text().contains("no period"));
    }
}
