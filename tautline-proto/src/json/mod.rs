//! JSON text as the wires need it: checked, rewritten into one canonical form, and written.
//!
//! The classic wire reads and writes its envelopes with this; the `tautline` crate checks JSON payloads
//! and writes values with it. It never builds a tree of values, never recurses and allocates nothing but
//! the output, so that text from strangers costs time in proportion to its length and nothing else.
//!
//! What is JSON here is RFC 8259 in valid UTF-8, with two clarifications:
//! - The literals `NaN`, `Infinity` and `-Infinity`, which Python writes, and numbers that no 64-bit
//!   float can hold (`1e999`) are not JSON errors but fall under [`NonFinite`].
//! - An escaped surrogate without its other half (`"\ud800"`) is a syntax error: Python lets it pass, but
//!   it is not a character and no Rust string can hold it.
//!
//! ```
//! use tautline_proto::json::{JsonLimits, normalize};
//!
//! let mut out = Vec::new();
//! let text = r#"{"force":[1.50,1e-7],"unit":"N·m"}"#;
//! normalize(text.as_bytes(), &JsonLimits::default(), &mut out)?;
//! assert_eq!(out, br#"{"force": [1.5, 1e-07], "unit": "N\u00b7m"}"#);
//! # Ok::<(), tautline_proto::json::JsonFault>(())
//! ```

use alloc::vec::Vec;
use core::fmt;

mod scan;
mod string;
mod write;

pub(crate) use scan::{Cursor, RawValue};
pub(crate) use string::decode_string;
pub use write::{write_f64, write_string};

/// What happens to `NaN`, `Infinity`, `-Infinity` and numbers beyond the range of a 64-bit float.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// The whole text is refused; the default, because a controller must not act on such a number.
    #[default]
    Refuse,
    /// Each one is read as `null`.
    Null,
}

/// How much JSON text may ask of its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonLimits {
    /// How many arrays and objects may lie inside each other; 0 admits only scalars. Default 32; values
    /// over [`MAX_DEPTH`](Self::MAX_DEPTH) count as that.
    pub max_depth: usize,
    /// What happens to numbers that are not finite.
    pub nonfinite: NonFinite,
}

impl JsonLimits {
    /// The largest `max_depth`: what `serde_json` decodes without special settings.
    pub const MAX_DEPTH: usize = 127;
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self { max_depth: 32, nonfinite: NonFinite::Refuse }
    }
}

/// What [`check`] found in text without faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// Whether a number was not finite; only ever true with [`NonFinite::Null`]. Such text is to be
    /// [normalised](normalize) before a strict JSON reader sees it.
    pub nonfinite: bool,
}

/// Why text was refused: the first fault in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonFault {
    /// Not JSON.
    Syntax {
        /// Where the fault is, in bytes from the start.
        offset: usize,
    },
    /// Not valid UTF-8; found before any other fault.
    NotUtf8 {
        /// Where the first invalid sequence begins, in bytes from the start.
        offset: usize,
    },
    /// Nested deeper than [`JsonLimits::max_depth`].
    TooDeep,
    /// A number that is not finite, with [`NonFinite::Refuse`].
    NotFinite,
}

impl fmt::Display for JsonFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { offset } => write!(f, "the text is not JSON: syntax error at byte {offset}"),
            Self::NotUtf8 { offset } => write!(f, "the text is not UTF-8: invalid at byte {offset}"),
            Self::TooDeep => f.write_str("the JSON text is nested deeper than `max_depth`"),
            Self::NotFinite => {
                f.write_str("the JSON text holds NaN or an infinity and `nonfinite` is \"refuse\"")
            }
        }
    }
}

impl core::error::Error for JsonFault {}

/// Checks that `text` is exactly one JSON value, with whitespace around it at most.
///
/// # Errors
/// The first fault in the text.
pub fn check(text: &[u8], limits: &JsonLimits) -> Result<Check, JsonFault> {
    let mut cursor = Cursor::new(text)?;
    let value = cursor.value(limits)?;
    cursor.end()?;
    Ok(value.check)
}

/// Appends the canonical form of `text` to `out`.
///
/// That is the form of Python's `json.dumps`: `", "` and `": "` as separators, everything but the
/// characters from space to `~` escaped, floats as their `repr`. Keys keep their order, repeated keys
/// stay, and integers keep their digits, however many. At most six times as long as the text.
///
/// # Errors
/// The first fault in the text; `out` then ends in an unfinished value.
pub fn normalize(text: &[u8], limits: &JsonLimits, out: &mut Vec<u8>) -> Result<(), JsonFault> {
    let mut cursor = Cursor::new(text)?;
    cursor.value_into(limits, &mut write::Canonical { out })?;
    cursor.end()
}

#[cfg(test)]
mod tests;
