//! Text of strangers, so that it controls no terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns whether a character controls the terminal, ends a line (U+2028 and U+2029, for Python's `splitlines` and some terminals), or
/// sets the direction of writing (Unicode: `Bidi_Control`). With those, a stranger's text could look like another one.
#[must_use]
pub fn misleads(character: char) -> bool {
    let directs = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    character.is_control() || directs
}

/// Returns the text with an escape such as `\u009b` for each character that [misleads]. In JSON, that means the same.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(misleads) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if misleads(character) {
            let _ = write!(out, "\\u{:04x}", u32::from(character)); // writing to a String cannot fail
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}
