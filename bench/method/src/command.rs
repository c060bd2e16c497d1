//! The command line that every peer program understands.

use crate::MAX_SIZE;

/// The largest number of messages in a latency run. Every round trip is kept, with 8 bytes each.
const MAX_MESSAGES: usize = 1_000_000;
/// The smallest message. It has room for a number of 16 digits.
const MIN_SIZE: usize = 16;
const MAX_SECONDS: f64 = 60.0;

const VERBS: &str = "expected echo, sink, latency, together or throughput";

/// The task of a peer program.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Echo { mode: String },
    Sink { mode: String },
    Latency { mode: String, to: String, messages: usize, size: usize, rate: Option<f64> },
    Together { mode: String, messages: usize, size: usize, rate: Option<f64> },
    Throughput { mode: String, to: String, seconds: f64, size: usize, rate: Option<f64> },
}

impl Command {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let (verb, options) = arguments.split_first().ok_or(VERBS)?;
        let options = Options(options);
        let mode = options.text("--mode").unwrap_or_default().to_owned();
        match verb.as_str() {
            "echo" => Ok(Self::Echo { mode }),
            "sink" => Ok(Self::Sink { mode }),
            "latency" => Ok(Self::Latency {
                mode,
                to: options.required("--to")?,
                messages: options.number("--messages", 10_000)?.min(MAX_MESSAGES),
                size: options.number("--size", 64)?.clamp(MIN_SIZE, MAX_SIZE),
                rate: options.text("--rate").map(positive).transpose()?,
            }),
            "together" => Ok(Self::Together {
                mode,
                messages: options.number("--messages", 10_000)?.min(MAX_MESSAGES),
                size: options.number("--size", 64)?.clamp(MIN_SIZE, MAX_SIZE),
                rate: options.text("--rate").map(positive).transpose()?,
            }),
            "throughput" => Ok(Self::Throughput {
                mode,
                to: options.required("--to")?,
                seconds: options.number("--seconds", 2.0_f64)?.clamp(0.01, MAX_SECONDS),
                size: options.number("--size", 64)?.clamp(MIN_SIZE, MAX_SIZE),
                rate: options.text("--rate").map(positive).transpose()?,
            }),
            other => Err(format!("{other}: {VERBS}")),
        }
    }

    pub(crate) fn mode(&self) -> &str {
        match self {
            Self::Echo { mode } | Self::Sink { mode } => mode,
            Self::Latency { mode, .. } | Self::Together { mode, .. } | Self::Throughput { mode, .. } => mode,
        }
    }
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate| *rate > 0.0)
        .ok_or_else(|| format!("--rate {text}: expected a rate above 0"))
}

/// Pairs of a name and a value.
struct Options<'a>(&'a [String]);

impl<'a> Options<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| pair[1].as_str())
    }

    fn required(&self, name: &str) -> Result<String, String> {
        self.text(name).map(str::to_owned).ok_or_else(|| format!("{name} is missing"))
    }

    fn number<T: std::str::FromStr>(&self, name: &str, default: T) -> Result<T, String> {
        let Some(text) = self.text(name) else { return Ok(default) };
        text.parse().map_err(|_| format!("{name} {text}: expected a number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        Command::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_options_of_a_latency_run_are_limited_to_their_ranges() {
        let command = parse("latency --mode m --to a:1 --messages 9999999999 --size 1 --rate 1000").unwrap();
        let (mode, to) = ("m".to_owned(), "a:1".to_owned());
        let expected =
            Command::Latency { mode, to, messages: MAX_MESSAGES, size: MIN_SIZE, rate: Some(1000.0) };
        assert_eq!(command, expected);
    }

    #[test]
    fn invalid_arguments_are_refused() {
        for line in ["", "fly", "latency", "latency --to a:1 --rate 0", "throughput --to a:1 --seconds long"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
