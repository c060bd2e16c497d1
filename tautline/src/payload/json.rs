//! Encodes values as JSON, directly in the canonical form of the wire.
//!
//! Why not the writer of `serde_json`: it silently writes NaN as null, and its text differs from the text on the
//! classic wire. Here NaN is an error with the path to the number. The depth is checked while writing, and the text
//! needs no second pass.

use std::fmt::Write as _;
use std::io::Write as _;

use serde::ser::{self, Serialize};
use tautline_proto::json::{JsonLimits, NonFinite, write_f64, write_string};

use super::json_key::KeyEncoder;
use super::{EncodeError, PayloadLimits};

/// Appends `value` to `out`. After an error, `out` ends with an unfinished value.
pub(super) fn encode<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    value: &T,
    limits: &PayloadLimits,
) -> Result<(), EncodeError> {
    let max_depth = limits.max_depth.min(JsonLimits::MAX_DEPTH);
    value.serialize(&mut Encoder { out, depth: 0, max_depth, nonfinite: limits.nonfinite })
}

struct Encoder<'o> {
    out: &'o mut Vec<u8>,
    depth: usize,
    max_depth: usize,
    nonfinite: NonFinite,
}

impl Encoder<'_> {
    fn open(&mut self, bracket: u8) -> Result<(), EncodeError> {
        if self.depth == self.max_depth {
            return Err(EncodeError::TooDeep { max_depth: self.max_depth });
        }
        self.depth += 1;
        self.out.push(bracket);
        Ok(())
    }

    fn close(&mut self, bracket: u8) {
        self.depth -= 1;
        self.out.push(bracket);
    }

    /// Writes `{"name": `, which begins an enum variant with contents.
    fn open_variant(&mut self, name: &str) -> Result<(), EncodeError> {
        self.open(b'{')?;
        write_string(self.out, name);
        self.out.extend_from_slice(b": ");
        Ok(())
    }

    fn literal(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
    }

    fn display(&mut self, number: impl std::fmt::Display) {
        write!(self.out, "{number}").expect("writing to a Vec does not fail");
    }

    fn float(&mut self, value: f64) -> Result<(), EncodeError> {
        match (value.is_finite(), self.nonfinite) {
            (true, _) => write_f64(self.out, value),
            (false, NonFinite::Null) => self.literal(b"null"),
            (false, _) => return Err(EncodeError::NotFinite { path: None }),
        }
        Ok(())
    }
}

/// Returns the `f64` with the same shortest text as `value`: `0.1f32` is written as 0.1, not as 0.10000000149011612.
/// The text reads back as the same `f32`.
fn widen(value: f32) -> f64 {
    let mut text = ShortText::default();
    // In exponent form, because 1e-45 without an exponent has 47 characters.
    if write!(text, "{value:e}").is_err() {
        return f64::from(value);
    }
    text.as_str().parse().unwrap_or_else(|_| f64::from(value))
}

/// A buffer for any finite `f32` in exponent form: a sign, 9 digits, a point and `e-45`.
#[derive(Default)]
struct ShortText {
    bytes: [u8; 24],
    length: usize,
}

impl ShortText {
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl std::fmt::Write for ShortText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty),+) => {
        $(fn $method(self, value: $type) -> Result<(), EncodeError> {
            self.display(value);
            Ok(())
        })+
    };
}

impl<'a, 'o> ser::Serializer for &'a mut Encoder<'o> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Compound<'a, 'o>;
    type SerializeTuple = Compound<'a, 'o>;
    type SerializeTupleStruct = Compound<'a, 'o>;
    type SerializeTupleVariant = Compound<'a, 'o>;
    type SerializeMap = Compound<'a, 'o>;
    type SerializeStruct = Compound<'a, 'o>;
    type SerializeStructVariant = Compound<'a, 'o>;

    integers!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128);
    integers!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128);

    fn serialize_bool(self, value: bool) -> Result<(), EncodeError> {
        self.literal(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), EncodeError> {
        self.float(if value.is_finite() { widen(value) } else { f64::from(value) })
    }

    fn serialize_f64(self, value: f64) -> Result<(), EncodeError> {
        self.float(value)
    }

    fn serialize_char(self, value: char) -> Result<(), EncodeError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), EncodeError> {
        write_string(self.out, value);
        Ok(())
    }

    /// Writes an array of numbers, because JSON has no type for bytes.
    fn serialize_bytes(self, value: &[u8]) -> Result<(), EncodeError> {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Result<(), EncodeError> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), EncodeError> {
        self.literal(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), EncodeError> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), EncodeError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.open_variant(variant)?;
        value.serialize(&mut *self).map_err(|error| error.within(variant))?;
        self.close(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Compound<'a, 'o>, EncodeError> {
        Compound::array(self, None)
    }

    fn serialize_tuple(self, _: usize) -> Result<Compound<'a, 'o>, EncodeError> {
        Compound::array(self, None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Compound<'a, 'o>, EncodeError> {
        Compound::array(self, None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'a, 'o>, EncodeError> {
        Compound::array(self, Some(variant))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Compound<'a, 'o>, EncodeError> {
        Compound::object(self, None)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Compound<'a, 'o>, EncodeError> {
        Compound::object(self, None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'a, 'o>, EncodeError> {
        Compound::object(self, Some(variant))
    }
}

/// An array or object that is being written.
struct Compound<'a, 'o> {
    encoder: &'a mut Encoder<'o>,
    items: usize,
    /// Where the last key is in the output; needed for the path in an error.
    key: std::ops::Range<usize>,
    closing: u8,
    /// The enum variant around this value. It is an object that must be closed as well.
    variant: Option<&'static str>,
}

impl<'a, 'o> Compound<'a, 'o> {
    fn array(encoder: &'a mut Encoder<'o>, variant: Option<&'static str>) -> Result<Self, EncodeError> {
        Self::open(encoder, variant, b'[', b']')
    }

    fn object(encoder: &'a mut Encoder<'o>, variant: Option<&'static str>) -> Result<Self, EncodeError> {
        Self::open(encoder, variant, b'{', b'}')
    }

    fn open(
        encoder: &'a mut Encoder<'o>,
        variant: Option<&'static str>,
        opening: u8,
        closing: u8,
    ) -> Result<Self, EncodeError> {
        if let Some(name) = variant {
            encoder.open_variant(name)?;
        }
        encoder.open(opening)?;
        Ok(Self { encoder, items: 0, key: 0..0, closing, variant })
    }

    fn separate(&mut self) {
        if self.items > 0 {
            self.encoder.literal(b", ");
        }
        self.items += 1;
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.separate();
        value
            .serialize(&mut *self.encoder)
            .map_err(|error| self.inside_variant(error.within(&format!("[{}]", self.items - 1))))
    }

    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        self.separate();
        let start = self.encoder.out.len();
        key.serialize(KeyEncoder { out: self.encoder.out })?;
        self.key = start..self.encoder.out.len();
        self.encoder.literal(b": ");
        Ok(())
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        value.serialize(&mut *self.encoder).map_err(|error| {
            let key = String::from_utf8_lossy(&self.encoder.out[self.key.clone()]);
            self.inside_variant(error.within(key.trim_matches('"')))
        })
    }

    fn inside_variant(&self, error: EncodeError) -> EncodeError {
        match self.variant {
            Some(name) => error.within(name),
            None => error,
        }
    }

    fn finish(self) {
        self.encoder.close(self.closing);
        if self.variant.is_some() {
            self.encoder.close(b'}');
        }
    }
}

impl EncodeError {
    /// Adds the key or index of the enclosing value to the path to a number that is not finite.
    fn within(self, outer: &str) -> Self {
        match self {
            Self::NotFinite { path: None } => Self::NotFinite { path: Some(outer.to_owned()) },
            Self::NotFinite { path: Some(inner) } => {
                let dot = if inner.starts_with('[') { "" } else { "." };
                Self::NotFinite { path: Some(format!("{outer}{dot}{inner}")) }
            }
            other => other,
        }
    }
}

/// Implements serde's traits for sequences, and for objects with known keys. They differ only in their names.
macro_rules! compound {
    ($($trait:ident::$method:ident),+) => {
        $(impl ser::$trait for Compound<'_, '_> {
            type Ok = ();
            type Error = EncodeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
                self.element(value)
            }

            fn end(self) -> Result<(), EncodeError> {
                self.finish();
                Ok(())
            }
        })+
    };
    (named $($trait:ident),+) => {
        $(impl ser::$trait for Compound<'_, '_> {
            type Ok = ();
            type Error = EncodeError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), EncodeError> {
                self.key(name)?;
                self.value(value)
            }

            fn end(self) -> Result<(), EncodeError> {
                self.finish();
                Ok(())
            }
        })+
    };
}

compound!(SerializeSeq::serialize_element, SerializeTuple::serialize_element);
compound!(SerializeTupleStruct::serialize_field, SerializeTupleVariant::serialize_field);
compound!(named SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Compound<'_, '_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.value(value)
    }

    fn end(self) -> Result<(), EncodeError> {
        self.finish();
        Ok(())
    }
}
