//! Names what went wrong near the cause of a file: one rule for each kind of incident.
//!
//! What explains the rest comes first: a flood fills the kernel's buffer, and a handler that takes long leaves a queue. A path that
//! has shrunk comes before the handler: on a busy machine, a driver that had to wait for the processor looks like a slow one. A peer's
//! silence is judged last, because this end may only have been too late to hear it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use tautline::PeerId;

use super::story::{At, Story};

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
    NetworkCut,
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
            Kind::NetworkCut => "network cut",
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
    let found: Vec<_> = rules.into_iter().filter_map(|rule| rule(story)).collect();
    if found.is_empty() { held_up(story).into_iter().chain(outpaced(story)).collect() } else { found }
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
    let (begin, _, _) = near.first()?;
    let (end, from, reason) = near.last()?;
    // A short flood counts, too.
    let meanwhile = story.received.iter().filter(|received| (begin..=end).contains(&&received.at)).count();
    if near.len() < FLOOD || near.len() <= meanwhile {
        return None;
    }
    let sentence = format!(
        "{} datagrams of strangers were dropped within {:.1} s, beside {meanwhile} of peers; the last came from {from} ({})",
        near.len(),
        (end - begin) as f64 / 1e9,
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
            story.when(*at)
        )
    };
    // A few are enough if they made the silence after which a watchdog tripped.
    let is_silence = story.has_tripped()
        && ended_silence(story)
            .is_some_and(|(peer, at)| gaps.iter().any(|(gap, of, _)| (*gap, *of) == (at, peer)));
    ((lost >= BURST || is_silence) && lost > dropped_here).then(|| Cause::new(Kind::LossBurst, sentence()))
}

/// The peer that was silent at the cause, and when it came back.
fn ended_silence(story: &Story) -> Option<(PeerId, At)> {
    let peer = story.heard_last()?;
    let back =
        story.received.iter().find(|received| received.peer == peer && received.at > story.cause_at)?;
    Some((peer, back.at))
}

/// Used if nothing else was found: a peer was silent for long, and came back long before somebody asked for the file.
fn held_up(story: &Story) -> Option<Cause> {
    let mut latest = BTreeMap::new();
    let mut longest = None;
    for received in story.received.iter().filter(|received| story.is_near(received.at)) {
        // The time when it came, and not when it was read.
        let came = received.at - received.in_kernel;
        let before = latest.insert(received.peer, came).unwrap_or(came);
        longest = longest.max(Some((came.saturating_sub(before), before, received.peer)));
    }
    let (silent, last, peer) = longest.filter(|(silent, ..)| *silent >= LONG_SILENCE_NS)?;
    let sentence = format!(
        "{peer} sent nothing for {:.1} ms, from {}, and then went on: it was held up or stopped",
        silent as f64 / 1e6,
        story.when(last)
    );
    Some(Cause::new(Kind::PeerStopped, sentence))
}

/// Used if nothing else was found: most messages were replaced by newer ones before anybody took them. That is no fault where only
/// the newest counts, but it shows that messages come faster than the handler or the caller of `receive` takes them.
fn outpaced(story: &Story) -> impl Iterator<Item = Cause> {
    let heard = story.heard.iter().filter(|heard| story.is_near(heard.at)).count() as f64;
    let consumers = [
        (Kind::SlowHandler, "handlers_dropped", "a handler took them: they come faster than it works"),
        (Kind::SlowReader, "inbox_dropped", "`receive` took them: they come faster than it is called"),
    ];
    consumers.into_iter().filter_map(move |(kind, dropped, who)| {
        let replaced = story.growth(|statistics| number(&statistics[dropped], "superseded"));
        (replaced >= 10.0 && replaced > heard / 2.0).then(|| {
            Cause::new(
                kind,
                format!("{replaced:.0} of {heard:.0} messages were replaced by newer ones before {who}"),
            )
        })
    })
}

/// A peer whose silence has lasted this long when a watchdog tripped was silent.
const SILENCE_NS: u64 = 15_000_000;

/// The same for other causes: some heartbeats are missing.
const LONG_SILENCE_NS: u64 = 300_000_000;

fn silence(story: &Story) -> Option<Cause> {
    // The peer that was heard last, if no watchdog names one.
    let peer = story.heard_last()?;
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
    let mut reports = story.near("PeerUnreachable").filter(|(at, event)| {
        *at + SILENCE_NS >= last
            && event["fields"]["address"].as_str().is_none_or(|at| at == address.to_string())
    });
    if let Some((_, report)) = reports.next() {
        let silence = format!("{peer} at {address} was silent for {silent_ms:.1} ms, and");
        return Some(if report["fields"]["fault"] == "PortUnreachable" {
            let sentence = format!(
                "{silence} its machine says that nothing listens at its port: its process has ended without a goodbye"
            );
            Cause::new(Kind::PeerKilled, sentence)
        } else {
            let problem = report["fields"]["problem"].as_str().unwrap_or("an error");
            Cause::new(Kind::NetworkCut, format!("{silence} nothing could be sent to it: {problem}"))
        });
    }
    let back = story.received.iter().find(|received| received.peer == peer && received.at > story.cause_at);
    let lost = story.gaps().iter().any(|(at, of, _)| *of == peer && back.is_some_and(|back| *at == back.at));
    Some(match back {
        Some(back) if !lost => {
            let went_on = match back.number {
                Some(_) => "and then went on with the next number: it was held up or stopped",
                None => {
                    "and then went on: it was held up or stopped, or the network was cut. Without sequence numbers, this \
                         end cannot tell which"
                }
            };
            let sentence =
                format!("{peer} sent nothing for {:.1} ms, {went_on}", (back.at - last) as f64 / 1e6);
            Cause::new(Kind::PeerStopped, sentence)
        }
        Some(_) => return None,
        None => {
            let end = story.end();
            let until = if end > story.cause_at {
                format!(", and until the record ends, {}", story.when(end))
            } else {
                String::new()
            };
            let sent = story.sent.iter().filter(|(at, to, _)| *to == peer && *at > last);
            let sent: u64 = sent.map(|(.., count)| count).sum();
            let sentence = format!(
                "{peer} at {address} was silent for {silent_ms:.1} ms without a goodbye{until}. The {sent} datagrams that were \
                 sent to it meanwhile led to no error: its process is stopped, or the network is cut. This end cannot tell which"
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

#[cfg(test)]
mod tests {
    use super::super::story::{Heard, Received};
    use super::*;

    const MS: u64 = 1_000_000;

    /// When the watchdog trips.
    const TRIP: At = 10_000 * MS;

    const PEER: &str = "127.0.0.1:5000";

    /// A peer that sent 500 datagrams a second, until 100 ms before a watchdog tripped.
    fn silence() -> Story {
        let mut story = Story { cause_at: TRIP, ..Story::default() };
        story.incident.insert("cause".into(), "watchdog".into());
        story.peers.insert(PeerId::none(), PEER.parse().expect("an address"));
        story.received.extend((0..450).map(|number| received(TRIP - 1_000 * MS + 2 * MS * number, number)));
        story
    }

    fn received(at: At, number: u64) -> Received {
        Received { at, peer: PeerId::none(), number: Some(number), in_kernel: 0 }
    }

    fn names(story: &Story) -> Vec<&'static str> {
        of(story).iter().map(Cause::name).collect()
    }

    #[test]
    fn only_a_closed_port_shows_that_a_process_has_ended() {
        for (fault, name) in [
            ("PortUnreachable", "peer killed"),
            ("HostUnreachable", "network cut"),
            ("NetworkUnreachable", "network cut"),
            ("NetworkDown", "network cut"),
        ] {
            let mut story = silence();
            let fields = json!({ "address": PEER, "fault": fault, "problem": "No route to host" });
            story.events.push((TRIP - 50 * MS, json!({ "event": "PeerUnreachable", "fields": fields })));
            assert_eq!(names(&story), [name], "{fault}");
        }
    }

    #[test]
    fn a_silent_peer_is_told_with_what_was_sent_to_it_until_the_record_ends() {
        let mut story = silence();
        story.sent.extend((0..40).map(|index| (TRIP + 5 * MS * index, PeerId::none(), 1)));
        let found = of(&story);
        assert_eq!(found[0].name(), "peer stopped");
        let sentence = &found[0].sentence;
        assert!(
            sentence.contains("silent for 102.0 ms") && sentence.contains("195.0 ms after the trip"),
            "{sentence}"
        );
        assert!(sentence.contains("The 40 datagrams"), "{sentence}");
    }

    #[test]
    fn a_few_losses_are_named_if_they_made_the_silence() {
        let mut story = silence();
        story.received.push(received(TRIP + 20 * MS, 455));
        assert_eq!(names(&story), ["network loss"], "5 are missing");
        let mut story = silence();
        story.received.push(received(TRIP + 20 * MS, 450));
        assert_eq!(names(&story), ["peer stopped"], "none is missing");
        assert!(of(&story)[0].sentence.contains("the next number"));
        // The classic wire may have no numbers.
        story.received.iter_mut().for_each(|received| received.number = None);
        assert_eq!(names(&story), ["peer stopped"]);
        assert!(of(&story)[0].sentence.contains("cannot tell which"));
    }

    #[test]
    fn a_silence_that_ended_long_before_somebody_asked_is_named() {
        let mut story = silence();
        story.incident.insert("cause".into(), "signal".into());
        story.received.iter_mut().for_each(|received| received.at -= 1_000 * MS);
        story
            .received
            .extend((450..800).map(|number| received(TRIP - 700 * MS + 2 * MS * (number - 450), number)));
        assert_eq!(names(&story), ["peer stopped"]);
        assert!(of(&story)[0].sentence.contains("nothing for 402.0 ms"), "{}", of(&story)[0].sentence);
        // This end was late to read what had come in time.
        story.received[450..].iter_mut().for_each(|received| received.in_kernel = 390 * MS);
        assert!(names(&story).is_empty());
    }

    #[test]
    fn a_flood_that_is_short_is_named_beside_a_fast_peer() {
        let mut story = silence();
        story.received.extend((450..8_000).map(|number| received(TRIP - 90 * MS + 12_000 * number, number)));
        story.received.sort_by_key(|received| received.at);
        let stranger = "10.0.0.9:9".parse().expect("an address");
        let drops = (0..3_000)
            .map(|number| (TRIP - 90 * MS + 10_000 * number, stranger, tautline::DropReason::Malformed));
        story.dropped.extend(drops);
        assert_eq!(names(&story).first(), Some(&"flood"));
    }

    #[test]
    fn replaced_messages_are_named_only_if_nothing_else_was_found() {
        let heard = |number| Heard {
            at: TRIP - number * MS,
            peer: PeerId::none(),
            message_type: tautline::MessageType::Command,
            age: None,
            bytes: 8,
        };
        for (dropped, name) in [("handlers_dropped", "slow handler"), ("inbox_dropped", "slow reader")] {
            let mut story = Story { cause_at: TRIP, ..Story::default() };
            story.heard.extend((0..500).map(heard));
            story.statistics.push((TRIP, json!({ dropped: { "superseded": 400 } })));
            assert_eq!(names(&story), [name]);
            story.statistics.push((TRIP, json!({ dropped: { "superseded": 400 }, "handler_panics": 1 })));
            assert_eq!(names(&story), ["handler panic"]);
            story.statistics.push((TRIP, json!({ dropped: { "superseded": 40 } })));
            assert!(names(&story).is_empty(), "most were taken");
        }
    }
}
