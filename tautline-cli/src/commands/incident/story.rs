//! What a black box shows, in order: collected while the file is run again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tautline::black_box::notes;
use tautline::black_box::read::{BlackBoxError, BlackBoxFile, Happened, Rerun, Step};
use tautline::{DropReason, Instant, MessageType, PeerId};

use super::words::span;
use crate::tools::origin;
use crate::tools::output::escaped;
use crate::tools::words::counted;

/// A time on the steady clock, in nanoseconds.
pub(super) type At = u64;

/// How long before the cause of the file the causes are looked for.
pub(super) const WINDOW: u64 = 3_000_000_000;

const SECOND: u64 = 1_000_000_000;

/// A file is written within this time after its cause, unless the machine is too busy.
const FOLLOWS: u64 = SECOND;

/// For a control loop, a handler that runs for this time is slow, and so is a datagram that waits for it.
pub(super) const LONG: u64 = 20_000_000;

/// A delay of this length shows that the driver, or the whole process, was late.
pub(super) const LATE: u64 = 100_000_000;

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
    pub(super) written_at: At,
    /// When the last input of the receiving half came, and the latest time for the driver's next turn.
    pub(super) last_input: Option<At>,
    pub(super) due: Option<At>,
    pub(super) received: Vec<Received>,
    /// How many segments of the rings cannot be read, and whether the rest of the file is missing.
    pub(super) damaged: u64,
    pub(super) is_cut_off: bool,
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
            is_cut_off: file.is_cut_off,
            events: parse(&file.events),
            statistics: parse(&file.statistics),
            ..Self::default()
        };
        story.written_at = file.incident.get("written_ns").and_then(|ns| ns.parse().ok()).map_or(0, steady);
        story.cause_at = story.trigger().map(|(at, _)| *at).unwrap_or(story.written_at);
        let reruns = file.rerun(|_, step| story.take(step))?;
        [story.last_input, story.due] = [reruns[0].last, reruns[0].due].map(|at| at.map(Instant::as_nanos));
        story.damaged = file.damaged + reruns.iter().map(|rerun| rerun.unreadable).sum::<u64>();
        story.received.sort_by_key(|received| received.at);
        Ok((story, reruns))
    }

    /// The trip or the failure, if that is why the file was written. Others may have followed before it was written.
    pub(super) fn trigger(&self) -> Option<&(At, Value)> {
        let is_trigger = |event: &Value| match self.incident.get("cause").map(String::as_str) {
            Some("watchdog") => event["fields"]["change"] == "tripped",
            Some("error") => event["fields"]["to"] == "Error",
            _ => false,
        };
        let mut triggers = self.events.iter().filter(|(_, event)| is_trigger(event));
        let is_recent = |(at, _): &&(At, Value)| at + FOLLOWS >= self.written_at;
        triggers.clone().find(is_recent).or_else(|| triggers.next_back())
    }

    /// What the watchdog that has tripped waits for, such as "command" or "status of p2".
    pub(super) fn watched(&self) -> Option<&str> {
        self.trigger()?.1["fields"]["watched"].as_str()
    }

    /// Since when the driver has done nothing, and the inline handler that it called, if any. `None` if it went on before the file
    /// was written.
    pub(super) fn stuck(&self) -> Option<(At, Option<&str>)> {
        let since = self.last_input?;
        let handler = self.statistics.last().and_then(|(_, last)| last["inline_at_work"].as_str());
        let is_over = |limit, at: At| self.written_at.saturating_sub(at) >= limit;
        let is_stuck = match handler {
            Some(_) => is_over(LONG, since),
            // After a standstill, it may have begun to read again, and its next turn is not recorded yet.
            None => self.is_open() && is_over(LONG, since) && self.due.is_some_and(|due| is_over(LATE, due)),
        };
        is_stuck.then_some((since, handler))
    }

    /// Whether the connection was not ended yet when the file was written.
    fn is_open(&self) -> bool {
        let mut states = self.events.iter().rev().filter(|(_, event)| event["event"] == "StateChanged");
        let state = states.find_map(|(_, event)| event["fields"]["to"].as_str());
        state.is_none_or(|state| !["Disconnected", "Error", "Closed"].contains(&state))
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

    /// How far the record reaches back. `None` if that is the whole time in which causes are looked for, or if nothing before it
    /// was overwritten.
    pub(super) fn short_record(&self) -> Option<u64> {
        let first = self.received.first()?.at;
        let (begin, _) = self.statistics.first()?;
        (self.is_near(first) && begin + SECOND < first).then(|| self.cause_at.saturating_sub(first))
    }

    /// When the record ends.
    pub(super) fn end(&self) -> At {
        let received = self.received.last().map_or(0, |received| received.at);
        let sent = self.sent.last().map_or(0, |(at, ..)| *at);
        received.max(sent).max(self.cause_at)
    }

    /// Whether two peers are the same end: its session was replaced by another one from the same address.
    pub(super) fn is_same_end(&self, one: PeerId, other: PeerId) -> bool {
        one == other || self.peers.get(&one).is_some_and(|address| self.peers.get(&other) == Some(address))
    }

    /// When a peer was last heard before the cause, and for how long it had been silent then.
    pub(super) fn silence_of(&self, peer: PeerId) -> Option<(At, u64)> {
        let before = self
            .received
            .iter()
            .rev()
            .find(|received| received.at <= self.cause_at && self.is_same_end(received.peer, peer))?;
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
        format!("{} {side} {}", span(at.abs_diff(self.cause_at)), self.cause())
    }

    /// A peer, with the name that it has told, if it has one.
    pub(super) fn who(&self, peer: PeerId) -> String {
        let number = peer.to_string();
        let of_peer = self.events.iter().rev().map(|(_, event)| &event["fields"]).find(|fields| {
            fields["peer"].as_str() == Some(&number)
                && fields["name"].as_str().is_some_and(|name| !name.is_empty())
        });
        let name = of_peer.and_then(|fields| fields["name"].as_str()).map(escaped);
        name.map_or_else(|| number.clone(), |name| format!("{number} (\"{name}\")"))
    }

    /// A line that warns of a damaged file. Empty if the file is whole.
    pub(super) fn doubt(&self) -> String {
        let parts = match (self.damaged, self.is_cut_off) {
            (0, false) => return String::new(),
            (0, true) => "it was cut off, or the rest of it cannot be read".to_owned(),
            (damaged, _) => format!("{damaged} parts of the record cannot be read"),
        };
        format!("The file is damaged: {parts}. So some of what follows may be wrong.\n")
    }

    pub(super) fn heading(&self) -> String {
        let fact = |name: &str| self.incident.get(name).map_or("?", String::as_str);
        let watched = self
            .watched()
            .map_or_else(String::new, |watched| format!("It waits for: {}.\n", escaped(watched)));
        let (role, version) = (escaped(fact("role")), escaped(fact("version")));
        let cause = match fact("cause") {
            "watchdog" => "A watchdog tripped",
            "error" => "The connection failed",
            _ => "The file was asked for",
        };
        let first = self.received.first().map_or(self.cause_at, |received| received.at);
        format!(
            "Black box of {:?}, a {role} (tautline {version}).\n{cause} at {}.\n{watched}The record begins {:.1} s before: {} datagrams \
             accepted, {} dropped, {} sent.\n",
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
            lines.push(format!(
                "last {what} received: {}, from {peer}, {}{age}",
                self.when(*at),
                counted(*bytes as u64, "byte")
            ));
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
                    "last loss: {} of {peer} did not come, noticed {}",
                    counted(*missing, "datagram"),
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
        json!({
            "incident": self.incident,
            "accepted": self.received.len(),
            "dropped": self.dropped.len(),
            "is_damaged": self.is_cut_off || self.damaged > 0,
        })
    }
}
