//! Compares the classic wire with datagrams that were recorded from the Python module.
//!
//! Each vector is one UDP payload with the settings, the sequence number, the metadata and the data from which it was made. To
//! make the datagram again, the test passes the data through `serde_json`, and not through the reader under test.

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tautline_proto::json::{self, JsonLimits, NonFinite};
use tautline_proto::wire::classic::{self, ClassicFormat};
use tautline_proto::{ContentType, DropReason, Id, MessageRef, MessageType, Priority, WallTime};

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    settings: Settings,
    seq: Option<u32>,
    encoding: String,
    strict_json: bool,
    metadata: Metadata,
    data: ordered::Ordered,
    hex: String,
}

#[derive(Deserialize)]
struct Settings {
    use_crc: bool,
    use_sequence: bool,
}

#[derive(Deserialize)]
struct Metadata {
    message_id: String,
    timestamp: f64,
    message_type: String,
    priority: u8,
    source: String,
    destination: Option<String>,
    correlation_id: Option<String>,
}

impl Metadata {
    fn message(&self) -> MessageRef<'_> {
        MessageRef::new(ContentType::Json, &[])
            .with_message_type(self.message_type.parse().expect("a known type"))
            .with_priority(Priority::from_wire(self.priority).expect("1 to 4"))
            .with_timestamp(WallTime::from_secs_f64(self.timestamp).expect("a time of today"))
            .with_message_id(Id::from(self.message_id.as_str()))
            .with_source(self.source.as_str().into())
            .with_destination(self.destination.as_deref().map(Into::into))
            .with_correlation_id(self.correlation_id.as_deref().map(Id::from))
    }
}

impl Vector {
    fn format(&self) -> ClassicFormat {
        ClassicFormat { use_crc: self.settings.use_crc, use_sequence: self.settings.use_sequence }
    }

    fn datagram(&self) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&self.hex[at..at + 2], 16).expect("hex digits");
        (0..self.hex.len()).step_by(2).map(byte).collect()
    }

    /// Returns whether the data holds NaN or an infinity.
    fn is_nonfinite(&self) -> bool {
        ["float_nan", "float_list_special"].contains(&self.name.as_str())
    }
}

/// Returns the vectors with this encoding: `json` or `pickle`.
fn vectors(encoding: &str) -> Vec<Vector> {
    let text = include_str!("data/classic_vectors.json");
    let all: Vectors = serde_json::from_str(text).expect("the file as recorded");
    let chosen: Vec<_> = all.vectors.into_iter().filter(|vector| vector.encoding == encoding).collect();
    assert!(chosen.len() >= 8, "{} {encoding} vectors", chosen.len());
    chosen
}

/// Returns a datagram with this metadata and the canonical form of `data`.
fn send(message: &MessageRef<'_>, data: &[u8], format: ClassicFormat, sequence: u32) -> Vec<u8> {
    let mut out = Vec::new();
    classic::begin_message(&mut out, format, message);
    json::normalize(data, &JsonLimits::default(), &mut out).expect("strict JSON");
    classic::finish_message(&mut out);
    classic::seal(&mut out, format, sequence);
    out
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[test]
fn datagrams_are_byte_identical_to_those_of_the_python_module() {
    let vectors = vectors("json");
    for vector in vectors.iter().filter(|vector| vector.strict_json) {
        let data = serde_json::to_vec(&vector.data).expect("a value");
        let sent = send(&vector.metadata.message(), &data, vector.format(), vector.seq.unwrap_or(0));
        assert_eq!(show(&sent), show(&vector.datagram()), "{}", vector.name);
    }
}

#[test]
fn datagrams_of_the_python_module_are_read() {
    for vector in vectors("json").iter().filter(|vector| !vector.is_nonfinite()) {
        let datagram = vector.datagram();
        let (sequence, envelope) = classic::open(&datagram, vector.format()).expect(&vector.name);
        assert_eq!(sequence, vector.seq, "{}", vector.name);
        let mut scratch = Vec::new();
        let read =
            classic::read_envelope(envelope, &JsonLimits::default(), &mut scratch).expect(&vector.name);
        assert_eq!(read.clone().with_payload(&[]), vector.metadata.message(), "{}", vector.name);
        if vector.strict_json {
            let data: ordered::Ordered = serde_json::from_slice(read.payload).expect("JSON");
            assert_eq!(format!("{data:?}"), format!("{:?}", vector.data), "{}", vector.name);
        }
        let again = send(&read, read.payload, vector.format(), vector.seq.unwrap_or(0));
        assert_eq!(show(&again), show(&datagram), "{}", vector.name);
    }
}

#[test]
fn nan_from_the_python_module_is_refused_or_read_as_null() {
    let vectors = vectors("json");
    let nonfinite: Vec<_> = vectors.iter().filter(|vector| vector.is_nonfinite()).collect();
    assert_eq!(nonfinite.len(), 8);
    for vector in nonfinite {
        let datagram = vector.datagram();
        let (_, envelope) = classic::open(&datagram, vector.format()).expect(&vector.name);
        let mut scratch = Vec::new();
        let refused = classic::read_envelope(envelope, &JsonLimits::default(), &mut scratch);
        assert_eq!(refused, Err(DropReason::NotFinite), "{}", vector.name);

        let limits = JsonLimits { nonfinite: NonFinite::Null, ..JsonLimits::default() };
        let read = classic::read_envelope(envelope, &limits, &mut scratch).expect(&vector.name);
        let expected: &[u8] =
            if vector.name == "float_nan" { b"null" } else { br#"{"x": [null, null, null, 0.0, -0.0]}"# };
        assert_eq!(show(read.payload), show(expected));
        assert_eq!(read.source.as_deref(), Some(vector.metadata.source.as_str()));
    }
}

#[test]
fn pickles_from_the_python_module_are_refused() {
    for vector in vectors("pickle") {
        let datagram = vector.datagram();
        let (_, envelope) = classic::open(&datagram, vector.format()).expect(&vector.name);
        let read = classic::read_envelope(envelope, &JsonLimits::default(), &mut Vec::new()).map(|_| ());
        assert_eq!(read, Err(DropReason::Pickle), "{}", vector.name);
    }
}

fn format() -> impl Strategy<Value = ClassicFormat> {
    (any::<bool>(), any::<bool>()).prop_map(|(use_crc, use_sequence)| ClassicFormat { use_crc, use_sequence })
}

/// The fields of a message, as owned values.
type Parts = (MessageType, Priority, i64, String, String, Option<String>, Option<String>);

fn parts() -> impl Strategy<Value = Parts> {
    (
        prop::sample::select(MessageType::ALL),
        prop::sample::select(Priority::ALL),
        // Whole microseconds of this century, which a float of seconds can hold.
        (0..3_000_000_000_000_000_i64).prop_map(|micros| micros * 1_000),
        any::<String>(),
        any::<String>(),
        any::<Option<String>>(),
        any::<Option<String>>(),
    )
}

fn message(parts: &Parts) -> MessageRef<'_> {
    let (message_type, priority, ns, id, source, destination, correlation_id) = parts;
    MessageRef::new(ContentType::Json, &[])
        .with_message_type(*message_type)
        .with_priority(*priority)
        .with_timestamp(WallTime::from_nanos(*ns))
        .with_message_id(Id::from(id.as_str()))
        .with_source(source.as_str().into())
        .with_destination(destination.as_deref().map(Into::into))
        .with_correlation_id(correlation_id.as_deref().map(Id::from))
}

proptest! {
    #[test]
    fn every_message_is_read_back(parts in parts(), text: String, format in format(), sequence: u32) {
        let sent = message(&parts);
        let data = serde_json::to_vec(&[text]).expect("a value");
        let datagram = send(&sent, &data, format, sequence);
        prop_assert!(datagram[format.prefix_len()..].iter().all(u8::is_ascii));

        let (number, envelope) = classic::open(&datagram, format).expect("as sealed");
        prop_assert_eq!(number, format.use_sequence.then_some(sequence));
        let mut scratch = Vec::new();
        let read = classic::read_envelope(envelope, &JsonLimits::default(), &mut scratch).expect("as sent");
        let payload: Value = serde_json::from_slice(read.payload).expect("JSON");
        prop_assert_eq!(payload, serde_json::from_slice::<Value>(&data).expect("JSON"));
        let micros = |time: WallTime| (time.as_nanos() + 500) / 1_000;
        prop_assert_eq!(micros(read.timestamp), micros(sent.timestamp));
        prop_assert_eq!(read.with_payload(&[]).with_timestamp(sent.timestamp), sent);
    }

    /// Only complete envelopes are read, and nothing panics.
    #[test]
    fn cut_and_changed_envelopes_are_refused_or_read(
        parts in parts(), cut: prop::sample::Index, place: prop::sample::Index, byte: u8,
    ) {
        let bare = ClassicFormat { use_crc: false, use_sequence: false };
        let whole = send(&message(&parts), br#"{"x":[1.5,"y",null]}"#, bare, 0);
        let read = |bytes: &[u8]| {
            classic::read_envelope(bytes, &JsonLimits::default(), &mut Vec::new()).map(|_| ())
        };
        prop_assert_eq!(read(&whole), Ok(()));
        prop_assert!(read(&whole[..cut.index(whole.len())]).is_err());
        let mut changed = whole.clone();
        changed[place.index(whole.len())] = byte;
        if read(&changed).is_ok() {
            prop_assert!(serde_json::from_slice::<Value>(&changed).is_ok());
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, format in format()) {
        if let Ok((_, envelope)) = classic::open(&bytes, format) {
            let _ = classic::read_envelope(envelope, &JsonLimits::default(), &mut Vec::new());
        }
    }
}

/// JSON values whose objects keep their order, so that they can be written again.
mod ordered {
    use super::{Deserialize, Serialize};
    use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
    use serde::ser::Serializer;

    #[derive(Debug, Serialize)]
    #[serde(untagged)]
    pub(crate) enum Ordered {
        Null,
        Bool(bool),
        Unsigned(u64),
        Signed(i64),
        Float(f64),
        Text(String),
        List(Vec<Ordered>),
        #[serde(serialize_with = "members")]
        Object(Vec<(String, Ordered)>),
    }

    fn members<S: Serializer>(members: &[(String, Ordered)], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(members.iter().map(|(key, value)| (key, value)))
    }

    impl<'de> Deserialize<'de> for Ordered {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(AnyValue)
        }
    }

    struct AnyValue;

    impl<'de> Visitor<'de> for AnyValue {
        type Value = Ordered;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a JSON value")
        }

        fn visit_unit<E>(self) -> Result<Ordered, E> {
            Ok(Ordered::Null)
        }

        fn visit_bool<E>(self, value: bool) -> Result<Ordered, E> {
            Ok(Ordered::Bool(value))
        }

        fn visit_u64<E>(self, value: u64) -> Result<Ordered, E> {
            Ok(Ordered::Unsigned(value))
        }

        fn visit_i64<E>(self, value: i64) -> Result<Ordered, E> {
            Ok(Ordered::Signed(value))
        }

        fn visit_f64<E>(self, value: f64) -> Result<Ordered, E> {
            Ok(Ordered::Float(value))
        }

        fn visit_str<E>(self, value: &str) -> Result<Ordered, E> {
            Ok(Ordered::Text(value.to_owned()))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Ordered, A::Error> {
            let mut values = Vec::new();
            while let Some(value) = list.next_element()? {
                values.push(value);
            }
            Ok(Ordered::List(values))
        }

        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Ordered, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = object.next_entry()? {
                members.push(member);
            }
            Ok(Ordered::Object(members))
        }
    }
}
