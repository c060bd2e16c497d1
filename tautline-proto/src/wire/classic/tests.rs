//! Tests of the classic wire, for situations that are not among the recorded datagrams.

use super::*;
use crate::json::NonFinite;
use alloc::format;
use alloc::string::String;

const METADATA: &str = r#"{"message_id": "m-1", "timestamp": 1700000000.25, "message_type": "command", "priority": 3, "source": "plant"}"#;

fn message() -> MessageRef<'static> {
    MessageRef {
        message_type: MessageType::Command,
        priority: Priority::High,
        channel: 0,
        timestamp: WallTime::from_nanos(1_700_000_000_250_000_000),
        message_id: "m-1".into(),
        source: "plant".into(),
        destination: None,
        correlation_id: None,
        delivery: Delivery::BestEffort,
        lifespan: None,
        content_type: ContentType::Json,
        payload: b"1",
    }
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
fn optional_fields_and_numeric_ids_are_read_back() {
    let sent = MessageRef {
        message_id: Id::Number(u64::MAX),
        source: "tab\there \"é\"".into(),
        destination: Some("😀".into()),
        correlation_id: Some(Id::Number(0)),
        ..message()
    };
    let bytes = datagram(ClassicFormat::default(), &sent);
    let (_, envelope) = open(&bytes, ClassicFormat::default()).expect("as sealed");
    let mut scratch = Vec::new();
    let received = read_envelope(envelope, &JsonLimits::default(), &mut scratch).expect("as sent");
    let as_text =
        MessageRef { message_id: "18446744073709551615".into(), correlation_id: Some("0".into()), ..sent };
    assert_eq!(received, as_text);
}

#[test]
fn reading_borrows_from_the_envelope() {
    let bytes = datagram(ClassicFormat::default(), &message());
    let (_, envelope) = open(&bytes, ClassicFormat::default()).expect("as sealed");
    let mut scratch = Vec::new();
    let received = read_envelope(envelope, &JsonLimits::default(), &mut scratch).expect("as sent");
    assert!(envelope.as_ptr_range().contains(&received.payload.as_ptr()));
    assert!(matches!(received.source, Cow::Borrowed("plant")));
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
    assert_eq!(received.source, "é");
    assert_eq!(received.timestamp, WallTime::from_nanos(1_700_000_000_000_000_000));
    assert_eq!((received.destination, received.correlation_id), (None, None));
}

#[test]
fn last_value_of_a_repeated_key_counts() {
    let metadata = METADATA.replacen('{', r#"{"message_id": 1, "#, 1);
    let envelope = format!(r#"{{"data": 1, "metadata": {{}}, "metadata": {metadata}, "data": 2}}"#);
    assert_eq!(read(&envelope, &JsonLimits::default()), Ok(("m-1".into(), "2".into())));
    let envelope = format!(r#"{{"metadata": {metadata}, "metadata": {{}}, "data": 2}}"#);
    assert_eq!(refusal(&envelope), Some(DropReason::Malformed));
}

#[test]
fn missing_or_wrong_members_are_malformed() {
    assert_eq!(refusal_of_metadata(METADATA), None);
    for (right, wrong) in [
        (r#""message_id": "m-1", "#, ""),
        (r#""m-1""#, "1"),
        (r#""m-1""#, "null"),
        (r#""timestamp": 1700000000.25, "#, ""),
        ("1700000000.25", "null"),
        ("1700000000.25", "true"),
        ("1700000000.25", r#""1700000000.25""#),
        ("1700000000.25", "1e12"),
        ("1700000000.25", "-9300000000"),
        (r#""message_type": "command", "#, ""),
        (r#""command""#, r#""Command""#),
        (r#""command""#, "1"),
        (r#""priority": 3, "#, ""),
        ("3", "0"),
        ("3", "5"),
        ("3", "3.0"),
        ("3", "99999999999999999999"),
        ("3", r#""high""#),
        (r#", "source": "plant""#, ""),
        (r#""plant""#, "null"),
        (r#""plant""#, r#""plant", "destination": 1"#),
        (r#""plant""#, r#""plant", "correlation_id": [null]"#),
        (METADATA, "[]"),
        (METADATA, "null"),
    ] {
        let metadata = METADATA.replacen(right, wrong, 1);
        assert_ne!(metadata, METADATA);
        assert_eq!(refusal_of_metadata(&metadata), Some(DropReason::Malformed), "{metadata}");
    }
    assert_eq!(refusal(&format!(r#"{{"metadata": {METADATA}}}"#)), Some(DropReason::Malformed));
    assert_eq!(refusal(r#"{"data": 1}"#), Some(DropReason::Malformed));
}

#[test]
fn text_that_is_not_a_json_object_is_malformed() {
    let whole = format!(r#"{{"metadata": {METADATA}, "data": 1}}"#);
    assert_eq!(refusal(&whole), None);
    for envelope in ["", " ", "{}", "[1]", "null", "hello.", "\u{feff}{}", &whole[1..], &format!("{whole}}}")]
    {
        assert_eq!(refusal(envelope), Some(DropReason::Malformed), "{envelope}");
    }
    let mut scratch = Vec::new();
    let not_utf8 = read_envelope(b"{\"metadata\": \"\xff\"}", &JsonLimits::default(), &mut scratch);
    assert_eq!(not_utf8, Err(DropReason::Malformed));
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
        assert_eq!(read(&envelope, &null), Err(DropReason::Malformed));
    }
}
