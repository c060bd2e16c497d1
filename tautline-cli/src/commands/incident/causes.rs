//! Names what went wrong near the cause of a file: one rule for each kind of incident.
//!
//! What explains the rest comes first: a flood fills the kernel's buffer, and a handler that takes long leaves a queue. A path that
//! has shrunk comes before the handler: on a busy machine, a driver that had to wait for the processor looks like a slow one. A peer's
//! silence is judged last, because this end may only have been too late to hear it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::story::{Story, WINDOW};

/// Something that went wrong.
#[derive(Debug)]
pub(super) struct Cause {
    kind: Kind,
    pub(super) sentence: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Flood,
    HandlerPanic,
    ClockStep,
    PathShrunk,
    SlowHandler,
    KernelBufferFull,
    SlowReader,
    LossBurst,
    PeerClosed,
    PeerKilled,
    PeerStopped,
    PeerSilent,
}

impl Cause {
    const fn new(kind: Kind, sentence: String) -> Self {
        Self { kind, sentence }
    }

    /// The kind, as people call it.
    pub(super) const fn name(&self) -> &'static str {
        match self.kind {
            Kind::Flood => "flood",
            Kind::HandlerPanic => "handler panic",
            Kind::ClockStep => "clock step",
            Kind::PathShrunk => "path shrunk",
            Kind::SlowHandler => "slow handler",
            Kind::KernelBufferFull => "kernel buffer full",
            Kind::SlowReader => "slow reader",
            Kind::LossBurst => "network loss",
            Kind::PeerClosed => "peer closed",
            Kind::PeerKilled => "peer killed",
            Kind::PeerStopped => "peer stopped",
            Kind::PeerSilent => "peer silent",
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({ "cause": self.name(), "sentence": self.sentence })
    }
}

/// Names what went wrong, the likeliest first.
pub(super) fn of(story: &Story) -> Vec<Cause> {
    let rules = [
        flood,
        handler_panic,
        clock_step,
        path_shrunk,
        slow_handler,
        kernel_buffer_full,
        slow_reader,
        loss_burst,
        silence,
    ];
    rules.into_iter().filter_map(|rule| rule(story)).collect()
}

/// So many datagrams of strangers in the window are a flood, if they are more than those of peers.
const FLOOD: usize = 2_000;

/// From this time on, a handler or the wait of a datagram takes long for a control loop.
const LONG_NS: u64 = 20_000_000;

/// So many lost datagrams are a burst.
const BURST: u64 = 10;

/// The clock was set, and did not only drift, if it has moved by this.
const STEP_US: f64 = 20_000.0;

fn flood(story: &Story) -> Option<Cause> {
    let peers: BTreeSet<_> = story.peers.values().collect();
    let near: Vec<_> =
        story.dropped.iter().filter(|(at, from, _)| story.is_near(*at) && !peers.contains(from)).collect();
    let accepted = story.received.iter().filter(|received| story.is_near(received.at)).count();
    let (_, from, reason) = near.last().filter(|_| near.len() >= FLOOD && near.len() > accepted)?;
    let sentence = format!(
        "{} datagrams of strangers were dropped in the last {} s, beside {accepted} of peers; the last came from {from} ({})",
        near.len(),
        WINDOW / 1_000_000_000,
        reason.name(),
    );
    Some(Cause::new(Kind::Flood, sentence))
}

fn handler_panic(story: &Story) -> Option<Cause> {
    let panics = story.growth(|statistics| number(statistics, "handler_panics"));
    (panics >= 1.0).then(|| {
        Cause::new(Kind::HandlerPanic, format!("a handler panicked, {panics:.0} times near the cause"))
    })
}

fn clock_step(story: &Story) -> Option<Cause> {
    let moved = story.growth(|statistics| number(statistics, "wall_clock_moved_us"));
    let sentence = || {
        let way = if moved > 0.0 { "forward" } else { "back" };
        format!(
            "the system's clock was set {way} by {:.1} ms; time stamps and ages go on unharmed",
            moved.abs() / 1e3
        )
    };
    (moved.abs() >= STEP_US).then(|| Cause::new(Kind::ClockStep, sentence()))
}

fn path_shrunk(story: &Story) -> Option<Cause> {
    let mut sizes = BTreeMap::new();
    story.events.iter().find_map(|(at, event)| {
        let (peer, mtu) = (event["fields"]["peer"].as_str()?, event["fields"]["mtu"].as_u64()?);
        let before = sizes.insert(peer, mtu).filter(|before| *before > mtu && story.is_near(*at))?;
        let sentence = format!(
            "the path to {peer} carries packets of {mtu} bytes only, and carried {before} before; larger ones were lost"
        );
        Some(Cause::new(Kind::PathShrunk, sentence))
    })
}

fn slow_handler(story: &Story) -> Option<Cause> {
    let behind = story.near("ReaderBehind").find_map(|(_, event)| {
        let reader = event["fields"]["reader"].as_str().filter(|reader| reader.starts_with("handler"))?;
        Some(format!("the {reader} is behind: {} messages waited for it", event["fields"]["waiting"]))
    });
    let late = story.growth(|statistics| number(statistics, "handler_timeouts"));
    let late = (late >= 1.0).then(|| format!("a handler took longer than its limit, {late:.0} times"));
    let dropped = story.growth(|statistics| sum(&statistics["handlers_dropped"]));
    let dropped =
        (dropped >= 10.0).then(|| format!("{dropped:.0} messages that waited for a handler were dropped"));
    // Only what the driver did during the silence can have made it long.
    let last = story.received.iter().rev().map(|received| received.at).find(|at| *at <= story.cause_at);
    let since = last.filter(|_| story.has_tripped()).unwrap_or(0);
    let busy = story.busy.iter().filter(|(at, busy)| story.is_near(at + busy) && at + busy >= since);
    let busy = busy.max_by_key(|(_, busy)| *busy);
    let busy = busy.filter(|(_, busy)| *busy >= LONG_NS).map(|(_, busy)| {
        format!(
            "an inline handler kept the driver for {:.1} ms; meanwhile nothing was read",
            *busy as f64 / 1e6
        )
    });
    let sentence = busy.or(behind).or(late).or(dropped)?;
    Some(Cause::new(Kind::SlowHandler, sentence))
}

fn kernel_buffer_full(story: &Story) -> Option<Cause> {
    let drops = story.kernel_drops();
    let sentence = || {
        format!(
            "the kernel dropped {drops} datagrams, because its receive buffer was full: they came faster than they were read"
        )
    };
    (drops > 0).then(|| Cause::new(Kind::KernelBufferFull, sentence()))
}

fn slow_reader(story: &Story) -> Option<Cause> {
    let behind = story.near("ReaderBehind").find(|(_, event)| event["fields"]["reader"] == "inbox");
    let behind = behind.map(|(_, event)| {
        format!("whoever calls `receive` is behind: {} messages waited for it", event["fields"]["waiting"])
    });
    let dropped = story.growth(|statistics| sum(&statistics["inbox_dropped"]));
    let dropped = (dropped >= 10.0).then(|| {
        format!("{dropped:.0} messages that waited for `receive` were dropped: whoever calls it is too slow")
    });
    behind.or(dropped).map(|sentence| Cause::new(Kind::SlowReader, sentence))
}

fn loss_burst(story: &Story) -> Option<Cause> {
    // What the kernel here has dropped was not lost on the network.
    let dropped_here = story.kernel_drops();
    let gaps = story.gaps();
    let lost: u64 = gaps.iter().map(|(.., missing)| missing).sum();
    let (at, peer, most) = gaps.iter().max_by_key(|(.., missing)| *missing)?;
    let sentence = || {
        format!(
            "{lost} datagrams of peers were lost on the way here; the longest run was {most} of {peer}, which ended {}",
            super::ms(i128::from(*at) - i128::from(story.cause_at))
        )
    };
    (lost >= BURST && lost > dropped_here).then(|| Cause::new(Kind::LossBurst, sentence()))
}

/// A peer whose silence has lasted this long when a watchdog tripped was silent.
const SILENCE_NS: u64 = 15_000_000;

/// The same for other causes: some heartbeats are missing.
const LONG_SILENCE_NS: u64 = 300_000_000;

fn silence(story: &Story) -> Option<Cause> {
    // The peer that was heard last, if no watchdog names one.
    let peer = story.received.iter().rev().find(|received| received.at <= story.cause_at)?.peer;
    let least = if story.has_tripped() { SILENCE_NS } else { LONG_SILENCE_NS };
    let (last, silent) = story.silence_of(peer).filter(|(_, silent)| *silent >= least)?;
    let silent_ms = silent as f64 / 1e6;
    let address = story.peers.get(&peer)?;
    let is_goodbye = |event: &Value| {
        event["fields"]["reason"] == "closed_by_peer"
            && event["fields"]["peer"].as_str() == Some(&peer.to_string())
    };
    if story.near("PeerDisconnected").any(|(_, event)| is_goodbye(event)) {
        return Some(Cause::new(Kind::PeerClosed, format!("{peer} ended the link itself")));
    }
    let refused = story.near("PeerUnreachable").any(|(at, event)| {
        *at + SILENCE_NS >= last
            && event["fields"]["address"].as_str().is_none_or(|at| at == address.to_string())
    });
    if refused {
        let sentence = format!(
            "{peer} at {address} was silent for {silent_ms:.1} ms, and its machine says that nothing listens at its port: its \
             process has ended without a goodbye"
        );
        return Some(Cause::new(Kind::PeerKilled, sentence));
    }
    let back = story.received.iter().find(|received| received.peer == peer && received.at > story.cause_at);
    let lost = story.gaps().iter().any(|(at, of, _)| *of == peer && back.is_some_and(|back| *at == back.at));
    Some(match back {
        Some(back) if !lost => {
            let sentence = format!(
                "{peer} sent nothing for {:.1} ms, and then went on with the next number: it was held up or stopped",
                (back.at - last) as f64 / 1e6
            );
            Cause::new(Kind::PeerStopped, sentence)
        }
        Some(_) => return None,
        None => {
            let sent = story.sent.iter().filter(|(at, to, _)| *to == peer && *at > last).count();
            let sentence = format!(
                "{peer} at {address} was silent for {silent_ms:.1} ms without a goodbye. Its machine took the {sent} datagrams \
                 that were sent meanwhile without a complaint: its process is stopped, or the network is cut. This end cannot \
                 tell which"
            );
            Cause::new(if sent > 0 { Kind::PeerStopped } else { Kind::PeerSilent }, sentence)
        }
    })
}

fn number(statistics: &Value, name: &str) -> f64 {
    statistics[name].as_f64().unwrap_or(0.0)
}

/// The sum of counts by reason. A message that a newer one has replaced is no fault: its stream keeps only the newest.
fn sum(counts: &Value) -> f64 {
    let counts = counts.as_object().into_iter().flatten();
    counts.filter(|(reason, _)| *reason != "superseded").filter_map(|(_, count)| count.as_f64()).sum()
}
