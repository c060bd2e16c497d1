//! `tautline ping`: measures the round trips of messages to another interface.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tautline::{Driver, Endpoint, Message, MessageType, Metadata, PeerInfo, Role, SendError, UdpInterface};

use crate::tools::exit::{Exit, Failure};
use crate::tools::interrupt::{Interrupt, LOOK_EVERY};
use crate::tools::latency::{Percentiles, show_maybe, show_us};
use crate::tools::link::{
    BYTES, LinkArgs, at_most_an_hour, called, check, complaint, count, duration, open_driven, rate,
    wait_over, whole, with_inbox,
};
use crate::tools::output::{self, BAD, BOLD, GOOD, Styled};
use crate::tools::pace::Pace;
use crate::tools::round_trips::{RoundTrips, number_of};
use crate::tools::waiting::{ServerAway, Waiting};

/// The largest padding, in bytes. Together with the number it still fits into a message.
const LARGEST: u64 = 64_000;

/// Measure round trips to an interface that sends messages back
///
/// `tautline listen --reply` is such an interface. The program sends until Ctrl-C, or --count messages. It knows an answer by its
/// correlation id, or else by the number in its data. Jitter is the mean absolute difference between consecutive round trips. The exit code is 4 if a message is lost,
/// or if the 99th percentile is over the budget.
///
/// -c, -i, -s and -W are the letters of ping(8). --quiet leaves out the line for each message.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline ping 127.0.0.1:9000
  tautline ping 127.0.0.1:9000 -c 10 -i 0.2 -W 1
  tautline ping plant.local:9000 --rate 1000 --count 10000 --budget 1ms --quiet
  tautline ping 127.0.0.1:9000 --wire classic --size 200 --json")]
pub(crate) struct Args {
    /// The interface to measure: host:port, [ipv6]:port or host (port 8080) [default: `endpoint` in the settings]
    #[arg(value_parser = called)]
    endpoint: Option<Endpoint>,
    /// End after this many messages [default: at Ctrl-C]
    #[arg(long, short, value_name = "N", value_parser = count, allow_hyphen_values = true)]
    count: Option<u64>,
    /// Messages per second, from 0.01 to 20000
    #[arg(long, value_name = "HZ", default_value = "10", value_parser = rate, allow_hyphen_values = true)]
    rate: f64,
    /// Send one message per this time, such as 10ms or 0.2 (seconds); replaces --rate
    #[arg(
        long,
        short,
        value_name = "TIME",
        value_parser = at_most_an_hour,
        conflicts_with = "rate",
        allow_hyphen_values = true
    )]
    interval: Option<Duration>,
    /// Add this many bytes of padding to every message, up to 64000
    #[arg(
        long,
        short,
        value_name = "BYTES",
        default_value_t = 0,
        value_parser = whole(BYTES, 0..=LARGEST),
        allow_hyphen_values = true
    )]
    size: u64,
    /// Count a message as lost if its answer takes longer than this, such as 50ms or 1 (second)
    #[arg(
        long,
        short = 'W',
        value_name = "TIME",
        default_value = "1s",
        value_parser = at_most_an_hour,
        allow_hyphen_values = true
    )]
    timeout: Duration,
    /// Require 99 % of the round trips within this time, such as 1ms, and no lost message
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true)]
    budget: Option<Duration>,
    /// Print lines of JSON; the last line is the summary
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkArgs,
}

/// The data of a ping.
#[derive(Debug, Serialize)]
struct Ping<'a> {
    ping: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    padding: &'a str,
}

/// The part of an answer's data that identifies the ping.
#[derive(Debug, Deserialize)]
struct Pong {
    ping: u64,
}

/// Sends the messages, waits for the answers, and prints the summary.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let config = with_inbox(args.link.config_of(Role::Client, args.endpoint.as_ref())?)?;
    check(&config)?;
    let endpoint = config.settings().map_err(|error| Failure::usage(error.to_string()))?.endpoint;
    // This thread drives the interface. Otherwise the hand-over between threads would be measured too.
    let (interface, driver) = open_driven(config)?;
    let interrupt = Interrupt::install()?;
    let mut events = interface.events();
    let waiting = Waiting::since(Instant::now());
    let (trips, server_away) = (RoundTrips::new(), ServerAway::of(&interface));
    let mut measurement = Measurement {
        args,
        endpoint: &endpoint,
        interface,
        driver,
        trips,
        refused: 0,
        refusal: None,
        waiting,
        server_away,
    };
    measurement.run(&interrupt)?;
    let Measurement { interface, trips, refused, refusal, .. } = measurement;
    let refused = refused + interface.statistics().queued_send_failures;
    let server = interface.peers().into_iter().next();
    let path_mtu = server.as_ref().and_then(PeerInfo::path_mtu);
    let secured = server.is_some_and(|server| server.identity.is_some());
    interface.disconnect();
    let summary = Summary { path_mtu, secured, ..Summary::new(args, &endpoint, &trips, refused) };
    output::data(&if args.json { summary.json() } else { output::on_terminal(summary.text()) })?;
    if trips.answered_count() == 0 {
        let reported = complaint(&mut events, &endpoint, Duration::ZERO);
        return Err(reported.unwrap_or_else(|| no_answer(&endpoint, refusal.as_ref())));
    }
    Ok(if summary.is_met() { Exit::Done } else { Exit::NotMet })
}

/// Says why there is no answer: the messages were not sent, or else nobody answers.
fn no_answer(endpoint: &Endpoint, refusal: Option<&SendError>) -> Failure {
    let sentence = refusal.map_or_else(
        || {
            format!(
                "no answer from {endpoint}: start `tautline listen {endpoint} --reply` there, with the same --wire"
            )
        },
        SendError::to_string,
    );
    Failure::new(Exit::NoConnection, sentence)
}

struct Measurement<'a> {
    args: &'a Args,
    endpoint: &'a Endpoint,
    interface: UdpInterface,
    driver: Driver,
    trips: RoundTrips,
    /// How many messages were not sent. They count as lost.
    refused: u64,
    /// Why the newest of them was not sent.
    refusal: Option<SendError>,
    /// For the first answer.
    waiting: Waiting,
    server_away: ServerAway,
}

impl Measurement<'_> {
    fn run(&mut self, interrupt: &Interrupt) -> Result<(), Failure> {
        let rate = self.args.interval.map_or(self.args.rate, |interval| 1.0 / interval.as_secs_f64());
        let padding = "x".repeat(usize::try_from(self.args.size).unwrap_or(0));
        let mut pace = Pace::new(rate, Instant::now());
        let count = self.args.count.unwrap_or(u64::MAX);
        let mut last = Instant::now();
        while self.trips.sent_count() < count && !interrupt.is_asked() {
            let now = Instant::now();
            if pace.next() <= now {
                self.send(&padding)?;
                pace.sent(now);
                last = now;
            }
            self.receive_until(pace.next())?;
        }
        // Also after Ctrl-C: the answers to the last messages are on their way. A second Ctrl-C ends this at once.
        let deadline = last + self.args.timeout;
        while self.trips.unanswered() > 0 && Instant::now() < deadline {
            self.receive_until(deadline)?;
        }
        Ok(())
    }

    fn send(&mut self, padding: &str) -> Result<(), Failure> {
        let number = self.trips.next_number();
        let metadata = Metadata::new(MessageType::Data).message_id(number);
        self.trips.sent(Instant::now());
        match self.interface.send(&Ping { ping: number, padding }, &metadata) {
            Err(error @ (SendError::Encode(_) | SendError::TooLarge { .. })) => {
                Err(Failure::usage(format!("{error}; choose a smaller --size")))
            }
            // Every later message would be refused, too.
            Err(error @ SendError::NotAllowed { .. }) => Err(Failure::failed(error.to_string())),
            // A server that is away for a moment is part of the measurement: this message counts as lost.
            Err(error) => {
                self.refused += 1;
                self.refusal = Some(error);
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    /// Waits for one answer until `deadline`, but no longer than the check for Ctrl-C allows.
    fn receive_until(&mut self, deadline: Instant) -> Result<(), Failure> {
        if self.trips.answered_count() == 0 {
            self.waiting.look(format_args!("an answer from {}", self.endpoint));
        }
        self.server_away.look(&self.interface);
        let wait = deadline.saturating_duration_since(Instant::now()).min(LOOK_EVERY);
        let Some(message) = wait_over(self.driver.receive(Some(wait)))? else { return Ok(()) };
        let now = Instant::now();
        let Some(number) = answered_number(&message) else { return Ok(()) };
        match self.trips.answered(number, now, self.args.timeout) {
            Some(round_trip) if !output::is_quiet() => self.print(number, round_trip),
            _ => Ok(()),
        }
    }

    fn print(&self, number: u64, round_trip: Duration) -> Result<(), Failure> {
        let us = round_trip.as_secs_f64() * 1e6;
        output::data(&if self.args.json {
            format!("{{\"message\":{number},\"rtt_us\":{us:.1}}}\n")
        } else {
            format!("message {number}: {}\n", show_us(us))
        })
    }
}

/// Returns the number of the message that this answers, or `None` if it is not an answer.
fn answered_number(message: &Message) -> Option<u64> {
    match message.correlation_id() {
        Some(id) => number_of(&id),
        None => message.decode::<Pong>().ok().map(|pong| pong.ping),
    }
}

/// The summary of a measurement.
#[derive(Debug, Serialize)]
struct Summary {
    endpoint: String,
    messages_sent: u64,
    messages_received: u64,
    lost: u64,
    /// How many of the lost messages were not sent.
    refused: u64,
    rtt_us: Percentiles,
    jitter_us: Option<f64>,
    /// The largest packet that the path is known to carry.
    path_mtu: Option<usize>,
    /// Whether the link is secured with a key.
    secured: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    within_budget: Option<bool>,
}

impl Summary {
    fn new(args: &Args, endpoint: &Endpoint, trips: &RoundTrips, refused: u64) -> Self {
        let rtt_us = trips.latencies().percentiles();
        let lost = trips.unanswered();
        let budget_us = args.budget.map(|budget| budget.as_secs_f64() * 1e6);
        // With fewer than 100 round trips this is the longest.
        let p99 = trips.latencies().at(0.99);
        let within_budget = budget_us.map(|budget| lost == 0 && p99.is_some_and(|p99| p99 <= budget));
        Self {
            endpoint: endpoint.to_string(),
            messages_sent: trips.sent_count(),
            messages_received: trips.answered_count(),
            lost,
            refused,
            rtt_us,
            jitter_us: trips.latencies().jitter_us(),
            path_mtu: None,
            secured: false,
            budget_us,
            within_budget,
        }
    }

    /// Whether no message was lost and the round trips are within the budget, if there is a budget.
    fn is_met(&self) -> bool {
        self.within_budget.unwrap_or(self.lost == 0)
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and text are JSON") + "\n"
    }

    fn text(&self) -> String {
        let Self { endpoint, messages_sent, messages_received, lost, refused, .. } = self;
        let title = Styled(BOLD, format!("{endpoint}:"));
        let sent = match refused {
            0 => format!("{messages_sent} sent"),
            _ => format!("{messages_sent} messages, {refused} of them not sent"),
        };
        let verdict = match (self.budget_us, self.within_budget) {
            (Some(budget), Some(true)) => {
                format!("{} {}\n", Styled(GOOD, "within the budget of"), show_us(budget))
            }
            (Some(budget), _) => format!("{} {}\n", Styled(BAD, "NOT within the budget of"), show_us(budget)),
            _ => String::new(),
        };
        let times = match messages_received {
            0 => String::new(),
            1 => format!("round trip {}\n", self.rtt_us.line()),
            _ => format!("round trip {}\njitter {}\n", self.rtt_us.line(), show_maybe(self.jitter_us)),
        };
        let secured = if self.secured { "secured with a key, " } else { "" };
        let path =
            self.path_mtu.map_or_else(String::new, |mtu| format!("{secured}packets of up to {mtu} bytes\n"));
        format!("{title} {sent}, {messages_received} answered, {lost} lost\n{times}{path}{verdict}")
    }
}
