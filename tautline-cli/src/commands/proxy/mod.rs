//! `tautline proxy`: a bad network on real sockets, for any UDP program.
//!
//! [`Relay`] carries datagrams between clients and target through the paths of `tautline::sim`; this thread turns it,
//! follows the [`schedule`] and [shows](show) the counters.

mod schedule;
mod show;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tautline::Endpoint;

use self::schedule::Schedule;
use self::show::ProxySnapshot;
use crate::tools::exit::{Exit, Failure};
use crate::tools::impair::{BothDirections, ImpairArgs};
use crate::tools::interrupt::{Interrupt, LOOK_EVERY};
use crate::tools::link::{duration, seconds, whole};
use crate::tools::output;
use crate::tools::relay::Relay;
use crate::tools::screen::Screen;

/// Carry datagrams between clients and a target, and do to them what bad networks do
///
/// Clients of any UDP program send to LISTEN instead of TARGET; each gets a socket of its own towards the target, so that
/// the target can tell them apart (at most 256 at once; one that is silent for a minute is forgotten). The same seed
/// loses, doubles and damages the same datagrams of each client, counted from its first. A schedule is a file of TOML:
/// [[phase]] with after = "5s", any of the impairments by name, partition = true and direction = "to-client";
/// repeat = "60s" before the first phase begins anew. Ctrl-C ends it with the totals: in + copies = out + each kind of
/// loss + what is still on the way.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline proxy 127.0.0.1:9001 127.0.0.1:9000 --loss 2% --burst 5 --jitter 3ms
  tautline proxy 0.0.0.0:9001 plant.local:9000 --delay 20ms --rate 10Mbit --direction to-target
  tautline proxy [::1]:9001 [::1]:9000 --duplicate 1% --reorder 1% --corrupt 0.1% --seed 7 --seconds 60 --json
  tautline proxy 127.0.0.1:9001 127.0.0.1:9000 --schedule bad-day.toml --stats-every 1s")]
pub(crate) struct Args {
    /// Where clients send to: host:port, [ipv6]:port or host (port 8080); port 0 takes any free one
    #[arg(value_name = "LISTEN")]
    listen: Endpoint,
    /// Where their datagrams go
    #[arg(value_name = "TARGET")]
    target: Endpoint,
    /// End after this time
    #[arg(long, value_name = "S", value_parser = seconds, allow_hyphen_values = true)]
    seconds: Option<Duration>,
    /// Tell the counters on stderr this often, such as 1s, where there is no terminal to show them
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true)]
    stats_every: Option<Duration>,
    /// End with one line of JSON instead of text
    #[arg(long)]
    json: bool,
    /// Impairments that change with time
    #[arg(long, value_name = "FILE.toml", help_heading = "Impairments")]
    schedule: Option<PathBuf>,
    /// What decides about everything that chance decides about
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = whole("number", 0..=u64::MAX),
        allow_hyphen_values = true,
        help_heading = "Impairments"
    )]
    seed: u64,
    #[command(flatten)]
    impair: ImpairArgs,
}

/// How often the table is redrawn.
const REDRAW_EVERY: Duration = Duration::from_millis(200);

/// Relays until interrupted, or for `--seconds`.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let options = args.impair.both_ways()?;
    let schedule = args.schedule.as_deref().map(|path| Schedule::read(path, &options)).transpose()?;
    let relay = Relay::open(&args.listen, &args.target, options, args.seed)?;
    let interrupt = Interrupt::install()?;
    let address = relay.address().map_or_else(|| args.listen.to_string(), |address| address.to_string());
    output::note(format_args!("listening on {address}"));
    let title = format!("tautline proxy: {address} to {}:", relay.target());
    let mut proxy =
        Proxy { relay, options, schedule, title, started: Instant::now(), look_at: Some(Instant::now()) };
    let mut stage = ProxyOutput::open(args.stats_every);
    while !interrupt.is_asked() && args.seconds.is_none_or(|length| proxy.started.elapsed() < length) {
        proxy.turn()?;
        stage.show(&proxy);
        proxy.warn();
    }
    drop(stage);
    let end = proxy.snapshot();
    output::data(&if args.json { end.json() } else { end.text() })?;
    Ok(Exit::Done)
}

struct Proxy {
    relay: Relay,
    options: BothDirections,
    schedule: Option<Schedule>,
    title: String,
    started: Instant,
    /// When to look next whether nobody is there; `None` once that was told.
    look_at: Option<Instant>,
}

impl Proxy {
    /// Follows the schedule, and lets the relay turn for a while.
    fn turn(&mut self) -> Result<(), Failure> {
        let Some(schedule) = &self.schedule else { return self.relay.turn(LOOK_EVERY) };
        let elapsed = self.started.elapsed();
        let ways = schedule.at(elapsed).map_or(self.options, |(_, ways)| ways);
        if ways != *self.relay.ways() {
            self.relay.impair(ways);
        }
        self.relay.turn(schedule.until_next(elapsed).unwrap_or(LOOK_EVERY).min(LOOK_EVERY))
    }

    fn snapshot(&self) -> ProxySnapshot {
        let elapsed = self.started.elapsed();
        let phase = self
            .schedule
            .as_ref()
            .map(|schedule| (schedule.at(elapsed).map_or(0, |(number, _)| number), schedule.len()));
        ProxySnapshot::of(&self.relay, &self.title, elapsed, phase)
    }

    /// Says once that nobody is there.
    fn warn(&mut self) {
        let now = Instant::now();
        if self.look_at.is_none_or(|at| at > now) {
            return;
        }
        self.look_at = Some(now + LOOK_EVERY);
        if self.relay.totals().refusals > 0 {
            self.look_at = None;
            let target = self.relay.target();
            output::warn(format_args!("nobody listens at {target}: start the target, or check the port"));
        }
    }
}

/// Where the counters go: a terminal, or a log.
enum ProxyOutput {
    Screen { screen: Screen, drawn: Instant, past: Vec<ProxySnapshot> },
    Log { every: Option<Duration>, told: Instant },
}

/// Moments remembered for the rates: those of a second.
const PAST: usize = 5;

impl ProxyOutput {
    fn open(stats_every: Option<Duration>) -> Self {
        let now = Instant::now();
        if stats_every.is_none() && output::is_watched() {
            Self::Screen { screen: Screen::open(), drawn: now, past: Vec::new() }
        } else {
            Self::Log { every: stats_every, told: now }
        }
    }

    fn show(&mut self, proxy: &Proxy) {
        match self {
            Self::Screen { screen, drawn, past } if past.is_empty() || drawn.elapsed() >= REDRAW_EVERY => {
                *drawn = Instant::now();
                past.push(proxy.snapshot());
                if past.len() > PAST + 1 {
                    past.remove(0);
                }
                let (now, before) = (&past[past.len() - 1], &past[0]);
                screen.draw(&now.frame(before, Screen::size().0));
            }
            Self::Log { every: Some(every), told } if told.elapsed() >= *every => {
                *told = Instant::now();
                output::note(proxy.snapshot().line());
            }
            _ => {}
        }
    }
}
