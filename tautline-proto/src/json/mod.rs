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

mod limits;
mod scan;
mod string;
mod write;

use alloc::vec::Vec;

pub use limits::{Check, JsonFault, JsonLimits, NonFinite};
pub(crate) use scan::{Cursor, RawValue};
pub(crate) use string::decode_string;
pub use write::{write_f64, write_string};

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
