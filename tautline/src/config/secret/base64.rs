//! Base64 of keys (RFC 4648 section 4), without a branch or a table look-up that depends on the key.
//!
//! [`SecretKey`](super::SecretKey) uses it. It never allocates, so that no copy of a key stays behind.
#![allow(clippy::cast_possible_truncation, reason = "each cast keeps the six or eight bits that are meant")]

use tautline_proto::secure::Key;

const LENGTH: usize = Key::LEN;

/// The number of characters of a key, with the padding.
pub(super) const CHARACTERS: usize = 44;

/// The characters in the order of their values, as ranges: the first, the last, the value of the first.
const RANGES: [(u8, u8, i16); 5] =
    [(b'A', b'Z', 0), (b'a', b'z', 26), (b'0', b'9', 52), (b'+', b'+', 62), (b'/', b'/', 63)];

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A character has no place in base64, or the padding is not as it is written.
    NotBase64,
    /// It is base64, but of so many bytes.
    Length(usize),
}

/// -1 if `first <= number <= last`, else 0. All numbers lie between 0 and 255.
const fn mask(number: i16, first: i16, last: i16) -> i16 {
    ((first - 1 - number) & (number - last - 1)) >> 8
}

/// Returns the value of a character, or -1 if it has none.
fn value(character: u8) -> i16 {
    let character = i16::from(character);
    RANGES.iter().fold(-1, |value, &(first, last, base)| {
        let (first, last) = (i16::from(first), i16::from(last));
        value + (mask(character, first, last) & (character - first + base + 1))
    })
}

/// Returns the character of the lowest six bits.
fn character(six_bits: u32) -> u8 {
    let number = i16::from(six_bits as u8 & 63);
    let character = RANGES.iter().fold(0, |character, &(first, last, base)| {
        let (first, last) = (i16::from(first), i16::from(last));
        character + (mask(number, base, base + last - first) & (number - base + first))
    });
    character as u8
}

/// Writes a key as text.
pub(super) fn encode(key: &[u8; LENGTH], text: &mut [u8; CHARACTERS]) {
    let (groups, _) = text.as_chunks_mut::<4>();
    for (bytes, group) in key.chunks(3).zip(groups) {
        let bits =
            bytes.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - bytes.len()));
        *group = [18, 12, 6, 0].map(|shift| character(bits >> shift));
    }
    text[CHARACTERS - 1] = b'=';
}

/// Reads a key. On a fault, what it left in `key` is not a key.
pub(super) fn decode(text: &[u8], key: &mut [u8; LENGTH]) -> Result<(), Fault> {
    let padding = text.iter().rev().take_while(|&&character| character == b'=').count();
    let digits = &text[..text.len() - padding];
    let all_known = digits.iter().fold(0, |all, &character| all | value(character)) >= 0;
    if !all_known || padding > 2 || !text.len().is_multiple_of(4) {
        return Err(Fault::NotBase64);
    }
    let length = digits.len() * 6 / 8;
    if length != LENGTH {
        return Err(Fault::Length(length));
    }
    let mut left_over = 0;
    for (group, bytes) in digits.chunks(4).zip(key.chunks_mut(3)) {
        let bits = group.iter().fold(0u32, |bits, &character| bits << 6 | value(character) as u32);
        let bits = bits << (6 * (4 - group.len()));
        for (byte, shift) in bytes.iter_mut().zip([16, 8, 0]) {
            *byte = (bits >> shift) as u8;
        }
        left_over |= if group.len() < 4 { bits & 0xff } else { 0 };
    }
    // Otherwise four texts would mean the same key.
    if left_over == 0 { Ok(()) } else { Err(Fault::NotBase64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(key: &[u8; LENGTH]) -> String {
        let mut text = [0; CHARACTERS];
        encode(key, &mut text);
        String::from_utf8(text.to_vec()).expect("ASCII")
    }

    #[test]
    fn every_character_has_the_value_that_the_rfc_gives_it() {
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for byte in 0..=u8::MAX {
            let place = alphabet.bytes().position(|known| known == byte);
            assert_eq!(value(byte), place.map_or(-1, |place| place as i16), "{:?}", char::from(byte));
        }
        for (number, known) in alphabet.bytes().enumerate() {
            assert_eq!(character(number as u32), known);
        }
    }

    #[test]
    fn a_key_is_the_same_when_it_is_written_and_read() {
        // From `printf ... | base64`.
        let counted: [u8; LENGTH] = std::array::from_fn(|index| index as u8);
        assert_eq!(text_of(&counted), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        for seed in 0..200u32 {
            let key = std::array::from_fn(|index| {
                (seed.wrapping_mul(2_654_435_761) >> (index % 24)) as u8 ^ index as u8
            });
            let mut read = [0; LENGTH];
            assert_eq!(decode(text_of(&key).as_bytes(), &mut read), Ok(()));
            assert_eq!(read, key);
        }
    }

    #[test]
    fn each_text_that_is_no_key_has_its_fault() {
        let good = text_of(&[7; LENGTH]);
        for (text, fault) in [
            ("", Fault::Length(0)),
            ("AAAA", Fault::Length(3)),
            (&good[..43], Fault::NotBase64),
            (&format!("{}==", &good[..42]), Fault::Length(31)),
            (&format!("{}AAAA", &good[..40]), Fault::Length(33)),
            (&"ab".repeat(32), Fault::Length(48)),
            (&good.replace('B', "-"), Fault::NotBase64),
            (&good.replace('B', "="), Fault::NotBase64),
            (&format!("{}====", &good[..40]), Fault::NotBase64),
            (&format!("{good} "), Fault::NotBase64),
            // The last character has two bits that belong to no byte.
            (&format!("{}d=", &good[..42]), Fault::NotBase64),
        ] {
            assert_eq!(decode(text.as_bytes(), &mut [0; LENGTH]), Err(fault), "{text:?}");
        }
    }
}
