//! The errors of a configuration.

use std::fmt;
use std::iter::once;

use tautline_proto::{ContentType, MessageType};

use super::endpoint::EndpointError;
use super::holders::HolderKey;
use super::key_text::holds_key;
use super::keys::{KEYS, Key};
use super::qos::{STREAM_KEYS, StreamKey};
#[cfg(feature = "secure")]
use super::secret::KeyFileError;
use super::value::{Role, Setting};

/// What is wrong with a configuration. The message names the key, and says what would be right.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no such key.
    UnknownKey {
        /// The key, or the variable, as it was written.
        key: String,
        /// The most similar known key, if there is one, written in the same way.
        nearest: Option<String>,
    },
    /// Streams of messages have no such key.
    UnknownStreamKey {
        /// The key, or the variable, as it was written.
        key: String,
        /// The most similar known key, if there is one, written in the same way.
        nearest: Option<String>,
    },
    /// Holders of keys have no such key.
    UnknownHolderKey {
        /// The key, or the variable, as it was written.
        key: String,
        /// The most similar known key, if there is one, written in the same way.
        nearest: Option<String>,
    },
    /// A secret key stands where it can be read. The message does not show it.
    KeyInText {
        /// The setting, or the variable, as it was written.
        key: String,
        /// The setting to use instead, written in the same way.
        instead: String,
    },
    /// The setting asks for a secured link, and the classic wire cannot be secured.
    CannotBeSecured {
        /// The setting.
        key: String,
    },
    /// The setting asks for a secured link, and this build has none.
    SecurityNotBuilt {
        /// The setting.
        key: String,
    },
    /// A key file cannot be used.
    #[cfg(feature = "secure")]
    KeyFile {
        /// The setting that names the file.
        key: String,
        /// What is wrong with the file.
        error: KeyFileError,
    },
    /// The keys do not go together: one is there twice, or there are too many.
    Keys(String),
    /// The value has the wrong type or is out of range.
    Invalid {
        /// The key, or the variable, as it was written.
        key: String,
        /// The value that was found.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// The role of the configuration is not the role of the function that creates the interface.
    WrongRole {
        /// The role of the configuration.
        found: Role,
        /// The role of the function.
        expected: Role,
    },
    /// The text of `endpoint` is not an endpoint.
    Endpoint(EndpointError),
    /// A required key is missing.
    Missing {
        /// The key.
        key: String,
        /// What would be right.
        expected: String,
    },
    /// A key is set, but it can have no effect with this role, this wire or these settings.
    NoEffect {
        /// The key.
        key: String,
        /// Where it would have an effect. The message shows it after "has an effect only".
        only: &'static str,
    },
    /// This build does not have the codec.
    CodecNotBuilt {
        /// The codec.
        codec: ContentType,
    },
    /// The text is not TOML.
    Toml {
        /// The line of the first fault, counted from 1.
        line: usize,
        /// What is wrong in that line.
        problem: String,
    },
    /// The file cannot be read.
    Unreadable {
        /// The message of the operating system.
        problem: String,
    },
    /// There is a fault in a file.
    InFile {
        /// The path of the file.
        path: String,
        /// The fault.
        error: Box<ConfigError>,
    },
}

/// The name of a setting as a user wrote it, unless a secret key stands there.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A variable has a prefix, and perhaps more words: `TAUTLINE_KEYS_.._MAY`. A key may have `_` in it, so each word that it
        // may begin with is looked at alone, and with all that follows.
        let begins = once(0).chain(self.0.match_indices('_').map(|(at, _)| at + 1));
        let mut ends = begins.map(|at| &self.0[at..]);
        let is_key = ends.any(|end| holds_key(end) || end.split('_').next().is_some_and(holds_key));
        // A file may hold names that control the terminal.
        if is_key { f.write_str("(a key, which is not shown)") } else { self.0.escape_debug().fmt(f) }
    }
}

/// `main` and `unwrap` print the `Debug` of an error, and people read it. So it is the sentence.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { key, nearest: Some(nearest) }
            | Self::UnknownStreamKey { key, nearest: Some(nearest) }
            | Self::UnknownHolderKey { key, nearest: Some(nearest) } => {
                write!(f, "there is no key `{}`: did you mean `{}`?", Shown(key), Shown(nearest))
            }
            Self::UnknownKey { key, nearest: None } => {
                write!(
                    f,
                    "there is no key `{}`: docs/configuration.md has all of them, and so has `tautline config print`",
                    Shown(key)
                )
            }
            Self::UnknownStreamKey { key, nearest: None } => {
                write!(f, "there is no key `{}`: expected one of ", Shown(key))?;
                write_names(f, STREAM_KEYS.iter().map(StreamKey::name))?;
                write!(f, ", or a channel from 0 to {}", u16::MAX)
            }
            Self::UnknownHolderKey { key, nearest: None } => {
                write!(
                    f,
                    "there is no key `{}`: expected the name of a holder of keys, with one of ",
                    Shown(key)
                )?;
                write_names(f, HolderKey::NAMES.into_iter())
            }
            Self::KeyInText { key, instead } => write!(
                f,
                "`{}` is no setting, because others may read settings: write the key to a file, and name it by `{}`",
                Shown(key),
                Shown(instead)
            ),
            Self::CannotBeSecured { key } => write!(
                f,
                "`{key}` is set, but the classic wire cannot be secured: use the native wire (`wire = \"native\"`) at both ends"
            ),
            Self::SecurityNotBuilt { key } => write!(
                f,
                "`{key}` is set, but this build has no secured links: enable the Cargo feature \"secure\" of the crate tautline"
            ),
            #[cfg(feature = "secure")]
            Self::KeyFile { key, error } => write!(f, "`{key}`: {error}"),
            Self::Keys(problem) => f.write_str(problem),
            Self::Invalid { key, found, expected } => {
                write!(f, "`{}` is {found}: expected {expected}", Shown(key))
            }
            Self::WrongRole { found, expected } => {
                let (found, expected) = (found.show(), expected.show());
                write!(
                    f,
                    "`role` is {found}, but create_udp_{expected} makes a {expected}: use Config::{expected}(..), or call \
                     create_udp_{found}"
                )
            }
            Self::Endpoint(error) => write!(f, "`endpoint` {error}"),
            Self::Missing { key, expected } => write!(f, "`{key}` is not set: expected {expected}"),
            Self::NoEffect { key, only } => {
                write!(f, "`{key}` is set but has an effect only {only}: remove it")
            }
            Self::CodecNotBuilt { codec } => write!(
                f,
                "`codec` is {codec}, which this build does not have: enable the Cargo feature \"{codec}\" \
                 of the crate tautline"
            ),
            Self::Toml { line, problem } => write!(f, "line {line} is not TOML: {problem}"),
            Self::Unreadable { problem } => write!(f, "the file cannot be read: {problem}"),
            Self::InFile { path, error } => match &**error {
                Self::Unreadable { problem } => write!(f, "cannot read {path}: {problem}"),
                error => write!(f, "{path}: {error}"),
            },
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Endpoint(error) => Some(error),
            Self::InFile { error, .. } => Some(error),
            #[cfg(feature = "secure")]
            Self::KeyFile { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl ConfigError {
    /// Returns the key or variable at fault, as it was written; `None` if the fault is not about one key.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::UnknownKey { key, .. } | Self::Invalid { key, .. } => Some(key),
            Self::UnknownStreamKey { key, .. } | Self::UnknownHolderKey { key, .. } => Some(key),
            Self::KeyInText { key, .. } | Self::CannotBeSecured { key } => Some(key),
            Self::SecurityNotBuilt { key } => Some(key),
            #[cfg(feature = "secure")]
            Self::KeyFile { key, .. } => Some(key),
            Self::Missing { key, .. } | Self::NoEffect { key, .. } => Some(key),
            Self::WrongRole { .. } => Some("role"),
            Self::Endpoint(_) => Some("endpoint"),
            Self::CodecNotBuilt { .. } => Some("codec"),
            Self::InFile { error, .. } => error.key(),
            Self::Toml { .. } | Self::Unreadable { .. } | Self::Keys(_) => None,
        }
    }
}

fn write_names(f: &mut fmt::Formatter<'_>, names: impl Iterator<Item = &'static str>) -> fmt::Result {
    for (index, name) in names.enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        write!(f, "{separator}{name}")?;
    }
    Ok(())
}

/// The most wrong letters in a near miss.
const NEAR_MISS: usize = 2;

/// Returns the key or message type that `written` most likely means: a name with at most two wrong letters, or a longer
/// name that contains it.
pub(super) fn nearest_key(written: &str) -> Option<&'static str> {
    let types = MessageType::ALL.iter().map(|message_type| message_type.name());
    nearest(written, KEYS.iter().map(Key::name)).or_else(|| nearest(written, types))
}

/// As [`nearest_key`], for a key of a stream whose type is misspelled, such as `comand.lifespan`.
pub(super) fn nearest_type_of_stream(written: &str, separator: char) -> Option<String> {
    let (message_type, rest) = written.split_once(separator)?;
    let key = rest.rsplit(separator).next()?;
    STREAM_KEYS.iter().find(|known| known.name() == key)?;
    let types = MessageType::ALL.iter().map(|message_type| message_type.name());
    Some(format!("{}{separator}{rest}", nearest(message_type, types)?))
}

/// As [`nearest_key`], for the keys of a stream.
pub(super) fn nearest_stream_key(written: &str) -> Option<&'static str> {
    nearest(written, STREAM_KEYS.iter().map(StreamKey::name))
}

/// As [`nearest_key`], for the keys of a holder of keys.
pub(super) fn nearest_holder_key(written: &str) -> Option<&'static str> {
    nearest(written, HolderKey::NAMES.into_iter())
}

fn nearest(written: &str, mut names: impl Iterator<Item = &'static str> + Clone) -> Option<&'static str> {
    let near = names.clone().map(|name| (distance(written, name), name)).min();
    match near {
        Some((distance, name)) if distance <= NEAR_MISS => Some(name),
        _ if written.len() > NEAR_MISS => names.find(|name| name.contains(written)),
        _ => None,
    }
}

/// The number of letters to insert, remove or replace to turn one text into the other (Levenshtein distance).
fn distance(left: &str, right: &str) -> usize {
    // Only near misses matter, so texts of very different lengths need no computation.
    if left.len().abs_diff(right.len()) > NEAR_MISS {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(l != r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[right.len()]
}
