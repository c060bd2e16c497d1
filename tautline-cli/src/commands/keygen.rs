//! `tautline keygen`: makes a key that two ends share.

#[cfg(unix)]
use std::fs::{File, Permissions};
use std::io;
use std::path::{Path, PathBuf};

use tautline::SecretKey;

use crate::tools::exit::{Exit, Failure};
use crate::tools::files::check_file;
use crate::tools::output;

/// Make a key that two ends share
///
/// The key is 32 bytes of the system's randomness, as a line of base64. The line before it is a comment with the key's
/// fingerprint: a hash of the key, by which people can compare two keys over the phone.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline keygen arm.key
  tautline keygen > arm.key
  tautline doctor --key arm.key")]
pub(crate) struct Args {
    /// The file to create, for your user alone (mode 0600); a file that exists is never overwritten [default: -, the
    /// standard output]
    file: Option<PathBuf>,
}

/// Makes a key, and writes it.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let key = SecretKey::generate()
        .map_err(|error| Failure::failed(format!("the system has no randomness for a key: {error}")))?;
    // `-` is the standard output, as for other programs.
    match args.file.as_deref().filter(|path| *path != Path::new("-")) {
        Some(path) => {
            check_file(path)?;
            key.create_file(path).map_err(|error| Failure::failed(error.to_string()))?;
            let (path, fingerprint) = (path.display(), key.fingerprint());
            output::note(format_args!(
                "{path} holds the new key {fingerprint}: copy it to the other end by a way that nobody else can read, such as scp"
            ));
        }
        None => print(&key)?,
    }
    Ok(Exit::Done)
}

/// Writes what a key file holds to stdout.
fn print(key: &SecretKey) -> Result<(), Failure> {
    close_to_others().map_err(|error| {
        let sentence =
            "others can read the file that the standard output leads to, and that cannot be changed";
        Failure::failed(format!("{sentence} ({error}): use `tautline keygen FILE`"))
    })?;
    let mut text = Vec::new();
    key.write_file(&mut text).expect("writing to memory cannot fail");
    output::data(std::str::from_utf8(&text).expect("a key file is text"))
}

/// Takes a file that stdout leads to from everybody but its owner (mode 0600), as `keygen > arm.key` needs: the shell has
/// created it for others too.
#[cfg(unix)]
fn close_to_others() -> io::Result<()> {
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::PermissionsExt as _;

    let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn close_to_others() -> io::Result<()> {
    Ok(())
}
