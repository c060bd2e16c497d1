//! Reads impairments from text: options, lists such as `loss=10%,jitter=5ms`, and the keys of a schedule.
//!
//! `proxy` and `demo` use it.

use std::fmt::Write;
use std::time::Duration;

use tautline::sim::{BitRate, DEFAULT_QUEUE, Impairments, Probability};

use crate::tools::exit::Failure;
use crate::tools::link::{BYTES, time, whole};

/// The impairments of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct BothDirections {
    pub(crate) to_target: Impairments,
    pub(crate) to_client: Impairments,
}

/// The direction that impairments apply to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Direction {
    /// From the clients to the target and back
    #[default]
    Both,
    /// From the clients to the target only
    ToTarget,
    /// From the target to the clients only
    ToClient,
}

impl BothDirections {
    /// Returns a copy with other impairments in this direction.
    pub(crate) fn with(self, direction: Direction, impairments: Impairments) -> Self {
        match direction {
            Direction::Both => Self { to_target: impairments, to_client: impairments },
            Direction::ToTarget => Self { to_target: impairments, ..self },
            Direction::ToClient => Self { to_client: impairments, ..self },
        }
    }

    /// Describes both directions in words.
    pub(crate) fn describe(&self) -> String {
        let (there, back) = (describe(&self.to_target), describe(&self.to_client));
        if there == back { there } else { format!("to the target {there}; to the clients {back}") }
    }
}

/// The options of a bad network.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Impairments")]
pub(crate) struct ImpairArgs {
    /// Lose this share of the datagrams, such as 2% or 0.02
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true)]
    loss: Option<Probability>,
    /// Lose this many datagrams in a row on average [default: independent losses]
    #[arg(long, value_name = "N", value_parser = burst, requires = "loss", allow_hyphen_values = true)]
    burst: Option<f64>,
    /// Delay every datagram by this time, such as 10ms
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    delay: Option<Duration>,
    /// Delay each datagram by a random extra time up to this; datagrams close together may overtake one another
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    jitter: Option<Duration>,
    /// Duplicate this share of the datagrams
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true)]
    duplicate: Option<Probability>,
    /// Hold back this share of the datagrams until the next datagram has overtaken them
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true)]
    reorder: Option<Probability>,
    /// Flip one to three bits in this share of the datagrams
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true)]
    corrupt: Option<Probability>,
    /// Limit the bits per second, such as 10Mbit [default: no limit]
    #[arg(long, value_name = "RATE", allow_hyphen_values = true)]
    rate: Option<BitRate>,
    /// Bytes that may wait because of --rate; further datagrams are dropped [default: 65536]
    #[arg(
        long,
        value_name = "BYTES",
        value_parser = whole(BYTES, 0..=usize::MAX),
        requires = "rate",
        allow_hyphen_values = true
    )]
    queue: Option<usize>,
    /// Lose datagrams of more bytes than this, without a word to their sender (a black hole) [default: none]
    #[arg(
        long,
        value_name = "BYTES",
        value_parser = whole(BYTES, 0..=usize::MAX),
        allow_hyphen_values = true
    )]
    max_size: Option<usize>,
    /// The direction that the impairments apply to; the other direction has none
    #[arg(long, value_name = "DIRECTION", value_enum, default_value = "both")]
    direction: Direction,
}

impl ImpairArgs {
    /// Returns the impairments that these options ask for.
    pub(crate) fn both_directions(&self) -> Result<BothDirections, Failure> {
        let nothing = Impairments::default();
        let impairments = Impairments {
            loss: self.loss.unwrap_or_default(),
            burst: self.burst,
            duplicate: self.duplicate.unwrap_or_default(),
            reorder: self.reorder.unwrap_or_default(),
            corrupt: self.corrupt.unwrap_or_default(),
            delay: self.delay.unwrap_or_default(),
            jitter: self.jitter.unwrap_or_default(),
            rate: self.rate,
            queue: self.queue.unwrap_or(DEFAULT_QUEUE),
            max_size: self.max_size,
            ..nothing
        };
        impairments.check().map_err(|error| Failure::usage(error.to_string()))?;
        Ok(BothDirections::default().with(self.direction, impairments))
    }
}

/// The keys of lists and schedules. Each is also the name of an option, except `partition`.
const KEYS: [&str; 11] = [
    "loss",
    "burst",
    "delay",
    "jitter",
    "duplicate",
    "reorder",
    "corrupt",
    "rate",
    "queue",
    "max_size",
    "partition",
];

/// Sets the impairment `key` to the value in `text`.
///
/// # Errors
/// The error is the rest of a sentence that begins with the key.
pub(crate) fn set(impairments: &mut Impairments, key: &str, text: &str) -> Result<(), String> {
    let wrong = |error: &dyn std::fmt::Display| format!("is {text:?}: {error}");
    let share = || text.parse().map_err(|error| wrong(&error));
    let bytes = || text.parse().map_err(|_| wrong(&"expected a whole number of bytes"));
    let duration = || time(text).map_err(|error| wrong(&error));
    match key {
        "loss" => impairments.loss = share()?,
        "duplicate" => impairments.duplicate = share()?,
        "reorder" => impairments.reorder = share()?,
        "corrupt" => impairments.corrupt = share()?,
        "delay" => impairments.delay = duration()?,
        "jitter" => impairments.jitter = duration()?,
        "burst" => impairments.burst = Some(burst(text).map_err(|error| wrong(&error))?),
        "rate" => impairments.rate = Some(text.parse().map_err(|error| wrong(&error))?),
        "queue" => impairments.queue = bytes()?,
        "max_size" => impairments.max_size = Some(bytes()?),
        "partition" => impairments.partition = text.parse().map_err(|_| wrong(&"expected true or false"))?,
        _ => return Err(format!("is not an impairment: expected one of {}", KEYS.join(", "))),
    }
    Ok(())
}

/// Reads a list such as `loss=10%,jitter=5ms`, for clap.
pub(crate) fn list(text: &str) -> Result<Impairments, String> {
    let mut impairments = Impairments::default();
    for part in text.split(',') {
        let (key, value) = part
            .split_once('=')
            .ok_or_else(|| format!("{part:?}: expected KEY=VALUE, such as loss=10%,jitter=5ms"))?;
        set(&mut impairments, key.trim(), value.trim())
            .map_err(|error| format!("`{}` {error}", key.trim()))?;
    }
    impairments.check().map_err(|error| error.to_string())?;
    Ok(impairments)
}

fn burst(text: &str) -> Result<f64, String> {
    let burst = text.parse::<f64>().ok().filter(|burst| burst.is_finite() && *burst >= 1.0);
    burst.ok_or_else(|| "expected the mean number of datagrams lost in a row, 1 or more".to_owned())
}

/// Describes impairments in words.
pub(crate) fn describe(impairments: &Impairments) -> String {
    let Impairments {
        loss,
        burst,
        duplicate,
        reorder,
        corrupt,
        delay,
        jitter,
        rate,
        queue,
        max_size,
        partition,
    } = impairments;
    if *partition {
        return "nothing gets through".to_owned();
    }
    let mut parts = Vec::new();
    for (name, share) in
        [("loss", loss), ("duplicate", duplicate), ("reorder", reorder), ("corrupt", corrupt)]
    {
        if *share > Probability::NEVER {
            parts.push(format!("{name} {share}"));
        }
    }
    if let (Some(burst), Some(first)) = (burst.filter(|_| *loss > Probability::NEVER), parts.first_mut()) {
        let _ = write!(first, " in bursts of {burst}"); // writing to a String cannot fail
    }
    for (name, time) in [("delay", delay), ("jitter", jitter)] {
        if !time.is_zero() {
            parts.push(format!("{name} {time:?}"));
        }
    }
    if let Some(rate) = rate {
        parts.push(format!("rate {rate} with a queue of {queue} bytes"));
    }
    if let Some(most) = max_size {
        parts.push(format!("at most {most} bytes"));
    }
    if parts.is_empty() { "no impairments".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_every_key_and_is_described_in_the_same_words() {
        let list = list(
            "loss=10%,burst=5,delay=10ms,jitter=3ms,duplicate=1%,reorder=2%,corrupt=0.1%,rate=10Mbit,queue=9000,max_size=1300",
        )
        .expect("it is right");
        assert_eq!(list.burst, Some(5.0));
        assert_eq!(
            describe(&list),
            "loss 10 % in bursts of 5, duplicate 1 %, reorder 2 %, corrupt 0.1 %, delay 10ms, jitter 3ms, \
             rate 10 Mbit/s with a queue of 9000 bytes, at most 1300 bytes"
        );
        assert_eq!(describe(&Impairments::default()), "no impairments");
    }

    #[test]
    fn an_error_names_the_wrong_value_and_what_would_be_right() {
        for (text, parts) in [
            ("loss", &["\"loss\"", "KEY=VALUE"][..]),
            ("los=1%", &["`los`", "loss, burst"]),
            ("loss=200%", &["`loss`", "\"200%\"", "0% to 100%"]),
            ("jitter=5x", &["`jitter`", "unit"]),
            ("rate=10", &["`rate`", "10Mbit"]),
            ("burst=0.5", &["`burst`", "1 or more"]),
            ("queue=-1", &["`queue`", "bytes"]),
            ("partition=yes", &["`partition`", "true or false"]),
            ("loss=90%,burst=2", &["`loss`", "`burst`", "9.00"]),
        ] {
            let error = list(text).expect_err(text);
            assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
        }
    }

    #[test]
    fn every_key_of_the_list_is_known_to_the_setter() {
        for key in KEYS {
            let error =
                set(&mut Impairments::default(), key, "?").expect_err("`?` is not a value of any key");
            assert!(error.starts_with("is \"?\": "), "{key} {error}");
        }
    }
}
