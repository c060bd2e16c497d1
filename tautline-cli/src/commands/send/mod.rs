//! `tautline send`: sends one message, or one message for each line of standard input.

mod args;
mod lines;
mod message;
mod progress;
mod sending;

use std::time::Duration;

use tautline::{DeliveryStats, UdpInterface, Wire};

pub(crate) use self::args::Args;
use self::args::check_options;
use self::message::data_payload;
use self::sending::Sending;
use crate::tools::exit::{Exit, Failure};
use crate::tools::interrupt::Interrupt;
use crate::tools::link::{complaint, open};
use crate::tools::output;

/// How long to wait for the network's report that nobody listens. On a local network it takes less than 1 ms.
const COMPLAINT_WITHIN: Duration = Duration::from_millis(20);

/// Sends the messages and reports the result.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let config = args.link.config()?.role(tautline::Role::Client).endpoint(args.endpoint.to_string());
    // Finds wrong options and data before it connects.
    check_options(args, config.wire.unwrap_or(Wire::Native))?;
    let data = args.data.as_ref().map(|data| data_payload(args, data)).transpose()?;
    let interface = open(config, |_| {})?;
    let interrupt = Interrupt::install()?;
    let mut events = interface.events();
    let mut sending = Sending::new(args, &interface, &interrupt);
    let sent = match data {
        Some(payload) => sending.repeat(&payload),
        None => sending.lines(),
    };
    sending.wait_for_acknowledgements();
    let Sending { sent: count, bad, unheard, .. } = sending;
    let unacknowledged = unacknowledged(&interface);
    // On the classic wire no server has to answer, so the network's report is the only sign that nobody listens. On the
    // native wire a server did answer, and it may leave once it has received the messages.
    let is_classic = interface.config().wire == Some(Wire::Classic);
    let complaint = is_classic.then(|| complaint(&mut events, &args.endpoint, COMPLAINT_WITHIN)).flatten();
    interface.disconnect();
    sent?;
    if let Some(failure) = complaint {
        return Err(failure);
    }
    report(args, count, bad)?;
    if let Some(failure) = unacknowledged {
        return Err(failure);
    }
    if unheard > 0 && !is_classic {
        return Err(silent(args, count, unheard));
    }
    Ok(if bad > 0 { Exit::BadInput } else { Exit::Done })
}

/// Returns a failure if reliable messages were not acknowledged.
fn unacknowledged(interface: &UdpInterface) -> Option<Failure> {
    let deliveries = interface.statistics().deliveries;
    let DeliveryStats { waiting, delivered, expired, abandoned, peer_lost, unknown, .. } = deliveries;
    let failed = waiting + expired + abandoned + peer_lost + unknown;
    let sentence = format!(
        "{failed} of {} messages were not acknowledged (expired {expired}, abandoned {abandoned}, peer lost {peer_lost}, \
         unknown {unknown}, in flight {waiting})",
        failed + delivered
    );
    (failed > 0).then(|| Failure::failed(sentence))
}

/// Returns the failure for a server that was silent during a part of the run.
fn silent(args: &Args, sent: u64, unheard: u64) -> Failure {
    Failure::failed(format!(
        "{} fell silent: {unheard} of the {sent} messages were sent during the silence and may be lost",
        args.endpoint
    ))
}

fn report(args: &Args, sent: u64, bad: u64) -> Result<(), Failure> {
    if args.json {
        return output::data(&format!("{{\"messages_sent\":{sent},\"bad_lines\":{bad}}}\n"));
    }
    let plural = if sent == 1 { "" } else { "s" };
    output::note(format_args!("sent {sent} message{plural} to {}", args.endpoint));
    Ok(())
}
