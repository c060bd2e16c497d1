//! Defines the command line. Parsing, help, completions and manual pages all come from this definition.
//!
//! `lib.rs` calls it. It is the only caller of the subcommands in [`commands`](crate::commands).

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{
    bench, completions, config, demo, doctor, hz, incident, keygen, listen, man, ping, proxy, record, replay,
    send, tap, watch,
};
use crate::tools::exit::{EXIT_CODES, Exit, Failure};
use crate::tools::link::TIMES;
use crate::tools::{log, origin, output};

/// Show, test and measure real-time UDP links for control
#[derive(Debug, Parser)]
#[command(
    name = "tautline",
    // Without this, the help shows the name of the file: tautline.exe on Windows.
    bin_name = "tautline",
    version,
    after_help = "\
Examples:
  tautline demo --seconds 5
  tautline listen 127.0.0.1:9000 --reply
  tautline send 127.0.0.1:9000 '{\"force_n\": 1.5}' --type command
  tautline ping 127.0.0.1:9000 --rate 1000 --budget 1ms
  tautline doctor --rate 1kHz
  tautline watch 127.0.0.1:9000
  tautline bench latency --html latency.html
  tautline proxy 127.0.0.1:9001 127.0.0.1:9000 --loss 2% --jitter 3ms
  tautline record 127.0.0.1:9002 -o run.mcap
  tautline replay run.mcap 127.0.0.1:9000
  tautline tap 127.0.0.1:9001 127.0.0.1:9000
  tautline hz 127.0.0.1:9002
  tautline keygen arm.key
  tautline config print plant.toml"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(subcommand)]
    command: Command,
}

/// Below the options of a subcommand, and above --help.
const LAST: usize = 900;

/// How much goes to stderr.
#[derive(Debug, clap::Args)]
struct Verbosity {
    /// Print on stderr what the library logs: peers that come and go, watchdogs, refused datagrams
    #[arg(long, short, global = true, display_order = LAST)]
    verbose: bool,
    /// Print only errors on stderr (ping also leaves out the line for each message)
    #[arg(long, short, global = true, display_order = LAST + 1, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Listen(listen::Args),
    Send(send::Args),
    Ping(ping::Args),
    Doctor(doctor::Args),
    Watch(watch::Args),
    Bench(bench::Args),
    Proxy(proxy::Args),
    Record(record::Args),
    Replay(replay::Args),
    Incident(incident::Args),
    Tap(tap::Args),
    Hz(hz::Args),
    Keygen(keygen::Args),
    Config(config::Args),
    Completions(completions::Args),
    Man(man::Args),
}

impl Cli {
    /// Runs the subcommand.
    pub(crate) fn run(&self) -> Result<Exit, Failure> {
        if self.verbosity.quiet {
            output::be_quiet();
        }
        if self.verbosity.verbose {
            log::start();
        }
        match &self.command {
            Command::Demo(args) => demo::run(args),
            Command::Listen(args) => listen::run(args),
            Command::Send(args) => send::run(args),
            Command::Ping(args) => ping::run(args),
            Command::Doctor(args) => doctor::run(args),
            Command::Watch(args) => watch::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Proxy(args) => proxy::run(args),
            Command::Record(args) => record::run(args),
            Command::Replay(args) => replay::run(args),
            Command::Incident(args) => incident::run(args),
            Command::Tap(args) => tap::run(args),
            Command::Hz(args) => hz::run(args),
            Command::Keygen(args) => keygen::run(args),
            Command::Config(args) => config::run(args),
            Command::Completions(args) => completions::run(args, definition()),
            Command::Man(args) => man::run(args, definition()),
        }
    }
}

/// Reads the command line. Ends the program with a help text or an error message if there is nothing to run.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Cli {
    let words: Vec<OsString> = words.into_iter().collect();
    origin::set(&words);
    let matches = definition().try_get_matches_from(&words);
    matches.and_then(|matches| Cli::from_arg_matches(&matches)).unwrap_or_else(|error| {
        let error = with_tip(without_odd_tips(error), &words);
        // Whoever reads the lines of `listen --json` expects nothing else.
        let is_given = |word: &str| words.iter().any(|given| given == word);
        if !error.use_stderr() {
            error.exit();
        }
        if is_given("listen") && is_given("--json") {
            output::notes_as_json();
            output::complain(error.to_string().trim_start_matches("error: ").trim_end());
        } else {
            output::complain_in_its_words(&error.render().ansi().to_string());
        }
        std::process::exit(error.exit_code());
    })
}

/// Removes tips about an unknown option that lead nowhere: to pass it as a value, and an option that only shares some letters.
fn without_odd_tips(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg).cloned() else { return error };
    if error.kind() != ErrorKind::UnknownArgument || !given.starts_with("--") {
        return error;
    }
    // People seldom mistype the first letter.
    let is_near = |option: &str| option.chars().nth(2) == given.chars().nth(2);
    if matches!(error.get(ContextKind::SuggestedArg), Some(ContextValue::String(option)) if !is_near(option))
    {
        error.remove(ContextKind::SuggestedArg);
        // It names that option, too.
        error.remove(ContextKind::Usage);
    }
    if let Some(ContextValue::StyledStrs(mut tips)) = error.remove(ContextKind::Suggested) {
        tips.retain(|tip| !tip.to_string().contains("as a value"));
        if !tips.is_empty() {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
        }
    }
    error
}

/// Adds a tip to the error about an unexpected word, if it is clear what was meant.
fn with_tip(mut error: clap::Error, words: &[OsString]) -> clap::Error {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let given = text(ContextKind::InvalidArg);
    let tip = match error.kind() {
        ErrorKind::UnknownArgument => cut(&words, given)
            .or_else(|| option_with_value(&words, given))
            .or_else(|| with_colon(&words, given)),
        ErrorKind::ValueValidation if given == "<ENDPOINT>" => order(&words, text(ContextKind::InvalidValue)),
        ErrorKind::MissingRequiredArgument if words.contains(&"replay") => Some(FILES_FIRST.to_owned()),
        ErrorKind::ArgumentConflict if given == "--timed" && text(ContextKind::PriorArg) == "[DATA]" => {
            Some("the lines come from standard input: '--timed < FILE'".to_owned())
        }
        ErrorKind::InvalidSubcommand if words.contains(&"config") => {
            let file = text(ContextKind::InvalidSubcommand);
            file.contains('.').then(|| format!("to check a file, use 'tautline config check {file}'"))
        }
        _ => None,
    };
    if let Some(tip) = tip {
        if error.remove(ContextKind::SuggestedArg).is_some() {
            error.remove(ContextKind::Usage);
        }
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    with_right_lack(error, &words)
}

const FILES_FIRST: &str = "the files come first, then the endpoint: tautline replay run.mcap 127.0.0.1:9000";
const ENDPOINT_FIRST: &str =
    "the endpoint comes first, then the data: tautline send 127.0.0.1:9000 '{\"force\": 1.5}'";

/// If a value that is no endpoint belongs elsewhere, returns a tip that tells the order of the words.
fn order(words: &[&str], value: &str) -> Option<String> {
    let is_endpoint = |word: &&str| word.contains(':') && word.parse::<tautline::Endpoint>().is_ok();
    match *words.iter().find(|word| ["send", "replay"].contains(word))? {
        "send" if words.iter().any(is_endpoint) => Some(ENDPOINT_FIRST.to_owned()),
        "replay" if is_file(&value) => Some(FILES_FIRST.to_owned()),
        _ => None,
    }
}

fn is_file(word: &&str) -> bool {
    word.ends_with(".mcap") || std::path::Path::new(word).is_file()
}

/// Names what is missing behind `replay run.mcap`. clap takes the only word for the endpoint.
fn with_right_lack(mut error: clap::Error, words: &[&str]) -> clap::Error {
    let lacks_one = matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::Strings(lacking)) if lacking.len() == 1);
    if lacks_one && words.contains(&"replay") && words.iter().skip(1).any(is_file) {
        error.insert(ContextKind::InvalidArg, ContextValue::Strings(vec!["<ENDPOINT>".to_owned()]));
    }
    error
}

/// Tells both options about a cut to whoever wrote `--cut`. clap finds one of them.
fn cut(words: &[&str], given: &str) -> Option<String> {
    (given == "--cut" && words.contains(&"demo"))
        .then(|| "use '--cut-after' for when it begins, and '--cut-for' for how long it lasts".to_owned())
}

/// Tells `--delivery reliable` to whoever wrote `--reliable`: if an option of the subcommand has such a value, returns a tip with
/// both.
fn option_with_value(words: &[&str], given: &str) -> Option<String> {
    let value = given.strip_prefix("--")?.replace('-', "_");
    let mut command = Cli::command();
    for word in words.iter().skip(1) {
        if let Some(subcommand) = command.find_subcommand(word) {
            command = subcommand.clone();
        }
    }
    let takes_it =
        |option: &&clap::Arg| option.get_possible_values().iter().any(|known| known.get_name() == value);
    let option = command.get_arguments().find(takes_it)?.get_long()?.to_owned();
    Some(format!("to choose {value}, use '--{option} {value}'"))
}

/// If a port follows a host as a word of its own, returns a tip that joins them.
fn with_colon(words: &[&str], given: &str) -> Option<String> {
    let port: u16 = given.parse().ok()?;
    let at = words.iter().rposition(|word| *word == given)?;
    let (host, before) = (words[at.checked_sub(1)?], words[at.checked_sub(2)?]);
    // A number with a dot may be the value of an option.
    let is_host = host == "localhost" || host.contains(['.', ':']) && !before.starts_with('-');
    let is_ipv6 = host.parse::<std::net::Ipv6Addr>().is_ok();
    let endpoint = if is_ipv6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    (is_host && endpoint.parse::<tautline::Endpoint>().is_ok())
        .then(|| format!("an endpoint is one word, with a colon before the port: {endpoint}"))
}

/// The subcommands by purpose, as the help lists them.
const GROUPS: [(&str, &[&str]); 5] = [
    ("See a link", &["demo", "listen", "send", "watch", "tap", "hz"]),
    ("Test a network and a machine", &["ping", "doctor", "bench", "proxy"]),
    ("Keep what happened, and find out why", &["record", "replay", "incident"]),
    ("Keys and settings", &["keygen", "config"]),
    ("Help", &["completions", "man", "help"]),
];

/// Returns the whole definition. The exit codes stand below every help text, and above them what a time looks like.
pub(crate) fn definition() -> clap::Command {
    let command = with_codes(Cli::command());
    let groups = groups(&command);
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{groups}\nOptions:\n{{options}}{{after-help}}"
    ))
}

/// Returns the list of subcommands by purpose. clap cannot make such a list.
fn groups(command: &clap::Command) -> String {
    let mut text = String::new();
    for (purpose, names) in GROUPS {
        text.push_str(&format!("\n{purpose}:\n"));
        for name in names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about
                .map_or_else(|| "Print this help, or that of a subcommand".to_owned(), ToString::to_string);
            text.push_str(&format!("  {name:<12} {about}\n"));
        }
    }
    text
}

fn with_codes(command: clap::Command) -> clap::Command {
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let takes_time = command
        .get_arguments()
        .any(|option| option.get_value_names().is_some_and(|names| names.iter().any(|name| name == "TIME")));
    let times = if takes_time { format!("{TIMES}\n\n") } else { String::new() };
    command.after_help(format!("{examples}\n\n{times}{EXIT_CODES}")).mut_subcommands(with_codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the example lines of a help text.
    fn examples(command: &clap::Command) -> Vec<String> {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        help.lines().filter_map(|line| line.trim().strip_prefix("tautline ")).map(str::to_owned).collect()
    }

    /// Splits a command into words as a shell does, up to the first pipe or redirection.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::from("tautline")];
        for (index, part) in line.split('\'').enumerate() {
            if index % 2 == 1 {
                words.push(part.to_owned());
                continue;
            }
            for word in part.split_whitespace() {
                if ["|", "<", ">", ">>"].contains(&word) {
                    return words;
                }
                words.push(word.to_owned());
            }
        }
        words
    }

    /// Returns a command and all its subcommands.
    fn all(command: &clap::Command) -> Vec<&clap::Command> {
        std::iter::once(command).chain(command.get_subcommands().flat_map(all)).collect()
    }

    #[test]
    fn the_definition_passes_the_checks_of_clap() {
        definition().debug_assert();
    }

    #[test]
    fn every_subcommand_is_in_one_group() {
        let mut grouped: Vec<_> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        let command = Cli::command();
        let mut all: Vec<_> =
            command.get_subcommands().map(clap::Command::get_name).chain(["help"]).collect();
        grouped.sort_unstable();
        all.sort_unstable();
        assert_eq!(grouped, all);
    }

    #[test]
    fn every_help_has_examples_that_are_accepted_and_the_exit_codes() {
        let definition = definition();
        for command in all(&definition) {
            let examples = examples(command);
            assert!(!examples.is_empty(), "no example for {}", command.get_name());
            for example in examples {
                let accepted = definition.clone().try_get_matches_from(words(&example));
                assert!(accepted.is_ok(), "{example}: {accepted:?}");
            }
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(EXIT_CODES), "no exit codes for {}", command.get_name());
        }
    }
}
