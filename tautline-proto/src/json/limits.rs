//! What JSON text may ask of its reader, and what can be wrong with it.

use core::fmt;

/// What happens to `NaN`, `Infinity`, `-Infinity` and numbers beyond the range of a 64-bit float.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
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

/// What [`check`](super::check) found in text without faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// Whether a number was not finite; only ever true with [`NonFinite::Null`]. Such text is to be
    /// [normalised](super::normalize) before a strict JSON reader sees it.
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
