//! The check of payloads from strangers, tested against the specifications, the codecs, and random bytes.

mod common;

use common::codecs;
use tautline::{ContentType, DecodeError, EncodeError, Payload};

/// Returns whether the check accepts the bytes as one value.
fn is_value(content_type: ContentType, bytes: &[u8]) -> bool {
    match Payload::encoded(content_type, bytes) {
        Ok(_) => true,
        Err(EncodeError::Malformed { .. }) => false,
        Err(other) => panic!("{other} ({bytes:02x?})"),
    }
}

#[test]
fn messagepack_is_checked_as_its_specification_says() {
    let good: &[&[u8]] = &[
        &[0x7f],
        &[0xe0],
        &[0xc0],
        &[0x80],
        &[0xa1, b'a'],
        &[0xc4, 1, 0xff],
        &[0xc7, 1, 5, 0xff],
        &[0xd4, 5, 0xff],
        &[0xd8, 5, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        &[0xca, 0x3f, 0x80, 0, 0],
        &[0xcd, 1, 2],
        &[0xd3, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xd9, 1, b'a'],
        &[0xdc, 0, 1, 0xc0],
        &[0xdd, 0, 0, 0, 2, 0xc0, 0x90],
        &[0xde, 0, 1, 0xa0, 0x80],
        &[0xdf, 0, 0, 0, 1, 0xa0, 0x91, 1],
    ];
    let bad: &[&[u8]] = &[
        &[],
        &[0xc1],
        &[0x01, 0x02],
        &[0xa1],
        &[0xa1, 0xff],
        &[0xc4, 2, 0xff],
        &[0xc7, 1, 5],
        &[0xcd, 1],
        &[0x91],
        &[0x92, 1],
        &[0x81, 1],
        &[0xdd, 0xff, 0xff, 0xff, 0xff, 1],
        &[0xdf, 0xff, 0xff, 0xff, 0xff, 1],
        &[0xc6, 0xff, 0xff, 0xff, 0xff, 1],
    ];
    assert!(good.iter().all(|bytes| is_value(ContentType::MessagePack, bytes)));
    assert!(!bad.iter().any(|bytes| is_value(ContentType::MessagePack, bytes)));
}

#[test]
fn cbor_is_checked_as_its_specification_says() {
    let good: &[&[u8]] = &[
        &[0x17],
        &[0x18, 0x18],
        &[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x41, 0xff],
        &[0x61, b'a'],
        &[0x5f, 0x41, 1, 0x40, 0xff],
        &[0x7f, 0x61, b'a', 0xff],
        &[0x80],
        &[0x9f, 0xff],
        &[0x9f, 1, 0x81, 2, 0xff],
        &[0xa1, 1, 2],
        &[0xbf, 1, 2, 0xff],
        &[0xbf, 0xff],
        &[0xc1, 0x01],
        &[0xf4],
        &[0xf7],
        &[0xf9, 0x3c, 0],
        &[0xfa, 0x3f, 0x80, 0, 0],
    ];
    let bad: &[&[u8]] = &[
        &[],
        &[0x01, 0x02],
        &[0x18],
        &[0x1c],
        &[0x1f],
        &[0x41],
        &[0x61, 0xff],
        &[0x5f, 0x61, b'a', 0xff],
        &[0x5f, 0x5f, 0xff, 0xff],
        &[0x5f, 0x41, 1],
        &[0x81],
        &[0x81, 0xff],
        &[0x9f, 1],
        &[0xbf, 1, 0xff],
        &[0xa1, 1],
        &[0xc1],
        &[0xc1, 0xff],
        &[0xdf, 1],
        &[0xe0],
        &[0xf8, 0x20],
        &[0xfc],
        &[0xff],
        &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ];
    assert!(good.iter().all(|bytes| is_value(ContentType::Cbor, bytes)));
    assert!(!bad.iter().any(|bytes| is_value(ContentType::Cbor, bytes)));
}

#[test]
fn floats_of_every_width_that_are_not_finite_are_refused() {
    let floats: &[(ContentType, &[u8])] = &[
        (ContentType::MessagePack, &[0xca, 0x7f, 0x80, 0, 0]),
        (ContentType::MessagePack, &[0xca, 0x7f, 0xc0, 0, 1]),
        (ContentType::MessagePack, &[0xcb, 0xff, 0xf0, 0, 0, 0, 0, 0, 0]),
        (ContentType::MessagePack, &[0x92, 1, 0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]),
        (ContentType::Cbor, &[0xf9, 0x7c, 0]),
        (ContentType::Cbor, &[0xf9, 0xfe, 0]),
        (ContentType::Cbor, &[0xfa, 0xff, 0x80, 0, 0]),
        (ContentType::Cbor, &[0x82, 1, 0xfb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]),
        (ContentType::Json, b"NaN"),
        (ContentType::Json, b"[-Infinity]"),
        (ContentType::Json, b"1e999"),
    ];
    for (content_type, bytes) in floats {
        let refused = Payload::encoded(*content_type, *bytes);
        assert_eq!(refused, Err(EncodeError::NotFinite { path: None }), "{content_type} {bytes:02x?}");
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::Value;

    const TYPES: [ContentType; 3] = [ContentType::Json, ContentType::MessagePack, ContentType::Cbor];

    fn value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            // Quarters are floats that every JSON reader reads exactly.
            any::<i16>().prop_map(|whole| Value::from(f64::from(whole) / 4.0)),
            any::<String>().prop_map(Value::from),
        ];
        scalar.prop_recursive(6, 60, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..8)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    /// Returns whether the codec itself decodes the bytes, as a value of any type.
    fn decodes(content_type: ContentType, bytes: &[u8]) -> bool {
        match Payload::encoded(content_type, bytes).map(|payload| payload.decode::<IgnoredAny>()) {
            Ok(Ok(_)) | Ok(Err(DecodeError::NoCodec { .. })) => true,
            Ok(Err(_)) => false,
            Err(refused) => panic!("{refused}"),
        }
    }

    /// Returns whether the bytes contain a tag or an extension. A codec may refuse those, because it does not know their
    /// meaning.
    fn has_tag_or_extension(content_type: ContentType, bytes: &[u8]) -> bool {
        bytes.iter().any(|byte| match content_type {
            ContentType::Cbor => byte >> 5 == 6,
            ContentType::MessagePack => matches!(byte, 0xc7..=0xc9 | 0xd4..=0xd8),
            _ => false,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

        #[test]
        fn encoded_values_are_accepted_and_read_back(value in value()) {
            for encode in codecs() {
                let payload = encode(&value).expect("finite and shallow");
                prop_assert!(Payload::encoded(payload.content_type(), payload.bytes()).is_ok());
                prop_assert_eq!(payload.decode(), Ok(value.clone()));
            }
        }

        #[test]
        fn json_written_from_a_value_equals_its_text_rewritten(value in value()) {
            prop_assert_eq!(Payload::json(&value), Payload::json_text(value.to_string()));
        }

        #[test]
        fn any_finite_f32_reads_back(bits in any::<u32>()) {
            let single = f32::from_bits(bits);
            prop_assume!(single.is_finite());
            for encode in codecs() {
                let read: f32 = encode(&single).expect("finite").decode().expect("a float");
                prop_assert_eq!(read.to_bits(), single.to_bits());
            }
        }

        #[test]
        fn any_finite_f64_is_written_exactly(bits in any::<u64>()) {
            let double = f64::from_bits(bits);
            prop_assume!(double.is_finite());
            for encode in codecs() {
                let payload = encode(&double).expect("finite");
                let read = match payload.content_type() {
                    ContentType::Json => std::str::from_utf8(payload.bytes()).map(|text| text.parse().ok()),
                    _ => Ok(payload.decode().ok()),
                };
                prop_assert_eq!(read.map(|read: Option<f64>| read.map(f64::to_bits)), Ok(Some(bits)));
            }
        }

        #[test]
        fn a_truncated_or_extended_value_is_refused(value in value(), extra in any::<u8>()) {
            for encode in codecs() {
                let payload = encode(&value).expect("finite and shallow");
                let (kind, bytes) = (payload.content_type(), payload.bytes());
                if kind != ContentType::Json {
                    prop_assert!(Payload::encoded(kind, &bytes[..bytes.len() - 1]).is_err());
                    prop_assert!(Payload::encoded(kind, [bytes, &[extra]].concat()).is_err());
                }
            }
        }

        #[test]
        fn changed_bytes_are_refused_or_decode(
            value in value(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        ) {
            for encode in codecs() {
                let payload = encode(&value).expect("finite and shallow");
                let (kind, mut bytes) = (payload.content_type(), payload.bytes().to_vec());
                for (at, byte) in &changes {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
                if Payload::encoded(kind, &*bytes).is_ok() && !has_tag_or_extension(kind, &bytes) {
                    prop_assert!(decodes(kind, &bytes), "{} {:02x?}", kind, bytes);
                }
            }
        }

        #[test]
        fn random_bytes_are_refused_or_decode(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            for kind in TYPES {
                if Payload::encoded(kind, &*bytes).is_ok() && !has_tag_or_extension(kind, &bytes) {
                    prop_assert!(decodes(kind, &bytes), "{} {:02x?}", kind, bytes);
                }
            }
        }
    }

    /// The check and the codec accept the same bytes, so the check is no stricter than the codec.
    #[cfg(feature = "msgpack")]
    #[test]
    fn every_first_byte_of_messagepack_is_accepted_as_by_the_decoder() {
        for head in 0..=u8::MAX {
            let bytes = [&[head][..], &[0; 40]].concat();
            let accepted = (1..=bytes.len()).find(|&end| is_value(ContentType::MessagePack, &bytes[..end]));
            let mut reader = &bytes[..];
            let decoded = rmp_serde::from_read::<_, IgnoredAny>(&mut reader).is_ok();
            let read = decoded.then(|| bytes.len() - reader.len());
            assert_eq!(accepted, read, "{head:02x}");
        }
    }
}
