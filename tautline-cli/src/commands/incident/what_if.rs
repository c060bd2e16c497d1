//! Says what would have been different with another setting. The library's own parser reads the setting, and the protocol is run
//! again with what comes of it.
//!
//! The peers' datagrams are as they were: what a peer would have sent in answer is not known.

use std::collections::BTreeMap;

use tautline::black_box::read::{BlackBoxError, BlackBoxFile, Half, Happened, Step};
use tautline::{MessageType, Settings};

use crate::tools::exit::Failure;

/// What a run has led to: how often each thing happened, by its name.
#[derive(Default)]
struct Counts(BTreeMap<String, u64>);

/// Returns the answer as text.
pub(super) fn answer(file: &BlackBoxFile, change: &str) -> Result<String, Failure> {
    let (key, value) = change.split_once('=').ok_or_else(|| {
        Failure::usage(format!("{change:?} is no setting: write KEY=VALUE, such as lifespan=5ms"))
    })?;
    let (key, value) = (key.trim(), value.trim());
    let recorded = file.config();
    let mut changed = recorded.clone();
    let usage = |error: tautline::ConfigError| Failure::usage(error.to_string());
    if key == "lifespan" {
        for of_type in MessageType::ALL {
            changed.set(&format!("{of_type}.lifespan"), value).map_err(usage)?;
        }
    } else {
        changed.set(key, value).map_err(usage)?;
    }
    let before = recorded.settings().map_err(|error| {
        Failure::failed(format!("the settings in the file contradict themselves: {error}"))
    })?;
    let after = changed.settings().map_err(usage)?;
    if before == after {
        return Err(Failure::usage(format!("the file was recorded with {key}={value} already")));
    }
    if (before.role, before.wire) != (after.role, after.wire) {
        return Err(Failure::usage(format!(
            "{key} cannot be tried: the record is that of a {} on the {} wire, and means nothing to another one",
            file.incident.get("role").map_or("program", String::as_str),
            before.wire
        )));
    }
    let failure = |error: BlackBoxError| Failure::failed(error.to_string());
    let (mut then, mut now) = (Counts::default(), Counts::default());
    let rerun = file.rerun_with(&before, &after, |half, step| now.take(half, step, &after));
    let is_run = rerun.map_err(failure)?.is_some();
    if !is_run && !lifespans_differ(&before, &after) {
        return Err(Failure::usage(format!(
            "{key} cannot be tried: no rerun depends on it, because it acts on sockets, threads and queues, and the record \
             begins behind them"
        )));
    }
    file.rerun(|half, step| {
        then.take(half, step, &before);
        if !is_run {
            now.take(half, step, &after);
        }
    })
    .map_err(failure)?;
    Ok(format!(
        "With {key}={value}, if the peers had sent the same datagrams, and this end the same messages:\n{}",
        differences(&then, &now)
    ))
}

/// Whether messages would be too old at another age. The driver drops them, not the protocol.
fn lifespans_differ(before: &Settings, after: &Settings) -> bool {
    let lifespans = |settings: &Settings| -> Vec<_> {
        let set = settings.streams.iter().filter_map(|(selector, qos)| Some((selector, qos.lifespan?)));
        set.collect()
    };
    lifespans(before) != lifespans(after)
}

fn differences(then: &Counts, now: &Counts) -> String {
    let names: std::collections::BTreeSet<_> = then.0.keys().chain(now.0.keys()).collect();
    let count = |counts: &Counts, name: &str| counts.0.get(name).copied().unwrap_or(0);
    let mut text = String::new();
    for name in names {
        let (then, now) = (count(then, name), count(now, name));
        if then != now {
            text.push_str(&format!("  {name}: {now} instead of {then}\n"));
        }
    }
    if then.0 == now.0 {
        text.push_str(&format!(
            "  no difference in messages, drops, silences and outcomes ({MESSAGES}: {})\n",
            count(now, MESSAGES)
        ));
    }
    text
}

const MESSAGES: &str = "messages handed out";
const TOO_OLD: &str = "messages dropped because they were too old when they were read";
const WITHOUT_AGE: &str = "messages whose age is not known";

impl Counts {
    fn add(&mut self, name: &str) {
        *self.0.entry(name.to_owned()).or_default() += 1;
    }

    fn take(&mut self, half: Half, step: &Step<'_>, settings: &Settings) {
        match step {
            Step::Message { clock, message, .. } => {
                let of_stream = settings.streams.of(message.message_type, message.channel).lifespan;
                let age = clock.map(|clock| clock.greatest_age(message.timestamp));
                match (message.lifespan.or(of_stream), age) {
                    (Some(lifespan), Some(age)) if age > lifespan => self.add(TOO_OLD),
                    (Some(_), None) => {
                        self.add(WITHOUT_AGE);
                        self.add(MESSAGES);
                    }
                    _ => self.add(MESSAGES),
                }
            }
            Step::Event(_, Happened::Dropped { reason, .. }) => {
                self.add(&format!("datagrams dropped ({})", reason.name()));
            }
            Step::Event(_, Happened::Silent(_)) => self.add("peers reported silent"),
            Step::Event(_, Happened::Removed(..)) => self.add("peers removed"),
            Step::Event(_, Happened::Refused) => self.add("refusals by the server"),
            Step::Outcome(_, outcome) => self.add(&format!("reliable messages that ended as {outcome:?}")),
            Step::Sent(..) if half == Half::Outbound => {}
            _ => {}
        }
    }
}
