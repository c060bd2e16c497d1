//! The options of a connection, the readers of their values, and the error messages of connections that fail.
//!
//! Every subcommand that opens a connection uses this module.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use tautline::{
    Config, ConfigError, ConnectError, Driver, Endpoint, Event, Events, Message, MessageType, Qos,
    ReceiveError, Role, SocketFault, UdpInterface, WatchdogChange, WatchdogEvent, Wire,
};

use crate::tools::black_box;
use crate::tools::exit::{Exit, Failure};
use crate::tools::files::{check_writable, make_folder};
use crate::tools::output;
use crate::tools::waiting::while_connecting;

/// The options of the wire, and the key.
#[derive(Debug, clap::Args)]
pub(crate) struct WireArgs {
    /// The wire, which must be the same at both ends; classic is the wire of the Python module [default: native]
    #[arg(long, value_name = "WIRE", value_parser = ["native", "classic"])]
    wire: Option<String>,
    /// Send and expect classic datagrams without a CRC-32; the other end needs `use_crc = false`
    #[arg(long)]
    no_crc: bool,
    /// Send and expect classic datagrams without a sequence number; the other end needs `use_sequence = false`
    #[arg(long)]
    no_sequence: bool,
    /// Secure the link with this key file (see `tautline keygen`); the other end needs the same key
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Keep a black box of 64 MiB, and write it to a file in this folder when a watchdog trips, when the connection fails, and on
    /// SIGUSR2 (see `tautline incident`)
    #[arg(long, value_name = "DIR")]
    black_box: Option<PathBuf>,
}

/// The options of a connection: the wire, and a file with other settings of the library.
#[derive(Debug, clap::Args)]
pub(crate) struct LinkArgs {
    #[command(flatten)]
    wire: WireArgs,
    /// Read settings of the library from this file (see docs/configuration.md); TAUTLINE_* variables and options
    /// take precedence
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
}

impl WireArgs {
    /// Returns `config` with these options applied on top.
    pub(crate) fn apply(&self, config: Config) -> Result<Config, Failure> {
        let mut config = match self.wire.as_deref() {
            Some("classic") => config.wire(Wire::Classic),
            Some(_) => config.wire(Wire::Native),
            None => config,
        };
        let is_native = config.wire.unwrap_or(Wire::Native) == Wire::Native;
        for (is_given, option) in [(self.no_crc, "--no-crc"), (self.no_sequence, "--no-sequence")] {
            if is_given && is_native {
                let sentence = format!(
                    "{option} is for the classic wire only; the native wire always has a CRC and sequence numbers: \
                     add --wire classic, or leave {option} out"
                );
                return Err(Failure::usage(sentence));
            }
        }
        if self.no_crc {
            config = config.use_crc(false);
        }
        if self.no_sequence {
            config = config.use_sequence(false);
        }
        if let Some(folder) = &self.black_box {
            make_folder(folder, "black boxes")?;
            check_writable(&folder.join(format!("tautline-{}.part", std::process::id())), "black box")?;
            // Its size may be set already.
            let size = config.black_box.take().unwrap_or_else(|| "64MiB".into());
            config = config.black_box(size).black_box_dir(folder);
            black_box::observe()?;
        }
        Ok(match &self.key {
            Some(path) => config.key_file(path.as_path()),
            None => config,
        })
    }
}

impl WireArgs {
    /// Returns the same options as words of a command line.
    fn words(&self) -> Vec<OsString> {
        let wire = self.wire.iter().flat_map(|wire| ["--wire".into(), wire.into()]);
        let flags = [(self.no_crc, "--no-crc"), (self.no_sequence, "--no-sequence")];
        let flags = flags.into_iter().filter(|(is_given, _)| *is_given).map(|(_, flag)| flag.into());
        let key = self.key.iter().flat_map(|path| ["--key".into(), path.into()]);
        let black_box = self.black_box.iter().flat_map(|path| ["--black-box".into(), path.into()]);
        wire.chain(flags).chain(key).chain(black_box).collect()
    }
}

impl LinkArgs {
    /// Returns the same options as words of a command line, for another process of this program.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let config = self.config.iter().flat_map(|path| ["--config".into(), path.into()]);
        self.wire.words().into_iter().chain(config).collect()
    }

    /// Returns the file of `--key`.
    pub(crate) fn key(&self) -> Option<&Path> {
        self.wire.key.as_deref()
    }

    /// Whether an option is there that only a link has.
    pub(crate) fn is_about_a_link(&self) -> bool {
        self.wire.wire.is_some() || self.wire.no_crc || self.wire.no_sequence
    }

    /// Returns the configuration. The environment overrides the file, and the options override both.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        self.wire.apply(settings_from(self.config.as_deref())?)
    }

    /// Returns the configuration of an interface with this role, at `endpoint` or else where the settings say. Refuses settings
    /// for something else.
    pub(crate) fn config_of(&self, role: Role, endpoint: Option<&Endpoint>) -> Result<Config, Failure> {
        let config = self.config()?;
        if let Some(found) = config.role.filter(|found| *found != role) {
            let sentence = format!(
                "`role` is {} in your settings (--config, TAUTLINE_ROLE), but this subcommand is a {}: leave `role` out, \
                 or take the settings of a {1}",
                name_of(found),
                name_of(role),
            );
            return Err(Failure::usage(sentence));
        }
        match (endpoint, &config.endpoint) {
            (Some(given), Some(set)) if set.parse().as_ref() != Ok(given) => Err(Failure::usage(format!(
                "`endpoint` is {} in your settings (--config, TAUTLINE_ENDPOINT), but ENDPOINT is {given}: leave one of \
                 them out",
                output::escaped(set)
            ))),
            (None, None) => Err(Failure::usage(
                "there is no endpoint: give ENDPOINT, such as 127.0.0.1:9000, or set `endpoint` in the file of --config",
            )),
            (Some(given), _) => Ok(config.role(role).endpoint(given.clone())),
            (None, Some(_)) => Ok(config.role(role)),
        }
    }
}

/// Refuses the wire that has no heartbeats, for subcommands that show what heartbeats measure.
pub(crate) fn with_heartbeats(config: Config) -> Result<Config, Failure> {
    if config.wire == Some(Wire::Classic) {
        let sentence = "the classic wire has no heartbeats that measure the link: use `tautline ping --wire classic`, whose \
                        other end is `tautline listen --reply`";
        return Err(Failure::usage(sentence));
    }
    Ok(config)
}

const fn name_of(role: Role) -> &'static str {
    match role {
        Role::Server => "server",
        Role::Client => "client",
    }
}

/// Reads the settings from a file, if there is one, and applies the environment on top.
fn settings_from(path: Option<&Path>) -> Result<Config, Failure> {
    let config = path.map_or_else(|| Ok(Config::default()), Config::from_toml_file);
    let config = config.and_then(Config::apply_env).map_err(|error| wrong_config(&error))?;
    // A profile of control loops demands a failsafe, and a deadline of commands may latch. This program moves nothing, so its
    // failsafe tells people.
    let commands_may_stop =
        config.profile.is_some() || config.streams.of_type(MessageType::Command).deadline.is_some();
    Ok(if commands_may_stop { config.failsafe(tell_of_stop) } else { config })
}

/// Tells that what a control loop expects has stopped, or is back.
fn tell_of_stop(event: &WatchdogEvent) {
    let of = event.watched;
    match event.change {
        WatchdogChange::Tripped { .. } => output::note(format_args!("no {of} came in time")),
        WatchdogChange::Recovered { silence, cause, .. } => {
            output::note(format_args!("{of} is back after {silence:.1?}: {cause}"));
        }
        WatchdogChange::Refusing { silence, cause } => output::note(format_args!(
            "{of} is back after {silence:.1?} ({cause}), and is dropped until you start this program again; \
             with `latch = false` for {of} in the configuration it passes again by itself"
        )),
        _ => {}
    }
}

/// Checks that the configuration has an inbox. A subcommand that reads messages needs one.
pub(crate) fn with_inbox(config: Config) -> Result<Config, Failure> {
    if config.inbox_capacity == Some(0) {
        let sentence = "`inbox_capacity` is 0, but this subcommand reads messages from the inbox: set 1 or more, or leave it out";
        return Err(Failure::usage(sentence));
    }
    Ok(config)
}

/// Lets every command wait, as every other message does, unless the configuration says otherwise. For subcommands that show
/// or count all messages: by default only the newest command of a stream waits.
pub(crate) fn with_all_commands(config: Config) -> Config {
    let is_set = config.streams.of_type(MessageType::Command).history.is_some() || config.profile.is_some();
    if is_set { config } else { config.qos(MessageType::Command, Qos::new().keep_all()) }
}

/// Checks a configuration before it is used.
pub(crate) fn check(config: &Config) -> Result<(), Failure> {
    config.validate().map_err(|error| wrong_config(&error))
}

fn wrong_config(error: &ConfigError) -> Failure {
    Failure::usage(error.to_string())
}

/// Turns the library's error into a failure with the right exit code.
pub(crate) fn no_connection(error: ConnectError) -> Failure {
    match error {
        ConnectError::Config(error) => wrong_config(&error),
        error => Failure::new(Exit::NoConnection, error.to_string()),
    }
}

/// Opens and connects a caller-driven interface.
pub(crate) fn open_driven(config: Config) -> Result<(UdpInterface, Driver), Failure> {
    let (interface, mut driver) =
        UdpInterface::caller_driven(config).map_err(|error| wrong_config(&error))?;
    while_connecting(&interface, || driver.connect()).map_err(no_connection)?;
    Ok((interface, driver))
}

/// Opens and connects an interface with a driver thread. `prepare` runs before it connects, so that the handlers
/// registered there miss no message.
pub(crate) fn open(config: Config, prepare: impl FnOnce(&UdpInterface)) -> Result<UdpInterface, Failure> {
    let interface = UdpInterface::new(config).map_err(|error| wrong_config(&error))?;
    prepare(&interface);
    while_connecting(&interface, || interface.connect()).map_err(no_connection)?;
    Ok(interface)
}

/// Returns what the network reports within `wait` about messages that did not arrive, if it reports anything.
pub(crate) fn complaint(events: &mut Events, endpoint: &Endpoint, wait: Duration) -> Option<Failure> {
    let deadline = Instant::now() + wait;
    loop {
        let sentence = match events.next(Some(deadline.saturating_duration_since(Instant::now())))? {
            Event::PeerUnreachable { fault: SocketFault::PortUnreachable, problem, .. } => {
                format!("nobody listens at {endpoint} ({problem}): start the other end, or check the port")
            }
            Event::PeerUnreachable { fault, problem, .. } => {
                format!("{endpoint} cannot be reached ({problem}): {fault}")
            }
            Event::SendFailed { error } => error.to_string(),
            _ => continue,
        };
        return Some(Failure::new(Exit::NoConnection, sentence));
    }
}

/// Returns the received message, or `None` if there was none in time.
pub(crate) fn wait_over(received: Result<Message, ReceiveError>) -> Result<Option<Message>, Failure> {
    match received {
        Ok(message) => Ok(Some(message)),
        Err(ReceiveError::TimedOut) => Ok(None),
        Err(error) => Err(Failure::failed(error.to_string())),
    }
}

/// Reads the address that a server listens on. A value parser for clap.
pub(crate) fn listening(text: &str) -> Result<Endpoint, String> {
    let endpoint = endpoint_for(text, "0.0.0.0")?;
    let host = endpoint.host();
    if !host.is_empty() && !host.contains('/') && Path::new(CARDS).join(host).exists() {
        return Err(format!(
            "{host} is a network card of this machine, and not an address: write :{}, and set `interface` to {host} (in the \
             file of --config, or as TAUTLINE_INTERFACE={host})",
            endpoint.port()
        ));
    }
    Ok(endpoint)
}

/// Where Linux lists the network cards.
const CARDS: &str = "/sys/class/net";

/// Reads the address of a server. A value parser for clap.
pub(crate) fn called(text: &str) -> Result<Endpoint, String> {
    endpoint_for(text, "127.0.0.1")
}

/// Reads an endpoint. If it is a port alone, the error shows that port with this host.
fn endpoint_for(text: &str, host: &str) -> Result<Endpoint, String> {
    let hint = match (text.parse::<u16>(), text.strip_prefix("*:")) {
        (Ok(port), _) => format!("; did you mean {host}:{port}?"),
        (_, Some(port)) => format!("; did you mean :{port}, for every address?"),
        _ => with_brackets(text).map_or_else(String::new, |meant| format!("; did you mean {meant}?")),
    };
    text.parse().map_err(|error: tautline::EndpointError| format!("{error}{hint}"))
}

/// Adds the brackets to an IPv6 address with a port behind it.
fn with_brackets(text: &str) -> Option<String> {
    let (ip, port) = text.rsplit_once(':')?;
    Some(format!("[{}]:{}", ip.parse::<Ipv6Addr>().ok()?, port.parse::<u16>().ok()?))
}

/// Returns a value parser for clap that reads one of these names, and offers them to completions.
pub(crate) fn named<T>(names: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse::<T>())
}

/// Returns the names of all message types.
pub(crate) fn types() -> impl TypedValueParser<Value = MessageType> {
    named(MessageType::ALL.iter().map(|message_type| message_type.name()))
}

/// What a [`time`] looks like. It stands below the help of every subcommand that takes one.
pub(crate) const TIMES: &str =
    "TIME: a number with ns, us, ms, s or min, such as 250ms; a number alone is seconds.";

/// Reads a time: a number with a unit, such as 250ms, or a number of seconds alone. A value parser for clap.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let is_number = text.trim().parse::<f64>().is_ok();
    let with_unit = if is_number { Cow::Owned(format!("{}s", text.trim())) } else { Cow::Borrowed(text) };
    tautline::parse_duration(&with_unit).map_err(|error| format!("{error}; a number alone is seconds"))
}

/// Reads a [`time`] that is longer than 0. A value parser for clap.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err("must be longer than 0".to_owned()),
        duration => Ok(duration),
    }
}

/// Reads a [`duration`] of at most an hour. A value parser for clap.
pub(crate) fn at_most_an_hour(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(3600);
    let length = duration(text)?;
    if length > LONGEST {
        return Err(format!("must be at most {} seconds", LONGEST.as_secs()));
    }
    Ok(length)
}

/// Reads a number of 1 or more. A value parser for clap.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| "expected a whole number, 1 or more".to_owned())
}

/// The name of a [`whole`] number of bytes in error messages.
pub(crate) const BYTES: &str = "number of bytes, without a unit,";

/// Returns a value parser for clap that reads whole numbers in a range. Error messages call the number `what`.
pub(crate) fn whole<T>(
    what: &'static str,
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + fmt::Display + Clone + Send + Sync + 'static,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("expected a whole {what} from {} to {}", range.start(), range.end()))
    }
}

/// Reads a rate in messages per second, with or without Hz, kHz or /s. A value parser for clap.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    const RANGE: RangeInclusive<f64> = 0.01..=20_000.0;
    const UNITS: [(&str, f64); 4] = [("khz", 1_000.0), ("hz", 1.0), ("/s", 1.0), ("", 1.0)];
    let lower = text.to_ascii_lowercase();
    let number = UNITS.iter().find_map(|(name, unit)| Some((lower.strip_suffix(name)?, unit)));
    let (number, unit) = number.unwrap_or((&lower, &1.0));
    number
        .trim_end()
        .parse()
        .ok()
        .map(|number: f64| number * unit)
        .filter(|rate| RANGE.contains(rate))
        .ok_or_else(|| {
            let (least, most) = (RANGE.start(), RANGE.end());
            format!("expected messages per second, from {least} to {most}, such as 500, 500Hz or 0.5kHz")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_with_or_without_a_unit() {
        for text in ["1000", "1e3", "1kHz", "1khz", "1 KHZ", "1000Hz", "1000 hz", "1000/s"] {
            assert_eq!(rate(text), Ok(1000.0), "{text}");
        }
        for wrong in ["", "kHz", "1MHz", "50ms", "-1kHz", "inf", "1000/ms"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_is_a_number_with_a_unit_or_of_seconds() {
        for (text, ms) in [("250ms", 250), ("0.25", 250), ("2", 2_000), ("1min", 60_000), (" 3 s ", 3_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!((time("0"), at_most_an_hour("3600")), (Ok(Duration::ZERO), Ok(Duration::from_secs(3600))));
        for wrong in ["", "soon", "-1", "1e3", "inf", "nan", "5x", "3.4.5s"] {
            let error = time(wrong).expect_err(wrong);
            assert!(error.ends_with("a number alone is seconds"), "{wrong}: {error}");
        }
        assert!(duration("0").is_err() && at_most_an_hour("3601").is_err());
    }
}
