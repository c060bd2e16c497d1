//! `tautline config`: checks the settings of an interface, or prints each value and where it comes from.

mod sources;
mod values;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use tautline::{Config, ConfigError, Profile, Role, Settings, Wire};

use self::sources::Sources;
use crate::tools::exit::{Exit, Failure};
use crate::tools::output;

/// Check settings, or print each value and where it comes from
///
/// The settings come from a file, from TAUTLINE_* variables, which override it, and from defaults.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline config check plant.toml
  tautline config print plant.toml")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(CheckArgs),
    Print(PrintArgs),
}

/// Check whether an interface accepts the settings
///
/// An error names the line or the variable, and the exit code is 2. Key files are read too. A file without `role` or
/// `endpoint` is checked for any role and endpoint, because the program that uses it may say them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline config check plant.toml
  TAUTLINE_MAX_PEERS=4 tautline config check plant.toml
  tautline config check")]
struct CheckArgs {
    /// The file with the settings; without it, only the TAUTLINE_* variables are checked
    file: Option<PathBuf>,
}

/// Print every setting in TOML, and where each value comes from
///
/// A value comes from a line of the file, a TAUTLINE_* variable, a profile, or the default. Keys without effect for this role and
/// wire are left out. Keys of secured links are never printed, only the names of their files.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline config print plant.toml
  tautline config print --json | jq '.[] | select(.source != \"default\")'")]
struct PrintArgs {
    /// The file with the settings; without it, the TAUTLINE_* variables and the defaults are printed
    file: Option<PathBuf>,
    /// Print one line of JSON: a list of objects with key, value, source, and file and line
    #[arg(long)]
    json: bool,
}

/// Checks or prints.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.command {
        Command::Check(args) => check(args),
        Command::Print(args) => print(args),
    }
}

/// The settings, and where they come from.
struct Read {
    sources: Sources,
    config: Config,
}

impl Read {
    fn new(file: Option<&Path>) -> Result<Self, Failure> {
        // Reads the file once: it may be a pipe.
        let text = file.and_then(|path| std::fs::read_to_string(path).ok());
        let sources = Sources::find(file, text.as_deref());
        let config = match (file, text) {
            (Some(path), Some(text)) if !path.is_file() => Config::from_toml(&text).map_err(|error| {
                ConfigError::InFile { path: path.display().to_string(), error: Box::new(error) }
            }),
            (Some(path), _) => Config::from_toml_file(path),
            (None, _) => Ok(Config::default()),
        };
        let config = config.and_then(Config::apply_env).map_err(|error| sources.failure(&error))?;
        // The profile of control loops demands a failsafe, which is code.
        let config = if config.profile == Some(Profile::Control) { config.failsafe(|_| {}) } else { config };
        Ok(Self { sources, config })
    }

    /// Checks everything. What the program that uses the settings may say is taken to be right.
    fn settings(&self) -> Result<Settings, Failure> {
        let endpoint = self.config.endpoint.clone().unwrap_or_else(|| "127.0.0.1:9000".to_owned());
        let of_role = |role| self.config.clone().role(role).endpoint(&endpoint).settings();
        let checked = match self.config.role {
            Some(role) => of_role(role),
            // Right for one of the two is right. The error of a server is told.
            None => of_role(Role::Server).or_else(|error| of_role(Role::Client).map_err(|_| error)),
        };
        checked.map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &ConfigError) -> Failure {
        self.sources.failure(error)
    }
}

fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    let read = Read::new(args.file.as_deref())?;
    let settings = read.settings()?;
    let config = &read.config;
    let what = args.file.as_ref().map_or("the environment".to_owned(), |path| path.display().to_string());
    let role = match config.role {
        Some(Role::Server) => "a server",
        Some(Role::Client) => "a client",
        None => "an interface",
    };
    let place = config.endpoint.as_ref().map_or(String::new(), |endpoint| match config.role {
        Some(Role::Client) => format!(" of {endpoint}"),
        _ => format!(" at {endpoint}"),
    });
    let secured = if config.key_file.is_some() || !config.key_holders.is_empty() { ", secured" } else { "" };
    let wire = settings.wire;
    output::data(&read.sources.hidden(&format!("{what}: valid for {role}{place}, {wire} wire{secured}\n")))?;
    Ok(Exit::Done)
}

fn print(args: &PrintArgs) -> Result<Exit, Failure> {
    let read = Read::new(args.file.as_deref())?;
    // What is wrong about several settings together is told after they were printed.
    let checked = read.settings();
    let values = values::of(&read.config, checked.as_ref().ok(), &read.sources);
    output::data(&if args.json { values::json(&values) } else { values::text(&values) })?;
    checked.map(|_| Exit::Done)
}

/// The wire of these settings.
fn wire(config: &Config) -> Wire {
    config.wire.unwrap_or(Wire::Native)
}
