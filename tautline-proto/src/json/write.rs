//! Writes JSON in the canonical form, which is that of Python's `json.dumps`.

use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use super::scan::Sink;
use super::string::{Piece, RawString, ascii_length};

/// Appends `text` as a JSON string, quoted and escaped.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_escaped(out, text);
    out.push(b'"');
}

/// Appends a number as Python's `repr` writes it: with the fewest digits that read back as the same value, and in exponent form
/// below 1e-4 and from 1e16 on.
///
/// The value must be finite, because JSON has no other numbers. A release build writes `null` for any other value, which every
/// reader accepts.
pub fn write_f64(out: &mut Vec<u8>, value: f64) {
    debug_assert!(value.is_finite(), "JSON has no {value}");
    if !value.is_finite() {
        return out.extend_from_slice(b"null");
    }
    let mut shortest = Scientific::default();
    write!(shortest, "{value:e}").expect("17 digits, sign, point and exponent fit");
    if shortest.may_be_tie(value) {
        shortest = shortest.with_even_last_digit(value);
    }
    shortest.write_as_python(out);
}

/// The result of `{:e}`, such as `-1.25e-7`.
#[derive(Default)]
struct Scientific {
    /// The longest is `-1.2345678901234567e-308`, 24 bytes.
    text: [u8; 32],
    length: usize,
}

impl fmt::Write for Scientific {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.text.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

impl Scientific {
    /// Returns the sign, the digits with their point, and the exponent.
    fn parts(&self) -> (&str, &[u8], i32) {
        let text = core::str::from_utf8(&self.text[..self.length]).expect("{:e} writes ASCII");
        let (digits, exponent) = text.split_once('e').expect("{:e} writes an exponent");
        let exponent = exponent.parse().expect("{:e} writes a small decimal exponent");
        match digits.strip_prefix('-') {
            Some(digits) => ("-", digits.as_bytes(), exponent),
            None => ("", digits.as_bytes(), exponent),
        }
    }

    /// Returns how many digits follow the point.
    fn fraction_digits(&self) -> usize {
        self.parts().1.len().saturating_sub(2)
    }

    /// Returns whether the value may lie exactly between two of the shortest decimals, as 2^50 + 0.25 does between …624.2 and
    /// …624.3. Always true if it does, and rarely true if it does not.
    ///
    /// If the last digit is worth 10^k, such a value is an odd multiple of 10^k / 2, and so of 2^(k - 1).
    fn may_be_tie(&self, value: f64) -> bool {
        let (_, digits, exponent) = self.parts();
        let places = i32::try_from(digits.len().saturating_sub(2)).unwrap_or(0);
        lowest_bit(value) == exponent - places - 1
    }

    /// Returns the decimal with an even last digit, if two shortest decimals are equally near. Python takes that one, Rust the
    /// larger one. Returns the only shortest decimal otherwise.
    fn with_even_last_digit(self, value: f64) -> Self {
        let mut even = Self::default();
        write!(even, "{value:.*e}", self.fraction_digits()).expect("as many digits as before");
        let reads_back = core::str::from_utf8(&even.text[..even.length]).map(str::parse) == Ok(Ok(value));
        if reads_back { even } else { self }
    }

    fn write_as_python(&self, out: &mut Vec<u8>) {
        let (sign, digits, exponent) = self.parts();
        out.extend_from_slice(sign.as_bytes());
        // The first digit is always there. A point follows if there are more digits.
        let (first, rest) = (digits[0], digits.get(2..).unwrap_or_default());
        match exponent {
            -4..0 => {
                out.extend_from_slice(b"0.");
                zeros(out, exponent.unsigned_abs() as usize - 1);
                out.push(first);
                out.extend_from_slice(rest);
            }
            0..16 => {
                let (whole, fraction) = rest.split_at(rest.len().min(exponent.unsigned_abs() as usize));
                out.push(first);
                out.extend_from_slice(whole);
                zeros(out, exponent.unsigned_abs() as usize - whole.len());
                out.push(b'.');
                out.extend_from_slice(if fraction.is_empty() { b"0" } else { fraction });
            }
            _ => {
                out.extend_from_slice(digits);
                write_exponent(out, exponent);
            }
        }
    }
}

/// Returns the exponent of the lowest bit that is set: the value is an odd multiple of two to that power.
fn lowest_bit(value: f64) -> i32 {
    const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS - 1;
    /// The exponent of the lowest fraction bit of subnormal numbers and of the smallest normal numbers.
    const SMALLEST: i32 = -1074;
    let bits = value.to_bits();
    let fraction = bits & ((1 << FRACTION_BITS) - 1);
    let exponent = i32::try_from(bits >> FRACTION_BITS & 0x7ff).unwrap_or(0);
    match exponent {
        0 => SMALLEST + fraction.trailing_zeros().cast_signed(),
        _ => SMALLEST - 1 + exponent + (fraction | 1 << FRACTION_BITS).trailing_zeros().cast_signed(),
    }
}

fn zeros(out: &mut Vec<u8>, count: usize) {
    out.resize(out.len() + count, b'0');
}

/// Writes `e`, the sign and at least two digits.
fn write_exponent(out: &mut Vec<u8>, exponent: i32) {
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    let magnitude = exponent.unsigned_abs();
    for (power, always) in [(100, false), (10, true), (1, true)] {
        if always || magnitude >= power {
            out.push(decimal_digit(magnitude / power));
        }
    }
}

/// Returns the last decimal digit of `number`.
#[allow(clippy::cast_possible_truncation)] // below ten
fn decimal_digit(number: u32) -> u8 {
    b'0' + (number % 10) as u8
}

/// Writes the characters between the quotes of a string.
fn write_escaped(out: &mut Vec<u8>, mut text: &str) {
    loop {
        // The copied bytes are ASCII, so the text is cut between characters.
        let (plain, rest) = text.split_at(ascii_length(text.as_bytes()));
        out.extend_from_slice(plain.as_bytes());
        let mut rest = rest.chars();
        match rest.next() {
            Some(special) => write_escape(out, special),
            None => return,
        }
        text = rest.as_str();
    }
}

/// Writes one character as an escape.
fn write_escape(out: &mut Vec<u8>, special: char) {
    let short = match special {
        '"' => b'"',
        '\\' => b'\\',
        '\u{8}' => b'b',
        '\u{c}' => b'f',
        '\n' => b'n',
        '\r' => b'r',
        '\t' => b't',
        _ => {
            for &mut unit in special.encode_utf16(&mut [0; 2]) {
                write_unicode_escape(out, unit);
            }
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

fn write_unicode_escape(out: &mut Vec<u8>, unit: u16) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(DIGITS[usize::from(unit >> shift & 0xf)]);
    }
}

/// Writes the canonical form of a text that is being scanned.
pub(super) struct Canonical<'a> {
    pub(super) out: &'a mut Vec<u8>,
}

impl Sink for Canonical<'_> {
    fn fixed(&mut self, text: &'static str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn string(&mut self, string: RawString<'_>) {
        self.out.push(b'"');
        string.pieces(|piece| match piece {
            Piece::Plain(plain) => write_escaped(self.out, plain),
            Piece::Escape(meaning) => write_escaped(self.out, meaning.encode_utf8(&mut [0; 4])),
        });
        self.out.push(b'"');
    }

    fn integer(&mut self, digits: &str) {
        self.out.extend_from_slice(digits.as_bytes());
    }

    fn float(&mut self, value: f64) {
        write_f64(self.out, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    fn float(value: f64) -> String {
        let mut out = Vec::new();
        write_f64(&mut out, value);
        String::from_utf8(out).expect("ASCII")
    }

    /// The texts are what Python 3 prints.
    #[test]
    fn floats_are_written_as_python_writes_them() {
        const TWO_50: f64 = 1_125_899_906_842_624.0;
        let table = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (1.0 / 3.0, "0.3333333333333333"),
            (0.1 + 0.2, "0.30000000000000004"),
            (100.0, "100.0"),
            (123_456.789, "123456.789"),
            (1_700_000_000.25, "1700000000.25"),
            (1_759_999_999.999_999_8, "1759999999.9999998"),
            (0.0001, "0.0001"),
            (0.000_123, "0.000123"),
            (0.000_099_999, "9.9999e-05"),
            (1e-5, "1e-05"),
            (-2.5e-7, "-2.5e-07"),
            (1e-10, "1e-10"),
            (1e15, "1000000000000000.0"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (1e22, "1e+22"),
            (-1e100, "-1e+100"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (5e-324, "5e-324"),
            // Exactly between two shortest decimals: the even one counts.
            (TWO_50 + 0.25, "1125899906842624.2"),
            (TWO_50 + 0.75, "1125899906842624.8"),
            (-TWO_50 - 0.25, "-1125899906842624.2"),
            (10.0 / 16_777_216.0, "5.960464477539062e-07"),
            // Between two decimals too, but only the odd one reads back.
            (1.0 / 16_777_216.0, "5.960464477539063e-08"),
        ];
        for (value, text) in table {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn strings_are_escaped_as_python_escapes_them() {
        let table = [
            ("", r#""""#),
            ("plain ~/text", r#""plain ~/text""#),
            ("\"\\/", r#""\"\\/""#),
            ("\u{8}\u{c}\n\r\t", r#""\b\f\n\r\t""#),
            ("\0\u{1f}\u{7f}\u{80}", r#""\u0000\u001f\u007f\u0080""#),
            ("é☃\u{ffff}", r#""\u00e9\u2603\uffff""#),
            ("a😀b\u{10ffff}", r#""a\ud83d\ude00b\udbff\udfff""#),
        ];
        for (text, json) in table {
            let mut out = Vec::new();
            write_string(&mut out, text);
            assert_eq!(out, json.as_bytes(), "{text:?}");
        }
    }
}
