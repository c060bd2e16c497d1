//! `tautline send`: sends one message, or one message for each line of standard input.

mod args;
mod lines;
mod message;
mod progress;
mod reports;
mod sending;
mod signs;

use std::time::{Duration, Instant};

use tautline::{DeliveryStats, DropReason, Event, Events, Role, UdpInterface, Wire};

pub(crate) use self::args::Args;
use self::args::check_options;
use self::message::data_payload;
use self::reports::REPORT_WITHIN;
use self::sending::Sending;
use crate::tools::exit::{Exit, Failure};
use crate::tools::interrupt::Interrupt;
use crate::tools::latency::Percentiles;
use crate::tools::link::{complaint, open};
use crate::tools::output;
use crate::tools::timed::Timed;
use crate::tools::waiting::Waiting;
use crate::tools::words::counted;

/// Sends the messages and reports the result.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let config =
        args.link.config_of(if args.serve { Role::Server } else { Role::Client }, Some(&args.endpoint))?;
    // Finds wrong options and data before it connects.
    check_options(args, config.wire.unwrap_or(Wire::Native))?;
    let settings = config.settings().map_err(|error| Failure::usage(error.to_string()))?;
    let limits = settings.payload_limits();
    // Answers go to their requests, and nobody reads anything else.
    let config = if config.inbox_policy.is_some() { config } else { config.inbox_capacity(0) };
    let data = args.data.as_ref().map(|data| data_payload(args, data, &limits)).transpose()?;
    let interface = open(config, |_| {})?;
    let interrupt = Interrupt::install()?;
    if args.serve {
        wait_for_client(&interface, &interrupt);
    }
    let mut events = interface.events();
    let mut sending = Sending::new(args, &interface, &interrupt);
    let sent = match data {
        Some(payload) => sending.repeat(&payload),
        None => sending.lines(),
    };
    sending.finish();
    let unacknowledged = Unacknowledged::of(interface.statistics().deliveries);
    // On the classic wire no server has to answer, so the network's report is the only sign that nobody listens. On the
    // native wire a server did answer, and it may leave once it has received the messages.
    let is_classic = interface.config().wire == Some(Wire::Classic) && !args.serve;
    let complaint = is_classic.then(|| complaint(&mut events, &args.endpoint, REPORT_WITHIN)).flatten();
    let unheard = sending.unheard();
    let later = RefusedLater::look(&interface, &mut events);
    let result = SendResult::new(&sending, unheard, unacknowledged, later);
    interface.disconnect();
    // The numbers are told however it ends. The sentence of a failure while sending has them for people.
    if args.json || sent.is_ok() {
        result.report(args)?;
    }
    sent?;
    if let Some(failure) = complaint {
        let lost = format!("; {} of the {} messages may be lost", result.unheard, result.sent);
        let lost = if result.sent > 1 { lost } else { String::new() };
        return Err(Failure::new(failure.exit(), format!("{failure}{lost}")));
    }
    result.failure(args).map_or(Ok(result.exit()), Err)
}

/// Tells where it listens, and waits until a client is there, or until Ctrl-C.
fn wait_for_client(interface: &UdpInterface, interrupt: &Interrupt) {
    if let Some(address) = interface.local_address() {
        output::note(format_args!("listening on {address}"));
    }
    let mut waiting = Waiting::since(Instant::now());
    while interface.peers().is_empty() && !interrupt.is_asked() {
        waiting.look("a client");
        std::thread::sleep(LOOK_FOR_CLIENT);
    }
}

/// The time between two looks for a client.
const LOOK_FOR_CLIENT: Duration = Duration::from_millis(5);

/// What became of the messages.
struct SendResult {
    /// How many messages the system has taken.
    sent: u64,
    /// How many messages the system has refused, at once or later.
    refused: u64,
    first_refusal: Option<String>,
    /// How many lines were no message.
    bad: u64,
    /// How many of `sent` may be lost, because no sign of life of the server came after them in time, or on the classic wire because
    /// the network reported it.
    unheard: u64,
    unacknowledged: Unacknowledged,
    /// How many of `sent` were not answered (`--request`).
    unanswered: u64,
    /// How late the messages of `--timed` were sent.
    timing: Option<Percentiles>,
}

/// Messages that the interface had taken and the system refused later, and why the first of them.
struct RefusedLater {
    count: u64,
    first: Option<String>,
}

impl RefusedLater {
    /// Reads the counts, and the events until now.
    fn look(interface: &UdpInterface, events: &mut Events) -> Self {
        let statistics = interface.statistics();
        let mut first = None;
        while let Some(event) = events.next(Some(Duration::ZERO)) {
            if let Event::SendFailed { error } = event {
                first.get_or_insert(error.to_string());
            }
        }
        let expired = statistics.send_dropped.of(DropReason::Expired);
        let expired_first = (expired > 0).then(|| DropReason::Expired.explanation().to_owned());
        Self { count: statistics.queued_send_failures + expired, first: first.or(expired_first) }
    }
}

impl SendResult {
    fn new(sending: &Sending<'_>, unheard: u64, unacknowledged: Unacknowledged, later: RefusedLater) -> Self {
        let sent = sending.sent.saturating_sub(later.count);
        Self {
            sent,
            refused: sending.refused + later.count,
            first_refusal: sending.first_refusal.clone().or(later.first),
            bad: sending.bad,
            unheard: unheard.min(sent),
            unacknowledged,
            unanswered: sending.unanswered,
            timing: sending.timed.as_ref().map(Timed::errors),
        }
    }

    fn report(&self, args: &Args) -> Result<(), Failure> {
        let Self { sent, refused, bad, unheard, unacknowledged: Unacknowledged { count, .. }, .. } = self;
        if args.json {
            let timing = self.timing.map_or_else(String::new, |timing| {
                let timing = serde_json::to_string(&timing).expect("numbers are JSON");
                format!(",\"timing_error_us\":{timing}")
            });
            return output::data(&format!(
                "{{\"messages_sent\":{sent},\"refused\":{refused},\"unheard\":{unheard},\
                 \"unacknowledged\":{count},\"bad_lines\":{bad}{timing}}}\n"
            ));
        }
        let of = if *refused > 0 { format!("{sent} of ") } else { String::new() };
        let messages = counted(sent + refused, "message");
        let whom = if args.serve { "the clients".to_owned() } else { args.endpoint.to_string() };
        let timing = self.timing.filter(|_| *sent > 0);
        let timing = timing.map_or_else(String::new, |timing| format!("; timing error {}", timing.line()));
        output::note(format_args!("sent {of}{messages} to {whom}{timing}"));
        Ok(())
    }

    /// Returns the failure if not all messages went, or some may be lost.
    fn failure(&self, args: &Args) -> Option<Failure> {
        let refused = (self.refused > 0).then(|| {
            let why = self.first_refusal.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            format!("{} of {} messages were not sent{why}", self.refused, self.sent + self.refused)
        });
        let unheard = (self.unheard > 0).then(|| {
            format!(
                "{} of the {} messages may be lost: {} gave no sign of life after them",
                self.unheard, self.sent, args.endpoint
            )
        });
        let unanswered = (self.unanswered > 0)
            .then(|| format!("{} of {} messages were not answered", self.unanswered, self.sent));
        let unacknowledged = self.unacknowledged.sentence();
        let sentences: Vec<_> =
            refused.into_iter().chain(unheard).chain(unacknowledged).chain(unanswered).collect();
        (!sentences.is_empty()).then(|| Failure::failed(sentences.join("; ")))
    }

    const fn exit(&self) -> Exit {
        if self.bad > 0 { Exit::BadInput } else { Exit::Done }
    }
}

/// How many reliable messages were not acknowledged, and how many had which outcome.
struct Unacknowledged {
    count: u64,
    deliveries: DeliveryStats,
}

impl Unacknowledged {
    fn of(deliveries: DeliveryStats) -> Self {
        let DeliveryStats { waiting, expired, abandoned, peer_lost, unknown, .. } = deliveries;
        Self { count: waiting + expired + abandoned + peer_lost + unknown, deliveries }
    }

    fn sentence(&self) -> Option<String> {
        let Self { count, deliveries } = self;
        let DeliveryStats { waiting, delivered, expired, abandoned, peer_lost, unknown, .. } = deliveries;
        let sentence = format!(
            "{count} of {} messages were not acknowledged (expired {expired}, abandoned {abandoned}, peer lost {peer_lost}, \
             unknown {unknown}, in flight {waiting})",
            count + delivered
        );
        (*count > 0).then_some(sentence)
    }
}
