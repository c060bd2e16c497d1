use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::layout::{FRAME_HEADER_LEN, MESSAGE_OVERHEAD};
use super::*;
use crate::drops::DropReason;
use crate::message::{ContentType, Id, MessageRef, MessageType, Priority};
use crate::peer::SessionId;
use crate::time::WallTime;
use core::time::Duration;

const SESSION: SessionId = SessionId::from_bits(0x0102_0304_0506_0708);

fn head() -> Head<'static> {
    Head {
        message_type: MessageType::Command,
        priority: Priority::Critical,
        channel: 0x0203,
        timestamp: WallTime::from_nanos(0x1122_3344_5566_7788),
        content_type: ContentType::Json,
        ..Head::default()
    }
}

fn message(head: &Head<'_>, payload: &[u8]) -> Result<Vec<u8>, BadText> {
    let mut out = Vec::new();
    let start = begin_message(&mut out, head)?;
    out.extend_from_slice(payload);
    assert!(finish_message(&mut out, start));
    Ok(out)
}

fn control(frame: &Control<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write_control(&mut out, frame);
    out
}

/// Returns a sealed datagram of these frames.
fn datagram(frames: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    begin_datagram(&mut out);
    out.extend_from_slice(frames);
    seal(&mut out, Header { session: SESSION, sequence: 9, from_server: true });
    out
}

/// As [`datagram`], but with `change` applied before the CRC is computed.
fn resealed(frames: &[u8], change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = datagram(frames);
    out.truncate(out.len() - TRAILER_LEN);
    change(&mut out);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| alloc::format!("{byte:02x}")).collect()
}

fn frames(bytes: &[u8]) -> Vec<Frame<'_>> {
    Frames::check(bytes).expect("frames that fit").collect()
}

/// Decodes the only frame of `bytes` as a message.
fn decoded(bytes: &[u8]) -> Result<MessageRef<'_>, DropReason> {
    match &frames(bytes)[..] {
        [Frame::Message(frame)] => frame.decode(77, "default"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn header_has_magic_version_flags_session_and_sequence() {
    assert_eq!(hex(&datagram(&[])), "e75401010102030405060708000000093a098dd3");
    let bytes = datagram(&[]);
    let (header, mut frames) = parse(&bytes).expect("well formed");
    assert_eq!(header, Header { session: SESSION, sequence: 9, from_server: true });
    assert!(frames.next().is_none());
}

#[test]
fn control_frames_are_written_as_specified() {
    let token = Token { issued_ms: 0x0a0b, proof: 0x1122_3344_5566_7788 };
    let heartbeat = Heartbeat { stamp: 1, wall: WallTime::from_nanos(-2), echo: 3, held: 4 };
    for (frame, bytes) in [
        (
            Control::Heartbeat(heartbeat),
            "020000200000000000000001fffffffffffffffe00000000000000030000000000000004",
        ),
        (Control::Close, "03000000"),
        (Control::Hello, "0400000000000000000000000000000000000000"),
        (Control::Token(token), "050000100000000000000a0b1122334455667788"),
        (Control::Echo { token, name: "arm" }, "060000140000000000000a0b11223344556677880361726d"),
        (Control::Accept("plant"), "0700000605706c616e74"),
        (Control::Accept(""), "0700000100"),
        (Control::UnknownSession, "08000000"),
        (Control::Refused, "09000000"),
    ] {
        assert_eq!(hex(&control(&frame)), bytes, "{frame:?}");
    }
}

#[test]
fn control_frames_are_read_back() {
    let token = Token { issued_ms: 5, proof: 6 };
    let heartbeat = Heartbeat { stamp: 1, wall: WallTime::from_nanos(-2), echo: 3, held: 4 };
    let read = |frame: Control<'_>| frames(&control(&frame)).first().map(|frame| alloc::format!("{frame:?}"));
    for frame in [
        Control::Heartbeat(heartbeat),
        Control::Close,
        Control::Hello,
        Control::Token(token),
        Control::Echo { token, name: "arm" },
        Control::Accept("plant"),
        Control::UnknownSession,
        Control::Refused,
    ] {
        // The variants and fields have the same names in both enums.
        assert_eq!(read(frame), Some(alloc::format!("{frame:?}")));
    }
}

#[test]
fn plain_message_has_16_bytes_before_its_payload() {
    let bytes = message(&head(), b"[1]").expect("no texts");
    assert_eq!(hex(&bytes), "0100000f310102031122334455667788".to_string() + "5b315d");
    let read = decoded(&bytes).expect("well formed");
    assert_eq!(
        (read.message_type, read.priority, read.channel),
        (MessageType::Command, Priority::Critical, 0x0203)
    );
    assert_eq!((read.timestamp, read.content_type), (head().timestamp, ContentType::Json));
    assert_eq!(
        (read.message_id, read.source.as_deref(), read.payload),
        (Id::Number(77), Some("default"), &b"[1]"[..])
    );
    assert_eq!((read.destination, read.correlation_id), (None, None));
}

#[test]
fn optional_fields_follow_in_the_order_of_their_flags() {
    let head = Head {
        message_id: Some(&Id::Number(0x21)),
        source: Some("a"),
        destination: Some("bc"),
        correlation_id: Some(&Id::from("d")),
        ..head()
    };
    let bytes = message(&head, b"!").expect("short texts");
    let fields = ["000000000000000021", "0161", "026263", "0164", "21"].concat();
    assert_eq!(hex(&bytes), "010f001d310102031122334455667788".to_string() + &fields);
    let read = decoded(&bytes).expect("well formed");
    assert_eq!((read.message_id, read.source.as_deref()), (Id::Number(0x21), Some("a")));
    assert_eq!((read.destination.as_deref(), read.correlation_id), (Some("bc"), Some(Id::from("d"))));
    assert_eq!(read.payload, b"!");
}

#[test]
fn ids_of_the_classic_wire_travel_as_text_and_null_does_not_travel() {
    let json = Id::Json("-17".into());
    let head = Head { message_id: Some(&Id::Null), correlation_id: Some(&json), ..head() };
    let bytes = message(&head, b"").expect("short texts");
    let read = decoded(&bytes).expect("well formed");
    assert_eq!((read.message_id, read.correlation_id), (Id::Number(77), Some(Id::from("-17"))));
}

#[test]
fn lifespan_travels_in_microseconds() {
    let carried = |lifespan| {
        let bytes = message(&Head { lifespan: Some(lifespan), ..head() }, b"!").expect("no texts");
        decoded(&bytes).expect("well formed").lifespan
    };
    assert_eq!(carried(Duration::from_millis(50)), Some(Duration::from_millis(50)));
    // Rounded up, and limited to what the field can hold.
    assert_eq!(carried(Duration::from_nanos(1_001)), Some(Duration::from_micros(2)));
    assert_eq!(carried(Duration::ZERO), Some(encode::MIN_LIFESPAN));
    assert_eq!(carried(Duration::MAX), Some(encode::MAX_LIFESPAN));
}

#[test]
fn message_alone_in_its_datagram_adds_at_most_40_bytes() {
    let payload = [7; 100];
    let len = datagram(&message(&head(), &payload).expect("no texts")).len();
    assert_eq!(len - payload.len(), MESSAGE_OVERHEAD);
    assert!(len - payload.len() <= 40);
}

#[test]
fn texts_have_1_to_255_bytes() {
    let text = "x".repeat(256);
    for (len, fits) in [(0, false), (1, true), (255, true), (256, false)] {
        let text = &text[..len];
        let id = Id::from(text);
        for (field, head) in [
            ("source", Head { source: Some(text), ..head() }),
            ("destination", Head { destination: Some(text), ..head() }),
            ("message id", Head { message_id: Some(&id), ..head() }),
            ("correlation id", Head { correlation_id: Some(&id), ..head() }),
        ] {
            let written = message(&head, b"0");
            match written {
                Ok(bytes) => assert!(fits && decoded(&bytes).is_ok(), "{field} of {len}"),
                Err(error) => {
                    assert!(!fits, "{field} of {len}");
                    assert_eq!(error, BadText { field, len });
                }
            }
        }
    }
}

#[test]
fn message_that_exceeds_its_length_field_is_refused() {
    for (len, fits) in [(65_523, true), (65_524, false)] {
        let mut out = Vec::new();
        let start = begin_message(&mut out, &head()).expect("no texts");
        out.resize(out.len() + len, 0);
        assert_eq!(finish_message(&mut out, start), fits, "{len}");
    }
}

#[test]
fn name_that_is_too_long_is_cut_between_characters() {
    for name in ["ü".repeat(40), String::from("x") + &"ü".repeat(40), "x".repeat(100), "🦀".repeat(17)] {
        let bytes = control(&Control::Accept(&name));
        let read = frames(&bytes);
        let [Frame::Accept(cut)] = read[..] else { panic!("{name}: {read:?}") };
        assert!(name.starts_with(cut) && cut.len() <= MAX_NAME && cut.len() > MAX_NAME - 4, "{cut}");
    }
}

#[test]
fn name_of_65_bytes_on_the_wire_is_skipped() {
    let bytes = [&[7, 0, 0, 66, 65][..], &[b'x'; 65]].concat();
    assert!(matches!(frames(&bytes)[..], [Frame::Unknown]));
}

#[test]
fn frames_of_unknown_types_are_skipped_by_their_length() {
    let mut bytes = vec![200, 0xff, 0, 3, 1, 2, 3, 10, 0, 0, 0];
    bytes.extend(message(&head(), b"0").expect("no texts"));
    assert!(matches!(frames(&bytes)[..], [Frame::Unknown, Frame::Unknown, Frame::Message(_)]));
}

#[test]
fn control_frames_with_short_bodies_are_skipped_and_with_longer_bodies_read() {
    let short = [2, 0, 0, 31].into_iter().chain([0; 31]).collect::<Vec<_>>();
    assert!(matches!(frames(&short)[..], [Frame::Unknown]));
    let longer = [5, 0, 0, 20].into_iter().chain([1; 20]).collect::<Vec<_>>();
    assert!(matches!(frames(&longer)[..], [Frame::Token(_)]));
}

#[test]
fn padding_ends_the_datagram() {
    let mut bytes = control(&Control::Close);
    bytes.extend([0, 1, 2, 3]);
    assert!(matches!(frames(&bytes)[..], [Frame::Close]));
}

#[test]
fn datagram_with_a_truncated_frame_is_malformed() {
    let whole = message(&head(), b"[1]").expect("no texts");
    for len in 1..whole.len() {
        let bytes = datagram(&whole[..len]);
        assert_eq!(parse(&bytes).expect_err("cut"), DropReason::Malformed, "{len}");
    }
    assert!(parse(&datagram(&whole)).is_ok());
}

#[test]
fn message_with_truncated_fields_is_malformed() {
    let head = Head { message_id: Some(&Id::Number(1)), source: Some("ab"), ..head() };
    let whole = message(&head, b"").expect("short texts");
    for len in FRAME_HEADER_LEN..whole.len() {
        let mut bytes = whole[..len].to_vec();
        bytes[3] = u8::try_from(len - FRAME_HEADER_LEN).expect("short");
        assert_eq!(decoded(&bytes).expect_err("cut"), DropReason::Malformed, "{len}");
    }
}

#[test]
fn features_of_a_later_version_are_unsupported() {
    let plain = message(&head(), b"0").expect("no texts");
    let change = |at: usize, with: u8| {
        let mut bytes = plain.clone();
        bytes[at] ^= with;
        decoded(&bytes).expect_err("changed")
    };
    for flag in [0x20, 0x40, 0x80] {
        assert_eq!(change(1, flag), DropReason::UnsupportedFlags, "frame flag {flag:02x}");
    }
    assert_eq!(change(4, 0xc0), DropReason::UnsupportedFlags, "delivery class 3");
    assert_eq!(change(4, 0x01), DropReason::Malformed, "message type 0");
    assert_eq!(change(5, 0x80), DropReason::Malformed, "content type 129");
    for bit in 2..8 {
        let bytes = resealed(&plain, |bytes| bytes[3] |= 1 << bit);
        assert_eq!(parse(&bytes).expect_err("flag"), DropReason::UnsupportedFlags, "header flag {bit}");
    }
    let bytes = resealed(&plain, |bytes| bytes[3] |= 2);
    assert_eq!(parse(&bytes).expect_err("flag"), DropReason::Secured, "it is sealed with a key");
}

#[test]
fn bad_datagrams_are_dropped_for_the_right_reason() {
    let plain = message(&head(), b"0").expect("no texts");
    let reason = |bytes: &[u8]| parse(bytes).expect_err("bad");
    let good = datagram(&plain);
    assert_eq!(reason(&[]), DropReason::TooShort);
    assert_eq!(reason(&good[..19]), DropReason::TooShort);
    assert_eq!(reason(&resealed(&plain, |bytes| bytes[2] = 2)), DropReason::OtherVersion);
    assert_eq!(reason(&[good.clone(), vec![0]].concat()), DropReason::BadCrc);
    assert_eq!(reason(b"GET / HTTP/1.1\r\n\r\n"), DropReason::NotTautline);
    for prefix in [0, 4, 8] {
        let classic = [vec![1; prefix], b"{\"metadata\": {}}".to_vec()].concat();
        assert_eq!(reason(&classic), DropReason::OtherWire, "{prefix} bytes before the envelope");
    }
}

#[test]
fn flips_of_1_to_5_bits_in_a_short_datagram_are_detected() {
    let good = datagram(&control(&Control::Close));
    let bits = good.len() * 8;
    let flipped = |places: &[usize]| {
        let mut bad = good.clone();
        places.iter().for_each(|&bit| bad[bit / 8] ^= 1 << (bit % 8));
        parse(&bad).is_err()
    };
    for first in 0..bits {
        assert!(flipped(&[first]));
        for second in first + 1..bits {
            assert!(flipped(&[first, second]));
            let (third, fourth, fifth) = ((second + 7) % bits, (second + 31) % bits, (second + 57) % bits);
            let mut places = vec![first, second, third, fourth, fifth];
            places.sort_unstable();
            places.dedup();
            assert!(flipped(&places), "{places:?}");
        }
    }
}
