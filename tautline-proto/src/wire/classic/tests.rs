//! Tests of the classic wire, for situations that are not among the recorded datagrams.

use super::*;
use crate::json::NonFinite;
use crate::time::WallTime;
use alloc::format;
use alloc::string::String;

const METADATA: &str = r#"{"message_id": "m-1", "timestamp": 1700000000.25, "message_type": "command", "priority": 3, "source": "plant"}"#;

fn message() -> MessageRef<'static> {
    MessageRef::new(ContentType::Json, b"1")
        .with_message_type(MessageType::Command)
        .with_priority(Priority::High)
        .with_timestamp(1_700_000_000.25)
        .with_message_id("m-1".into())
        .with_source("plant".into())
}

fn datagram(format: ClassicFormat, message: &MessageRef<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    begin_message(&mut out, format, message);
    out.extend_from_slice(message.payload);
    finish_message(&mut out);
    seal(&mut out, format, 0x0102_0304);
    out
}

/// Reads an envelope and copies the id and the payload.
fn read(envelope: &str, limits: &JsonLimits) -> Result<(Id<'static>, String), DropReason> {
    let mut scratch = b"left over".to_vec();
    let message = read_envelope(envelope.as_bytes(), limits, &mut scratch)?;
    let payload = String::from_utf8(message.payload.to_vec()).expect("checked");
    Ok((message.message_id.into_owned(), payload))
}

fn refusal(envelope: &str) -> Option<DropReason> {
    read(envelope, &JsonLimits::default()).err()
}

fn refusal_of_metadata(metadata: &str) -> Option<DropReason> {
    refusal(&format!(r#"{{"metadata": {metadata}, "data": 1}}"#))
}

#[test]
fn fields_are_where_the_format_says() {
    for (use_crc, use_sequence, prefix) in
        [(true, true, 8), (true, false, 4), (false, true, 4), (false, false, 0)]
    {
        let format = ClassicFormat { use_crc, use_sequence };
        let bytes = datagram(format, &message());
        assert_eq!(bytes[prefix], b'{');
        let (sequence, envelope) = open(&bytes, format).expect("as sealed");
        assert_eq!(sequence, use_sequence.then_some(0x0102_0304));
        assert_eq!(envelope, &bytes[prefix..]);
    }
}

#[test]
fn crc_detects_every_single_bit_error() {
    let format = ClassicFormat::default();
    let bytes = datagram(format, &message());
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&damaged, format), Err(DropReason::BadCrc), "bit {bit}");
    }
}

#[test]
fn datagram_without_an_envelope_is_too_short() {
    let format = ClassicFormat::default();
    for length in 0..=format.prefix_len() {
        assert_eq!(open(&[0; 8][..length], format), Err(DropReason::TooShort));
    }
    assert_eq!(open(&[0; 9], format), Err(DropReason::BadCrc));
    let bare = ClassicFormat { use_crc: false, use_sequence: false };
    assert_eq!(open(&[], bare), Err(DropReason::TooShort));
}

#[test]
fn optional_fields_and_ids_of_every_kind_are_read_back() {
    for id in [
        Id::Number(u64::MAX),
        Id::Number(0),
        Id::from("text \"é\""),
        Id::Json("-17".into()),
        Id::Json("123456789012345678901234567890".into()),
        Id::Json("1.5e-07".into()),
        Id::Json(r#"[true, {"a": "\u00e9"}]"#.into()),
    ] {
        let sent = MessageRef {
            message_id: id.borrowed(),
            source: Some("tab\there \"é\"".into()),
            destination: Some("😀".into()),
            correlation_id: Some(id.clone()),
            ..message()
        };
        let bytes = datagram(ClassicFormat::default(), &sent);
        let (_, envelope) = open(&bytes, ClassicFormat::default()).expect("as sealed");
        let mut scratch = Vec::new();
        let received = read_envelope(envelope, &JsonLimits::default(), &mut scratch).expect("as sent");
        assert_eq!(received, sent);
    }
}

/// Reads an envelope with this metadata, writes the message again, and returns the metadata that were written.
fn passed_on(metadata: &str) -> String {
    let envelope = format!(r#"{{"metadata": {metadata}, "data": 1}}"#);
    let mut scratch = Vec::new();
    let read = read_envelope(envelope.as_bytes(), &JsonLimits::default(), &mut scratch).expect(&envelope);
    let bare = ClassicFormat { use_crc: false, use_sequence: false };
    let again = String::from_utf8(datagram(bare, &read)).expect("ASCII");
    again
        .strip_prefix(r#"{"metadata": "#)
        .and_then(|text| text.strip_suffix(r#", "data": 1}"#))
        .expect(&again)
        .into()
}

/// Returns the metadata of a message with these values, as Python writes them.
fn metadata(id: &str, timestamp: &str, priority: &str, source: &str, correlation_id: &str) -> String {
    format!(
        r#"{{"message_id": {id}, "timestamp": {timestamp}, "message_type": "data", "priority": {priority}, "source": {source}, "destination": null, "correlation_id": {correlation_id}}}"#
    )
}

#[test]
fn metadata_of_python_programs_travel_unchanged() {
    let ids =
        ["null", "17", "-17", "123456789012345678901234567890", "1.5", "true", "[]", r#""17""#, r#""""#];
    for id in ids {
        for correlation_id in ids {
            let text = metadata(id, "1700000000.25", "2", "null", correlation_id);
            assert_eq!(passed_on(&text), text);
        }
    }
    for timestamp in [
        "0",
        "0.0",
        "-0.0",
        "1",
        "-1",
        "1700000000",
        "1700000000.25",
        "1759999999.9999998",
        "12.345678901234567",
        "1e-10",
        "5e-324",
        "1.7976931348623157e+308",
        "1700000000123456789",
        "-9223372036854775808",
        "1e+16",
    ] {
        let text = metadata("1", timestamp, "2", r#""rig""#, "null");
        assert_eq!(passed_on(&text), text);
    }
}

#[test]
fn numbers_are_written_as_python_would_write_what_it_read() {
    for (read, written) in [
        (("1E2", "17.50", "2.0"), ("100.0", "17.5", "2")),
        (("1e-7", "1E5", "4e0"), ("1e-07", "100000.0", "4")),
        (("-0.0", "-0", "true"), ("-0.0", "0", "1")),
    ] {
        let of = |(id, timestamp, priority)| metadata(id, timestamp, priority, r#""rig""#, id);
        assert_eq!(passed_on(&of(read)), of(written));
    }
}

#[test]
fn number_that_is_no_wall_time_has_the_nearest_one() {
    for (timestamp, ns) in
        [("12.345678901234567", 12_345_678_901), ("1e-10", 0), ("1700000000123456789", i64::MAX)]
    {
        let envelope =
            format!(r#"{{"metadata": {}, "data": 1}}"#, metadata("1", timestamp, "1", "null", "1"));
        let mut scratch = Vec::new();
        let read = read_envelope(envelope.as_bytes(), &JsonLimits::default(), &mut scratch).expect("valid");
        assert_eq!(read.timestamp, WallTime::from_nanos(ns));
        assert_eq!(read.stamp().as_secs_f64(), timestamp.parse::<f64>().expect("a number"));
    }
}

#[test]
fn reading_borrows_from_the_envelope() {
    let bytes = datagram(ClassicFormat::default(), &message());
    let (_, envelope) = open(&bytes, ClassicFormat::default()).expect("as sealed");
    let mut scratch = Vec::new();
    let received = read_envelope(envelope, &JsonLimits::default(), &mut scratch).expect("as sent");
    assert!(envelope.as_ptr_range().contains(&received.payload.as_ptr()));
    assert!(matches!(received.source, Some(Cow::Borrowed("plant"))));
    assert!(matches!(received.message_id, Id::Text(Cow::Borrowed("m-1"))));
    assert_eq!(scratch.capacity(), 0);
}

#[test]
fn members_may_be_reordered_spaced_and_unknown() {
    let envelope = "\r\n{\"extra\" : [{}] ,\"d\\u0061ta\":\t[1 , 2] , \"metadata\":{ \"source\":\"é\",\
        \"priority\":1,\"ttl\":null,\"message_type\":\"status\",\"timestamp\":1700000000,\"message_id\":\"\"}} ";
    let mut scratch = Vec::new();
    let received = read_envelope(envelope.as_bytes(), &JsonLimits::default(), &mut scratch).expect("valid");
    assert_eq!(received.payload, b"[1 , 2]");
    assert_eq!(received.source.as_deref(), Some("é"));
    assert_eq!(received.timestamp, WallTime::from_nanos(1_700_000_000_000_000_000));
    assert_eq!((received.destination, received.correlation_id), (None, None));
}

#[test]
fn last_value_of_a_repeated_key_counts() {
    let metadata = METADATA.replacen('{', r#"{"message_id": 1, "#, 1);
    let envelope = format!(r#"{{"data": 1, "metadata": {{}}, "metadata": {metadata}, "data": 2}}"#);
    assert_eq!(read(&envelope, &JsonLimits::default()), Ok(("m-1".into(), "2".into())));
    for (last, reason) in [("{}", DropReason::BadTimestamp), ("1", DropReason::BadMetadata)] {
        let envelope = format!(r#"{{"metadata": {metadata}, "metadata": {last}, "data": 2}}"#);
        assert_eq!(refusal(&envelope), Some(reason));
    }
}

#[test]
fn missing_and_wrong_members_have_a_reason_of_their_own() {
    use DropReason::{
        BadDestination, BadMessageType, BadMetadata, BadPriority, BadSource, BadTimestamp, NoData,
        NoMessageId,
    };
    assert_eq!(refusal_of_metadata(METADATA), None);
    for (reason, right, wrong) in [
        (NoMessageId, r#""message_id": "m-1", "#, ""),
        (BadTimestamp, r#""timestamp": 1700000000.25, "#, ""),
        (BadTimestamp, "1700000000.25", "null"),
        (BadTimestamp, "1700000000.25", "true"),
        (BadTimestamp, "1700000000.25", r#""1700000000.25""#),
        (BadTimestamp, "1700000000.25", "9223372036854775808"),
        (BadMessageType, r#""message_type": "command", "#, ""),
        (BadMessageType, r#""command""#, r#""Command""#),
        (BadMessageType, r#""command""#, "1"),
        (BadPriority, r#""priority": 3, "#, ""),
        (BadPriority, "3", "0"),
        (BadPriority, "3", "5"),
        (BadPriority, "3", "2.5"),
        (BadPriority, "3", "false"),
        (BadPriority, "3", "null"),
        (BadPriority, "3", "99999999999999999999"),
        (BadPriority, "3", r#""high""#),
        (BadSource, r#", "source": "plant""#, ""),
        (BadSource, r#""plant""#, "1"),
        (BadDestination, r#""plant""#, r#""plant", "destination": 1"#),
        (BadMetadata, METADATA, "[]"),
        (BadMetadata, METADATA, "null"),
    ] {
        let metadata = METADATA.replacen(right, wrong, 1);
        assert_ne!(metadata, METADATA);
        assert_eq!(refusal_of_metadata(&metadata), Some(reason), "{metadata}");
    }
    assert_eq!(refusal(&format!(r#"{{"metadata": {METADATA}}}"#)), Some(NoData));
    assert_eq!(refusal(r#"{"data": 1}"#), Some(BadMetadata));
}

const FORMATS: [ClassicFormat; 4] = [
    ClassicFormat { use_crc: true, use_sequence: true },
    ClassicFormat { use_crc: true, use_sequence: false },
    ClassicFormat { use_crc: false, use_sequence: true },
    ClassicFormat { use_crc: false, use_sequence: false },
];

#[test]
fn unlike_settings_of_the_two_ends_are_recognised() {
    let limits = JsonLimits::default();
    for (theirs, ours) in FORMATS.into_iter().flat_map(|theirs| FORMATS.map(|ours| (theirs, ours))) {
        let bytes = datagram(theirs, &message());
        let expected = match (theirs.use_crc != ours.use_crc, theirs.use_sequence != ours.use_sequence) {
            (false, false) => continue,
            (true, false) => DropReason::OtherCrc,
            (false, true) => DropReason::OtherSequence,
            (true, true) => DropReason::OtherCrcAndSequence,
        };
        let read = open(&bytes, ours).and_then(|(sequence, envelope)| {
            read_envelope(envelope, &limits, &mut Vec::new()).map(|_| (sequence, envelope))
        });
        match read {
            // A CRC in the place of the sequence number.
            Ok((sequence, envelope)) => {
                assert!(is_crc(sequence.expect("in the format"), envelope), "{theirs:?}");
            }
            Err(_) => assert_eq!(
                unlike_settings(&bytes, ours, &limits, false),
                Some(expected),
                "{theirs:?} {ours:?}"
            ),
        }
    }
}

#[test]
fn damaged_datagram_does_not_look_like_one_of_other_settings() {
    for format in FORMATS {
        let mut bytes = datagram(format, &message());
        let last = bytes.len() - 2;
        bytes[last] = b'2';
        assert_eq!(unlike_settings(&bytes, format, &JsonLimits::default(), true), None, "{format:?}");
    }
    for bytes in [&b"{"[..], &[0; 40], b"{}{}{}{}{}", b"    {\"metadata\": 1"] {
        for format in FORMATS {
            assert_eq!(unlike_settings(bytes, format, &JsonLimits::default(), false), None);
        }
    }
}

#[test]
fn text_that_is_not_a_json_object_is_malformed() {
    let whole = format!(r#"{{"metadata": {METADATA}, "data": 1}}"#);
    assert_eq!(refusal(&whole), None);
    for envelope in ["", " ", "[1]", "null", "hello.", "\u{feff}{}", &whole[1..], &format!("{whole}}}")] {
        assert_eq!(refusal(envelope), Some(DropReason::Malformed), "{envelope}");
    }
    let read = |bytes| read_envelope(bytes, &JsonLimits::default(), &mut Vec::new()).map(drop);
    assert_eq!(read(b"\xff\xfe{\0}\0"), Err(DropReason::Malformed));
}

#[test]
fn what_is_no_unicode_has_a_reason_of_its_own() {
    for (member, value) in [
        (r#""m-1""#, r#""\ud800""#),
        (r#""plant""#, r#""\udcff.log""#),
        (r#""message_id""#, r#""\udfff": 1, "message_id""#),
    ] {
        let envelope = format!(r#"{{"metadata": {}, "data": 1}}"#, METADATA.replace(member, value));
        assert_eq!(refusal(&envelope), Some(DropReason::NotUnicode), "{envelope}");
    }
    for data in [r#""\ud83d\ud83d""#, r#"{"\ude00": 1}"#, r#"[1, ["\udc80"]]"#] {
        let envelope = format!(r#"{{"metadata": {METADATA}, "data": {data}}}"#);
        assert_eq!(refusal(&envelope), Some(DropReason::NotUnicode), "{envelope}");
    }
    let read = |bytes| read_envelope(bytes, &JsonLimits::default(), &mut Vec::new()).map(drop);
    assert_eq!(read(b"{\"metadata\": \"\xff\"}"), Err(DropReason::NotUnicode));
}

#[test]
fn pickles_of_every_protocol_are_recognised() {
    // {'a': 1} in protocols 0 to 5, and an attack.
    let pickles: [&[u8]; 7] = [
        b"(dp0\nVa\np1\nI1\ns.",
        b"}q\x00X\x01\x00\x00\x00aq\x01K\x01s.",
        b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01s.",
        b"\x80\x03}q\x00X\x01\x00\x00\x00aq\x01K\x01s.",
        b"\x80\x04\x95\n\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94K\x01s.",
        b"\x80\x05\x95\n\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94K\x01s.",
        b"cos\nsystem\n(S'true'\ntR.",
    ];
    for pickle in pickles {
        let mut scratch = Vec::new();
        let read = read_envelope(pickle, &JsonLimits::default(), &mut scratch);
        assert_eq!(read, Err(DropReason::Pickle), "{}", pickle.escape_ascii());
    }
}

#[test]
fn depth_limit_counts_from_each_value() {
    let limits = JsonLimits { max_depth: 2, ..JsonLimits::default() };
    let at = |metadata: &str, data: &str| {
        read(&format!(r#"{{"metadata": {metadata}, "data": {data}}}"#), &limits).err()
    };
    assert_eq!(at(METADATA, r#"[{"a": 1}]"#), None);
    assert_eq!(at(METADATA, r#"[{"a": []}]"#), Some(DropReason::TooDeep));
    let deep = METADATA.replacen('{', r#"{"unknown": [[[]]], "#, 1);
    assert_eq!(at(&deep, "1"), Some(DropReason::TooDeep));
}

#[test]
fn nan_is_refused_or_read_as_null_by_setting() {
    let null = JsonLimits { nonfinite: NonFinite::Null, ..JsonLimits::default() };
    for number in ["NaN", "Infinity", "-Infinity", "1e999"] {
        let envelope = format!(r#"{{"metadata": {METADATA}, "data": {{"x":[1,{number}]}}}}"#);
        assert_eq!(refusal(&envelope), Some(DropReason::NotFinite));
        assert_eq!(read(&envelope, &null), Ok(("m-1".into(), r#"{"x": [1, null]}"#.into())));
        let stamped = METADATA.replacen("1700000000.25", number, 1);
        assert_eq!(refusal_of_metadata(&stamped), Some(DropReason::NotFinite));
        let envelope = format!(r#"{{"metadata": {stamped}, "data": 1}}"#);
        assert_eq!(read(&envelope, &null), Err(DropReason::BadTimestamp));
        let identified = METADATA.replacen(r#""m-1""#, &format!("[{number}]"), 1);
        let envelope = format!(r#"{{"metadata": {identified}, "data": 1}}"#);
        assert_eq!(read(&envelope, &null).map(|(id, _)| id), Ok(Id::Json("[null]".into())));
    }
}
