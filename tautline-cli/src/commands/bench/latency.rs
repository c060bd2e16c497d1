//! `tautline bench latency`: measures round trips, one after the other or at a rate.

use std::net::SocketAddr;
use std::time::Duration;

use super::client::{Client, Taking};
use super::latency_run::{LatencyPlan, LatencyRun, RunEnd};
use super::machine::MachineInfo;
use super::other_end::OtherEnd;
use super::page;
use super::protocol::Answer;
use super::report::{Budget, Cost, Latency, Measured};
use super::settings::{RunArgs, payload};
use super::transport::{RawTransport, TautlineTransport};
use super::usage;
use super::watch::ProgressWatch;
use crate::tools::exit::{Exit, Failure};
use crate::tools::files;
use crate::tools::link::{duration, rate};
use crate::tools::output;

/// The number of round trips before the measurement. They warm up the caches, the pools and the other end's threads.
const WARM_UP: u64 = 100;

/// The length of the alternating slices of tautline and the raw socket. They alternate, so that both see the same state
/// of the machine. A slice is shorter than `liveness_timeout`, so that the connection does not count as silent.
const SLICE: Duration = Duration::from_millis(200);

/// Measure round trips: ping-pong, or at a rate
///
/// The other end sends every message back. Without --rate, each message is sent when the previous one is back. 100 round
/// trips before the measurement are not counted.
///
/// Both ends wait in `receive`, as most programs do. With --caller-driven, the thread that sends drives the interface too,
/// which is faster: no other thread takes part.
///
/// With --budget the exit code is 4 if the 99.9th percentile (or --budget-percentile) is over the budget, if a message
/// is lost, or if a message was not sent at its time because this process did not run in time.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline bench latency --baseline
  tautline bench latency --caller-driven --set wait=spin
  tautline bench latency --rate 1kHz --seconds 30 --budget 1ms --budget-percentile max
  tautline bench latency plant.local:9000 --messages 100000 --html latency.html
  tautline bench latency --wire classic --size 200 --set receive_buffer=1048576 --json")]
pub(super) struct Args {
    /// Send at this rate, from 0.01 to 20000 messages per second, such as 1kHz, instead of ping-pong
    #[arg(long, value_name = "HZ", value_parser = rate, allow_negative_numbers = true)]
    rate: Option<f64>,
    /// Count a message as lost if its answer takes longer than this
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    timeout: Duration,
    /// Let the thread of each end drive its interface itself, instead of waiting in `receive` (see `Driver` in the library)
    #[arg(long)]
    caller_driven: bool,
    /// Measure also a raw socket for the same time, in alternating slices of 200 ms
    #[arg(long)]
    baseline: bool,
    /// Require the round trips within this time, such as 1ms, and no message lost or not sent in time
    #[arg(long, value_name = "TIME", value_parser = duration)]
    budget: Option<Duration>,
    /// The percentage of the round trips that must be within the budget, or max for all
    #[arg(
        long,
        value_name = "PERCENT",
        default_value = "99.9",
        value_parser = percentile,
        requires = "budget",
        allow_negative_numbers = true
    )]
    budget_percentile: f64,
    #[command(flatten)]
    run: RunArgs,
}

impl Args {
    const fn taking(&self) -> Taking {
        if self.caller_driven { Taking::CallerDriven } else { Taking::Receive }
    }
}

/// Reads a percentile, for clap.
fn percentile(text: &str) -> Result<f64, String> {
    if text == "max" {
        return Ok(100.0);
    }
    let number = text.trim_end_matches('%').parse::<f64>().ok();
    let number = number.filter(|percent| *percent > 0.0 && *percent <= 100.0);
    number.ok_or_else(|| "expected a percentage above 0 and up to 100, such as 99.9, or max".to_owned())
}

/// Measures, prints the report, and compares it with the budget.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    if args.budget > Some(args.timeout) {
        let sentence = "--budget is longer than --timeout, after which a message counts as lost: choose a longer --timeout";
        return Err(Failure::usage(sentence));
    }
    if let Some(path) = &args.run.html {
        files::check_writable(path, "page")?;
    }
    let taking = args.taking();
    let other = OtherEnd::find(args.run.peer.as_ref(), &args.run.settings, args.baseline, taking)?;
    let mut client = Client::connect(&other, &args.run.settings, taking, |config| config)?;
    let payload = payload(client.wire, args.run.size)?;
    let raw_port = client.ask()?.raw_port;
    let raw = args.baseline.then(|| raw(args, &client, raw_port)).transpose()?;
    let line = TautlineTransport { client: &mut client, payload, refused: 0 };
    let mut found = Bench { args, line, raw }.measure()?;
    let no_answer = found.no_answer.take();
    client.interface.disconnect();
    let report = report(args, &other, &client, found);
    output::data(&if args.run.json { report.json() } else { output::on_terminal(report.text()) })?;
    if let Some(path) = &args.run.html {
        files::write(path, "page", &page::latency(&report))?;
    }
    match no_answer {
        Some(failure) if report.is_met() => Err(failure),
        Some(failure) => {
            output::complain(failure);
            Ok(Exit::NotMet)
        }
        None => Ok(if report.is_met() { Exit::Done } else { Exit::NotMet }),
    }
}

fn raw(args: &Args, client: &Client, port: Option<u16>) -> Result<RawTransport, Failure> {
    let Some(port) = port else {
        let sentence = "the other end does not send raw datagrams back: start it with `tautline bench serve ADDRESS --baseline`";
        return Err(Failure::usage(sentence));
    };
    let peer = client.interface.peers().first().map(|peer| peer.address);
    let mut to: SocketAddr = peer.ok_or_else(|| Failure::failed("the other end is gone"))?;
    to.set_port(port);
    RawTransport::connect(to, args.run.size)
}

/// The transports: tautline, and with `--baseline` the raw socket.
struct Bench<'a> {
    args: &'a Args,
    line: TautlineTransport<'a>,
    raw: Option<RawTransport>,
}

/// The results of the measurement.
struct Results {
    tautline: LatencyRun,
    raw: Option<LatencyRun>,
    cost: Cost,
    /// How many messages were refused at this end, at once or later.
    refused: u64,
    /// The failure if the other end did not report its counts. The results of this end are shown all the same.
    no_answer: Option<Failure>,
}

impl Bench<'_> {
    fn measure(mut self) -> Result<Results, Failure> {
        self.warm_up()?;
        let before = (usage::cpu_us(), self.line.client.ask()?);
        let (mut run, mut raw_run) = (LatencyRun::new(self.plan()), LatencyRun::new(self.plan()));
        let slice = if self.raw.is_some() { SLICE } else { Duration::MAX };
        let watch = ProgressWatch::start("round trips")?;
        while !run.is_over() && !watch.is_asked() {
            run.run(&mut self.line, slice, &watch)?;
            if let Some(raw) = &mut self.raw {
                raw_run.run(raw, slice, &watch)?;
            }
        }
        drop(watch); // removes the bar before anything is printed
        let here = usage::cpu_us();
        let there = if run.is_gone { Ok(Answer::default()) } else { self.line.client.ask() };
        let (there, no_answer) = there.map_or_else(|e| (Answer::default(), Some(e)), |there| (there, None));
        let cost = self.cost(&before, &(here, there), &run);
        let refused = self.line.refused + self.line.client.interface.statistics().queued_send_failures;
        Ok(Results { tautline: run, raw: self.raw.map(|_| raw_run), cost, refused, no_answer })
    }

    fn plan(&self) -> LatencyPlan {
        let Args { rate, timeout, ref run, .. } = *self.args;
        let end = match run.length() {
            Some(length) => RunEnd::After(length),
            None => RunEnd::Messages(run.messages.unwrap_or(u64::MAX)),
        };
        LatencyPlan { rate, end, timeout }
    }

    fn warm_up(&mut self) -> Result<(), Failure> {
        let watch = ProgressWatch::idle();
        let plan = LatencyPlan { rate: None, end: RunEnd::Messages(WARM_UP), timeout: self.args.timeout };
        LatencyRun::new(plan).run(&mut self.line, Duration::MAX, &watch)?;
        match &mut self.raw {
            Some(raw) => LatencyRun::new(plan).run(raw, Duration::MAX, &watch),
            None => Ok(()),
        }
    }

    /// Returns what both processes used per round trip. With `--baseline` the CPU time is unknown, because it includes
    /// the raw socket's.
    fn cost(
        &self,
        before: &(Option<u64>, Answer),
        (here, there): &(Option<u64>, Answer),
        run: &LatencyRun,
    ) -> Cost {
        let trips = run.trips.answered_count().max(1) as f64;
        let used = |before: Option<u64>, after: Option<u64>| {
            let us = after?.saturating_sub(before?) as f64;
            (!self.args.baseline).then_some((us / trips * 100.0).round() / 100.0)
        };
        Cost {
            cpu_us_here: used(before.0, *here),
            cpu_us_there: used(before.1.cpu_us, there.cpu_us),
            memory_here: usage::memory_bytes(),
            memory_there: there.memory_bytes,
        }
    }
}

fn report(args: &Args, other: &OtherEnd, client: &Client, found: Results) -> Latency {
    let budget = args.budget.map(|limit| Budget { limit, percentile: args.budget_percentile });
    Latency {
        peer: (!other.is_child()).then(|| other.endpoint.to_string()),
        wire: client.wire.name(),
        size: args.run.size,
        rate: args.rate,
        timeout: args.timeout,
        taking: args.taking(),
        sets: client.sets.clone(),
        machine: MachineInfo::here(),
        tautline: Measured::new(found.tautline),
        baseline: found.raw.map(Measured::new),
        cost: found.cost,
        refused: found.refused,
        budget,
    }
}
