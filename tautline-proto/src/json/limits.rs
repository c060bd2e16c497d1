//! The limits for JSON text, and the faults that it can have.

use crate::snapshot::{saved, saved_variants};
use core::fmt;

/// What happens to `NaN`, `Infinity`, `-Infinity` and numbers beyond the range of a 64-bit float.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NonFinite {
    /// The whole text is refused. The default, because a controller must not act on such a number.
    #[default]
    Refuse,
    /// Each such number is read as `null`.
    Null,
}

/// The limits for JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonLimits {
    /// How many arrays and objects may be nested. 0 allows only scalars. Default: 32. Values above
    /// [`MAX_DEPTH`](Self::MAX_DEPTH) count as `MAX_DEPTH`.
    pub max_depth: usize,
    /// What happens to numbers that are not finite.
    pub nonfinite: NonFinite,
}

impl JsonLimits {
    /// The largest `max_depth`: the depth that `serde_json` decodes without special settings.
    pub const MAX_DEPTH: usize = 127;
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self { max_depth: 32, nonfinite: NonFinite::Refuse }
    }
}

/// What [`check`](super::check) has found in text without faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// Whether a number was not finite. Only possible with [`NonFinite::Null`]. Such text must be
    /// [normalised](super::normalize) before a strict JSON reader reads it.
    pub nonfinite: bool,
}

/// The first fault in a text, for which it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonFault {
    /// The text is not JSON.
    Syntax {
        /// Where the fault is, in bytes from the start.
        offset: usize,
    },
    /// The text is not valid UTF-8. This fault is found before any other.
    NotUtf8 {
        /// Where the first invalid sequence begins, in bytes from the start.
        offset: usize,
    },
    /// A string holds one half of a surrogate pair (`\ud800` to `\udfff`), which is no character.
    LoneSurrogate {
        /// Where its escape begins, in bytes from the start.
        offset: usize,
    },
    /// The text is nested deeper than [`JsonLimits::max_depth`].
    TooDeep,
    /// The text holds a number that is not finite, with [`NonFinite::Refuse`].
    NotFinite,
}

impl fmt::Display for JsonFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { offset } => write!(f, "the text is not JSON: syntax error at byte {offset}"),
            Self::NotUtf8 { offset } => write!(f, "the text is not UTF-8: invalid at byte {offset}"),
            Self::LoneSurrogate { offset } => {
                write!(f, "the text holds half of a surrogate pair at byte {offset}, which is no character")
            }
            Self::TooDeep => f.write_str("the JSON text is nested deeper than `max_depth`"),
            Self::NotFinite => {
                f.write_str("the JSON text holds NaN or an infinity, and `nonfinite` is \"refuse\"")
            }
        }
    }
}

impl core::error::Error for JsonFault {}

saved_variants!(NonFinite { 0 = Refuse, 1 = Null });
saved!(JsonLimits { max_depth, nonfinite });
