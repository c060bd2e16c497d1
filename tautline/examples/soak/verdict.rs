//! The records of a soak, and the check whether everything is accounted for.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::other::Other;
use crate::relay::{Counts, Relay};

/// The most that resident memory may grow. This is less than a page for each minute of a long soak, and more than the growth
/// that comes from the allocator itself.
const MOST_GROWTH_KB: u64 = 1024;

/// The state of both ends and the relay at one time.
#[derive(Debug)]
pub(crate) struct Record {
    after: Duration,
    /// Plant and controller.
    ends: [Value; 2],
    relay: Counts,
}

impl Record {
    pub(crate) fn take(after: Duration, plant: &mut Other, controller: &mut Other, relay: &Relay) -> Self {
        Self { after, ends: [plant.ask(), controller.ask()], relay: relay.counts() }
    }

    /// Returns the counts that do not agree. To be called when nothing is in flight.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut same = |what: String, one: u64, other: u64| {
            if one != other {
                problems.push(format!("{what}: {one} and {other}"));
            }
        };
        for (way, name) in ["plant", "controller"].iter().enumerate() {
            let (here, there) = (End(&self.ends[way]), End(&self.ends[1 - way]));
            same(format!("{name}: sessions so far, and 1"), here.own("sessions"), 1);
            same(
                format!("sent to the {name}, and received + lost there"),
                there.own("peer_sent"),
                here.own("peer_received") + here.count("lost") + here.count("missing"),
            );
            same(
                format!("let through to the {name}, and received + dropped by the kernel there"),
                self.relay[way].delivered,
                here.count("datagrams_received") + here.count("kernel_drops"),
            );
            same(
                format!("{name}: received, and accepted + dropped"),
                here.count("datagrams_received"),
                here.count("datagrams_accepted") + here.sum("datagrams_dropped"),
            );
            same(
                format!("{name}: messages received, and offered to the inbox + expired + stale + superseded"),
                here.count("messages_received"),
                here.own("inbox_offered")
                    + here.dropped("expired")
                    + here.dropped("stale")
                    + here.dropped("superseded"),
            );
            same(
                format!("{name}: inbox offered, and taken + dropped + waiting"),
                here.own("inbox_offered"),
                here.own("own_taken") + here.sum("inbox_dropped") + here.count("inbox_waiting"),
            );
            same(
                format!("{name}: reliable messages sent, and outcomes"),
                here.own("own_reliable"),
                here.own("reliable_ended"),
            );
        }
        problems
    }
}

/// The answer of one end.
struct End<'a>(&'a Value);

impl End<'_> {
    fn own(&self, key: &str) -> u64 {
        self.0[key].as_u64().unwrap_or(0)
    }

    fn count(&self, key: &str) -> u64 {
        self.0["statistics"][key].as_u64().unwrap_or(0)
    }

    /// Returns the messages that were dropped for this reason before they were offered to the inbox.
    fn dropped(&self, reason: &str) -> u64 {
        self.0["statistics"]["messages_dropped"][reason].as_u64().unwrap_or(0)
    }

    /// Returns the sum of a map from reason to count.
    fn sum(&self, key: &str) -> u64 {
        let counts = self.0["statistics"][key].as_object();
        counts.map_or(0, |counts| counts.values().filter_map(Value::as_u64).sum())
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6.0} s", self.after.as_secs_f64())?;
        for (end, name) in self.ends.iter().map(End).zip(["plant", "controller"]) {
            write!(
                f,
                "\n    {name:<10} {} kB, {} descriptors, {} threads; messages sent {}, refused {}, taken {}; datagrams sent \
                 {}, received {}, lost {}, late {}, duplicate {}, dropped {}, by the kernel {}; reliable {} of {} delivered",
                end.own("memory_kb"),
                end.own("descriptors"),
                end.own("threads"),
                end.own("own_sent"),
                end.own("own_refused"),
                end.own("own_taken"),
                end.own("peer_sent"),
                end.own("peer_received"),
                end.count("lost"),
                end.count("late"),
                end.count("duplicate"),
                end.0["statistics"]["datagrams_dropped"],
                end.count("kernel_drops"),
                end.own("reliable_delivered"),
                end.own("own_reliable"),
            )?;
        }
        for (counts, to) in self.relay.iter().zip(["plant", "controller"]) {
            write!(
                f,
                "\n    to the {to}: {} came, {} lost, {} cut off, {} queue full, {} copies, {} let through, {} of \
                 them corrupted",
                counts.offered,
                counts.lost,
                counts.partitioned,
                counts.queue_full,
                counts.copies,
                counts.delivered,
                counts.corrupted
            )?;
        }
        Ok(())
    }
}

/// Prints the result of the soak. Returns failure if there is a problem.
pub(crate) fn report(records: &[Record], problems: &[String]) -> ExitCode {
    let mut problems = problems.to_vec();
    if let [first, .., last] = records {
        problems.extend(growth(first, last));
    }
    for problem in &problems {
        println!("WRONG: {problem}");
    }
    if problems.is_empty() {
        println!("memory, descriptors and threads stayed flat, and the accounting is exact");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn growth(first: &Record, last: &Record) -> Vec<String> {
    let mut problems = Vec::new();
    for (end, name) in ["plant", "controller"].iter().enumerate() {
        let (first, last) = (End(&first.ends[end]), End(&last.ends[end]));
        let (before, after) = (first.own("memory_kb"), last.own("memory_kb"));
        println!("{name}: {before} kB of memory at first, {after} kB at the end");
        if after > before + MOST_GROWTH_KB {
            problems.push(format!("{name}: memory grew from {before} to {after} kB"));
        }
        // At the end the sending thread has ended, so one thread less is right.
        for (what, allowed) in [("descriptors", 0), ("threads", 1)] {
            let (before, after) = (first.own(what), last.own(what));
            if after > before || after + allowed < before {
                problems.push(format!("{name}: {before} {what} at first, {after} at the end"));
            }
        }
    }
    problems
}
