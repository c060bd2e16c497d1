//! What can be wrong with a configuration.

use std::fmt;

use tautline_proto::{ContentType, MessageType};

use super::endpoint::EndpointError;
use super::keys::{KEYS, Key};
use super::qos::{STREAM_KEYS, StreamKey};
use super::value::{Role, Setting};

/// A configuration that cannot be: always names the key and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A key that is none of those documented.
    UnknownKey {
        /// The key, or the variable, as it was written.
        key: String,
        /// The known one that it resembles, if any, written in the same way.
        nearest: Option<String>,
    },
    /// A key that a stream of messages does not have.
    UnknownStreamKey {
        /// The key, or the variable, as it was written.
        key: String,
        /// The known one that it resembles, if any, written in the same way.
        nearest: Option<String>,
    },
    /// A value of the wrong type, or outside what is possible.
    Invalid {
        /// The key, or the variable, as it was written.
        key: String,
        /// The value found.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// The configuration is for the other role than the function that makes the interface.
    WrongRole {
        /// The role that the configuration says.
        found: Role,
        /// The role of the interface.
        expected: Role,
    },
    /// The endpoint's text is not one.
    Endpoint(EndpointError),
    /// A key without which there is no interface.
    Missing {
        /// The key.
        key: String,
        /// What would be right.
        expected: String,
    },
    /// A key that was set where it can have no effect.
    NoEffect {
        /// The key.
        key: String,
        /// Where it would have one, to follow "has an effect only".
        only: &'static str,
    },
    /// A codec that this build does not have.
    CodecNotBuilt {
        /// The codec.
        codec: ContentType,
    },
    /// Text that is not TOML.
    Toml {
        /// The line of the first fault, counted from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// A file that cannot be read.
    Unreadable {
        /// What the operating system says.
        problem: String,
    },
    /// A fault in a file.
    InFile {
        /// The file.
        path: String,
        /// The fault.
        error: Box<ConfigError>,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { key, nearest: Some(nearest) }
            | Self::UnknownStreamKey { key, nearest: Some(nearest) } => {
                write!(f, "there is no key `{key}`: did you mean `{nearest}`?")
            }
            Self::UnknownKey { key, nearest: None } => {
                write!(f, "there is no key `{key}`: expected one of ")?;
                write_names(f, KEYS.iter().map(Key::name))?;
                f.write_str(", or a message type (command, ...) with one of ")?;
                write_names(f, STREAM_KEYS.iter().map(StreamKey::name))
            }
            Self::UnknownStreamKey { key, nearest: None } => {
                write!(f, "there is no key `{key}`: expected one of ")?;
                write_names(f, STREAM_KEYS.iter().map(StreamKey::name))?;
                write!(f, ", or a channel from 0 to {}", u16::MAX)
            }
            Self::Invalid { key, found, expected } => write!(f, "`{key}` is {found}: expected {expected}"),
            Self::WrongRole { found, expected } => {
                let (found, expected) = (found.show(), expected.show());
                write!(
                    f,
                    "`role` is {found}, but a {expected} is to be made: write Config::{expected}(..) instead of \
                     Config::{found}(..), or create_udp_{found}"
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
            Self::InFile { path, error } => write!(f, "{path}: {error}"),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Endpoint(error) => Some(error),
            Self::InFile { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl ConfigError {
    /// The key or variable at fault, as it was written; `None` when the fault is not about one key.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::UnknownKey { key, .. } | Self::Invalid { key, .. } => Some(key),
            Self::UnknownStreamKey { key, .. } => Some(key),
            Self::Missing { key, .. } | Self::NoEffect { key, .. } => Some(key),
            Self::WrongRole { .. } => Some("role"),
            Self::Endpoint(_) => Some("endpoint"),
            Self::CodecNotBuilt { .. } => Some("codec"),
            Self::InFile { error, .. } => error.key(),
            Self::Toml { .. } | Self::Unreadable { .. } => None,
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

/// How many letters a near miss may have wrong.
const NEAR_MISS: usize = 2;

/// The known key, or the type that a stream's table is called by, that `written` is most likely meant to be: a near miss,
/// or a part of a longer name.
pub(super) fn nearest_key(written: &str) -> Option<&'static str> {
    let types = MessageType::ALL.iter().map(|message_type| message_type.name());
    nearest(written, KEYS.iter().map(Key::name)).or_else(|| nearest(written, types))
}

/// As [`nearest_key`], of a stream's keys.
pub(super) fn nearest_stream_key(written: &str) -> Option<&'static str> {
    nearest(written, STREAM_KEYS.iter().map(StreamKey::name))
}

fn nearest(written: &str, mut names: impl Iterator<Item = &'static str> + Clone) -> Option<&'static str> {
    let near = names.clone().map(|name| (distance(written, name), name)).min();
    match near {
        Some((distance, name)) if distance <= NEAR_MISS => Some(name),
        _ if written.len() > NEAR_MISS => names.find(|name| name.contains(written)),
        _ => None,
    }
}

/// How many letters must be inserted, removed or replaced to turn one text into the other.
fn distance(left: &str, right: &str) -> usize {
    // Only near misses matter, so texts of very different lengths need no table.
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
