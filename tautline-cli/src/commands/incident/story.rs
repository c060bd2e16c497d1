//! What a black box shows, in order: collected while the file is run again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tautline::black_box::notes;
use tautline::black_box::read::{BlackBoxError, BlackBoxFile, Happened, Rerun, Step};
use tautline::{DropReason, MessageType, PeerId};

use crate::tools::origin;
use crate::tools::output::escaped;

/// A time on the steady clock, in nanoseconds.
pub(super) type At = u64;

/// How long before the cause of the file the causes are looked for.
pub(super) const WINDOW: u64 = 3_000_000_000;

/// A datagram that was accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub(super) at: At,
    pub(super) peer: PeerId,
    pub(super) number: Option<u64>,
    /// How long it waited in the kernel, at least.
    pub(super) in_kernel: u64,
    pub(super) len: usize,
}

/// A message that was handed out.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) at: At,
    pub(super) peer: PeerId,
    pub(super) message_type: MessageType,
    pub(super) age: Option<Duration>,
    /// The time from its time stamp until its datagram came. The clocks of the two ends differ, so only differences mean something.
    pub(super) on_the_way: i64,
    pub(super) bytes: usize,
}

/// Everything that a file shows.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) incident: BTreeMap<String, String>,
    /// When the file was caused: the trip of a watchdog, the failure, or the call.
    pub(super) cause_at: At,
    pub(super) received: Vec<Received>,
    /// How many inputs of the receiving half are not in the file, because they did not fit into the ring.
    pub(super) left_out: u64,
    pub(super) heard: Vec<Heard>,
    /// When datagrams were dropped, where they came from, and why.
    pub(super) dropped: Vec<(At, SocketAddr, DropReason)>,
    pub(super) peers: BTreeMap<PeerId, SocketAddr>,
    /// Datagrams that the kernel took: when, for whom, how many.
    pub(super) sent: Vec<(At, PeerId, u64)>,
    /// When the driver was busy with what it had read, and for how long.
    pub(super) busy: Vec<(At, u64)>,
    /// What the library told: when, and its JSON.
    pub(super) events: Vec<(At, Value)>,
    pub(super) statistics: Vec<(At, Value)>,
    /// The settings of the interface, by key.
    pub(super) settings: BTreeMap<String, String>,
}

impl Story {
    /// Runs the file again.
    pub(super) fn of(file: &BlackBoxFile) -> Result<(Self, [Rerun; 2]), BlackBoxError> {
        let steady = |wall: u64| {
            let steady = i128::from(wall) - i128::from(file.wall_ahead());
            u64::try_from(steady).unwrap_or(0)
        };
        let parse = |entries: &[(u64, String)]| -> Vec<(At, Value)> {
            let parsed = |(at, text): &(u64, String)| Some((steady(*at), serde_json::from_str(text).ok()?));
            entries.iter().filter_map(parsed).collect()
        };
        let mut story = Self {
            incident: file.incident.clone(),
            settings: file.settings.clone(),
            left_out: file.inbound.left_out,
            events: parse(&file.events),
            statistics: parse(&file.statistics),
            ..Self::default()
        };
        let written = file.incident.get("written_ns").and_then(|ns| ns.parse().ok()).map_or(0, steady);
        story.cause_at = story.find_cause().unwrap_or(written);
        let reruns = file.rerun(|_, step| story.take(step))?;
        story.received.sort_by_key(|received| received.at);
        Ok((story, reruns))
    }

    /// The first trip or failure after a quiet time, if that is why the file was written.
    fn find_cause(&self) -> Option<At> {
        let is_cause = |event: &Value| match self.incident.get("cause").map(String::as_str) {
            Some("watchdog") => event["fields"]["change"] == "tripped",
            Some("error") => event["fields"]["to"] == "Error",
            _ => false,
        };
        self.events.iter().rev().find(|(_, event)| is_cause(event)).map(|(at, _)| *at)
    }

    fn take(&mut self, step: &Step<'_>) {
        match step {
            Step::Note(at, [notes::BUSY, busy, _]) => self.busy.push((at.as_nanos(), *busy)),
            Step::Datagram { now, from, came, bytes, accepted: Some((peer, number)) } => {
                self.peers.insert(*peer, *from);
                let at = now.steady.as_nanos();
                let in_kernel = came.map_or(0, |came| at.saturating_sub(came.as_nanos()));
                let (peer, number, len) = (*peer, *number, bytes.len());
                self.received.push(Received { at, peer, number, in_kernel, len });
            }
            Step::Message { now, peer, clock, message } => {
                let in_kernel = self.received.last().map_or(0, |datagram| datagram.in_kernel);
                let came = now.steady.as_nanos().saturating_sub(in_kernel);
                self.heard.push(Heard {
                    at: now.steady.as_nanos(),
                    peer: *peer,
                    message_type: message.message_type,
                    age: clock.map(|clock| clock.greatest_age(message.timestamp)),
                    on_the_way: came.cast_signed().wrapping_sub(message.timestamp.as_nanos()),
                    bytes: message.payload.len(),
                });
            }
            Step::Event(now, Happened::Dropped { from, reason }) => {
                self.dropped.push((now.steady.as_nanos(), *from, *reason));
            }
            Step::Sent(at, peer, [datagrams, _]) => self.sent.push((at.as_nanos(), *peer, *datagrams)),
            _ => {}
        }
    }

    /// Whether the trip of a watchdog has led to the file.
    pub(super) fn has_tripped(&self) -> bool {
        self.incident.get("cause").is_some_and(|cause| cause == "watchdog")
    }

    /// Whether a time lies in the window in which causes are looked for. What follows the cause counts, too.
    pub(super) const fn is_near(&self, at: At) -> bool {
        at + WINDOW >= self.cause_at
    }

    /// The events of a kind near the cause.
    pub(super) fn near(&self, kind: &str) -> impl Iterator<Item = &(At, Value)> {
        self.events.iter().filter(move |(at, event)| self.is_near(*at) && event["event"] == kind)
    }

    /// By how much a statistic has grown near the cause. Statistics are taken once a second.
    pub(super) fn growth(&self, value: impl Fn(&Value) -> f64) -> f64 {
        let last = self.statistics.last().map_or(0.0, |(_, last)| value(last));
        let before = self.statistics.iter().rev().find(|(at, _)| !self.is_near(*at));
        // Without an earlier one, the record is younger than the window.
        last - before.map_or(0.0, |(_, before)| value(before))
    }

    /// How many datagrams the kernel has dropped near the cause.
    pub(super) fn kernel_drops(&self) -> u64 {
        let drops = self.growth(|statistics| statistics["kernel_drops"].as_f64().unwrap_or(0.0));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count
        let drops = drops.max(0.0) as u64;
        drops
    }

    /// By how much messages near the cause came later than the quickest message of their peer, and when they were read.
    pub(super) fn delays(&self) -> Vec<(At, PeerId, u64)> {
        let mut quickest = BTreeMap::new();
        for heard in &self.heard {
            let least = quickest.entry(heard.peer).or_insert(heard.on_the_way);
            *least = heard.on_the_way.min(*least);
        }
        let near = self.heard.iter().filter(|heard| self.is_near(heard.at));
        near.map(|heard| (heard.at, heard.peer, heard.on_the_way.abs_diff(quickest[&heard.peer]))).collect()
    }

    /// The peer that was heard last before the cause.
    pub(super) fn heard_last(&self) -> Option<PeerId> {
        self.received.iter().rev().find(|received| received.at <= self.cause_at).map(|received| received.peer)
    }

    /// When the record ends.
    pub(super) fn end(&self) -> At {
        let received = self.received.last().map_or(0, |received| received.at);
        let sent = self.sent.last().map_or(0, |(at, ..)| *at);
        received.max(sent).max(self.cause_at)
    }

    /// When a peer was last heard before the cause, and for how long it had been silent then.
    pub(super) fn silence_of(&self, peer: PeerId) -> Option<(At, u64)> {
        let before = self
            .received
            .iter()
            .rev()
            .find(|received| received.peer == peer && received.at <= self.cause_at)?;
        Some((before.at, self.cause_at - before.at))
    }

    /// What led to the file.
    pub(super) fn cause(&self) -> &'static str {
        match self.incident.get("cause").map(String::as_str) {
            Some("watchdog") => "the trip",
            Some("error") => "the failure",
            _ => "the request for the file",
        }
    }

    /// The date and the time of day of what led to the file, by the clock of this end.
    pub(super) fn cause_time(&self) -> String {
        let ahead = self.incident.get("wall_ahead_ns").and_then(|ns| ns.parse().ok()).unwrap_or(0);
        origin::at(self.cause_at.saturating_add_signed(ahead) / 1_000_000_000)
    }

    /// Says when something was, beside what led to the file.
    pub(super) fn when(&self, at: At) -> String {
        let nanos = i128::from(at) - i128::from(self.cause_at);
        let side = if nanos <= 0 { "before" } else { "after" };
        format!("{:.1} ms {side} {}", nanos.unsigned_abs() as f64 / 1e6, self.cause())
    }

    pub(super) fn heading(&self) -> String {
        let fact = |name: &str| self.incident.get(name).map_or("?", String::as_str);
        let (role, version) = (escaped(fact("role")), escaped(fact("version")));
        let cause = match fact("cause") {
            "watchdog" => "A watchdog tripped",
            "error" => "The connection failed",
            _ => "The file was asked for",
        };
        let first = self.received.first().map_or(self.cause_at, |received| received.at);
        format!(
            "Black box of {:?}, a {role} (tautline {version}).\n{cause} at {}.\nThe record begins {:.1} s before: {} datagrams accepted, \
             {} dropped, {} sent.\n",
            fact("name"),
            self.cause_time(),
            self.cause_at.saturating_sub(first) as f64 / 1e9,
            self.received.len(),
            self.dropped.len(),
            self.sent.iter().map(|(.., count)| count).sum::<u64>(),
        )
    }

    /// The last command, the last datagrams in both directions, the last loss, and what was late where.
    pub(super) fn last_things(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let until = |at: &At| *at <= self.cause_at;
        let command = self
            .heard
            .iter()
            .rev()
            .find(|heard| until(&heard.at) && heard.message_type == MessageType::Command);
        if let Some(Heard { at, peer, age, bytes, .. }) =
            command.or_else(|| self.heard.iter().rev().find(|heard| until(&heard.at)))
        {
            let what = if command.is_some() { "command" } else { "message" };
            let age = age
                .map_or_else(String::new, |age| format!(", at most {:.1} ms old", age.as_secs_f64() * 1e3));
            lines.push(format!("last {what} received: {}, from {peer}, {bytes} bytes{age}", self.when(*at)));
        }
        if let Some(received) = self.received.iter().rev().find(|received| until(&received.at)) {
            lines.push(format!("last datagram received: {}, from {}", self.when(received.at), received.peer));
        }
        if let Some((at, peer, _)) = self.sent.iter().rev().find(|(at, ..)| until(at)) {
            lines.push(format!("last datagram sent: {}, to {peer}", self.when(*at)));
        }
        match self.gaps().last() {
            Some((at, peer, missing)) => {
                lines.push(format!(
                    "last loss: {missing} datagrams of {peer} are missing, noticed {}",
                    self.when(*at)
                ));
            }
            None => lines.push("no datagram of a peer was lost near this time".to_owned()),
        }
        let near = self.received.iter().filter(|received| self.is_near(received.at));
        if let Some(slowest) = near.max_by_key(|received| received.in_kernel) {
            let wait = slowest.in_kernel as f64 / 1e6;
            lines.push(format!("longest wait in the kernel: {wait:.1} ms, read {}", self.when(slowest.at)));
        }
        let busiest = self.busy.iter().filter(|(at, _)| self.is_near(*at)).max_by_key(|(_, busy)| *busy);
        match busiest {
            Some((at, busy)) => {
                let busy = *busy as f64 / 1e6;
                lines.push(format!(
                    "longest work of the driver with what it had read: {busy:.1} ms, begun {}",
                    self.when(*at)
                ));
            }
            None => lines.push("the driver was never busy for 1 ms with what it had read".to_owned()),
        }
        lines
    }

    /// Where numbers of a peer are missing near the cause: when that was noticed, and how many. Numbers that came late do not count.
    /// Empty if they may all be of datagrams that are not in the file.
    pub(super) fn gaps(&self) -> Vec<(At, PeerId, u64)> {
        let mut next: BTreeMap<PeerId, u64> = BTreeMap::new();
        let seen: std::collections::BTreeSet<(PeerId, u64)> =
            self.received.iter().filter_map(|received| Some((received.peer, received.number?))).collect();
        let mut gaps = Vec::new();
        for Received { at, peer, number, .. } in self.received.iter().copied() {
            let Some(number) = number else { continue };
            let expected = next.get(&peer).copied().unwrap_or(number);
            // A window gives up after so many anyway.
            let missing =
                (expected..number.min(expected + 100_000)).filter(|n| !seen.contains(&(peer, *n))).count();
            if missing > 0 && self.is_near(at) {
                gaps.push((at, peer, missing as u64));
            }
            next.insert(peer, expected.max(number + 1));
        }
        // What did not fit into the ring may be the datagrams of these numbers.
        let missing: u64 = gaps.iter().map(|(.., missing)| missing).sum();
        if missing > self.left_out { gaps } else { Vec::new() }
    }

    pub(super) fn facts(&self) -> Value {
        json!({ "incident": self.incident, "accepted": self.received.len(), "dropped": self.dropped.len() })
    }
}

/// An event in words. Strangers choose names, so nothing of it controls the terminal.
pub(super) fn told(event: &Value) -> String {
    escaped(&in_words(event)).into_owned()
}

fn in_words(event: &Value) -> String {
    let kind = event["event"].as_str().unwrap_or_default();
    let fields = event["fields"].as_object().into_iter().flatten();
    let fields: Vec<String> = fields.filter_map(|(name, value)| field(name, value)).collect();
    let separator = if fields.is_empty() { "" } else { ": " };
    format!("{}{separator}{}", spaced(kind), fields.join(", "))
}

/// The name of a variant in words: "PeerSilent" is "peer silent".
fn spaced(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
    }
    words
}

/// The fields that hold the name of a variant. (Those of `PeerMoved` that are called so hold addresses, which have no upper case.)
const NAMES: [&str; 4] = ["fault", "from", "to", "cause"];

/// A field of an event in words. `None` if it is not set.
fn field(name: &str, value: &Value) -> Option<String> {
    let value = match (name.strip_suffix("_ns"), value) {
        (_, Value::Null) => return None,
        (Some(name), value) => return Some(format!("{name} {:.1} ms", value.as_f64()? / 1e6)),
        // The names of variants: the fault of an address, and what a state has changed to.
        (None, Value::String(text)) if NAMES.contains(&name) => spaced(text),
        (None, Value::String(text)) => text.clone(),
        (None, value) => value.to_string(),
    };
    Some(format!("{} {value}", name.replace('_', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_in_words() {
        let event = json!({
            "event": "Watchdog",
            "text": "Watchdog(WatchdogEvent { .. })",
            "fields": { "change": "tripped", "late_ns": 155_581, "missed": 1, "watched": "command" },
        });
        assert_eq!(told(&event), "watchdog: change tripped, late 0.2 ms, missed 1, watched command");
        let event =
            json!({ "event": "PeerUnreachable", "fields": { "address": null, "fault": "NetworkDown" } });
        assert_eq!(told(&event), "peer unreachable: fault network down");
        let event = json!({ "event": "CommandsUnguarded", "text": "CommandsUnguarded", "fields": {} });
        assert_eq!(told(&event), "commands unguarded");
        let event = json!({ "event": "PeerConnected", "fields": { "name": "arm\n  0.0 ms  plant: \u{1b}[31mthe trip" } });
        assert_eq!(told(&event), "peer connected: name arm\\u000a  0.0 ms  plant: \\u001b[31mthe trip");
    }
}
