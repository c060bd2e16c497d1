//! The documented exit codes, and failures with a message that says what would be right.
//!
//! Every subcommand and most tools use this module. `lib.rs` turns the result into the exit code of the process.

use std::fmt;

/// The exit codes. `--help` and the manual show them as [`EXIT_CODES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The program did everything that the user asked for.
    Done = 0,
    /// Something failed while the program ran.
    Failed = 1,
    /// The command line or a configuration file is wrong. clap uses the same code.
    Usage = 2,
    /// There is no connection: the name has no address, the port is in use, or nobody answered.
    NoConnection = 3,
    /// The result does not meet the limit that the user set.
    NotMet = 4,
    /// Some lines of the input were invalid. The other lines were sent.
    BadInput = 5,
    /// Ctrl-C came before the result was complete. A shell reports the same code for a program that SIGINT ended.
    Interrupted = 130,
}

/// The same codes as text. It stands below the help of every subcommand.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  success; a limit that you set is met
  1  a failure while the program ran
  2  the command line or the configuration file is wrong
  3  no connection: name without address, port in use, or nobody answered
  4  limit not met: loss, budget, pendulum fallen or stopped, machine unfit
  5  some input lines were invalid; the other lines were sent
  130  Ctrl-C before the link was connected or doctor had a result, or a second Ctrl-C";

/// The reason why a subcommand ended early, with its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    sentence: String,
}

impl Failure {
    /// Creates a failure. `sentence` names what was wrong and what would be right.
    pub(crate) fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self { exit, sentence: sentence.into() }
    }

    /// Creates a failure that happened while the program ran ([`Exit::Failed`]).
    pub(crate) fn failed(sentence: impl Into<String>) -> Self {
        Self::new(Exit::Failed, sentence)
    }

    /// Creates a failure for a wrong command line ([`Exit::Usage`]).
    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        Self::new(Exit::Usage, sentence)
    }

    /// Creates the quiet end of a program whose reader closed the pipe (`tautline listen ... | head`).
    pub(crate) fn output_closed() -> Self {
        Self::new(Exit::Done, "")
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Whether there is no message to print.
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
