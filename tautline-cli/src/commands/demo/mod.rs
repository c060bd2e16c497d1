//! `tautline demo`: a plant and a controller that exchange messages over real UDP on the loopback.
//!
//! [`plant`] and [`controller`] are two interfaces on two threads. The main thread shows what they do, kills and
//! restarts the controller if the user asks for it, and prints the summary. The mathematics is in [`pendulum`] and
//! [`control`]. The motor's failsafe is in [`actuator`].

mod actuator;
mod bad_network;
mod control;
mod controller;
mod matrix;
mod messages;
mod pendulum;
mod picture;
mod plant;
mod record;
mod rig;
mod secured;
mod summary;
mod view;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use tautline::sim::Impairments;
use tautline::{Config, ContentType, Endpoint, SecretKey, Wire};

use self::bad_network::BadNetwork;
use self::controller::{ControllerThread, KilledController};
use self::messages::{Cut, DemoEvent, EventKind, Settings, Snapshot};
use self::plant::{Plant, Report};
use self::record::EventLog;
use self::secured::Costs;
use self::summary::Summary;
use self::view::{PER_SECOND, RECENT, View};
use crate::tools::exit::{Exit, Failure};
use crate::tools::files;
use crate::tools::impair;
use crate::tools::interrupt::{Interrupt, LOOK_EVERY};
use crate::tools::link::{WireArgs, at_most_an_hour, check, duration, rate, with_all_commands};
use crate::tools::output;
use crate::tools::screen::Screen;

/// The file of the picture without --plot.
const PICTURE: &str = "tautline-demo.svg";

/// The number of snapshots that may wait for the view. Further snapshots are dropped, because only the latest is shown.
const NEWS: usize = 4;

/// Balance an inverted pendulum over UDP, on this computer
///
/// The plant is a simulated inverted pendulum on a cart. The controller is a state feedback. They are two interfaces
/// that exchange messages over UDP on this computer: the plant sends its state, and the controller answers with a
/// force. The round trip lasts from the state to the force that answers it.
///
/// If no command comes for --timeout (or three samples, if they last longer), the plant's failsafe stops the motor. Then no
/// command moves it, whoever sends it, until somebody enables it. --re-enable does that some time after the stop.
///
/// --impair puts a bad network between the two. To use a `tautline proxy` that you start yourself, give --plant and
/// --via.
///
/// The exit code is 4 if the rod has fallen (beyond 90 degrees), if it is not upright or the motor is stopped at the end,
/// or if a message is lost without --impair or --via.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline demo --seconds 5
  tautline demo --cut-after 3s
  tautline demo --cut-after 3s --re-enable 2s
  tautline demo --impair loss=10%,jitter=5ms
  tautline demo --secure
  tautline demo --plant 127.0.0.1:9000 --via 127.0.0.1:9001
  tautline demo --wire classic --rate 200 --json")]
pub(crate) struct Args {
    /// Balance for this time, in seconds
    #[arg(long, value_name = "TIME", default_value = "10", value_parser = at_most_an_hour, allow_hyphen_values = true)]
    seconds: Duration,
    /// Send this many samples per second, such as 200 or 1kHz, from 50 to 5000
    #[arg(
        long,
        value_name = "HZ",
        default_value_t = 1000,
        value_parser = samples,
        allow_hyphen_values = true
    )]
    rate: u32,
    /// Kill the controller after this time, such as 3s
    #[arg(long, value_name = "TIME", value_parser = at_most_an_hour, allow_hyphen_values = true)]
    cut_after: Option<Duration>,
    /// Restart the killed controller after this time
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1s",
        value_parser = at_most_an_hour,
        requires = "cut_after",
        allow_hyphen_values = true
    )]
    cut_for: Duration,
    /// Stop the motor after this time without commands; raise it if this computer is busy
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = duration, allow_hyphen_values = true)]
    timeout: Duration,
    /// Enable the motor by hand, this time after each stop; without it the motor stays stopped
    #[arg(long, value_name = "TIME", value_parser = at_most_an_hour, allow_hyphen_values = true)]
    re_enable: Option<Duration>,
    /// Put a bad network between the two, with the option names of `proxy`, such as loss=10%,jitter=5ms
    #[arg(long, value_name = "LIST", value_parser = impair::list)]
    impair: Option<Impairments>,
    /// The address that the plant listens on [default: 127.0.0.1 and any free port]
    #[arg(long, value_name = "ENDPOINT")]
    plant: Option<Endpoint>,
    /// The address that the controller connects to instead of the plant: a proxy whose target is --plant
    #[arg(long, value_name = "ENDPOINT", requires = "plant", conflicts_with = "impair")]
    via: Option<Endpoint>,
    #[command(flatten)]
    wire: WireArgs,
    /// Secure the link with a key that is made for this run, and show what it costs beside a plain link
    #[arg(long, conflicts_with = "key")]
    secure: bool,
    /// Write the picture, an SVG of trajectory and round trips, to this file, also if it exists [default:
    /// tautline-demo.svg, if it does not exist]
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Do not write a picture (--json without --plot implies this)
    #[arg(long, conflicts_with = "plot")]
    no_plot: bool,
    /// Print the summary as one line of JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Reads the number of samples per second. A value parser for clap.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number from 50 to 5000")]
fn samples(text: &str) -> Result<u32, String> {
    let found = rate(text).ok().filter(|rate| rate.fract() == 0.0 && (50.0..=5000.0).contains(rate));
    found.map(|rate| rate as u32).ok_or_else(|| {
        "expected a whole number of samples per second, from 50 to 5000, such as 200, 200Hz or 1kHz"
            .to_owned()
    })
}

/// Runs the demo.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let settings = settings(args)?;
    let base = args.wire.apply(Config::default())?;
    let wire = base.wire.unwrap_or(Wire::Native);
    let codec = if wire == Wire::Native { ContentType::MessagePack } else { ContentType::Json };
    let base = base.codec(codec);
    let (base, costs) = if args.secure { secure(base)? } else { (base, None) };
    if let Some(path) = &args.plot {
        files::check_writable(path, "picture")?;
    }
    let interrupt = Interrupt::install()?;
    let found = balance(&base, settings, &interrupt, args)?;
    let summary = Summary { secured: costs, ..summary(found, wire, settings) };
    output::data(&if args.json { summary.json() } else { summary.text() })?;
    write_picture(args, &summary)?;
    Ok(summary.verdict())
}

/// Makes a key for both ends, and measures what it costs.
fn secure(base: Config) -> Result<(Config, Option<Costs>), Failure> {
    let key = SecretKey::generate()
        .map_err(|error| Failure::failed(format!("no randomness for a key: {error}")))?;
    let base = base.key(key.clone());
    check(&base.clone().role(tautline::Role::Server).endpoint("127.0.0.1:0"))?;
    Ok((base, Some(Costs::measure(&key)?)))
}

fn settings(args: &Args) -> Result<Settings, Failure> {
    let cut = args.cut_after.map(|after| Cut { after, length: args.cut_for });
    if let Some(cut) = cut.filter(|cut| cut.after + cut.length >= args.seconds) {
        let end = (cut.after + cut.length).as_secs_f64();
        let sentence = format!(
            "the controller would restart at {end} s, but --seconds is {}: use --seconds {} or more, \
             so that the demo shows its return",
            args.seconds.as_secs_f64(),
            (end + 3.0).ceil(),
        );
        return Err(Failure::usage(sentence));
    }
    let enabled = cut.zip(args.re_enable).map(|(cut, after)| (cut.after + after).as_secs_f64());
    if let Some(at) = enabled.filter(|at| *at >= args.seconds.as_secs_f64()) {
        let sentence = format!(
            "the motor would be enabled after {at} s, but --seconds is {}: use --seconds {} or more",
            args.seconds.as_secs_f64(),
            (at + 3.0).ceil(),
        );
        return Err(Failure::usage(sentence));
    }
    Ok(Settings {
        length: args.seconds,
        rate: args.rate,
        cut,
        timeout: args.timeout,
        re_enable: args.re_enable,
    })
}

/// The results of a run.
struct Outcome {
    report: Report,
    cuts: EventLog,
    /// A description of the network between the two and of its losses, if there was one.
    network: Option<String>,
}

/// Starts plant and controller, watches them, and waits for their end.
fn balance(
    base: &Config,
    settings: Settings,
    interrupt: &Interrupt,
    args: &Args,
) -> Result<Outcome, Failure> {
    let listen = args.plant.as_ref().map_or_else(|| "127.0.0.1:0".to_owned(), ToString::to_string);
    let server = base.clone().role(tautline::Role::Server).endpoint(listen).name("plant");
    // Each answer is a round trip to measure, also one that a newer answer follows at once.
    let plant = Plant::open(with_all_commands(server), settings)?;
    let address = plant.address()?;
    let network = args.impair.map(|impairments| BadNetwork::before(address, impairments)).transpose()?;
    let called = network.as_ref().map_or(address, |network| network.address).to_string();
    let called = args.via.as_ref().map_or(called, ToString::to_string);
    let client = controller::config(base.clone().role(tautline::Role::Client), called);
    let (sender, news) = sync_channel(NEWS);
    let asked = interrupt.clone();
    let plant = std::thread::Builder::new()
        .name("plant".to_owned())
        .spawn(move || plant.run(&sender, &asked))
        .map_err(|error| Failure::failed(format!("cannot start the plant's thread: {error}")))?;
    let wire = base.wire.unwrap_or(Wire::Native);
    let title = format!("tautline demo: {wire} wire, {} Hz, plant at {address}", settings.rate);
    let mut director = Director::start(client, settings)?;
    director.watch(&news, View::new(title, settings))?;
    let report = plant.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let cuts = director.finish();
    // Reports the controller's failure first: the plant's failure may only be its consequence.
    let cuts = cuts?;
    let network = match (network, &args.via) {
        (Some(network), _) => Some(network.end()?),
        (None, via) => via.as_ref().map(|via| format!("through {via}")),
    };
    Ok(Outcome { report: report?, cuts, network })
}

/// Kills and restarts the controller, and shows what happens.
struct Director {
    client: Config,
    settings: Settings,
    controller: Option<ControllerThread>,
    killed: Vec<KilledController>,
    log: EventLog,
    released: Option<Instant>,
}

impl Director {
    fn start(client: Config, settings: Settings) -> Result<Self, Failure> {
        let controller = Some(ControllerThread::start(client.clone(), settings.period())?);
        Ok(Self {
            client,
            settings,
            controller,
            killed: Vec::new(),
            log: EventLog::default(),
            released: None,
        })
    }

    /// Shows the plant's snapshots until the plant ends.
    fn watch(&mut self, news: &Receiver<Snapshot>, mut view: View) -> Result<(), Failure> {
        let mut stage = DemoOutput::open();
        loop {
            let wait = self.next_cut().map_or(LOOK_EVERY, |at| at.saturating_duration_since(Instant::now()));
            match news.recv_timeout(wait.min(LOOK_EVERY)) {
                Ok(snapshot) => {
                    self.released.get_or_insert(snapshot.released);
                    let recent = self.recent(&snapshot.recent);
                    view.update(snapshot);
                    stage.show(&view, &recent);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.cut_or_restart()?;
        }
    }

    /// Returns the time at which to kill or restart the controller.
    fn next_cut(&self) -> Option<Instant> {
        let (cut, released) = (self.settings.cut?, self.released?);
        match (&self.controller, self.killed.is_empty()) {
            (Some(_), true) => Some(released + cut.after),
            (None, _) => Some(released + cut.after + cut.length),
            (Some(_), false) => None,
        }
    }

    fn cut_or_restart(&mut self) -> Result<(), Failure> {
        let (Some(at), Some(released)) = (self.next_cut(), self.released) else { return Ok(()) };
        let now = Instant::now();
        if now < at {
            return Ok(());
        }
        let elapsed = now - released;
        if let Some(controller) = self.controller.take() {
            self.log.add(elapsed, EventKind::Cut);
            self.killed.push(controller.kill()?);
        } else {
            self.log.add(elapsed, EventKind::Restarted);
            self.controller = Some(ControllerThread::start(self.client.clone(), self.settings.period())?);
        }
        Ok(())
    }

    /// Returns the latest events of the plant and of the director, in order of time.
    fn recent(&self, plant: &[DemoEvent]) -> Vec<DemoEvent> {
        let mut all: Vec<DemoEvent> = plant.iter().chain(self.log.entries()).cloned().collect();
        all.sort_by_key(|event| event.at);
        all.split_off(all.len().saturating_sub(RECENT))
    }

    fn finish(self) -> Result<EventLog, Failure> {
        if let Some(controller) = self.controller {
            controller.leave()?;
        }
        Ok(self.log)
    }
}

/// The place where the view is shown: a terminal or a log.
enum DemoOutput {
    Screen(Screen),
    Log { shown: u32 },
}

impl DemoOutput {
    fn open() -> Self {
        if output::is_watched() { Self::Screen(Screen::open()) } else { Self::Log { shown: 0 } }
    }

    /// Shows every snapshot on a screen, but only one snapshot per second in a log.
    fn show(&mut self, view: &View, recent: &[DemoEvent]) {
        match self {
            Self::Screen(screen) => {
                let (columns, rows) = Screen::size();
                screen.draw(&view.frame(columns, rows, recent));
            }
            Self::Log { shown } => {
                if shown.is_multiple_of(PER_SECOND) && *shown > 0 {
                    output::note(view.line());
                }
                *shown += 1;
            }
        }
    }
}

fn summary(found: Outcome, wire: Wire, settings: Settings) -> Summary {
    let Report { rig, round_trips, lost_in_silence, refused, skipped, latched } = found.report;
    Summary {
        wire: wire.name(),
        rate: settings.rate,
        elapsed: rig.elapsed(),
        is_upright: rig.is_upright(),
        has_fallen: rig.has_fallen(),
        stopped_at: rig.stopped_at().map(|at| at.saturating_duration_since(rig.released())),
        latched,
        round_trips,
        lost_in_silence,
        refused,
        skipped,
        network: found.network,
        secured: None,
        trajectory: rig.trajectory,
        log: rig.log.merged(found.cuts),
    }
}

fn write_picture(args: &Args, summary: &Summary) -> Result<(), Failure> {
    match &args.plot {
        Some(path) => files::write(path, "picture", &picture::draw(summary)),
        None if args.no_plot || args.json => Ok(()),
        // The user did not ask for this file. So it replaces none, and an error is only a warning.
        None => {
            match files::write_new(Path::new(PICTURE), &picture::draw(summary)) {
                Ok(true) => output::note(format_args!("wrote the picture to {PICTURE}")),
                Ok(false) => output::note(format_args!(
                    "{PICTURE} exists, so the picture was not written: use --plot FILE.svg"
                )),
                Err(error) => output::warn(format_args!("cannot write the picture to {PICTURE}: {error}")),
            }
            Ok(())
        }
    }
}
