//! `tautline proxy`: simulates a bad network on real sockets, for any UDP program.
//!
//! [`Relay`] carries datagrams between the clients and the target through the paths of `tautline::sim`. The main thread
//! turns the relay, follows the [`schedule`] and [shows](show) the counters.

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
use crate::tools::link::{at_most_an_hour, duration, whole};
use crate::tools::output;
use crate::tools::relay::Relay;
use crate::tools::screen::Screen;

/// Simulate a bad network between the ends of any UDP program
///
/// The clients send to LISTEN instead of TARGET. The proxy opens one socket per client towards the target, so that the
/// target can distinguish the clients. It serves up to 256 clients at the same time and forgets a client that is silent
/// for a minute. If TARGET is a name, the proxy looks it up again while a client gets no answers.
///
/// With the same seed, the proxy loses, duplicates and corrupts the same datagrams of each client, counted from the
/// client's first datagram.
///
/// A schedule is a TOML file with [[phase]] tables. Each phase has a start time (after = "5s") and any impairments by
/// name; it may also have partition = true and direction = "to-client". The line repeat = "60s" before the first phase
/// restarts the phases.
///
/// Ctrl-C ends the proxy, which then prints the totals: in + copies = out + each kind of loss + datagrams in flight.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline proxy 127.0.0.1:9001 127.0.0.1:9000 --loss 2% --burst 5 --jitter 3ms
  tautline proxy 0.0.0.0:9001 plant.local:9000 --delay 20ms --rate 10Mbit --direction to-target
  tautline proxy [::1]:9001 [::1]:9000 --duplicate 1% --reorder 1% --corrupt 0.1% --seed 7 --seconds 60 --json
  tautline proxy 127.0.0.1:9001 127.0.0.1:9000 --schedule bad-day.toml --stats-every 1s")]
pub(crate) struct Args {
    /// The address that clients send to: host:port, [ipv6]:port, host (port 8080) or :port for every address; port 0 takes
    /// any free port
    #[arg(value_name = "LISTEN")]
    listen: Endpoint,
    /// The address that the datagrams are sent on to
    #[arg(value_name = "TARGET")]
    target: Endpoint,
    /// End after this time
    #[arg(long, value_name = "TIME", value_parser = at_most_an_hour, allow_hyphen_values = true)]
    seconds: Option<Duration>,
    /// Print a line of counters on stderr at this interval, such as 1s, instead of the live table
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true)]
    stats_every: Option<Duration>,
    /// Print the totals as one line of JSON instead of text
    #[arg(long)]
    json: bool,
    /// Change the impairments with time, as this file says
    #[arg(long, value_name = "FILE.toml", help_heading = "Impairments")]
    schedule: Option<PathBuf>,
    /// The seed of all random decisions
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

/// Relays until Ctrl-C, or for `--seconds`.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let options = args.impair.both_directions()?;
    let schedule = args.schedule.as_deref().map(|path| Schedule::read(path, &options)).transpose()?;
    let relay = Relay::open(&args.listen, &args.target, options, args.seed)?;
    let interrupt = Interrupt::install()?;
    let address = relay.address().map_or_else(|| args.listen.to_string(), |address| address.to_string());
    output::note_of_start(format_args!("listening on {address}"));
    let title = format!("tautline proxy: {address} to {}", relay.target());
    let mut proxy =
        Proxy { relay, options, schedule, title, started: Instant::now(), check_at: Some(Instant::now()) };
    let mut stage = ProxyOutput::open(args.stats_every);
    while !interrupt.is_asked() && args.seconds.is_none_or(|length| proxy.started.elapsed() < length) {
        proxy.turn()?;
        stage.show(&proxy);
        proxy.warn();
    }
    drop(stage);
    let end = proxy.snapshot();
    output::data(&if args.json { end.json() } else { output::on_terminal(end.text()) })?;
    Ok(Exit::Done)
}

struct Proxy {
    relay: Relay,
    options: BothDirections,
    schedule: Option<Schedule>,
    title: String,
    started: Instant,
    /// The next time to check whether nobody listens at the target. `None` once the warning was printed.
    check_at: Option<Instant>,
}

impl Proxy {
    /// Applies the schedule and turns the relay once.
    fn turn(&mut self) -> Result<(), Failure> {
        let Some(schedule) = &self.schedule else { return self.relay.turn(LOOK_EVERY) };
        let elapsed = self.started.elapsed();
        let impairments = schedule.at(elapsed).map_or(self.options, |(_, impairments)| impairments);
        if impairments != *self.relay.impairments() {
            self.relay.impair(impairments);
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

    /// Warns once if nobody listens at the target.
    fn warn(&mut self) {
        let now = Instant::now();
        if self.check_at.is_none_or(|at| at > now) {
            return;
        }
        self.check_at = Some(now + LOOK_EVERY);
        if self.relay.totals().refusals > 0 {
            self.check_at = None;
            let target = self.relay.target();
            output::warn(format_args!(
                "nobody listens at {target}: start the target program, or check the port"
            ));
        }
    }
}

/// The place where the counters are shown: a terminal or a log.
enum ProxyOutput {
    Screen { screen: Screen, drawn: Instant, past: Vec<ProxySnapshot> },
    Log { every: Option<Duration>, printed: Instant },
}

/// The number of snapshots that are kept to compute the rates. They cover one second.
const PAST: usize = 5;

impl ProxyOutput {
    fn open(stats_every: Option<Duration>) -> Self {
        let now = Instant::now();
        if stats_every.is_none() && output::is_watched() {
            Self::Screen { screen: Screen::open(), drawn: now, past: Vec::new() }
        } else {
            Self::Log { every: stats_every, printed: now }
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
            Self::Log { every: Some(every), printed } if printed.elapsed() >= *every => {
                *printed = Instant::now();
                output::note(proxy.snapshot().line());
            }
            _ => {}
        }
    }
}
