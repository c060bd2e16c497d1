//! `tautline bench throughput`: sends as many messages as possible and accounts for each of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use tautline::{Config, Statistics, Wire};

use super::accounting::Accounting;
use super::chart::{Axis, Chart, ChartPoint, Curve};
use super::client::{Client, Taking};
use super::flood::{Flood, FloodPlan};
use super::machine::MachineInfo;
use super::other_end::OtherEnd;
use super::page::Page;
use super::protocol::Answer;
use super::report::Cost;
use super::settings::{RunArgs, payload};
use super::usage;
use super::watch::ProgressWatch;
use crate::tools::exit::{Exit, Failure};
use crate::tools::files;
use crate::tools::link::count;
use crate::tools::origin;
use crate::tools::output::{self, BOLD, FAINT, Styled};

/// The largest number of messages per call. A larger batch would not be faster, and its payloads need memory.
const LARGEST_BATCH: u64 = 10_000;

/// The largest number of questions after the flood. They are asked until the other end's count no longer changes, so
/// that messages in its buffer are counted.
const LAST_QUESTIONS: u32 = 50;
const QUESTION_PAUSE: Duration = Duration::from_millis(20);

/// The shortest time over which a rate is computed.
const SHORTEST_RATE: Duration = Duration::from_millis(1);
const TOO_SHORT: &str = "too short for a rate";

/// Measure throughput: send messages as fast as possible and account for each of them
///
/// The other end counts the messages that reach the application. If the sender is faster than the receiver, messages
/// are lost. The sum at the end, sent = received + lost, names each loss. Lost messages do not change the exit code; if
/// the system refused messages for good, it is 1.
///
/// Messages share datagrams, as with a driver thread. --set coalescing_delay=0s sends each message in its own datagram.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline bench throughput
  tautline bench throughput --size 1400 --seconds 10
  tautline bench throughput --batch 40
  tautline bench throughput --outstanding 256 --set wait=spin
  tautline bench throughput plant.local:9000 --messages 1000000 --json
  tautline bench throughput --set receive_buffer=16777216 --html throughput.html")]
pub(super) struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// Send this many messages per call, up to 10000; they share datagrams and system calls
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..=LARGEST_BATCH),
        allow_negative_numbers = true
    )]
    batch: u64,
    /// Allow at most this many messages in flight; then no message should be lost
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    outstanding: Option<u64>,
}

impl Args {
    fn plan(&self) -> FloodPlan {
        FloodPlan {
            messages: self.run.messages,
            length: self.run.length().unwrap_or(Duration::MAX),
            batch: self.batch,
            outstanding: self.outstanding,
            asks: self.run.html.is_some(),
        }
    }

    /// Describes the options --batch and --outstanding. The text is empty without them.
    fn manner(&self) -> String {
        let batch = (self.batch > 1).then(|| format!(", {} per call", self.batch));
        let outstanding = self.outstanding.map(|most| format!(", at most {most} in flight"));
        batch.into_iter().chain(outstanding).collect()
    }
}

/// Sends the flood, asks for the counts, and prints the report.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    if let Some(path) = &args.run.html {
        files::check_writable(path, "page")?;
    }
    let other = OtherEnd::find(args.run.peer.as_ref(), &args.run.settings, false, Taking::CallerDriven)?;
    let mut client = Client::connect(&other, &args.run.settings, Taking::CallerDriven, with_coalescing)?;
    let payload = payload(client.wire, args.run.size)?;
    let before = CountsBefore::take(&mut client)?;
    let mut flood = Flood::new(args.plan(), ProgressWatch::start("messages sent")?);
    flood.arrivals.add(Duration::ZERO, before.answer.messages);
    flood.run(&mut client, &payload)?;
    let after = CountsAfter::look(&mut client, &mut flood, &before);
    client.interface.disconnect();
    let report = Report::new(args, &other, &client, &flood, &before, &after);
    output::data(&if args.run.json { report.json() } else { output::on_terminal(report.text()) })?;
    if let Some(path) = &args.run.html {
        files::write(path, "page", &report.page(&flood))?;
    }
    let refused = refused_later(&before, &after);
    let failure = (refused > 0)
        .then(|| Failure::failed(format!("the system refused {refused} messages that it was to send")));
    after.failure.or(failure).map_or(Ok(Exit::Done), Err)
}

/// Returns how many messages the interface has taken and the system has refused later.
fn refused_later(before: &CountsBefore, after: &CountsAfter) -> u64 {
    after.statistics.queued_send_failures.saturating_sub(before.statistics.queued_send_failures)
}

/// Sets the coalescing delay that an interface with a driver thread has by default. A caller-driven interface has none.
/// The flood flushes at its end, so that no message stays behind.
fn with_coalescing(config: Config) -> Config {
    let is_native = config.wire.unwrap_or(Wire::Native) == Wire::Native;
    match Config::client("localhost").settings() {
        Ok(defaults) if is_native && config.coalescing_delay.is_none() => {
            config.coalescing_delay(defaults.coalescing_delay)
        }
        _ => config,
    }
}

/// The counts of both ends before the flood.
struct CountsBefore {
    answer: Answer,
    statistics: Statistics,
    cpu_us: Option<u64>,
}

impl CountsBefore {
    fn take(client: &mut Client) -> Result<Self, Failure> {
        // Takes this end's counts first, because the question itself changes them.
        let (statistics, cpu_us) = (client.interface.statistics(), usage::cpu_us());
        Ok(Self { answer: client.ask()?, statistics, cpu_us })
    }
}

/// The counts of both ends after the flood.
struct CountsAfter {
    /// The counts of the other end. `None` if it is gone.
    answer: Option<Answer>,
    /// The time at which the last message was received, as far as it is known.
    last: Instant,
    statistics: Statistics,
    cpu_us: Option<u64>,
    /// The failure if the flood ended early or the other end did not answer. The results are shown all the same.
    failure: Option<Failure>,
}

impl CountsAfter {
    fn look(client: &mut Client, flood: &mut Flood, before: &CountsBefore) -> Self {
        let (statistics, cpu_us) = (client.interface.statistics(), usage::cpu_us());
        let last = Instant::now();
        let mut end = Self { answer: None, last, statistics, cpu_us, failure: flood.failure.take() };
        if end.failure.is_none()
            && let Err(failure) = end.ask(client, flood, flood.sent + before.answer.messages)
        {
            end.failure = Some(failure);
        }
        end
    }

    /// Asks until `expected` messages have arrived, or until no more messages arrive.
    fn ask(&mut self, client: &mut Client, flood: &mut Flood, expected: u64) -> Result<(), Failure> {
        let mut last = client.ask()?;
        for _ in 0..LAST_QUESTIONS {
            if last.messages >= expected {
                break;
            }
            std::thread::sleep(QUESTION_PAUSE);
            let answer = client.ask()?;
            let stands_still = answer.messages == last.messages;
            last = answer;
            if stands_still {
                break;
            }
        }
        // The end of the reception is the time of the last message. Messages may have waited in a buffer for a long
        // time.
        let now = Instant::now();
        let quiet = last.quiet_us.map(Duration::from_micros);
        self.last = quiet.and_then(|quiet| now.checked_sub(quiet)).unwrap_or(now);
        flood.arrivals.add(self.last.saturating_duration_since(flood.start), last.messages);
        self.answer = Some(last);
        Ok(())
    }
}

/// The report. Serialised, it is the line of JSON, whose keys are documented output.
#[derive(Debug, Serialize)]
struct Report {
    bench: &'static str,
    /// The address of the other end. `None` if it is a child process over loopback.
    peer: Option<String>,
    wire: &'static str,
    size: u64,
    batch: u64,
    outstanding: Option<u64>,
    set: Vec<String>,
    seconds: f64,
    messages_sent: u64,
    /// `None` if the other end went away. The same holds for all its other counts.
    messages_received: Option<u64>,
    lost: Option<u64>,
    lost_by_name: Option<BTreeMap<String, u64>>,
    loss_percent: Option<f64>,
    ended_early: bool,
    /// Calls that the system refused at once. They were tried again.
    sends_refused: u64,
    /// Messages that the system refused after the interface had taken them.
    refused_later: u64,
    datagrams_sent: u64,
    datagrams_lost: Option<u64>,
    datagrams_dropped_by_kernel: Option<u64>,
    /// `None` if the time is too short or there was only one message.
    sent_per_second: Option<f64>,
    received_per_second: Option<f64>,
    megabytes_per_second: Option<f64>,
    /// The CPU time of both ends together.
    cpu_s_per_million: Option<f64>,
    cost: Cost,
    machine: MachineInfo,
    #[serde(skip)]
    sum: String,
    #[serde(skip)]
    datagrams: String,
    #[serde(skip)]
    manner: String,
}

impl Report {
    fn new(
        args: &Args,
        other: &OtherEnd,
        client: &Client,
        flood: &Flood,
        before: &CountsBefore,
        after: &CountsAfter,
    ) -> Self {
        let datagrams = after.statistics.datagrams_sent.saturating_sub(before.statistics.datagrams_sent);
        let per_datagram = flood.sent as f64 / datagrams.max(1) as f64;
        let answer = after.answer.as_ref();
        let refused = refused_later(before, after);
        let accounting =
            answer.map(|after| Accounting::new(flood.sent, refused, per_datagram, &before.answer, after));
        let accounting = accounting.as_ref();
        let received = accounting.map(|accounting| accounting.received);
        let lost = accounting.map(Accounting::lost_total);
        let receiving = after.last.saturating_duration_since(flood.start).max(flood.spent);
        let received_per_second = received.and_then(|count| per_second(count, receiving));
        let each = |before: Option<u64>, after: Option<u64>| {
            let us = after?.saturating_sub(before?) as f64;
            Some((us / received?.max(1) as f64 * 1e3).round() / 1e3)
        };
        let here = each(before.cpu_us, after.cpu_us);
        let there = each(before.answer.cpu_us, answer.and_then(|answer| answer.cpu_us));
        Self {
            bench: "throughput",
            peer: (!other.is_child()).then(|| other.endpoint.to_string()),
            wire: client.wire.name(),
            size: args.run.size,
            batch: args.batch,
            outstanding: args.outstanding,
            set: client.sets.clone(),
            seconds: (flood.spent.as_secs_f64() * 1e3).round() / 1e3,
            messages_sent: flood.sent,
            messages_received: received,
            lost,
            lost_by_name: accounting.map(|accounting| accounting.lost.clone()),
            loss_percent: lost.map(|lost| (lost as f64 / flood.sent.max(1) as f64 * 1e4).round() / 1e2),
            ended_early: after.failure.is_some(),
            sends_refused: flood.refused,
            refused_later: refused,
            datagrams_sent: datagrams,
            datagrams_lost: accounting.and_then(|accounting| accounting.datagrams_lost),
            datagrams_dropped_by_kernel: accounting.and_then(|accounting| accounting.kernel_drops),
            sent_per_second: per_second(flood.sent, flood.spent),
            received_per_second,
            megabytes_per_second: received_per_second.map(|rate| rate * args.run.size as f64 / 1e6),
            cpu_s_per_million: here.zip(there).map(|(here, there)| ((here + there) * 1e3).round() / 1e3),
            cost: Cost {
                cpu_us_here: here,
                cpu_us_there: there,
                memory_here: usage::memory_bytes(),
                memory_there: answer.and_then(|answer| answer.memory_bytes),
            },
            machine: MachineInfo::here(),
            sum: accounting.map_or_else(
                || format!("{} sent; then the other end was gone", flood.sent),
                Accounting::line,
            ),
            datagrams: accounting.map(Accounting::datagrams_line).unwrap_or_default(),
            manner: args.manner(),
        }
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and text are JSON") + "\n"
    }

    fn title(&self) -> String {
        let where_to = self.peer.as_deref().map_or("over loopback".to_owned(), |peer| format!("to {peer}"));
        format!("Throughput {where_to}: {} bytes, {} wire{}", self.size, self.wire, self.manner)
    }

    fn rates(&self) -> String {
        let Some((received, megabytes)) = self.received_per_second.zip(self.megabytes_per_second) else {
            let why =
                if self.ended_early { "the number of received messages is not known" } else { TOO_SHORT };
            return format!("{} sent in {:.3} s: {why}", self.messages_sent, self.seconds);
        };
        format!(
            "{} messages/s received ({megabytes:.1} MB/s of payload), {} % lost\n\
             {} messages/s sent, for {:.1} s",
            millions(received),
            known(self.loss_percent),
            known(self.sent_per_second.map(millions)),
            self.seconds,
        )
    }

    fn cpu(&self) -> String {
        let both =
            self.cpu_s_per_million.map(|s| format!("{s:.2} CPU s per million messages received, both ends"));
        both.unwrap_or_default()
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", Styled(BOLD, self.title()), self.rates(), self.sum);
        let settings = self.set.join(", ");
        let cost = self.cost.line("message received");
        let faint = [settings, self.datagrams.clone(), self.cpu(), cost, self.machine.line()];
        for line in faint.iter().filter(|line| !line.is_empty()) {
            text.push_str(&format!("{}\n", Styled(FAINT, line)));
        }
        text
    }

    fn page(&self, flood: &Flood) -> String {
        let tiles = [
            ("messages/s received", known(self.received_per_second.map(millions))),
            ("messages/s sent", known(self.sent_per_second.map(millions))),
            ("MB/s of payload", known(self.megabytes_per_second.map(|rate| format!("{rate:.1}")))),
            ("lost", format!("{} %", known(self.loss_percent))),
        ];
        // A run without losses has a line that says so.
        let none = (self.lost == Some(0)).then(|| ("none".to_owned(), "0".to_owned()));
        let losses = self.lost_by_name.iter().flatten();
        let losses = losses.map(|(name, count)| (name.replace('_', " "), count.to_string()));
        let sums = [("sent", self.messages_sent.to_string()), ("received", known(self.messages_received))];
        let sums = sums.into_iter().map(|(name, count)| (name.to_owned(), count));
        let head = vec!["where they went".to_owned(), "messages".to_owned()];
        let rows = sums.chain(losses.chain(none).map(|(name, count)| (format!("lost: {name}"), count)));
        Page {
            title: self.title(),
            counts: self.rates(),
            verdict: None,
            tiles: tiles.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            charts: vec![chart(flood)],
            table: std::iter::once(head).chain(rows.map(|(name, count)| vec![name, count])).collect(),
            facts: vec![
                ("Settings", self.set.join(", ")),
                ("Lost", self.datagrams.clone()),
                ("Cost", self.cost.line("message received")),
                ("CPU", self.cpu()),
                ("Machine", self.machine.line()),
                ("Command", origin::command_line().to_owned()),
                ("Time", origin::now()),
            ],
        }
        .html()
    }
}

/// Returns the rate, or `None` for a single message or a time that is too short for a reproducible rate.
fn per_second(count: u64, time: Duration) -> Option<f64> {
    let has_rate = count != 1 && time >= SHORTEST_RATE;
    has_rate.then(|| (count as f64 / time.as_secs_f64()).round())
}

/// Formats a figure, or a dash if it is not known.
fn known(figure: Option<impl ToString>) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string())
}

fn millions(per_second: f64) -> String {
    match per_second {
        rate if rate < 1e4 => format!("{rate:.0}"),
        rate if rate < 1e6 => format!("{:.0} k", rate / 1e3),
        rate => format!("{:.2} M", rate / 1e6),
    }
}

/// Returns the chart of the messages received and sent per second, from step to step.
fn chart(flood: &Flood) -> Chart {
    let received = rates(&flood.arrivals.steps, "received");
    let sent = rates(&flood.steps, "sent");
    let all = || received.iter().chain(&sent);
    let most = all().map(|point| point.y).fold(0.0, f64::max);
    let to = all().map(|point| point.x).fold(flood.spent.as_secs_f64(), f64::max);
    let x = Axis::seconds("seconds", to);
    let y = Axis::linear("messages per second", most * 1.1, millions);
    let curve = |name, class, points| Curve { name, class, points, reach: f64::INFINITY };
    let curves = vec![curve("sent", "ours-soft", sent), curve("received", "ours", received)];
    Chart { title: "Received and sent over time", x, y, curves, empty: TOO_SHORT }
}

/// Returns the rate from each step to the next one.
fn rates(steps: &[(Duration, u64)], what: &str) -> Vec<ChartPoint> {
    let rate = |pair: &[(Duration, u64)]| {
        let [(from, before), (to, after)] = pair else { unreachable!("windows of two") };
        let rate = per_second(after.saturating_sub(*before), to.saturating_sub(*from))?;
        let text = format!("{}/s {what} at {:.2} s", millions(rate), to.as_secs_f64());
        Some(ChartPoint { x: to.as_secs_f64(), y: rate, text })
    };
    steps.windows(2).filter_map(rate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_more_than_one_message_and_a_minimum_time() {
        let ms = Duration::from_millis;
        assert_eq!(per_second(1, ms(100)), None);
        assert_eq!(per_second(100, Duration::from_micros(100)), None);
        assert_eq!((per_second(0, ms(100)), per_second(100, ms(50))), (Some(0.0), Some(2000.0)));
    }
}
