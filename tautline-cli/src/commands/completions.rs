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
    output::data(&without_space(args.shell, &String::from_utf8_lossy(&script)))?;
    Ok(Exit::Done)
}

/// Makes the shell put no space after the key of `--set`, because the value follows. clap cannot tell a shell that. fish does it by
/// itself.
fn without_space(shell: Shell, script: &str) -> String {
    const BASH: &str = r#"
_tautline_keys() {
    _tautline "$@"
    if [[ ${COMPREPLY[0]-} == *= ]]; then compopt -o nospace; fi
}
"#;
    match shell {
        Shell::Bash => {
            let register = "complete -F _tautline ";
            let (functions, rest) = script.split_at(script.find("\nif [[ \"${BASH_VERSINFO").unwrap_or(0));
            format!("{functions}{BASH}{}", rest.replace(register, "complete -F _tautline_keys "))
        }
        Shell::Zsh => {
            let mut parts = script.split(":KEY=VALUE:(");
            let mut whole = parts.next().unwrap_or_default().to_owned();
            for (keys, rest) in parts.filter_map(|part| part.split_once(')')) {
                whole.push_str(&format!(":KEY=VALUE:{{compadd -S \"\" - {keys}}}{rest}"));
            }
            whole
        }
        _ => script.to_owned(),
    }
}
