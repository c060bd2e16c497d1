//! `tautline doctor`: what this machine grants to a real-time link, and how late it is.

mod findings;
mod machine;
mod measure;
mod options;
mod plan;
mod show;
mod verdict;

use std::path::PathBuf;
use std::time::Duration;

use tautline::{Config, PartOutcome, RealtimePart, RealtimeReport};

use self::findings::Findings;
use self::machine::Machine;
use self::measure::{Lateness, Setup, measure};
use self::options::SocketOptions;
use self::plan::MeasurementPlan;
use self::verdict::Verdict;
use crate::tools::exit::{Exit, Failure};
use crate::tools::interrupt::Interrupt;
use crate::tools::link::{open, rate, seconds, settings_from};
use crate::tools::output;

/// Show what this machine grants to a real-time link and how late it is
///
/// Asks for every part of the real-time profile and says how to allow what is refused; tries socket options;
/// measures how late a thread wakes from sleep and another one from a pipe, as the machine is and with what it
/// grants. With --rate the verdict is fit when both together take at most a fifth of the period in 99.9 % of
/// the periods, tight up to half of it, else unfit (exit code 4). Below 200Hz and above 10kHz the measurement is at
/// these rates, and the verdict for the period asked for.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline doctor
  tautline doctor --rate 1kHz
  tautline doctor --rate 500Hz --config plant.toml --json")]
pub(crate) struct Args {
    /// The rate to judge the machine for, from 0.01Hz to 20kHz
    #[arg(long, value_name = "RATE", value_parser = rate, allow_hyphen_values = true)]
    rate: Option<f64>,
    /// How long each of the up to four measurements takes, at least 1,000 periods [default: 1.5s, or 1,000 periods
    /// where they take longer]
    #[arg(long, value_name = "TIME", value_parser = seconds, allow_hyphen_values = true)]
    time: Option<Duration>,
    /// Take the parts of the profile from these settings instead of `realtime = true`; TAUTLINE_* wins over it
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// How many measurements there are when everything is granted.
const MEASUREMENTS: f64 = 4.0;

/// The name of the first setup.
const AS_IT_IS: &str = "as it is";

/// Looks, asks, measures, judges.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let wanted = wanted(settings_from(args.config.as_deref())?);
    let plan = MeasurementPlan::of(args.rate, args.time)?;
    let findings = examine(args.rate, &wanted, plan, &Interrupt::install()?)?;
    output::data(&if args.json { show::json(&findings) } else { show::text(&findings) })?;
    Ok(findings.exit())
}

/// A server of nobody with the real-time parts of these settings; all of them when the settings are silent.
fn wanted(settings: Config) -> Config {
    let mut config = bare().realtime(settings.realtime.unwrap_or(true));
    config.thread_priority = settings.thread_priority;
    config.cpus = settings.cpus;
    config.lock_memory = settings.lock_memory;
    config.low_latency_cpu = settings.low_latency_cpu;
    config.busy_poll = settings.busy_poll;
    config.receive_buffer = settings.receive_buffer;
    config.send_buffer = settings.send_buffer;
    config.dscp = settings.dscp;
    config
}

fn bare() -> Config {
    Config::server("127.0.0.1:0").name("doctor")
}

fn examine(
    rate: Option<f64>,
    wanted: &Config,
    plan: MeasurementPlan,
    interrupt: &Interrupt,
) -> Result<Findings, Failure> {
    if output::is_watched() {
        output::note(format_args!("measuring for about {:.0} s ...", plan.seconds() * MEASUREMENTS));
    }
    // First, because locked memory stays locked.
    let as_it_is = measure(&Setup { name: AS_IT_IS, config: bare() }, plan, interrupt)?;
    let profile = ask(wanted)?;
    let mut latency = vec![as_it_is];
    for setup in setups(wanted, &profile) {
        latency.push(measure(&setup, plan, interrupt)?);
    }
    let interrupted = latency.iter().any(Option::is_none);
    let latency: Vec<Lateness> = latency.into_iter().flatten().collect();
    let last = latency.last();
    let fit_up_to_hz = last.and_then(verdict::fit_up_to_hz);
    // What was measured last is the best that the machine grants only when everything was.
    let best = last.filter(|_| !interrupted);
    let verdict = rate.zip(best).and_then(|(rate, best)| Verdict::of(rate, best));
    Ok(Findings {
        machine: Machine::look(),
        profile,
        socket: SocketOptions::look(),
        measured_rate_hz: plan.rate_hz,
        latency,
        fit_up_to_hz,
        verdict,
        interrupted,
    })
}

/// What the machine says to every part.
fn ask(wanted: &Config) -> Result<RealtimeReport, Failure> {
    let interface = open(wanted.clone(), |_| {})?;
    let report = interface.realtime_report();
    interface.cleanup();
    Ok(report)
}

/// What is measured beside the machine as it is: the parts that shorten waits and that it grants, each alone, then
/// everything together.
fn setups(wanted: &Config, profile: &RealtimeReport) -> Vec<Setup> {
    let is_granted = |part| matches!(profile.part(part).outcome, PartOutcome::Granted { .. });
    let priority = profile.part(RealtimePart::ThreadPriority).asked.as_deref();
    let priority = priority.and_then(|asked| asked.parse().ok()).unwrap_or(0);
    let fifo = Setup { name: "SCHED_FIFO", config: bare().thread_priority(priority) };
    let awake = Setup { name: "cores awake", config: bare().low_latency_cpu(true) };
    let both = Setup { name: "all granted", config: wanted.clone() };
    let parts = [(RealtimePart::ThreadPriority, fifo), (RealtimePart::LowLatencyCpu, awake)];
    let mut setups: Vec<Setup> =
        parts.into_iter().filter(|(part, _)| is_granted(*part)).map(|(_, setup)| setup).collect();
    if RealtimePart::ALL.into_iter().filter(|part| is_granted(*part)).count() > 0 {
        setups.push(both);
    }
    setups
}
