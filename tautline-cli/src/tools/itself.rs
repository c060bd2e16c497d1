//! How this program is started again in another process.
//!
//! `run` sets it once, `bench` asks for it.

use std::ffi::OsString;
use std::io;
use std::process::Command;
use std::sync::OnceLock;

static ITSELF: OnceLock<Vec<OsString>> = OnceLock::new();

/// Sets the command line that starts this program. Without it, that is the file of this process.
pub(crate) fn set(words: Vec<OsString>) {
    ITSELF.get_or_init(|| words);
}

/// Returns a command that starts this program, without arguments yet.
pub(crate) fn command() -> io::Result<Command> {
    let Some((program, words)) = ITSELF.get().and_then(|words| words.split_first()) else {
        return std::env::current_exe().map(Command::new);
    };
    let mut command = Command::new(program);
    command.args(words);
    Ok(command)
}
