//! `tautline watch`: shows links on a live page in the browser.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tautline::sim::Impairments;
use tautline::{
    Config, Endpoint, Handler, MessageType, Metadata, MetricsAddress, MetricsServer, Qos, Role, SendError,
    UdpInterface,
};

use tautline_proto::wire::native::MAX_NAME;

use crate::tools::exit::{Exit, Failure};
use crate::tools::interrupt::{Interrupt, LOOK_EVERY};
use crate::tools::link::{LinkArgs, called, no_connection, open, with_heartbeats};
use crate::tools::output;
use crate::tools::pace::Pace;

/// Show links on a live page in the browser
///
/// The program connects to each server as a client that sends nothing but heartbeats, also to servers that start later. It prints an
/// address: open it in a browser. The page shows round trips, ages, rates, drops, watchdogs, clocks and path sizes. /metrics at the
/// same address has text for Prometheus.
///
/// The page comes from this program alone, and no request leaves this computer. Only this computer can open the page, unless --page
/// names another address. Nobody can change anything there.
///
/// To see a plant or a controller from inside, with all its peers, give its own interface the setting `metrics`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline watch 127.0.0.1:9000
  tautline watch left.local:9000 right.local:9000 --key arm.key
  tautline watch --demo
  tautline watch plant.local:9000 --page 0.0.0.0:9465")]
pub(crate) struct Args {
    /// The servers to watch: host:port, [ipv6]:port or host (port 8080) [default: `endpoint` in the settings]
    #[arg(value_parser = called, value_name = "ENDPOINT")]
    endpoints: Vec<Endpoint>,
    /// Watch a plant and a controller that this program runs, on a network that loses 1 % of all datagrams
    #[arg(long, conflicts_with = "endpoints")]
    demo: bool,
    /// Serve the page at this address; :PORT is for this computer only, and port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9465")]
    page: String,
    #[command(flatten)]
    link: LinkArgs,
}

/// Serves the page until Ctrl-C.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let page = MetricsServer::start(MetricsAddress::from(args.page.as_str()))
        .map_err(|error| Failure::new(no_connection(error.clone()).exit(), said(&error.to_string())))?;
    let (links, demo) = if args.demo {
        let demo = Demo::start()?;
        (demo.links.to_vec(), Some(demo))
    } else if args.endpoints.is_empty() {
        (vec![watched(args, None)?], None)
    } else {
        let links = args.endpoints.iter().map(|endpoint| watched(args, Some(endpoint)));
        (links.collect::<Result<Vec<_>, _>>()?, None)
    };
    let interrupt = Interrupt::install()?;
    links.iter().for_each(|link| page.show(link));
    output::note(format_args!("watch it at http://{}/ (Ctrl-C ends it)", page.address()));
    while !interrupt.is_asked() {
        thread::sleep(LOOK_EVERY);
    }
    drop(demo);
    links.iter().for_each(UdpInterface::disconnect);
    Ok(Exit::Done)
}

/// Names the option instead of the setting.
fn said(problem: &str) -> String {
    problem.replace("set `metrics` to", "set --page to").replace("`metrics` is", "--page is")
}

/// Opens a client that only watches.
fn watched(args: &Args, endpoint: Option<&Endpoint>) -> Result<UdpInterface, Failure> {
    let config = with_heartbeats(args.link.config_of(Role::Client, endpoint)?)?;
    let name = config.name.clone().unwrap_or_else(|| {
        let mut name = format!("watch of {}", config.endpoint.as_deref().unwrap_or_default());
        name.truncate(name.floor_char_boundary(MAX_NAME));
        name
    });
    // The server may start later. What it sends to all is counted, and read by nobody.
    open(config.name(name).connect_timeout(Duration::ZERO).inbox_capacity(0), |_| {})
}

/// Messages a second in each direction.
const DEMO_RATE: f64 = 500.0;

/// A plant and a controller that exchange messages.
struct Demo {
    links: [UdpInterface; 2],
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Demo {
    fn start() -> Result<Self, Failure> {
        let bad = Impairments { loss: "1%".parse().expect("a probability"), ..Impairments::default() };
        let commands = Qos::new().deadline(Duration::from_millis(50)).latch(false);
        let config = Config::server("127.0.0.1:0").name("plant").inbox_capacity(0).impair(bad, 1);
        let plant = open(config.qos(MessageType::Command, commands), |plant| {
            let answer = Handler::inline(|_, reply| {
                let _ = reply.send(&[0.1, 0.0], &Metadata::status()); // the next answer follows soon
            });
            plant.register_message_handler(MessageType::Command, answer);
        })?;
        let address = plant.local_address().ok_or_else(|| Failure::failed("the plant has no address"))?;
        let controller = Config::client(address).name("controller").inbox_capacity(0).impair(bad, 2);
        let controller = open(controller, |_| {})?;
        let (is_over, over, sender) = (Arc::default(), Arc::<AtomicBool>::default(), controller.clone());
        let mut demo = Self { links: [plant, controller], is_over, thread: None };
        demo.is_over = Arc::clone(&over);
        demo.thread =
            thread::Builder::new().name("controller".to_owned()).spawn(move || send(&sender, &over)).ok();
        Ok(demo)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// Sends commands until it is over.
fn send(controller: &UdpInterface, is_over: &AtomicBool) {
    let mut pace = Pace::new(DEMO_RATE, Instant::now());
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(pace.next().saturating_duration_since(Instant::now()));
        pace.sent(Instant::now());
        if let Err(SendError::NotConnected) = controller.send(&[0.5], &Metadata::command()) {
            return;
        }
    }
}
