//! Checks JSON text, rewrites it in a canonical form, and writes it.
//!
//! The classic wire reads and writes its envelopes with this module. The `tautline` crate checks JSON payloads and writes values
//! with it. The module uses nothing else of the crate.
//!
//! It never builds a tree of values, never recurses, and allocates only the output. So text from an attacker costs time in
//! proportion to its length, and no memory.
//!
//! JSON is RFC 8259 in valid UTF-8, with two clarifications:
//! - The literals `NaN`, `Infinity` and `-Infinity`, which Python writes, and numbers that no 64-bit float can hold (`1e999`)
//!   are not syntax errors. [`NonFinite`] decides what happens to them.
//! - An escaped surrogate without its other half (`"\ud800"`) is refused. Python accepts it, but it is not a character,
//!   and no Rust string can hold it.
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

/// Checks that `text` is exactly one JSON value, with optional whitespace around it.
///
/// # Errors
///
/// The first fault in the text.
pub fn check(text: &[u8], limits: &JsonLimits) -> Result<Check, JsonFault> {
    let mut cursor = Cursor::new(text)?;
    let value = cursor.value(limits)?;
    cursor.end()?;
    Ok(value.check)
}

/// Appends the canonical form of `text` to `out`.
///
/// The canonical form is that of Python's `json.dumps`: the separators are `", "` and `": "`, all characters are escaped except
/// for those from space to `~`, and floats are written as their `repr`. Keys keep their order, repeated keys stay, and integers
/// keep all their digits. The result is at most six times as long as the text.
///
/// # Errors
///
/// The first fault in the text. `out` then ends with an unfinished value.
pub fn normalize(text: &[u8], limits: &JsonLimits, out: &mut Vec<u8>) -> Result<(), JsonFault> {
    let mut cursor = Cursor::new(text)?;
    cursor.value_into(limits, &mut write::Canonical { out })?;
    cursor.end()
}

#[cfg(test)]
mod tests;
