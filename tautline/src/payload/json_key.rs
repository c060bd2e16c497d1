//! The keys of JSON objects: text, and the values that Python's `json.dumps` turns into text.

use std::io::Write as _;

use serde::ser::{self, Impossible, Serialize};
use tautline_proto::json::write_string;

use super::EncodeError;

/// Writes one key: text, a whole number, a boolean, a character or a plain variant. Everything else is an error.
pub(super) struct KeyEncoder<'o> {
    pub(super) out: &'o mut Vec<u8>,
}

fn not_a_key<T>() -> Result<T, EncodeError> {
    let problem = "a JSON object's key must be text, a whole number, a boolean or a plain variant";
    Err(EncodeError::Value { problem: problem.to_owned() })
}

/// Implements the methods for values whose text needs no escapes.
macro_rules! quoted {
    ($($method:ident: $type:ty),+) => {
        $(fn $method(self, value: $type) -> Result<(), EncodeError> {
            write!(self.out, "\"{value}\"").expect("writing to a Vec does not fail");
            Ok(())
        })+
    };
}

/// Implements the methods for values that cannot be a key.
macro_rules! refused {
    ($($method:ident($($argument:ty),*) -> $result:ty;)+) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$result, EncodeError> {
            not_a_key()
        })+
    };
}

type Never = Impossible<(), EncodeError>;

impl ser::Serializer for KeyEncoder<'_> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    quoted!(serialize_bool: bool);
    quoted!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128);
    quoted!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128);

    fn serialize_char(self, value: char) -> Result<(), EncodeError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), EncodeError> {
        write_string(self.out, value);
        Ok(())
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

    refused! {
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_seq(Option<usize>) -> Never;
        serialize_tuple(usize) -> Never;
        serialize_tuple_struct(&'static str, usize) -> Never;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Never;
        serialize_map(Option<usize>) -> Never;
        serialize_struct(&'static str, usize) -> Never;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Never;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), EncodeError> {
        not_a_key()
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), EncodeError> {
        not_a_key()
    }
}
