//! Says what would have been different with another setting.
//!
//! The peers' datagrams are as they were: what a peer would have sent in answer is not known.

use std::time::Duration;

use tautline::black_box::read::{BlackBoxFile, EndpointConfig, Happened, Step};

use crate::tools::exit::Failure;
use crate::tools::link::duration;

/// What a run has led to.
#[derive(Default)]
struct Counts {
    messages: u64,
    too_old: u64,
    without_age: u64,
    silences: u64,
    removed: u64,
}

/// Returns the answer as text.
pub(super) fn answer(file: &BlackBoxFile, change: &str) -> Result<String, Failure> {
    let (key, value) = change.split_once('=').ok_or_else(|| {
        Failure::usage(format!("{change:?} is no setting: write KEY=VALUE, such as lifespan=5ms"))
    })?;
    let time = || duration(value).map_err(|problem| Failure::usage(format!("{key}: {problem}")));
    let count = || {
        let number = value.parse::<usize>().ok().filter(|number| *number > 0);
        number.ok_or_else(|| Failure::usage(format!("{key} is a whole number from 1, and not {value:?}")))
    };
    let lifespan = if key == "lifespan" { time()? } else { Duration::MAX };
    let change: Box<dyn Fn(&mut EndpointConfig)> = match key {
        "lifespan" => Box::new(|_| ()),
        "liveness_timeout" => {
            let time = time()?;
            Box::new(move |config| config.liveness_timeout = time)
        }
        "peer_expiry" => {
            let time = time()?;
            Box::new(move |config| config.peer_expiry = time)
        }
        "max_peers" => {
            let count = count()?;
            Box::new(move |config| config.max_peers = count)
        }
        _ => {
            return Err(Failure::usage(format!(
                "{key:?} cannot be tried: the settings that can are lifespan, liveness_timeout, peer_expiry and max_peers"
            )));
        }
    };
    let failure = |error: tautline::black_box::read::BlackBoxError| Failure::failed(error.to_string());
    let (mut before, mut after) = (Counts::default(), Counts::default());
    file.rerun(|_, step| before.take(step, Duration::MAX)).map_err(failure)?;
    file.rerun_with(&*change, |_, step| after.take(step, lifespan)).map_err(failure)?;
    if key == "lifespan" {
        return Ok(format!(
            "With lifespan={value}, {} of {} messages would have been dropped, because they were older than that when they \
             were read. The age of {} is not known.\n",
            after.too_old, after.messages, after.without_age
        ));
    }
    Ok(format!(
        "With {key}={value} and the same datagrams from the peers:\n  messages handed out: {} instead of {}\n  peers reported \
         silent: {} times instead of {}\n  peers removed: {} instead of {}\n",
        after.messages, before.messages, after.silences, before.silences, after.removed, before.removed
    ))
}

impl Counts {
    fn take(&mut self, step: &Step<'_>, lifespan: Duration) {
        match step {
            Step::Message { clock, message, .. } => {
                self.messages += 1;
                match clock.map(|clock| clock.greatest_age(message.timestamp)) {
                    Some(age) => self.too_old += u64::from(age > lifespan),
                    None => self.without_age += 1,
                }
            }
            Step::Event(_, Happened::Silent(_)) => self.silences += 1,
            Step::Event(_, Happened::Removed(..)) => self.removed += 1,
            _ => {}
        }
    }
}
