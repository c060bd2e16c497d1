//! Key files: a line of base64 for each key, and lines of comments.
//!
//! [`SecretKey`] reads and creates them. Reading refuses a file that others can read. The bytes that were read are wiped
//! from memory, and no error repeats them.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{SecretKey, SecretKeyError};
use crate::config::key_text::holds_key;
#[cfg(windows)]
use crate::machine::access::{another_reader, create};

/// The most bytes of a key file.
const MOST_BYTES: usize = 65_536;

/// The most keys of a key file.
const MOST_KEYS: usize = 64;

/// The permissions that give others access (group and others: read, write, execute).
#[cfg(unix)]
const OTHERS: u32 = 0o077;

/// What UTF-8 text of some editors begins with.
const MARK: &str = "\u{feff}";

impl SecretKey {
    /// Reads the keys of a file: one on each line, in base64. Empty lines, and lines that begin with `#`, are skipped. There is
    /// at least one key.
    ///
    /// # Errors
    /// The file cannot be read, others have access to it (on Windows: others than administrators), it is larger than 65,536 bytes, or it holds a line that is
    /// no key, a key twice, no key or more than 64.
    pub fn read_file(path: impl AsRef<Path>) -> Result<Vec<Self>, KeyFileError> {
        let path = path.as_ref();
        let keys = is_path(path).and_then(|()| read(path)).and_then(|bytes| parse(&bytes));
        keys.map_err(|problem| KeyFileError::new(path, problem))
    }

    /// Creates a key file with this key. Only the user who runs the program can read it (and on Windows its administrators). A
    /// file that exists is never changed.
    ///
    /// # Errors
    /// The file exists, or it cannot be written.
    pub fn create_file(&self, path: impl AsRef<Path>) -> Result<(), KeyFileError> {
        let path = path.as_ref();
        let fail = |problem| KeyFileError::new(path, problem);
        is_path(path).map_err(fail)?;
        let mut file = create(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => fail(Problem::Exists),
            _ => fail(Problem::Unwritable(error.to_string())),
        })?;
        self.write_file(&mut file).and_then(|()| file.sync_all()).map_err(|error| {
            // Half a key would only be in the way.
            drop(fs::remove_file(path));
            fail(Problem::Unwritable(error.to_string()))
        })
    }

    /// Writes what a key file holds: a comment with the fingerprint, and the key.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_file(&self, to: &mut impl Write) -> io::Result<()> {
        writeln!(
            to,
            "# tautline key {}. Secret: whoever reads it can command what it opens.",
            self.fingerprint()
        )?;
        to.write_all(self.reveal().as_bytes())?;
        to.write_all(b"\n")?;
        to.flush()
    }
}

/// Refuses a key that was given in place of a path.
fn is_path(path: &Path) -> Result<(), Problem> {
    if holds_key(&path.to_string_lossy()) { Err(Problem::NotAPath) } else { Ok(()) }
}

#[cfg(unix)]
fn create(path: &Path) -> io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Reads a file that others cannot read.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Problem::Missing,
        _ => Problem::Unreadable(error.to_string()),
    };
    // To open a pipe would wait for its writer.
    let found = fs::metadata(path).map_err(unreadable)?;
    if found.is_dir() {
        return Err(Problem::Directory);
    }
    if !found.is_file() {
        return Err(Problem::NotAFile);
    }
    let file = File::open(path).map_err(unreadable)?;
    #[cfg(unix)]
    {
        // Of the file that is open: the path may lead to another one by now.
        let metadata = file.metadata().map_err(unreadable)?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777;
        if mode & OTHERS != 0 {
            return Err(Problem::OpenToOthers(mode));
        }
    }
    #[cfg(windows)]
    if let Some(account) = another_reader(&file).map_err(unreadable)? {
        return Err(Problem::OpenToAccount(account));
    }
    // It never grows, so no copy of it stays behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_BYTES + 2));
    file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MOST_BYTES { Err(Problem::TooLarge) } else { Ok(bytes) }
}

/// Reads the keys of a file's text.
fn parse(bytes: &[u8]) -> Result<Vec<SecretKey>, Problem> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Problem::Utf16);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Problem::NotText)?;
    let lines = text.strip_prefix(MARK).unwrap_or(text).lines().map(str::trim).zip(1..);
    let mut keys: Vec<(SecretKey, usize)> = Vec::with_capacity(MOST_KEYS);
    for (text, line) in lines.filter(|(text, _)| !text.is_empty() && !text.starts_with('#')) {
        let key = SecretKey::read(text.as_bytes()).map_err(|error| Problem::Line(line, error))?;
        if let Some(&(_, first)) = keys.iter().find(|(known, _)| *known == key) {
            return Err(Problem::Repeated(first, line));
        }
        if keys.len() == MOST_KEYS {
            return Err(Problem::TooMany);
        }
        keys.push((key, line));
    }
    if keys.is_empty() {
        return Err(Problem::NoKey);
    }
    Ok(keys.into_iter().map(|(key, _)| key).collect())
}

/// A key file that cannot be used. The message names the file and says what would be right. It repeats nothing of what the
/// file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFileError {
    path: PathBuf,
    problem: Problem,
}

impl KeyFileError {
    fn new(path: &Path, problem: Problem) -> Self {
        let path = if problem == Problem::NotAPath { Path::new("") } else { path };
        Self { path: path.to_owned(), problem }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    /// What was given as the path looks like a key. The error does not show it.
    NotAPath,
    Missing,
    Unreadable(String),
    Directory,
    /// It is a pipe, a device or a socket.
    NotAFile,
    /// Others than its owner have access to the file, with this mode.
    #[cfg_attr(not(unix), allow(dead_code, reason = "only Unix has modes"))]
    OpenToOthers(u32),
    /// This account has access to the file, by its access list.
    #[cfg_attr(not(windows), allow(dead_code, reason = "only Windows has access lists"))]
    OpenToAccount(String),
    TooLarge,
    Utf16,
    NotText,
    /// The line with this number is no key.
    Line(usize, SecretKeyError),
    /// Two lines hold the same key.
    Repeated(usize, usize),
    TooMany,
    NoKey,
    Exists,
    Unwritable(String),
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = plain(&self.path);
        match &self.problem {
            Problem::NotAPath => f.write_str(
                "a key was given where the path of a key file belongs: write the key to a file, and name the file",
            ),
            Problem::Missing => write!(
                f,
                "there is no file {path}: make a key with `tautline keygen {}`, or copy the key of the other end to it",
                Word(&self.path)
            ),
            Problem::Unreadable(problem) => write!(f, "cannot read {path}: {problem}"),
            Problem::Directory => write!(f, "{path} is a directory: name the key file in it"),
            Problem::NotAFile => {
                write!(f, "{path} is not a regular file: a key is read from a regular file only")
            }
            Problem::OpenToOthers(mode) => write!(
                f,
                "others have access to {path} (its mode is {mode:04o}): type `chmod 600 {}`, and replace the key if \
                 somebody may have read it",
                Word(&self.path)
            ),
            Problem::OpenToAccount(account) => write!(
                f,
                "others have access to {path} ({account}): type `icacls {} {}`, and replace the key if somebody may have read it",
                Word(&self.path),
                closing(account)
            ),
            Problem::TooLarge => {
                write!(
                    f,
                    "{path} has more than {MOST_BYTES} bytes: a key file has a line of 44 characters for each key"
                )
            }
            Problem::Utf16 => write!(
                f,
                "{path} is text in UTF-16, which PowerShell writes: make the key with `tautline keygen {}`, without `>`",
                Word(&self.path)
            ),
            Problem::NotText => {
                write!(f, "{path} is not text: a key file has a line of 44 characters of base64 for each key")
            }
            Problem::Line(line, error) => write!(f, "line {line} of {path} {error}"),
            Problem::Repeated(first, second) => {
                write!(f, "lines {first} and {second} of {path} hold the same key: remove one of them")
            }
            Problem::TooMany => {
                write!(f, "{path} holds more than {MOST_KEYS} keys: remove those that nobody uses")
            }
            Problem::NoKey => {
                write!(
                    f,
                    "{path} holds no key: it needs a line of 44 characters of base64, as `tautline keygen` makes it"
                )
            }
            Problem::Exists => {
                write!(
                    f,
                    "{path} exists, and keys are never overwritten: name another file, or remove it first"
                )
            }
            Problem::Unwritable(problem) => write!(f, "cannot write {path}: {problem}"),
        }
    }
}

impl std::error::Error for KeyFileError {}

/// The arguments with which `icacls` leaves a file to its user alone: they take away what the folder grants, and what this account
/// was granted.
fn closing(account: &str) -> String {
    let user = std::env::var("USERNAME").unwrap_or_else(|_| "YOU".to_owned());
    // icacls takes an account without a name by its number, after a star.
    let star = if account.starts_with("S-1-") { "*" } else { "" };
    format!("/inheritance:r /grant:r \"{user}:F\" /remove:g \"{star}{account}\"")
}

/// A path as text on one line. A settings file may hold one that controls the terminal.
fn plain(path: &Path) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    path.to_string_lossy().chars().map(escaped).collect()
}

/// A path as a word that a shell reads.
struct Word<'a>(&'a Path);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = plain(self.0);
        let path = if path.starts_with('-') { format!("./{path}") } else { path };
        let is_plain = |character: char| character.is_alphanumeric() || "/._-+:\\".contains(character);
        if path.chars().all(is_plain) {
            return f.write_str(&path);
        }
        if cfg!(windows) {
            // No path holds one.
            return write!(f, "\"{path}\"");
        }
        write!(f, "'{}'", path.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_closes_a_file_names_the_account_by_name_or_number() {
        let says = |account: &str| {
            let problem = Problem::OpenToAccount(account.to_owned());
            KeyFileError::new(Path::new(r"C:\my keys\arm.key"), problem).to_string()
        };
        let everyone = says("Everyone");
        assert!(everyone.contains(r"access to C:\my keys\arm.key (Everyone): type `icacls "), "{everyone}");
        assert!(everyone.contains(r#"/inheritance:r /grant:r ""#), "{everyone}");
        assert!(everyone.contains(r#":F" /remove:g "Everyone"`"#), "{everyone}");
        let number = says("S-1-5-21-7-8-9-1013");
        assert!(number.contains(r#"/remove:g "*S-1-5-21-7-8-9-1013"`"#), "{number}");
    }
}
