//! The options of `tautline send`, and the check whether the wire can carry them.

use std::time::Duration;

use tautline::{Delivery, Endpoint, MessageType, Priority, Wire};

use crate::tools::exit::Failure;
use crate::tools::link::{LinkArgs, called, count, duration, named, rate, types, whole};

/// Send one message, or one message for each line of standard input
///
/// DATA is JSON. Without DATA, every line of standard input is one message. If a line cannot be sent, an error on
/// stderr names its number; the other lines are still sent, and the exit code is 5.
///
/// "Sent" means that the system took the message for the network. If it refused messages, at once or later, the program
/// says how many and why (exit code 1). On the native wire it waits until the server has sent a heartbeat or an answer after the
/// last message reached it, for at most `liveness_timeout` and a round trip. If none comes, or the server was silent or left
/// during the run, it says how many messages may be lost (exit code 1). On the classic wire no server has to answer, so the
/// program notices only what the network reports, such as a closed port (exit code 3). It says how many messages may be lost.
///
/// Messages that are sent once are not acknowledged, so a message that a network drops on the way is not noticed. Use
/// --delivery reliable if you must know.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline send 127.0.0.1:9000 '{\"force_n\": 1.5}' --type command
  tautline send 127.0.0.1:9000 '\"stop\"' --type command --priority critical
  tautline send 127.0.0.1:9000 '{\"gain\": 2}' --type configuration --delivery reliable
  tautline send 127.0.0.1:9000 '\"state?\"' --request 1s
  tautline send 127.0.0.1:9000 --rate 100 < data.jsonl
  tautline send 127.0.0.1:9000 --timed < printed-by-listen.jsonl
  tautline send --serve 0.0.0.0:9000 '{\"ready\": true}' --type status --count 100 --rate 10")]
pub(crate) struct Args {
    /// The receiver, or with --serve the address to listen on: host:port, [ipv6]:port or host (port 8080)
    #[arg(value_parser = called)]
    pub(super) endpoint: Endpoint,
    /// The message's data as JSON; without it, each line of standard input is a message
    #[arg(allow_negative_numbers = true)]
    pub(super) data: Option<String>,
    /// The message type
    #[arg(long = "type", value_name = "TYPE", default_value_t = MessageType::Data, value_parser = types())]
    pub(super) message_type: MessageType,
    /// The priority
    #[arg(long, default_value_t = Priority::Normal, value_parser = named::<Priority>(PRIORITIES))]
    pub(super) priority: Priority,
    /// Send the text as raw bytes, not as JSON (native wire only)
    #[arg(long)]
    pub(super) raw: bool,
    /// Send at most this many messages per second, from 0.01 to 20000
    #[arg(long, value_name = "HZ", value_parser = rate, allow_hyphen_values = true)]
    pub(super) rate: Option<f64>,
    /// Be the server at ENDPOINT: wait for a client, and send to all clients
    #[arg(long, conflicts_with = "request")]
    pub(super) serve: bool,
    /// Each line is a message as `tautline listen` printed it: send it again with its type, priority, id and all else, at the
    /// pace at which the messages were received
    #[arg(
        long,
        conflicts_with_all = [
            "data", "message_type", "priority", "raw", "rate", "source", "destination", "id", "correlation_id", "channel",
            "delivery", "lifespan", "request"
        ]
    )]
    pub(super) timed: bool,
    /// Send DATA this many times, or at most this many lines
    #[arg(long, value_name = "N", value_parser = count, allow_hyphen_values = true)]
    pub(super) count: Option<u64>,
    /// The name of the sender [default: tautline]
    #[arg(long, value_name = "NAME")]
    pub(super) source: Option<String>,
    /// The name of the receiver
    #[arg(long, value_name = "NAME")]
    pub(super) destination: Option<String>,
    /// The id of the message [default: the interface chooses one]
    #[arg(long, value_name = "ID")]
    pub(super) id: Option<String>,
    /// The id of the message that this message answers
    #[arg(long, value_name = "ID")]
    pub(super) correlation_id: Option<String>,
    /// The channel, which separates streams of the same type (native wire only)
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        value_parser = whole("number", 0..=u16::MAX),
        allow_hyphen_values = true
    )]
    pub(super) channel: u16,
    /// The delivery class (native wire only); with reliable and ordered, the program waits for the acknowledgements
    #[arg(
        long,
        value_name = "CLASS",
        default_value_t = Delivery::BestEffort,
        value_parser = named::<Delivery>(DELIVERIES)
    )]
    pub(super) delivery: Delivery,
    /// Discard the message when it is older than this, such as 50ms (native wire only)
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true)]
    pub(super) lifespan: Option<Duration>,
    /// Wait up to this time for the answer to each message, and print the answer as a line of JSON; the exit code is 1 if one
    /// does not come
    #[arg(
        long,
        value_name = "TIME",
        value_parser = duration,
        conflicts_with_all = ["id", "json"],
        allow_hyphen_values = true
    )]
    pub(super) request: Option<Duration>,
    /// Print the numbers of messages as one line of JSON: sent, refused, possibly lost, and bad lines
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) link: LinkArgs,
}

const PRIORITIES: [&str; 4] = ["low", "normal", "high", "critical"];
const DELIVERIES: [&str; 3] = ["best_effort", "reliable", "ordered"];

/// Checks that the wire can carry the options.
pub(super) fn check_options(args: &Args, wire: Wire) -> Result<(), Failure> {
    let sentence = match wire {
        Wire::Classic if args.raw => {
            "--raw needs the native wire: the classic wire carries JSON only".to_owned()
        }
        Wire::Classic if args.channel != 0 => {
            "--channel needs the native wire: the classic wire has no channels".to_owned()
        }
        Wire::Classic if args.delivery != Delivery::BestEffort => {
            "--delivery needs the native wire: the classic wire sends each message once".to_owned()
        }
        Wire::Classic if args.lifespan.is_some() => {
            "--lifespan needs the native wire: the classic wire cannot carry it".to_owned()
        }
        Wire::Native => match wrong_text(args) {
            Some((option, length)) => {
                format!("{option} has {length} bytes: the native wire carries 1 to {LONGEST_TEXT}")
            }
            None => return Ok(()),
        },
        Wire::Classic => return Ok(()),
    };
    Err(Failure::usage(sentence))
}

/// The longest text in the metadata of the native wire, in bytes (docs/protocol.md §4.1).
const LONGEST_TEXT: usize = 255;

/// Returns the first option whose text does not fit the native wire, and the length of the text.
fn wrong_text(args: &Args) -> Option<(&'static str, usize)> {
    [
        ("--source", &args.source),
        ("--destination", &args.destination),
        ("--id", &args.id),
        ("--correlation-id", &args.correlation_id),
    ]
    .into_iter()
    .filter_map(|(option, text)| text.as_ref().map(|text| (option, text.len())))
    .find(|(_, length)| !(1..=LONGEST_TEXT).contains(length))
}
