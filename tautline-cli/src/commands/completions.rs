//! `tautline completions`: prints a script with which a shell completes the command line.

use clap_complete::Shell;

use crate::tools::exit::{Exit, Failure};
use crate::tools::output;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline completions bash > ~/.local/share/bash-completion/completions/tautline
  tautline completions zsh > ~/.zfunc/_tautline
  tautline completions fish > ~/.config/fish/completions/tautline.fish
  tautline completions powershell | Out-String | Invoke-Expression

Write the last one as a line of your $PROFILE: PowerShell does not accept the script itself below other lines.")]
pub(crate) struct Args {
    /// The shell for which to print the script
    shell: Shell,
}

/// Prints the script for the command line that `definition` describes.
pub(crate) fn run(args: &Args, mut definition: clap::Command) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definition, "tautline", &mut script);
    output::data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
