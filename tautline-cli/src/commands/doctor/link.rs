//! What the link to a server is like: path size, round trip, clocks, security. The heartbeats measure it, so the server needs to
//! answer nothing else.

use std::time::{Duration, Instant};

use serde::Serialize;
use tautline::{ConnectionState, Endpoint, MessageType, PathStats, PeerInfo, Role, UdpInterface, Wire};

use crate::tools::exit::{Exit, Failure};
use crate::tools::interrupt::Interrupt;
use crate::tools::latency::{Latencies, Percentiles, show_us};
use crate::tools::link::{LinkArgs, open, with_heartbeats};
use crate::tools::output::{self, BOLD, Styled};

/// How long to measure. The server's heartbeats bring the round trips; by then the size of the path is found, too.
const LENGTH: Duration = Duration::from_millis(1_500);

/// How often to look for a round trip. Heartbeats come ten times a second, unless a setting of the server says otherwise.
const LOOK: Duration = Duration::from_millis(5);

/// What was found.
#[derive(Debug, Serialize)]
struct LinkFindings {
    target: String,
    address: String,
    name: String,
    wire: &'static str,
    state: &'static str,
    /// Whether the link is secured with a key.
    secured: bool,
    /// Who the server is by its key, if the settings tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    /// The types of messages that the server takes from this client.
    may_send: Vec<&'static str>,
    /// The largest packet that the path is known to carry, with the headers of IP and UDP.
    path_mtu: Option<usize>,
    round_trips: u64,
    rtt_us: Percentiles,
    rtt_min_us: Option<f64>,
    jitter_us: Option<f64>,
    /// The server's clock minus the clock here, and the bound on its error.
    clock_offset_us: Option<f64>,
    clock_offset_error_us: Option<f64>,
    lost: u64,
    interrupted: bool,
}

/// Connects to a server, measures, and prints what was found.
pub(super) fn examine(target: &Endpoint, link: &LinkArgs, as_json: bool) -> Result<Exit, Failure> {
    let config = with_heartbeats(link.config_of(Role::Client, Some(target))?)?;
    let interface = open(config, |_| {})?;
    let interrupt = Interrupt::install()?;
    let found = measure(target, &interface, &interrupt);
    interface.disconnect();
    let found = found?;
    output::data(&if as_json { json(&found) } else { output::on_terminal(text(&found)) })?;
    Ok(if found.interrupted { Exit::Interrupted } else { Exit::Done })
}

fn measure(
    target: &Endpoint,
    interface: &UdpInterface,
    interrupt: &Interrupt,
) -> Result<LinkFindings, Failure> {
    let (mut round_trips, mut samples) = (Latencies::new(), 0);
    let end = Instant::now() + LENGTH;
    let mut latest: Option<PathStats> = None;
    while Instant::now() < end && !interrupt.is_asked() {
        latest = interface.statistics().path;
        if let Some(path) = latest.filter(|path| path.samples > samples) {
            samples = path.samples;
            round_trips.record(path.rtt);
        }
        std::thread::sleep(LOOK);
    }
    let gone = || Failure::new(Exit::NoConnection, format!("{target} is gone: it was there a moment ago"));
    let server: PeerInfo = interface.peers().into_iter().next().ok_or_else(gone)?;
    let us = |of: fn(&PathStats) -> Duration| latest.as_ref().map(|path| in_us(of(path)));
    Ok(LinkFindings {
        target: target.to_string(),
        address: server.address.to_string(),
        name: server.name.clone(),
        wire: Wire::Native.name(),
        state: if server.state == ConnectionState::Connected { "connected" } else { "silent" },
        secured: server.identity.is_some(),
        identity: server.identity.as_deref().filter(|name| !name.is_empty()).map(str::to_owned),
        may_send: MessageType::ALL.iter().filter(|of| interface.may_send(**of)).map(|of| of.name()).collect(),
        path_mtu: server.path_mtu(),
        round_trips: round_trips.count(),
        rtt_us: round_trips.percentiles(),
        rtt_min_us: us(|path| path.rtt_min),
        jitter_us: us(|path| path.jitter),
        clock_offset_us: latest.map(|path| rounded(path.clock_offset_ns as f64 / 1e3)),
        clock_offset_error_us: us(|path| path.clock_offset_error),
        lost: server.received.lost,
        interrupted: interrupt.is_asked(),
    })
}

fn in_us(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1e6)
}

fn rounded(us: f64) -> f64 {
    (us * 10.0).round() / 10.0
}

fn json(found: &LinkFindings) -> String {
    serde_json::to_string(found).expect("numbers and text are JSON") + "\n"
}

fn text(found: &LinkFindings) -> String {
    let LinkFindings { target, address, name, wire, state, .. } = found;
    let mut rows = vec![("server", format!("{name:?} at {address}, {wire} wire, {state}"))];
    rows.push((
        "secured",
        match (&found.identity, found.secured) {
            (Some(identity), _) => format!("with a key, as {identity}"),
            (None, true) => "with a key".to_owned(),
            (None, false) => "no: whoever is on the network can read and command".to_owned(),
        },
    ));
    match found.may_send.len() {
        0 => rows
            .push(("may send", "nothing: the server's `[keys.NAME]` lets this key only listen".to_owned())),
        all if all == MessageType::ALL.len() => {}
        _ => rows.push(("may send", format!("only {}", found.may_send.join(", ")))),
    }
    let size = found.path_mtu.map(|mtu| format!("packets of up to {mtu} bytes"));
    rows.push(("path", size.unwrap_or_else(|| "its size is not known".to_owned())));
    rows.push((
        "round trip",
        match found.round_trips {
            0 => "no heartbeat came back yet".to_owned(),
            _ => found.rtt_us.line(),
        },
    ));
    if let (Some(min), Some(jitter)) = (found.rtt_min_us, found.jitter_us) {
        let trips = found.round_trips;
        rows.push(("", format!("shortest {}, jitter {}, {trips} heartbeats", show_us(min), show_us(jitter))));
    }
    if let (Some(offset), Some(error)) = (found.clock_offset_us, found.clock_offset_error_us) {
        let way = if offset < 0.0 { "behind" } else { "ahead of" };
        rows.push(("clock", format!("{} {way} the clock here, ±{}", show_us(offset.abs()), show_us(error))));
    }
    rows.push(("lost", format!("{} datagrams of the server", found.lost)));
    let lines = rows.iter().map(|(name, value)| format!("  {name:<12}{value}\n"));
    format!("{}\n{}", Styled(BOLD, format!("Link to {target}")), lines.collect::<String>())
}
