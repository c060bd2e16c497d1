//! `tautline bench throughput`: as many messages as go, and where each of them went.

use std::time::Duration;

use serde::Serialize;
use tautline::Statistics;

use super::accounting::Accounting;
use super::chart::{Axis, Chart, Curve, Point};
use super::client::Client;
use super::flood::{Flood, Plan};
use super::machine::{self, Machine};
use super::other_end::OtherEnd;
use super::page::{self, Page};
use super::report::Cost;
use super::settings::{RunArgs, payload};
use super::usage;
use super::watch::Watch;
use super::words::Answer;
use crate::exit::{Exit, Failure};
use crate::link::count;
use crate::output::{self, BOLD, FAINT, Styled};
use crate::svg::short;

/// More messages a call change nothing any more; their payloads are in memory.
const LARGEST_BATCH: u64 = 10_000;

/// What is still in a buffer at the end is waited for: until the count stands still, or for this many questions.
const LAST_QUESTIONS: u32 = 50;
const QUESTION_PAUSE: Duration = Duration::from_millis(20);

/// Measure throughput: messages sent as fast as they go, and where each went
///
/// The other end counts what it is handed. A sender that is faster than its receiver loses messages: the sum at the
/// end, sent = received + lost, names each loss. Lost messages are a finding here, not a failure.
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
    /// Hand over this many messages a call, so that they share datagrams and system calls, up to 10000
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..=LARGEST_BATCH),
        allow_negative_numbers = true
    )]
    batch: u64,
    /// Have at most this many messages on their way: then none should be lost
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    outstanding: Option<u64>,
}

impl Args {
    fn plan(&self) -> Plan {
        Plan {
            messages: self.run.messages,
            length: self.run.length().unwrap_or(Duration::MAX),
            batch: self.batch,
            outstanding: self.outstanding,
        }
    }

    /// How messages are sent, where it is not one by one without a limit.
    fn manner(&self) -> String {
        let batch = (self.batch > 1).then(|| format!(", {} a call", self.batch));
        let outstanding = self.outstanding.map(|most| format!(", at most {most} on their way"));
        batch.into_iter().chain(outstanding).collect()
    }
}

/// Sends, counts, and accounts.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    if let Some(path) = &args.run.html {
        page::check_writable(path)?;
    }
    let other = OtherEnd::find(args.run.peer.as_ref(), &args.run.settings, false)?;
    let mut client = Client::connect(&other, &args.run.settings)?;
    let payload = payload(client.wire, args.run.size)?;
    let before = Counts::take(&mut client)?;
    let mut flood = Flood::new(args.plan(), Watch::start("messages sent")?);
    flood.run(&mut client, &payload)?;
    let after = Counts::after(&mut client, flood.sent + before.answer.messages)?;
    client.interface.disconnect();
    let report = Report::new(args, &other, &client, &flood, &before, &after);
    output::data(&if args.run.json { report.json() } else { report.text() })?;
    if let Some(path) = &args.run.html {
        page::write(path, &report.page(&flood))?;
    }
    Ok(Exit::Done)
}

/// Both ends' counts at one time.
struct Counts {
    answer: Answer,
    statistics: Statistics,
    cpu_us: Option<u64>,
}

impl Counts {
    fn take(client: &mut Client) -> Result<Self, Failure> {
        // Ours first: the question costs something, too.
        let (statistics, cpu_us) = (client.interface.statistics(), usage::cpu_us());
        Ok(Self { answer: client.ask()?, statistics, cpu_us })
    }

    /// The counts at the end, when `expected` messages have arrived or no more do.
    fn after(client: &mut Client, expected: u64) -> Result<Self, Failure> {
        let mut counts = Self::take(client)?;
        for _ in 0..LAST_QUESTIONS {
            if counts.answer.messages >= expected {
                break;
            }
            std::thread::sleep(QUESTION_PAUSE);
            let answer = client.ask()?;
            let stands_still = answer.messages == counts.answer.messages;
            counts.answer = answer;
            if stands_still {
                break;
            }
        }
        Ok(counts)
    }
}

/// How it ended; serialised, the line of JSON.
#[derive(Debug, Serialize)]
struct Report {
    bench: &'static str,
    /// `None` for the child that serves over loopback.
    peer: Option<String>,
    wire: &'static str,
    size: u64,
    batch: u64,
    outstanding: Option<u64>,
    set: Vec<String>,
    seconds: f64,
    messages_sent: u64,
    messages_received: u64,
    lost: u64,
    lost_by_name: std::collections::BTreeMap<String, u64>,
    loss_percent: f64,
    sends_refused: u64,
    datagrams_sent: u64,
    datagrams_lost: Option<u64>,
    datagrams_dropped_by_kernel: Option<u64>,
    sent_per_second: f64,
    received_per_second: f64,
    megabytes_per_second: f64,
    /// Of both ends together.
    cpu_s_per_million: Option<f64>,
    cost: Cost,
    machine: Machine,
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
        before: &Counts,
        after: &Counts,
    ) -> Self {
        let datagrams = after.statistics.datagrams_sent.saturating_sub(before.statistics.datagrams_sent);
        let per_datagram = flood.sent as f64 / datagrams.max(1) as f64;
        let accounting = Accounting::new(flood.sent, per_datagram, &before.answer, &after.answer);
        let per_second = |count: u64| (count as f64 / flood.spent.as_secs_f64().max(1e-9)).round();
        let each = |before: Option<u64>, after: Option<u64>| {
            let us = after?.saturating_sub(before?) as f64;
            Some((us / accounting.received.max(1) as f64 * 1e3).round() / 1e3)
        };
        let here = each(before.cpu_us, after.cpu_us);
        let there = each(before.answer.cpu_us, after.answer.cpu_us);
        Self {
            bench: "throughput",
            peer: (!other.is_child()).then(|| other.endpoint.to_string()),
            wire: client.wire.name(),
            size: args.run.size,
            batch: args.batch,
            outstanding: args.outstanding,
            set: args.run.settings.sets(),
            seconds: (flood.spent.as_secs_f64() * 1e3).round() / 1e3,
            messages_sent: flood.sent,
            messages_received: accounting.received,
            lost: accounting.lost_total(),
            loss_percent: (accounting.lost_total() as f64 / flood.sent.max(1) as f64 * 1e4).round() / 1e2,
            sends_refused: flood.refused,
            datagrams_sent: datagrams,
            datagrams_lost: accounting.datagrams_lost,
            datagrams_dropped_by_kernel: accounting.kernel_drops,
            sent_per_second: per_second(flood.sent),
            received_per_second: per_second(accounting.received),
            megabytes_per_second: per_second(accounting.received * args.run.size) / 1e6,
            cpu_s_per_million: here.zip(there).map(|(here, there)| ((here + there) * 1e3).round() / 1e3),
            cost: Cost {
                cpu_us_here: here,
                cpu_us_there: there,
                memory_here: usage::memory_bytes(),
                memory_there: after.answer.memory_bytes,
            },
            machine: Machine::here(),
            sum: accounting.line(),
            datagrams: accounting.datagrams_line(),
            manner: args.manner(),
            lost_by_name: accounting.lost,
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
        format!(
            "{} messages/s received ({:.1} MB/s of payload), {} sent, for {:.1} s; {} % lost",
            millions(self.received_per_second),
            self.megabytes_per_second,
            millions(self.sent_per_second),
            self.seconds,
            self.loss_percent
        )
    }

    fn cpu(&self) -> String {
        let both =
            self.cpu_s_per_million.map(|s| format!("{s:.2} CPU s per million messages received, both ends"));
        both.unwrap_or_default()
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", Styled(BOLD, self.title()), self.rates(), self.sum);
        let faint =
            [self.datagrams.clone(), self.cpu(), self.cost.line("message received"), self.machine.line()];
        for line in faint.iter().filter(|line| !line.is_empty()) {
            text.push_str(&format!("{}\n", Styled(FAINT, line)));
        }
        text
    }

    fn page(&self, flood: &Flood) -> String {
        let tiles = [
            ("messages/s received", millions(self.received_per_second)),
            ("messages/s sent", millions(self.sent_per_second)),
            ("MB/s of payload", format!("{:.1}", self.megabytes_per_second)),
            ("lost", format!("{} %", self.loss_percent)),
        ];
        // "None" is worth a line, too.
        let none = self.lost_by_name.is_empty().then(|| ("none".to_owned(), "0".to_owned()));
        let losses =
            self.lost_by_name.iter().map(|(name, count)| (name.replace('_', " "), count.to_string()));
        let sums = [("sent".to_owned(), self.messages_sent), ("received".to_owned(), self.messages_received)];
        let sums = sums.into_iter().map(|(name, count)| (name, count.to_string()));
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
                ("Date", machine::today()),
            ],
        }
        .html()
    }
}

fn millions(per_second: f64) -> String {
    match per_second {
        rate if rate < 1e4 => format!("{rate:.0}"),
        rate if rate < 1e6 => format!("{:.0} k", rate / 1e3),
        rate => format!("{:.2} M", rate / 1e6),
    }
}

/// Messages sent per second between one step and the next.
fn chart(flood: &Flood) -> Chart {
    let points = flood.steps.windows(2).map(|pair| {
        let [(from, before), (to, after)] = pair else { unreachable!("windows of two") };
        let rate = (after - before) as f64 / (*to - *from).as_secs_f64().max(1e-9);
        let text = format!("{}/s at {:.2} s", millions(rate), to.as_secs_f64());
        Point { x: to.as_secs_f64(), y: rate, text }
    });
    let points = points.collect::<Vec<_>>();
    let most = points.iter().map(|point| point.y).fold(0.0, f64::max);
    let x = Axis::linear("seconds", flood.spent.as_secs_f64(), short);
    let y = Axis::linear("messages per second", most * 1.1, millions);
    Chart { title: "Sent over time", x, y, curves: vec![Curve { name: "sent", class: "ours", points }] }
}
