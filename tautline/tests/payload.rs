//! Payloads: the form of the JSON text, the codecs, and what each codec refuses.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{client, client_config, codecs, pair, server, server_config};
use serde::{Deserialize, Serialize};
use tautline::{
    Config, ContentType, DecodeError, EncodeError, Metadata, Payload, PayloadLimits, SendError, Wire,
    create_udp_server,
};

/// One value of each kind that serde distinguishes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    flag: bool,
    small: i8,
    large: u64,
    ratio: f32,
    angle: f64,
    letter: char,
    text: String,
    nothing: Option<u8>,
    something: Option<u8>,
    unit: (),
    marker: Marker,
    wrapped: Wrapped,
    list: Vec<u16>,
    none_listed: Vec<u16>,
    pair: (u8, String),
    map: BTreeMap<String, i32>,
    modes: Vec<Mode>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Marker;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Wrapped(i16);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Mode {
    Idle,
    Hold(u8),
    Between(u8, u8),
    Track { joint: u8 },
}

fn everything() -> Everything {
    Everything {
        flag: true,
        small: -5,
        large: u64::MAX,
        ratio: 0.1,
        angle: -0.0,
        letter: 'µ',
        text: "a \"quoted\"\nline/\u{7f}\u{1f600}".to_owned(),
        nothing: None,
        something: Some(7),
        unit: (),
        marker: Marker,
        wrapped: Wrapped(-300),
        list: vec![1, 2, 3],
        none_listed: vec![],
        pair: (1, "one".to_owned()),
        map: [("b".to_owned(), 2), ("a".to_owned(), 1)].into(),
        modes: vec![Mode::Idle, Mode::Hold(1), Mode::Between(1, 2), Mode::Track { joint: 3 }],
    }
}

fn json<T: Serialize>(value: &T) -> String {
    let payload = Payload::json(value).unwrap_or_else(|error| panic!("{error}"));
    String::from_utf8(payload.bytes().to_vec()).expect("JSON is text")
}

#[test]
fn json_text_has_the_form_of_python_json_dumps() {
    assert_eq!(
        json(&everything()),
        "{\"flag\": true, \"small\": -5, \"large\": 18446744073709551615, \"ratio\": 0.1, \"angle\": -0.0, \
         \"letter\": \"\\u00b5\", \"text\": \"a \\\"quoted\\\"\\nline/\\u007f\\ud83d\\ude00\", \
         \"nothing\": null, \"something\": 7, \"unit\": null, \"marker\": null, \"wrapped\": -300, \
         \"list\": [1, 2, 3], \"none_listed\": [], \"pair\": [1, \"one\"], \"map\": {\"a\": 1, \"b\": 2}, \
         \"modes\": [\"Idle\", {\"Hold\": 1}, {\"Between\": [1, 2]}, {\"Track\": {\"joint\": 3}}]}"
    );
}

#[test]
fn scalars_and_empty_containers_are_values_too() {
    assert_eq!(json(&()), "null");
    assert_eq!(json(&"text"), "\"text\"");
    assert_eq!(json(&1e16), "1e+16");
    assert_eq!(json(&BTreeMap::<u8, u8>::new()), "{}");
    assert_eq!(json(&i128::MIN), i128::MIN.to_string());
    assert_eq!(json(&u128::MAX), u128::MAX.to_string());
}

#[test]
fn f32_values_are_written_with_their_own_digits_and_read_back() {
    for (single, text) in [
        (0.1_f32, "0.1"),
        (16_777_216.0, "16777216.0"),
        (1e-5, "1e-05"),
        (f32::MAX, "3.4028235e+38"),
        (f32::MIN_POSITIVE, "1.1754944e-38"),
        (-1e-45, "-1e-45"),
    ] {
        assert_eq!(json(&single), text);
        assert_eq!(Payload::json(&single).expect("finite").decode(), Ok(single));
    }
}

#[test]
fn map_keys_become_text_as_in_python() {
    assert_eq!(json(&BTreeMap::from([(-1, 'a')])), "{\"-1\": \"a\"}");
    assert_eq!(json(&BTreeMap::from([(true, 1)])), "{\"true\": 1}");
    assert_eq!(json(&BTreeMap::from([('"', 1)])), "{\"\\\"\": 1}");
    assert_eq!(json(&BTreeMap::from([(Mode::Idle, 1)])), "{\"Idle\": 1}");
    for problem in [
        Payload::json(&BTreeMap::from([((1, 2), 1)])),
        Payload::json(&BTreeMap::from([(Mode::Hold(1), 1)])),
        Payload::json(&BTreeMap::from([((), 1)])),
        Payload::json(&BTreeMap::from([(Some(1), 1)])),
    ] {
        assert_eq!(
            problem.expect_err("no key").to_string(),
            "the value cannot be encoded: a JSON object's key must be text, a whole number, a boolean or a \
             plain variant"
        );
    }
}

#[test]
fn everything_reads_back_from_every_codec() {
    for encode in codecs() {
        let payload = encode(&everything()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(payload.decode(), Ok(everything()), "{}", payload.content_type());
        let again = Payload::encoded(payload.content_type(), payload.bytes());
        assert_eq!(again, Ok(payload), "the receiver's check accepts what the sender wrote");
    }
}

#[derive(Clone, Serialize)]
struct Joint {
    angle: f64,
    force: f32,
}

#[derive(Clone, Serialize)]
enum Report {
    Pose { joints: Vec<Joint> },
    Range(f64, f64),
}

#[test]
fn nan_in_a_nested_value_is_refused_by_every_codec() {
    let still = Joint { angle: 0.0, force: 1.5 };
    for bad in [
        Joint { angle: f64::NAN, ..still },
        Joint { angle: f64::INFINITY, ..still },
        Joint { angle: f64::NEG_INFINITY, ..still },
        Joint { force: f32::NAN, ..still },
        Joint { force: f32::NEG_INFINITY, ..still },
    ] {
        for encode in codecs() {
            assert!(encode(&Report::Pose { joints: vec![still.clone()] }).is_ok());
            let error = encode(&Report::Pose { joints: vec![still.clone(), bad.clone()] });
            assert!(matches!(error, Err(EncodeError::NotFinite { .. })), "{error:?}");
        }
    }
}

#[test]
fn nan_in_json_is_refused_with_its_path() {
    let path = |value: &dyn Fn() -> Result<Payload, EncodeError>| match value() {
        Err(EncodeError::NotFinite { path }) => path,
        other => panic!("{other:?}"),
    };
    let joints = vec![Joint { angle: 0.0, force: 1.5 }, Joint { angle: f64::NAN, force: 1.5 }];
    let pose = Report::Pose { joints };
    assert_eq!(path(&|| Payload::json(&pose)).as_deref(), Some("Pose.joints[1].angle"));
    assert_eq!(path(&|| Payload::json(&Report::Range(0.0, f64::NAN))).as_deref(), Some("Range[1]"));
    assert_eq!(path(&|| Payload::json(&BTreeMap::from([(5, [[f64::NAN]])]))).as_deref(), Some("5[0][0]"));
    assert_eq!(path(&|| Payload::json(&f64::NAN)), None);
    assert_eq!(
        Payload::json(&[1.0, f64::NAN]).expect_err("not finite").to_string(),
        "`[1]` is NaN or infinite: a controller must not act on it, so it is not sent"
    );
}

/// Returns a number inside `depth` nested lists.
fn nested(depth: usize) -> serde_json::Value {
    (0..depth).fold(serde_json::Value::from(1), |inner, _| serde_json::Value::Array(vec![inner]))
}

#[test]
fn every_codec_has_the_same_limit_of_depth() {
    let too_deep = Err(EncodeError::TooDeep { max_depth: 127 });
    for encode in codecs() {
        for depth in [32, 33, 127] {
            let deep = encode(&nested(depth)).unwrap_or_else(|error| panic!("{depth}: {error}"));
            assert_eq!(deep.fits(&PayloadLimits::default()).is_ok(), depth <= 32, "{depth}");
        }
        assert_eq!(encode(&nested(128)), too_deep);
    }
    // A limit that no setting can raise is told as such.
    let told = [EncodeError::TooDeep { max_depth: 127 }, EncodeError::TooDeep { max_depth: 32 }];
    assert_eq!(told.map(|error| error.to_string().contains("raise it")), [false, true]);
    let text = nested(128).to_string();
    assert_eq!(Payload::json_text(&text), too_deep);
    assert_eq!(Payload::encoded(ContentType::Json, text), too_deep);
    // An empty list counts as a level too.
    let text = format!("{}{}", "[".repeat(128), "]".repeat(128));
    assert_eq!(Payload::encoded(ContentType::Json, text), too_deep);
    let msgpack = [vec![0x91; 127], vec![0x90]].concat();
    assert_eq!(Payload::encoded(ContentType::MessagePack, msgpack), too_deep);
    assert_eq!(Payload::encoded(ContentType::Cbor, [vec![0x81; 127], vec![0x80]].concat()), too_deep);
}

#[test]
fn sending_a_payload_checks_the_limits_of_the_interface() {
    let large = Payload::json(&"x".repeat(100_000)).expect("less than 1 MiB");
    for wire in common::WIRES {
        let (_server, usual) = pair(wire);
        for encode in codecs() {
            let deep = encode(&nested(33)).expect("at most 127");
            if wire == Wire::Native || deep.content_type() == ContentType::Json {
                let refusal = usual.send(&deep, &Metadata::data());
                assert_eq!(refusal, Err(SendError::Encode(EncodeError::TooDeep { max_depth: 32 })));
            }
        }
        let refusal = usual.send(&large, &Metadata::data());
        assert!(matches!(refusal, Err(SendError::Encode(EncodeError::TooLarge { max_size: 65_527, .. }))));

        let server = server(server_config(wire).max_depth(127));
        let client = client(client_config(&server).max_depth(127));
        for encode in codecs() {
            let deep = encode(&nested(127)).expect("at most 127");
            if wire == Wire::Native || deep.content_type() == ContentType::Json {
                client.send(&deep, &Metadata::data()).expect("as deep as allowed");
                let received = server.receive(Some(Duration::from_secs(10))).expect("it arrives");
                assert_eq!(received.payload(), deep.bytes());
                // Its payload can be passed on.
                let passed_on = Payload::encoded(received.content_type(), received.payload());
                assert_eq!(passed_on.as_ref(), Ok(&deep));
                assert_eq!(client.encode(&nested(127)).expect("within its limits").bytes(), nested_text(127));
            }
        }
    }
}

/// What [`nested`] is as JSON.
fn nested_text(depth: usize) -> Vec<u8> {
    format!("{}1{}", "[".repeat(depth), "]".repeat(depth)).into_bytes()
}

#[test]
fn values_beside_each_other_do_not_count_as_depth() {
    let wide = vec![BTreeMap::from([("a", vec![(); 1]), ("b", vec![])]); 40];
    for encode in codecs() {
        let payload = encode(&wide).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(payload.decode::<Vec<BTreeMap<String, Vec<()>>>>().map(|read| read.len()), Ok(40));
    }
    let variants = vec![Mode::Between(1, 2); 40];
    assert!(Payload::json(&variants).is_ok());
}

#[test]
fn every_codec_has_the_same_limit_of_size() {
    for encode in codecs() {
        assert!(encode(&"x".repeat(1_048_560)).is_ok());
        let error = encode(&"x".repeat(1_048_577));
        assert!(matches!(error, Err(EncodeError::TooLarge { max_size: 1_048_576, .. })), "{error:?}");
        assert!(error.is_err_and(|error| error.to_string().ends_with(": send less at once")));
    }
    let error = Payload::json(&"x".repeat(65_526)).map(|payload| payload.fits(&PayloadLimits::default()));
    assert_eq!(
        error.expect("less than 1 MiB").expect_err("two quotes too many").to_string(),
        "the payload has 65528 bytes, and `max_message_size` is 65527: send less at once, or raise it at both ends"
    );
    // This byte of text becomes six bytes on the wire.
    assert!(Payload::json_text(format!("\"{}\"", "\u{7f}".repeat(180_000))).is_err());
}

#[test]
fn json_text_is_rewritten_with_its_keys_in_order_and_its_digits_kept() {
    let payload = Payload::json_text(" {\"z\":1.50,\"a\":123456789012345678901234567890} ").expect("JSON");
    assert_eq!(payload.bytes(), b"{\"z\": 1.5, \"a\": 123456789012345678901234567890}");
    for text in ["", "{", "{} {}", "{'a': 1}", "[1,]", "nul"] {
        let error = Payload::json_text(text).expect_err(text);
        assert!(error.to_string().starts_with("the text is not JSON: syntax error at byte "), "{error}");
    }
    assert_eq!(Payload::json_text("[NaN]"), Err(EncodeError::NotFinite { path: None }));
}

#[test]
fn decoding_another_type_is_a_readable_error() {
    for encode in codecs() {
        let payload = encode(&vec!["a"]).expect("encodable");
        let error = payload.decode::<Vec<u8>>().expect_err("not numbers");
        let start = format!("the {} payload is not of the requested type: ", payload.content_type());
        assert!(error.to_string().starts_with(&start), "{error}");
    }
}

#[test]
fn raw_bytes_cannot_be_decoded() {
    let payload = Payload::raw([0xff; 3]);
    assert_eq!(payload.bytes(), [0xff; 3]);
    assert_eq!(payload.decode::<u8>(), Err(DecodeError::Raw));
}

#[cfg(not(feature = "cbor"))]
#[test]
fn a_codec_that_is_not_built_in_is_named_with_its_feature() {
    let payload = Payload::encoded(ContentType::Cbor, [0x01]).expect("well formed");
    assert_eq!(
        payload.decode::<u8>().expect_err("not built in").to_string(),
        "this build has no cbor: enable the Cargo feature \"cbor\" of the crate tautline"
    );
}

/// A value whose own `Serialize` fails.
struct Failing;

impl Serialize for Failing {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("the sensor is not calibrated"))
    }
}

#[test]
fn an_error_of_the_value_itself_is_passed_on() {
    for encode in codecs() {
        let error = encode(&Failing).expect_err("always fails").to_string();
        assert_eq!(error, "the value cannot be encoded: the sensor is not calibrated");
    }
}

#[test]
fn interface_encodes_with_its_own_codec_and_limits() {
    let config = Config::server("127.0.0.1:0").codec(ContentType::Cbor).max_depth(1).max_message_size(100);
    let plant = create_udp_server(config).expect("valid");
    assert_eq!(plant.encode(&1), Err(SendError::NotConnected));
    plant.connect().expect("connected");
    assert_eq!(plant.encode(&[1.5]).map(|payload| payload.content_type()), Ok(ContentType::Cbor));
    assert!(matches!(plant.encode(&[[1]]), Err(SendError::Encode(EncodeError::TooDeep { max_depth: 1 }))));
    let large = "x".repeat(101);
    assert!(matches!(
        plant.encode(&large),
        Err(SendError::Encode(EncodeError::TooLarge { max_size: 100, .. }))
    ));
    assert_eq!(
        plant.encode(&f64::NAN).expect_err("NaN").to_string(),
        SendError::from(EncodeError::NotFinite { path: None }).to_string()
    );
    assert_eq!(plant.statistics().datagrams_sent, 0);
}
