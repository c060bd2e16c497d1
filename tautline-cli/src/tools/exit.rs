//! How the program ends: the documented exit codes, and failures that say what would be right.

use std::fmt;
use std::process::ExitCode;

/// The exit codes; `--help` and the manual show [`EXIT_CODES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Done = 0,
    /// Something failed on the way.
    Failed = 1,
    /// The command line or a configuration file is wrong; clap uses the same code.
    Usage = 2,
    /// No connection: the name, the port, or nobody there.
    NoConnection = 3,
    /// A verdict that was asked for is not met.
    NotMet = 4,
    /// Some lines of the input were bad; the others were sent.
    BadInput = 5,
    /// Ctrl-C came before what was asked for was known; a shell says the same of a program that it ended.
    Interrupted = 130,
}

/// The same codes for people; kept below the help of every subcommand.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done; for a verdict: met
  1  failed on the way
  2  the command line or the configuration file is wrong
  3  no connection: name not resolved, port in use, or nobody answered
  4  verdict not met: messages lost, over the budget, pendulum not upright, machine unfit
  5  some lines of the input were bad; the others were sent
  130  interrupted before there was a connection, before doctor had measured everything, or twice";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a subcommand gave up.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    sentence: String,
}

impl Failure {
    /// A failure with its code, and one sentence that names the thing and what would be right.
    pub(crate) fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self { exit, sentence: sentence.into() }
    }

    /// Something failed on the way.
    pub(crate) fn failed(sentence: impl Into<String>) -> Self {
        Self::new(Exit::Failed, sentence)
    }

    /// The command line is wrong.
    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        Self::new(Exit::Usage, sentence)
    }

    /// Nobody wants our output any more (`tautline listen ... | head`): the quiet end of a pipe.
    pub(crate) fn output_closed() -> Self {
        Self::new(Exit::Done, "")
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Whether there is nothing to say.
    pub(crate) fn is_quiet(&self) -> bool {
        self.sentence.is_empty()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented() {
        for exit in [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::NoConnection,
            Exit::NotMet,
            Exit::BadInput,
            Exit::Interrupted,
        ] {
            assert!(EXIT_CODES.contains(&format!("\n  {}  ", exit as u8)), "{exit:?}");
        }
    }
}
