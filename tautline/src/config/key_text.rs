//! Finds secret keys in texts that were meant to be something else, such as the path of a key file, so that no error repeats them.
//!
//! `holders`, `value` and `secret` ask it before they keep or show a text.

/// The characters of 32 bytes in base64, without the padding, and in hexadecimal digits.
const BASE64: usize = 43;
const HEX: usize = 64;

/// Whether the text may hold a key: as this library writes it, without the padding, in the base64 of URLs, or in hexadecimal digits,
/// also among other words. So the contents of a key file hold one. Paths seldom look like that.
pub(super) fn holds_key(text: &str) -> bool {
    let ends_word = |character: char| !character.is_ascii_alphanumeric() && !"+/-_".contains(character);
    let words = text.split_inclusive(ends_word);
    words.into_iter().any(|word| is_key(word.trim_end_matches(ends_word), word.ends_with('=')))
}

/// Whether the word is a key. Without padding, only a word with digits, and with small and capital letters is one.
fn is_key(word: &str, is_padded: bool) -> bool {
    let has = |kind: fn(&u8) -> bool| word.as_bytes().iter().any(kind);
    let is_mixed = || has(u8::is_ascii_digit) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    match word.len() {
        BASE64 => is_padded || (is_mixed() && (!word.starts_with('/') || changes(word) >= OF_NO_PATH)),
        HEX => word.bytes().all(|character| character.is_ascii_hexdigit()),
        _ => false,
    }
}

/// The changes that no path has. In a key there are some 24 of them.
const OF_NO_PATH: usize = 16;

/// Returns how often a small letter, a capital or a digit follows one of another of these three kinds.
fn changes(word: &str) -> usize {
    let kind = |byte: u8| match byte {
        b'a'..=b'z' => 1,
        b'A'..=b'Z' => 2,
        b'0'..=b'9' => 3,
        _ => 0,
    };
    word.as_bytes()
        .windows(2)
        .filter(|two| kind(two[0]) * kind(two[1]) > 0 && kind(two[0]) != kind(two[1]))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_every_form_and_among_other_words() {
        // The bytes 0xf8 to 0xff and 0 to 23, of which the standard alphabet writes some as `+` and `/`.
        let key = "+Pn6+/z9/v8AAQIDBAUGBwgJCgsMDQ4PEBESExQVFhc=";
        let hex = "f8f9fafbfcfdfeff000102030405060708090a0b0c0d0e0f1011121314151617";
        let bare = &key[..43];
        let of_urls = bare.replace('+', "-").replace('/', "_");
        for text in [key, bare, &of_urls, hex, &hex.to_uppercase()] {
            for around in [
                "KEY",
                " KEY\n",
                "\"KEY\"",
                "key=KEY",
                "# tautline key 1a2b-3c4d. Secret.\r\nKEY\r\n",
                "KEY # ours",
            ] {
                let text = around.replace("KEY", text);
                assert!(holds_key(&text), "{text}");
            }
        }
    }

    #[test]
    fn a_key_may_begin_like_a_path() {
        assert!(holds_key("/J+edd9mTHBqtUWRnh/SIeppXi76sctP7B0Y8wQupRQ"));
        assert!(!holds_key("/MyRobots/ArmController7/LeftHand/KeyFileOf"));
    }

    #[test]
    fn paths_are_no_keys() {
        for path in [
            "arm.key",
            "",
            "/etc/tautline/keys/Plant7/controllers/left-arm",
            "/run/secrets/Controller0/of/the/left/arm/k",
            "keys/controllers/of/the/left/arm/in/hall/in",
            "C:\\Users\\Arm7\\Documents\\Controllers\\keys\\1",
            "/nix/store/f8f9fafbfcfdfeff000102030405060708090a0b0c0d0e0f1011121314151617",
            "f8f9fafbfcfdfeff000102030405060708090a0b0c0d0e0f",
        ] {
            assert!(!holds_key(path), "{path}");
        }
        assert!(
            !holds_key("/run/secrets/Controller0/of/the/left/arm/k1"),
            "43 characters, but from the root"
        );
    }
}
