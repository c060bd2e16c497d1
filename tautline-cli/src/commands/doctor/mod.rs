//! `tautline doctor`: shows what this machine grants to a real-time link, and how late its threads wake up.

mod findings;
mod key_file;
mod link;
mod machine;
mod measure;
mod options;
mod plan;
mod show;
mod verdict;

use std::time::Duration;

use tautline::{Config, Endpoint, PartOutcome, RealtimePart, RealtimeReport};

use self::findings::Findings;
use self::machine::Machine;
use self::measure::{Lateness, Setup, measure};
use self::options::SocketOptions;
use self::plan::MeasurementPlan;
use self::verdict::Verdict;
use crate::tools::exit::{Exit, Failure};
use crate::tools::interrupt::Interrupt;
use crate::tools::link::{LinkArgs, at_most_an_hour, called, open, rate};
use crate::tools::output;

/// Show what this machine grants to real time, or examine a link
///
/// With TARGET, it connects to that server, and shows the size of the path, the round trip, how far the two clocks are
/// apart, and whether the link is secured. The heartbeats measure this, so any server of the native wire will do.
///
/// Without TARGET, it examines this machine, for the parts of the real-time profile that --config asks for, or else for all
/// of them. With --key alone, it checks the key file, and prints the fingerprint of each of its keys.
///
/// The program asks for these parts, and prints a remedy for each part that the machine refuses. It tries socket options. It
/// measures how late one thread wakes from sleep (timer), and a second thread from a pipe (wake-up): on the machine as it is, and
/// with the parts that the machine grants.
///
/// With --rate there is a verdict on timer and wake-up together, for 99.9 % of the periods. Fit: they take at most a
/// fifth of the period. Tight: at most half. Unfit: more than half (exit code 4). The measurement runs at 200 Hz to
/// 10 kHz; for a rate outside this range, it runs at the nearest of these rates, and the verdict uses the given rate.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline doctor
  tautline doctor plant.local:9000
  tautline doctor --rate 1kHz
  tautline doctor --rate 500Hz --config plant.toml --json
  tautline doctor --key arm.key")]
pub(crate) struct Args {
    /// Examine the link to this server: host:port, [ipv6]:port or host (port 8080)
    #[arg(value_parser = called, conflicts_with_all = ["rate", "time"])]
    target: Option<Endpoint>,
    /// Judge the machine for this rate, from 0.01Hz to 20kHz
    #[arg(long, value_name = "RATE", value_parser = rate, conflicts_with = "key", allow_hyphen_values = true)]
    rate: Option<f64>,
    /// Measure each of the up to four setups for this time, at least 1,000 periods [default: 1.5s, or 1,000 periods if
    /// they take longer]
    #[arg(long, value_name = "TIME", value_parser = at_most_an_hour, conflicts_with = "key", allow_hyphen_values = true)]
    time: Option<Duration>,
    #[command(flatten)]
    link: LinkArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The number of measurements if every part of the profile is granted.
const MEASUREMENTS: f64 = 4.0;

/// The name of the first setup.
const AS_IT_IS: &str = "as it is";

/// Asks for the profile, measures, and prints the findings and the verdict.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    if let Some(target) = &args.target {
        return link::examine(target, &args.link, args.json);
    }
    if args.link.is_about_a_link() {
        return Err(Failure::usage(
            "--wire, --no-crc and --no-sequence are about a link: name its server as TARGET",
        ));
    }
    if let Some(path) = args.link.key() {
        return key_file::check(path, args.json);
    }
    let wanted = wanted(args.link.config()?);
    let plan = MeasurementPlan::of(args.rate, args.time)?;
    let findings = examine(args.rate, &wanted, plan, &Interrupt::install()?)?;
    output::data(&if args.json {
        show::json(&findings)
    } else {
        output::on_terminal(show::text(&findings))
    })?;
    Ok(findings.exit())
}

/// Returns the configuration of a server without clients, with the real-time parts of these settings. If the settings
/// do not mention `realtime`, it asks for all parts.
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
    // Measured first, because locked memory stays locked.
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
    // The last setup is the best that the machine grants, but only if all setups were measured.
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

/// Asks the machine for every part of the profile.
fn ask(wanted: &Config) -> Result<RealtimeReport, Failure> {
    let interface = open(wanted.clone(), |_| {})?;
    let report = interface.realtime_report();
    interface.cleanup();
    Ok(report)
}

/// Returns the setups to measure after the machine as it is: each granted part that shortens waits alone, then all
/// parts together.
fn setups(wanted: &Config, profile: &RealtimeReport) -> Vec<Setup> {
    let is_granted = |part| matches!(profile.part(part).outcome, PartOutcome::Granted { .. });
    let priority = profile.part(RealtimePart::ThreadPriority).asked.as_deref();
    let priority = priority.and_then(|asked| asked.parse().ok()).unwrap_or(0);
    let name = if cfg!(target_os = "linux") { "SCHED_FIFO" } else { "priority" };
    let before_others = Setup { name, config: bare().thread_priority(priority) };
    let awake = Setup { name: "cores awake", config: bare().low_latency_cpu(true) };
    let both = Setup { name: "all granted", config: wanted.clone() };
    let parts = [(RealtimePart::ThreadPriority, before_others), (RealtimePart::LowLatencyCpu, awake)];
    let mut setups: Vec<Setup> =
        parts.into_iter().filter(|(part, _)| is_granted(*part)).map(|(_, setup)| setup).collect();
    // What every machine grants makes no setup of its own.
    let is_usual = |part| {
        use RealtimePart::{CalledAddress, KernelTimestamps, Offload, Wait};
        matches!(part, Offload | KernelTimestamps | CalledAddress | Wait)
    };
    if RealtimePart::ALL.into_iter().any(|part| is_granted(part) && !is_usual(part)) {
        setups.push(both);
    }
    setups
}
