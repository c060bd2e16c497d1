//! The options for both ends of a bench: the connection, and any setting of the library by name.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, TypedValueParser};
use tautline::{Config, Endpoint, Payload, Role, Wire};

use super::client::Taking;
use crate::tools::exit::Failure;
use crate::tools::link::{BYTES, LinkArgs, at_most_an_hour, count, whole};

/// The largest payload in bytes. It is JSON on the classic wire and raw bytes on the native wire.
pub(super) const LARGEST: u64 = 65_000;

/// The longest message of the protocol between the two ends, in bytes.
const LONGEST_ANSWER: usize = 1024;

/// The length of a measurement without --seconds and --messages.
const DEFAULT_LENGTH: Duration = Duration::from_secs(5);

/// The options of both measurements.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// The address where `tautline bench serve` runs; without it, the program starts the other end here
    pub(super) peer: Option<Endpoint>,
    /// Put this many bytes of payload into every message, up to 65000
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 64,
        value_parser = whole(BYTES, 1..=LARGEST),
        allow_negative_numbers = true
    )]
    pub(super) size: u64,
    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub(super) messages: Option<u64>,
    /// End after this time, in seconds [default: 5]
    #[arg(long, value_name = "TIME", value_parser = at_most_an_hour, conflicts_with = "messages", allow_negative_numbers = true)]
    pub(super) seconds: Option<Duration>,
    /// Print one line of JSON instead of text
    #[arg(long)]
    pub(super) json: bool,
    /// Write a page with curves and tables to one HTML file
    #[arg(long, value_name = "FILE.html")]
    pub(super) html: Option<PathBuf>,
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
}

impl RunArgs {
    /// Returns the length of the measurement, or `None` if it ends after a number of messages.
    pub(super) fn length(&self) -> Option<Duration> {
        self.messages.is_none().then(|| self.seconds.unwrap_or(DEFAULT_LENGTH))
    }
}

/// The settings of both ends.
#[derive(Debug, clap::Args)]
pub(super) struct SettingsArgs {
    /// Change a setting of the library (see docs/configuration.md), also at the other end if this program starts it;
    /// you can repeat this option
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = Pair, hide_possible_values = true)]
    sets: Vec<(String, String)>,
    #[command(flatten)]
    link: LinkArgs,
}

/// The value parser of `--set`. It offers every key to completions.
#[derive(Clone, Debug)]
struct Pair;

impl TypedValueParser for Pair {
    type Value = (String, String);

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<(String, String), clap::Error> {
        let pair: fn(&str) -> Result<(String, String), String> = pair;
        pair.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let keys = Config::keys().iter().filter(|key| has_option(key.name()).is_none());
        Some(Box::new(keys.map(|key| PossibleValue::new(format!("{}=", key.name())))))
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("expected KEY=VALUE, such as receive_buffer=1048576: the key, an equals sign, the value")?;
    let key = key.trim().to_owned();
    match has_option(&key) {
        Some(option) => Err(format!("`{key}` cannot be set here, it is set by {option}: leave it out")),
        None => Ok((key, value.trim().to_owned())),
    }
}

/// Returns what sets a key that has an option of its own. Otherwise one of the two would override the other silently.
fn has_option(key: &str) -> Option<&'static str> {
    Some(match key {
        "role" | "endpoint" => "the subcommand and its argument",
        "wire" => "--wire",
        "use_crc" => "--no-crc",
        "use_sequence" => "--no-sequence",
        "key_file" => "--key",
        _ => return None,
    })
}

impl SettingsArgs {
    /// Returns the configuration of one end. If this program runs both ends (`is_pair`), a setting of the other role is
    /// left out here.
    pub(super) fn config(&self, role: Role, is_pair: bool, taking: Taking) -> Result<Config, Failure> {
        let config = self.given(|key| !(is_pair && is_for_other_end(key, role)))?.role(role);
        if let Some(size) = config.max_message_size.filter(|size| *size < LONGEST_ANSWER) {
            let sentence = format!(
                "`max_message_size` is {size}, but the two ends of a bench need at least {LONGEST_ANSWER} bytes to \
                 exchange their counts"
            );
            return Err(Failure::usage(sentence));
        }
        // Who drives reads messages directly from the datagrams, and needs no inbox.
        let is_open = taking == Taking::CallerDriven
            && config.inbox_capacity.is_none()
            && config.inbox_policy.is_none();
        Ok(if is_open { config.inbox_capacity(0) } else { config })
    }

    /// Returns the settings of both ends, from file, environment and options.
    pub(super) fn both(&self) -> Result<Config, Failure> {
        self.given(|_| true)
    }

    fn given(&self, is_wanted: impl Fn(&str) -> bool) -> Result<Config, Failure> {
        let mut config = self.link.config()?;
        let place = [("role", config.role.is_some()), ("endpoint", config.endpoint.is_some())];
        if let Some((key, _)) = place.iter().find(|(_, is_set)| *is_set) {
            let sentence = format!(
                "`{key}` is in your settings (--config, TAUTLINE_*), but a bench sets it by itself: leave it out"
            );
            return Err(Failure::usage(sentence));
        }
        for (key, value) in self.sets.iter().filter(|(key, _)| is_wanted(key)) {
            config
                .set(key, value)
                .map_err(|error| Failure::usage(format!("--set {key}={value}: {error}")))?;
        }
        Ok(config)
    }

    /// Returns the same options as words of a command line.
    pub(super) fn words(&self) -> Vec<OsString> {
        let sets =
            self.sets.iter().flat_map(|(key, value)| ["--set".into(), format!("{key}={value}").into()]);
        self.link.words().into_iter().chain(sets).collect()
    }
}

/// Lists the settings of a configuration for reports. Role, endpoint and wire are left out, because reports show them
/// elsewhere.
pub(super) fn sets(config: &Config) -> Vec<String> {
    let keys = Config::keys().iter().filter(|key| !["role", "endpoint", "wire"].contains(&key.name()));
    let keys = keys.filter_map(|key| Some(format!("{} = {}", key.name(), key.value(config)?)));
    let streams = config.streams.iter().flat_map(|(stream, qos)| {
        let channel = stream.channel.map_or_else(String::new, |channel| format!(".{channel}"));
        let name = format!("{}{channel}", stream.message_type);
        let keys = Config::stream_keys().iter();
        keys.filter_map(move |key| Some(format!("{name}.{} = {}", key.name(), key.value(&qos)?)))
    });
    keys.chain(streams).collect()
}

fn is_for_other_end(key: &str, role: Role) -> bool {
    let other = match role {
        Role::Client => "for servers",
        Role::Server => "for clients",
    };
    Config::keys().iter().any(|known| known.name() == key && known.scope().starts_with(other))
}

/// Returns a payload of `size` bytes that the wire can carry.
pub(super) fn payload(wire: Wire, size: u64) -> Result<Payload, Failure> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if wire == Wire::Native {
        return Ok(Payload::raw(vec![0x5A; size]));
    }
    let text = match size {
        1 => "1".to_owned(),
        _ => format!("\"{}\"", "x".repeat(size.saturating_sub(2))),
    };
    Payload::json_text(text).map_err(|error| Failure::usage(format!("--size {size}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_the_requested_size() {
        for wire in [Wire::Native, Wire::Classic] {
            for size in [1, 2, 3, 64, 1400] {
                assert_eq!(payload(wire, size).expect("it is valid").bytes().len() as u64, size);
            }
        }
    }

    #[test]
    fn a_setting_of_one_role_goes_to_that_end_only() {
        assert!(is_for_other_end("max_peers", Role::Client) && !is_for_other_end("max_peers", Role::Server));
        assert!(is_for_other_end("bind", Role::Server) && !is_for_other_end("bind", Role::Client));
        assert!(!is_for_other_end("send_buffer", Role::Client) && !is_for_other_end("no_such", Role::Client));
    }
}
