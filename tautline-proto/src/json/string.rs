//! JSON strings: finds where they end, and decodes their escapes.

use alloc::borrow::Cow;
use alloc::string::String;

/// The text between the quotes of a string. All its escapes are valid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawString<'a> {
    inner: &'a str,
    escaped: bool,
}

/// A piece of a string.
pub(super) enum Piece<'a> {
    /// Characters without escapes.
    Plain(&'a str),
    /// The character that an escape means.
    Escape(char),
}

impl<'a> RawString<'a> {
    /// Splits `text`, which follows an opening quote, at the closing quote.
    ///
    /// # Errors
    ///
    /// The offset of the first fault in `text`.
    pub(super) fn split(text: &'a str) -> Result<Self, usize> {
        let bytes = text.as_bytes();
        let (mut at, mut escaped) = (0, false);
        loop {
            at += plain_length(&bytes[at..]);
            match bytes.get(at) {
                Some(b'"') => return Ok(Self { inner: &text[..at], escaped }),
                Some(b'\\') => {
                    let (_, length) = read_escape(&bytes[at + 1..]).ok_or(at)?;
                    at += 1 + length;
                    escaped = true;
                }
                _ => return Err(at),
            }
        }
    }

    /// Returns the number of bytes between the quotes.
    pub(super) fn len(&self) -> usize {
        self.inner.len()
    }

    /// Calls `each` for every piece, in order.
    pub(super) fn pieces(&self, mut each: impl FnMut(Piece<'a>)) {
        if !self.escaped {
            return each(Piece::Plain(self.inner));
        }
        let mut rest = self.inner;
        while let Some((plain, escape)) = rest.split_once('\\') {
            each(Piece::Plain(plain));
            let Some((meaning, length)) = read_escape(escape.as_bytes()) else {
                return debug_assert!(false, "`split` has checked the escapes");
            };
            each(Piece::Escape(meaning));
            rest = &escape[length..];
        }
        each(Piece::Plain(rest));
    }

    /// Returns the decoded string. It is borrowed if the string has no escapes.
    pub(crate) fn decode(&self) -> Cow<'a, str> {
        if !self.escaped {
            return Cow::Borrowed(self.inner);
        }
        let mut text = String::with_capacity(self.inner.len());
        self.pieces(|piece| match piece {
            Piece::Plain(plain) => text.push_str(plain),
            Piece::Escape(meaning) => text.push(meaning),
        });
        Cow::Owned(text)
    }
}

/// Decodes a JSON string. Returns `None` if `json` is another kind of value.
pub(crate) fn decode_string(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?;
    Some(RawString::split(inner).ok()?.decode())
}

/// Reads what follows a backslash. Returns the character and how many bytes it took.
fn read_escape(bytes: &[u8]) -> Option<(char, usize)> {
    let meaning = match bytes.first()? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return read_unicode_escape(&bytes[1..]),
        _ => return None,
    };
    Some((meaning, 1))
}

/// Reads the digits of a `\u` escape. After the first half of a surrogate pair it reads the second half too. The length includes
/// the `u`.
fn read_unicode_escape(digits: &[u8]) -> Option<(char, usize)> {
    let first = hex(digits.get(..4)?)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first)?, 5));
    }
    let second = hex(digits.get(4..10)?.strip_prefix(b"\\u")?)?;
    let low = second.checked_sub(0xdc00).filter(|&low| low < 0x400)?;
    let code = 0x1_0000 + ((first - 0xd800) << 10) + low;
    Some((char::from_u32(code)?, 11))
}

/// Whether `escape` begins with the escape of a surrogate. If [`RawString::split`] has refused the string at this place, the other half
/// of the pair is missing.
#[cold]
pub(super) fn is_surrogate(escape: &str) -> bool {
    let digits = escape.strip_prefix("\\u").and_then(|digits| digits.as_bytes().get(..4));
    digits.and_then(hex).is_some_and(|code| (0xd800..0xe000).contains(&code))
}

/// Returns the value of hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))
}

/// Returns how many bytes at the start are no quote, backslash or control character.
fn plain_length(bytes: &[u8]) -> usize {
    run_length(bytes, |word| below_space(word) | equal(word, b'"') | equal(word, b'\\'))
}

/// Returns how many bytes at the start are written without an escape: those of [`plain_length`] from space to `~`.
pub(super) fn ascii_length(bytes: &[u8]) -> usize {
    run_length(bytes, |word| {
        below_space(word) | equal(word, b'"') | equal(word, b'\\') | equal(word, 0x7f) | (word & TOPS)
    })
}

/// The lowest bit of each byte of a word.
const ONES: u64 = u64::MAX / 255;
/// The highest bit of each byte of a word.
const TOPS: u64 = ONES << 7;

/// Returns how many bytes precede the first byte that `marks` marks. It looks at eight bytes at a time, because most bytes of a
/// long text are in strings.
///
/// `marks` sets the top bit of each marked byte. Above the lowest marked byte, it may mark other bytes by mistake.
fn run_length(bytes: &[u8], marks: impl Fn(u64) -> u64) -> usize {
    const WORD: usize = size_of::<u64>();
    let mut length = 0;
    for word in bytes.chunks_exact(WORD) {
        let marked = marks(u64::from_le_bytes(word.try_into().expect("chunks of one word")));
        if marked != 0 {
            return length + marked.trailing_zeros() as usize / 8;
        }
        length += WORD;
    }
    let rest = &bytes[length..];
    let mut word = [b' '; WORD];
    word[..rest.len()].copy_from_slice(rest);
    let marked = marks(u64::from_le_bytes(word));
    length + rest.len().min(marked.trailing_zeros() as usize / 8)
}

/// Marks the bytes that are control characters.
fn below_space(word: u64) -> u64 {
    word.wrapping_sub(ONES * u64::from(b' ')) & !word & TOPS
}

/// Marks the bytes that equal `byte`. Their difference from `byte` is zero, the only value from which the subtraction borrows.
fn equal(word: u64, byte: u8) -> u64 {
    let difference = word ^ (ONES * u64::from(byte));
    difference.wrapping_sub(ONES) & !difference & TOPS
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_decoded() {
        let json = r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é""#;
        let text = decode_string(json).expect("a string");
        assert_eq!(text, "\"\\/\u{8}\u{c}\n\r\té😀é");
    }

    #[test]
    fn string_without_escapes_is_borrowed() {
        assert!(matches!(decode_string("\"plain é\""), Some(Cow::Borrowed("plain é"))));
        assert_eq!(decode_string("17"), None);
    }

    #[test]
    fn fault_in_a_string_is_located() {
        let broken = [
            (r#"abc"#, 3),
            ("ab\u{1}\"", 2),
            (r#"a\x""#, 1),
            (r#"\"#, 0),
            (r#"\u12"#, 0),
            (r#"\u+123""#, 0),
            (r#"\ud800""#, 0),
            (r#"\ud800\n""#, 0),
            (r#"\ud800\ud800""#, 0),
            (r#"\ud800\ue000""#, 0),
            (r#"0123456789\udc00""#, 10),
        ];
        for (text, offset) in broken {
            assert_eq!(RawString::split(text).expect_err(text), offset, "{text}");
        }
    }

    /// The slow and obvious version of `plain_length`, for one byte.
    fn is_plain(byte: u8) -> bool {
        byte >= b' ' && byte != b'"' && byte != b'\\'
    }

    /// The slow and obvious version of `ascii_length`, for one byte.
    fn is_plain_ascii(byte: u8) -> bool {
        is_plain(byte) && byte <= b'~'
    }

    fn slow_length(bytes: &[u8], is_plain: fn(u8) -> bool) -> usize {
        bytes.iter().take_while(|&&byte| is_plain(byte)).count()
    }

    #[test]
    fn fast_search_finds_every_byte_in_every_place() {
        for byte in 0..=u8::MAX {
            for place in 0..17 {
                let mut bytes = [b'a'; 17];
                bytes[place] = byte;
                assert_eq!(plain_length(&bytes), slow_length(&bytes, is_plain), "{byte} at {place}");
                assert_eq!(ascii_length(&bytes), slow_length(&bytes, is_plain_ascii), "{byte} at {place}");
            }
        }
    }

    proptest! {
        /// Uses bytes next to the special bytes, where borrows between bytes could cause errors.
        #[test]
        fn fast_search_agrees_with_the_slow_search(
            bytes in prop::collection::vec(
                prop::sample::select(&b"\x00\x1f !\"#[\\]a~\x7f\x80\x9f\xa0\xa2\xdc\xff"[..]), 0..40),
            plain in 0..20_usize,
        ) {
            let bytes: Vec<u8> = core::iter::repeat_n(b'a', plain).chain(bytes).collect();
            prop_assert_eq!(plain_length(&bytes), slow_length(&bytes, is_plain));
            prop_assert_eq!(ascii_length(&bytes), slow_length(&bytes, is_plain_ascii));
        }
    }
}
