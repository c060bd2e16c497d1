//! Says what would have been different with another setting. The library's own parser reads the setting, and the protocol is run
//! again with what comes of it.
//!
//! The peers' datagrams are as they were: what a peer would have sent in answer is not known.

use std::collections::BTreeMap;
use std::time::Duration;

use tautline::black_box::read::{BlackBoxError, BlackBoxFile, Happened, Step};
use tautline::{Config, ConfigError, Instant, MessageType, PeerId, Selector, Settings};

use crate::tools::exit::Failure;
use crate::tools::output::escaped;

/// What a run has led to: how often each thing happened, by its name.
#[derive(Default)]
struct Counts {
    by_name: BTreeMap<String, u64>,
    /// When each stream was heard last.
    heard: BTreeMap<(PeerId, MessageType, u16), Instant>,
    latest: Instant,
}

/// Returns the answer as text.
pub(super) fn answer(file: &BlackBoxFile, change: &str) -> Result<String, Failure> {
    let (key, value) = change.split_once('=').ok_or_else(|| {
        Failure::usage(format!("{change:?} is no setting: write KEY=VALUE, such as lifespan=5ms"))
    })?;
    let (key, value) = (key.trim(), value.trim());
    let recorded = file.config();
    let mut changed = recorded.clone();
    let usage = |error: ConfigError| Failure::usage(error.to_string());
    if FOR_ALL_TYPES.contains(&key) {
        for of_type in MessageType::ALL {
            changed.set(&format!("{of_type}.{key}"), value).map_err(usage)?;
        }
    } else {
        changed.set(key, value).map_err(|error| of_a_stream(&error, key).unwrap_or_else(|| usage(error)))?;
    }
    let before = recorded.settings().map_err(|error| {
        Failure::failed(format!("the settings in the file contradict themselves: {error}"))
    })?;
    let after = changed.settings().map_err(usage)?;
    if before == after {
        return Err(Failure::usage(format!(
            "the file was recorded with {key}={value} already: name another value, or leave out --what-if to see what happened"
        )));
    }
    if (before.role, before.wire) != (after.role, after.wire) {
        return Err(Failure::usage(format!(
            "{key} cannot be tried: the record is that of a {} on the {} wire, and means nothing to another one",
            escaped(file.incident.get("role").map_or("program", String::as_str)),
            before.wire
        )));
    }
    let failure = |error: BlackBoxError| Failure::failed(error.to_string());
    let (mut then, mut now) = (Counts::default(), Counts::default());
    let rerun = file.rerun_with(&before, &after, |_, step| now.take(step, &after));
    let is_run = rerun.map_err(failure)?.is_some();
    if !is_run && times(&before) == times(&after) {
        return Err(Failure::usage(format!(
            "{key} cannot be tried: no rerun depends on it, because it acts on sockets, threads and queues, and the record \
             begins behind them. {CAN_BE_TRIED}"
        )));
    }
    file.rerun(|_, step| {
        then.take(step, &before);
        if !is_run {
            now.take(step, &after);
        }
    })
    .map_err(failure)?;
    then.end(&before);
    now.end(&after);
    Ok(format!(
        "With {key}={value}, if the peers had sent the same datagrams, and this end the same messages:\n{}",
        differences(&then, &now)
    ))
}

/// Returns the failure if the unknown key is one of a stream, perhaps misspelled, whose type is missing.
fn of_a_stream(error: &ConfigError, key: &str) -> Option<Failure> {
    matches!(error, ConfigError::UnknownKey { nearest: None, .. }).then_some(())?;
    let of_type = format!("{}.{key}", MessageType::Command);
    let meant = match Config::default().set(&of_type, "").err()? {
        ConfigError::UnknownStreamKey { nearest, .. } => nearest?,
        _ => of_type,
    };
    let alone = meant.rsplit('.').next().filter(|key| FOR_ALL_TYPES.contains(key));
    Some(Failure::usage(format!("there is no key `{key}`: did you mean `{}`?", alone.unwrap_or(&meant))))
}

/// The keys of a stream that may stand without a type.
const FOR_ALL_TYPES: [&str; 2] = ["lifespan", "deadline"];

/// The settings on which the record depends.
const CAN_BE_TRIED: &str = "These can be: heartbeat_interval, liveness_timeout, peer_expiry, reliable_tries, allow, max_peers, \
    max_message_size, max_depth, nonfinite, mtu, use_crc, use_sequence, and lifespan, deadline and owner of a stream";

/// The lifespans and deadlines of streams. The driver knows them, not the protocol.
fn times(settings: &Settings) -> Vec<(Selector, [Option<Duration>; 2])> {
    let times = settings.streams.iter().map(|(selector, qos)| (selector, [qos.lifespan, qos.deadline]));
    times.filter(|(_, times)| times.iter().any(Option::is_some)).collect()
}

fn differences(then: &Counts, now: &Counts) -> String {
    let names: std::collections::BTreeSet<_> = then.by_name.keys().chain(now.by_name.keys()).collect();
    let count = |counts: &Counts, name: &str| counts.by_name.get(name).copied().unwrap_or(0);
    let mut text = String::new();
    for name in names {
        let (then, now) = (count(then, name), count(now, name));
        if then != now {
            text.push_str(&format!("  {name}: {now} instead of {then}\n"));
        }
    }
    if then.by_name == now.by_name {
        text.push_str(&format!(
            "  no difference in messages, drops, silences and outcomes ({MESSAGES}: {})\n",
            count(now, MESSAGES)
        ));
    }
    text
}

const MESSAGES: &str = "messages handed out";
const TOO_OLD: &str = "messages dropped because they were too old when they were read";
const MISSED: &str = "silences of streams that were longer than their deadline";
const WITHOUT_AGE: &str = "messages handed out whatever their lifespan, because their age was not known yet";

impl Counts {
    fn add(&mut self, name: &str) {
        *self.by_name.entry(name.to_owned()).or_default() += 1;
    }

    /// Counts the silences that had not ended.
    fn end(&mut self, settings: &Settings) {
        let (latest, heard) = (self.latest, std::mem::take(&mut self.heard));
        for ((_, message_type, channel), last) in heard {
            let deadline = settings.streams.of(message_type, channel).deadline;
            if deadline.is_some_and(|deadline| latest.since(last) > deadline) {
                self.add(MISSED);
            }
        }
    }

    fn take(&mut self, step: &Step<'_>, settings: &Settings) {
        match step {
            Step::Message { now, peer, clock, message } => {
                let of_stream = settings.streams.of(message.message_type, message.channel);
                let stream = (*peer, message.message_type, message.channel);
                if let Some(before) = self.heard.insert(stream, now.steady)
                    && of_stream.deadline.is_some_and(|deadline| now.steady.since(before) > deadline)
                {
                    self.add(MISSED);
                }
                let age = clock.map(|clock| clock.greatest_age(message.timestamp));
                match (message.lifespan.or(of_stream.lifespan), age) {
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
            Step::Outcome(_, outcome) => self.add(&format!("reliable messages: {outcome}")),
            Step::Datagram { now, .. } => self.latest = now.steady,
            Step::Sent(at, ..) => self.latest = self.latest.max(*at),
            _ => {}
        }
    }
}
