//! What was too slow at this end: a handler, the kernel's buffer, the driver, whoever calls `receive`; and its clock.

use std::ops::Range;

use serde_json::Value;
use tautline::{DropReason, MessageType};

use super::super::story::{At, LATE, LONG, Received, Story};
use super::super::words::span;
use super::cause::{Cause, Kind};
use super::counts::{BURST, number, sum};
use super::sender::suspect;

/// The clock was set, and did not only drift, if it has moved by this.
const STEP_US: f64 = 20_000.0;

pub(super) fn handler_panic(story: &Story) -> Option<Cause> {
    let panics = story.growth(|statistics| number(statistics, "handler_panics"));
    (panics >= 1.0).then(|| {
        Cause::new(Kind::HandlerPanic, format!("a handler panicked, {panics:.0} times near the cause"))
    })
}

pub(super) fn clock_step(story: &Story) -> Option<Cause> {
    let moved = story.growth(|statistics| number(statistics, "wall_clock_moved_us"));
    let sentence = || {
        let way = if moved > 0.0 { "forward" } else { "back" };
        format!(
            "the system's clock was set {way} by {:.1} ms; time stamps and ages are not affected",
            moved.abs() / 1e3
        )
    };
    (moved.abs() >= STEP_US).then(|| Cause::new(Kind::ClockStep, sentence()))
}

pub(super) fn slow_handler(story: &Story) -> Option<Cause> {
    let stuck = story.stuck().and_then(|(since, handler)| {
        Some(format!(
            "the inline {} was called {}, and had not returned when the file was written, {}; meanwhile nothing was read",
            handler?,
            story.when(since),
            story.when(story.written_at)
        ))
    });
    let behind = behind(story, "handler", "handlers_waiting").map(|behind| format!("the {behind}"));
    let late = story.growth(|statistics| number(statistics, "handler_timeouts"));
    let late = (late >= 1.0).then(|| format!("a handler took longer than its limit, {late:.0} times"));
    let dropped = story.growth(|statistics| sum(&statistics["handlers_dropped"]));
    let dropped =
        (dropped >= 10.0).then(|| format!("{dropped:.0} messages that waited for a handler were dropped"));
    // Only what the driver did during the silence can have made it long.
    let last = suspect(story).and_then(|peer| story.silence_of(peer)).map(|(last, _)| last);
    let since = last.filter(|_| story.has_tripped()).unwrap_or(0);
    let busy = story.busy.iter().filter(|(at, busy)| story.is_near(at + busy) && at + busy >= since);
    let busy = busy.max_by_key(|(_, busy)| *busy);
    // If no handler has run, the driver had to wait for the processor.
    let has_handled = story.statistics.last().is_none_or(|(_, last)| number(last, "handled") > 0.0);
    let busy = busy.filter(|(_, busy)| *busy >= LONG && has_handled && !was_stopped(story));
    let busy = busy.map(|(at, busy)| {
        let kept =
            format!("an inline handler kept the driver for {}; meanwhile nothing was read", span(*busy));
        if ran(story, at + LONG..at + busy - LONG / 2) { kept } else { kept + STOPPED_PERHAPS }
    });
    let sentence = stuck.or(busy).or(behind).or(late).or(dropped)?;
    Some(Cause::new(Kind::SlowHandler, sentence))
}

/// A handler that takes long and a process that was stopped look alike.
const STOPPED_PERHAPS: &str =
    ". Nothing was sent meanwhile, so the whole process may have been stopped instead";

/// Whether the record shows that this process ran at some time in this period.
fn ran(story: &Story, period: Range<At>) -> bool {
    let sent = story.sent.iter().map(|(at, ..)| at);
    sent.chain(story.events.iter().map(|(at, _)| at)).any(|at| period.contains(at))
}

/// Whether the watchdog tripped so late that the whole process must have stood still: its thread waits for no other.
fn was_stopped(story: &Story) -> bool {
    let late = story.trigger().and_then(|(_, event)| event["fields"]["late_ns"].as_u64());
    late.is_some_and(|late| late >= LATE)
}

pub(super) fn kernel_buffer_full(story: &Story) -> Option<Cause> {
    let drops = story.kernel_drops();
    let sentence = || {
        format!(
            "the kernel dropped {drops} datagrams, because its receive buffer was full: they came faster than they were read"
        )
    };
    (drops > 0).then(|| Cause::new(Kind::KernelBufferFull, sentence()))
}

/// Datagrams waited in the kernel while a watchdog tripped, and no handler kept the driver.
pub(super) fn driver_late(story: &Story) -> Option<Cause> {
    if let Some((since, None)) = story.stuck() {
        let sentence = format!(
            "the driver read nothing from {} until the file was written, {}: it had to wait for the processor, or the program did \
             not call it",
            story.when(since),
            story.when(story.written_at)
        );
        return Some(Cause::new(Kind::DriverLate, sentence));
    }
    let is_meanwhile = |received: &Received| {
        received.at + LONG >= story.cause_at && received.at - received.in_kernel <= story.cause_at
    };
    if story.has_tripped() && slow_handler(story).is_none() { late(story, is_meanwhile) } else { None }
}

/// Used if nothing else was found: datagrams waited in the kernel.
pub(super) fn called_late(story: &Story) -> Option<Cause> {
    late(story, |received| story.is_near(received.at))
}

fn late(story: &Story, counts: impl Fn(&Received) -> bool) -> Option<Cause> {
    let longest = story
        .received
        .iter()
        .filter(|received| counts(received))
        .max_by_key(|received| received.in_kernel)?;
    let sentence = || {
        format!(
            "a datagram waited {} until it was read, {}, and no inline handler kept the driver: this process was stopped, \
             had to wait for the processor, or called its driver late",
            span(longest.in_kernel),
            story.when(longest.at)
        )
    };
    (longest.in_kernel >= LATE).then(|| Cause::new(Kind::DriverLate, sentence()))
}

pub(super) fn slow_reader(story: &Story) -> Option<Cause> {
    let nobody = nobody_reads(story);
    // The handlers have got the messages.
    if nobody && story.statistics.last().is_some_and(|(_, last)| number(last, "handled") > 0.0) {
        return None;
    }
    let dropped = story.growth(|statistics| sum(&statistics["inbox_dropped"]));
    let dropped = (dropped >= 10.0).then_some(dropped);
    let behind = behind(story, "inbox", "inbox_waiting");
    let sentence = match (behind, dropped) {
        (None, None) => return None,
        _ if nobody => {
            "nobody has called `receive` yet, so all messages wait for it or are dropped: call it, or set `inbox_capacity` to 0"
                .to_owned()
        }
        (Some(behind), _) => format!("whoever calls `receive` is too slow: the {behind}"),
        (_, Some(dropped)) => {
            format!("{dropped:.0} messages that waited for `receive` were dropped: whoever calls it is too slow")
        }
    };
    Some(Cause::new(Kind::SlowReader, sentence))
}

/// Whether `receive` has taken no message since the interface was created.
fn nobody_reads(story: &Story) -> bool {
    story.statistics.last().is_some_and(|(_, last)| last["inbox_taken"] == 0)
}

/// The first reader of this kind that fell behind near the cause, or else the last one that fell behind earlier and never caught
/// up: messages were `waiting` in all statistics since then.
fn behind(story: &Story, reader: &str, waiting: &str) -> Option<String> {
    let is_reader =
        |event: &Value| event["fields"]["reader"].as_str().is_some_and(|name| name.starts_with(reader));
    let near = story.near("ReaderBehind").find(|(_, event)| is_reader(event));
    let earlier = || {
        let (at, event) = story.events.iter().rev().find(|(_, event)| is_reader(event))?;
        let mut since = story
            .statistics
            .iter()
            .filter(|(taken, _)| taken >= at)
            .map(|(_, statistics)| number(statistics, waiting));
        let last = since.clone().next_back()?;
        since.all(|waiting| waiting > 0.0).then_some((*at, event, last))
    };
    let (at, event, waiting): (At, _, f64) = match near {
        Some((at, event)) => (*at, event, event["fields"]["waiting"].as_f64()?),
        None => earlier()?,
    };
    let reader = event["fields"]["reader"].as_str()?;
    Some(format!("{reader} fell behind {}, and {waiting:.0} messages waited", story.when(at)))
}

/// Used if nothing else was found: this end dropped what came, such as messages of a stream that another peer owns.
pub(super) fn dropped_here(story: &Story) -> Option<Cause> {
    // A latch drops messages because it has tripped.
    let is_cause = |reason: &DropReason| ![DropReason::Superseded, DropReason::Latched].contains(reason);
    let counts = DropReason::ALL.iter().filter(|reason| is_cause(reason)).map(|reason| {
        let dropped = |statistics: &Value| {
            ["messages_dropped", "datagrams_dropped"]
                .map(|dropped| number(&statistics[dropped], reason.name()))
                .iter()
                .sum()
        };
        (story.growth(dropped), reason)
    });
    let (most, reason) = counts.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    let sentence = || format!("{most:.0} datagrams or messages were dropped here: {}", reason.explanation());
    (most >= BURST as f64).then(|| Cause::new(Kind::DroppedHere, sentence()))
}

/// Used if nothing else was found: most messages were replaced by newer ones before anybody took them. That is no fault where only
/// the newest counts, but it shows that messages come faster than the handler or the caller of `receive` takes them.
pub(super) fn outpaced(story: &Story) -> impl Iterator<Item = Cause> {
    // The ring may not reach back as far as the statistics. So it only gives the share of messages that newer ones may replace.
    let near = || story.heard.iter().filter(|heard| story.is_near(heard.at));
    let share =
        near().filter(|heard| is_replaced(story, heard.message_type)).count() as f64 / near().count() as f64;
    let heard = (share * story.growth(|statistics| number(statistics, "messages_received"))).round();
    let consumers = [
        (Kind::SlowHandler, "handlers_dropped", "a handler took them: they come faster than it works"),
        (Kind::SlowReader, "inbox_dropped", "`receive` took them: they come faster than it is called"),
    ];
    let is_taken = |kind| kind != Kind::SlowReader || !nobody_reads(story);
    consumers.into_iter().filter(move |(kind, ..)| is_taken(*kind)).filter_map(move |(kind, dropped, who)| {
        let replaced = story.growth(|statistics| number(&statistics[dropped], "superseded"));
        (replaced >= 10.0 && replaced > heard / 2.0).then(|| {
            Cause::new(
                kind,
                format!("{replaced:.0} of {heard:.0} messages were replaced by newer ones before {who}"),
            )
        })
    })
}

/// Whether only some of the latest messages of this type wait for their reader: by default those of commands.
fn is_replaced(story: &Story, message_type: MessageType) -> bool {
    message_type == MessageType::Command
        || story.settings.contains_key("profile")
        || story.settings.contains_key(&format!("{message_type}.history"))
}
