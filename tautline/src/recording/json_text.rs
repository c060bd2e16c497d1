//! MessagePack and CBOR as JSON text. The order of the keys stays.

use std::fmt::{self, Display, Write};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// JSON text. Deserialising a value into this type translates the value.
///
/// Map keys that are not text become text. Bytes become hexadecimal text. Numbers that JSON does not have become null.
#[derive(Debug, PartialEq)]
pub struct JsonText(
    /// The text.
    pub String,
);

impl JsonText {
    fn quoted(text: &str) -> Self {
        Self(serde_json::to_string(text).expect("text is JSON"))
    }

    /// Returns the text as a key of an object.
    fn into_key(self) -> String {
        if self.0.starts_with('"') { self.0 } else { Self::quoted(&self.0).0 }
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Translator)
    }
}

struct Translator;

/// Defines visitor methods for values that JSON writes in the same way as `Display`.
macro_rules! as_displayed {
    ($($visit:ident: $type:ty),+) => {
        $(fn $visit<E>(self, value: $type) -> Result<JsonText, E> { Ok(shown(value)) })+
    };
}

impl<'de> Visitor<'de> for Translator {
    type Value = JsonText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    as_displayed!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_i128: i128, visit_u128: u128);

    fn visit_f64<E>(self, value: f64) -> Result<JsonText, E> {
        // serde_json writes the shortest text that reads back as the same number, and null for NaN.
        Ok(serde_json::to_string(&value).map_or_else(|_| shown("null"), JsonText))
    }

    fn visit_str<E>(self, text: &str) -> Result<JsonText, E> {
        Ok(JsonText::quoted(text))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<JsonText, E> {
        Ok(JsonText(hexadecimal(bytes)))
    }

    fn visit_unit<E>(self) -> Result<JsonText, E> {
        Ok(shown("null"))
    }

    fn visit_none<E>(self) -> Result<JsonText, E> {
        Ok(shown("null"))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<JsonText, D::Error> {
        JsonText::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<JsonText, D::Error> {
        JsonText::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<JsonText, A::Error> {
        let mut text = String::from("[");
        while let Some(JsonText(item)) = items.next_element()? {
            push_item(&mut text, &item);
        }
        Ok(JsonText(text + "]"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<JsonText, A::Error> {
        let mut text = String::from("{");
        while let Some((key, JsonText(value))) = entries.next_entry::<JsonText, _>()? {
            push_item(&mut text, &format!("{}:{value}", key.into_key()));
        }
        Ok(JsonText(text + "}"))
    }
}

/// Formats bytes as a JSON string of hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len() + 2);
    text.push('"');
    for byte in bytes {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
    }
    text.push('"');
    text
}

fn shown(value: impl Display) -> JsonText {
    JsonText(value.to_string())
}

/// Appends an item to a list. `text` begins with the one character that opens the list.
fn push_item(text: &mut String, item: &str) {
    if text.len() > 1 {
        text.push(',');
    }
    text.push_str(item);
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(feature = "msgpack", feature = "cbor"))]
    use crate::Payload;

    #[test]
    #[cfg(all(feature = "msgpack", feature = "cbor"))]
    fn msgpack_and_cbor_keep_their_order_and_types() {
        let json = r#"{"z":[1,-2,2.5,true,null],"a":{"text":"qu\"ote\n"},"big":18446744073709551615}"#;
        let value: serde_json::Value = serde_json::from_str(json).expect("it is JSON");
        let sorted = value.to_string(); // serde_json's tree sorts the keys; the translation must not
        for payload in [Payload::msgpack(&value), Payload::cbor(&value)] {
            let text = payload.map(|payload| payload.decode::<JsonText>()).expect("encodable");
            assert_eq!(text, Ok(JsonText(sorted.clone())));
        }
        let pairs = Payload::msgpack(&Ordered).expect("encodable");
        assert_eq!(pairs.decode(), Ok(JsonText(r#"{"z":1,"a":2,"5":null}"#.to_owned())));
    }

    #[test]
    fn bytes_are_hexadecimal() {
        assert_eq!(hexadecimal(&[0, 0x7f, 0xff]), "\"007fff\"");
    }

    #[cfg(all(feature = "msgpack", feature = "cbor"))]
    /// A map that is not in alphabetical order and has a key that is not text.
    struct Ordered;

    #[cfg(all(feature = "msgpack", feature = "cbor"))]
    impl serde::Serialize for Ordered {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeMap;
            let mut map = serializer.serialize_map(Some(3))?;
            map.serialize_entry("z", &1)?;
            map.serialize_entry("a", &2)?;
            map.serialize_entry(&5, &())?;
            map.end()
        }
    }
}
