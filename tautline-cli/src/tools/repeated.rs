//! A message as it is sent again: read from a document that `listen` printed or `record` wrote. Used by `send --timed` and `replay`.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tautline::{ContentType, Delivery, Id, MessageType, Metadata, Payload, Priority};

use crate::tools::transcode::JsonTree;

/// A message that is sent again.
#[derive(Debug)]
pub(crate) struct Repeated {
    pub(crate) payload: Payload,
    pub(crate) metadata: Metadata,
    /// When it was received; if the document does not say so, the time stamp of its sender. In nanoseconds since 1970.
    pub(crate) received: i64,
}

/// The document, as far as it is used.
#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    metadata: Envelope<'a>,
    #[serde(borrow)]
    data: &'a RawValue,
    received: Option<f64>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    message_id: &'a RawValue,
    timestamp: f64,
    #[serde(borrow)]
    message_type: Cow<'a, str>,
    priority: u8,
    source: Option<String>,
    destination: Option<String>,
    #[serde(borrow)]
    correlation_id: Option<&'a RawValue>,
    #[serde(default)]
    channel: u16,
    #[serde(borrow)]
    content_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    delivery: Option<Cow<'a, str>>,
    lifespan_ms: Option<f64>,
}

impl Repeated {
    /// Reads a document.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub(crate) fn read(document: &[u8]) -> Result<Self, String> {
        let document: Document<'_> = serde_json::from_slice(document)
            .map_err(|error| format!("it is no message as `tautline listen` prints it: {error}"))?;
        let Document { metadata, data, received } = &document;
        let seconds = received.unwrap_or(metadata.timestamp);
        let received = tautline::WallTime::from_secs_f64(seconds).map_or(0, tautline::WallTime::as_nanos);
        Ok(Self { payload: payload(metadata, data.get())?, metadata: sent_metadata(metadata)?, received })
    }
}

fn sent_metadata(envelope: &Envelope<'_>) -> Result<Metadata, String> {
    let message_type = MessageType::from_name(&envelope.message_type)
        .ok_or_else(|| format!("{:?} is no message type", envelope.message_type))?;
    let priority = Priority::from_wire(envelope.priority)
        .ok_or_else(|| format!("{} is no priority: it is 1 to 4", envelope.priority))?;
    let mut metadata = Metadata::new(message_type).priority(priority).channel(envelope.channel);
    metadata.message_id = id(envelope.message_id);
    metadata.correlation_id = envelope.correlation_id.and_then(id);
    metadata.source = envelope.source.clone().filter(|text| !text.is_empty());
    metadata.destination.clone_from(&envelope.destination);
    if let Some(name) = &envelope.delivery {
        let class = Delivery::from_name(name).ok_or_else(|| format!("{name:?} is no delivery class"))?;
        metadata.delivery = Some(class).filter(|class| *class != Delivery::BestEffort);
    }
    if let Some(milliseconds) = envelope.lifespan_ms {
        let lifespan = Duration::try_from_secs_f64(milliseconds / 1e3);
        metadata.lifespan = Some(lifespan.map_err(|_| format!("{milliseconds} ms is no lifespan"))?);
    }
    Ok(metadata)
}

/// Returns the id that a JSON value is. `None` for null.
fn id(json: &RawValue) -> Option<Id<'static>> {
    if let Ok(number) = serde_json::from_str::<u64>(json.get()) {
        return Some(Id::Number(number));
    }
    match serde_json::from_str::<Option<String>>(json.get()) {
        Ok(text) => text.map(Id::from),
        Err(_) => Some(Id::Json(json.get().into())),
    }
}

/// Returns the payload in the form in which it was received.
fn payload(envelope: &Envelope<'_>, data: &str) -> Result<Payload, String> {
    let content_type = match envelope.content_type.as_deref() {
        None => ContentType::Json,
        Some(name) => ContentType::from_name(name).ok_or_else(|| format!("{name:?} is no content type"))?,
    };
    let tree = || serde_json::from_str::<JsonTree>(data).map_err(|error| error.to_string());
    let encoded = match content_type {
        ContentType::Raw => return Ok(Payload::raw(bytes(data)?)),
        ContentType::MessagePack => Payload::msgpack(&tree()?),
        ContentType::Cbor => Payload::cbor(&tree()?),
        _ => Payload::json_text(data),
    };
    encoded.map_err(|error| error.to_string())
}

/// Reads bytes from a JSON string of hexadecimal digits.
fn bytes(data: &str) -> Result<Vec<u8>, String> {
    let wrong = || "raw data are a text of hexadecimal digits, two for each byte".to_owned();
    let digits = data.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(wrong)?;
    if digits.len() % 2 != 0 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let pair = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| wrong());
    (0..digits.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        r#""message_id":7,"timestamp":1700000000.5,"message_type":"command","priority":3,"source":"arm""#;

    fn read(metadata: &str, data: &str) -> Result<Repeated, String> {
        let line = format!(
            r#"{{"metadata":{{{metadata}}},"data":{data},"peer":"127.0.0.1:9","age_ms":0.1,"received":1700000000.75}}"#
        );
        Repeated::read(line.as_bytes())
    }

    #[test]
    fn a_message_is_sent_again_with_all_that_it_had() {
        let more = r#","destination":"plant","correlation_id":"x","channel":3,"delivery":"ordered","lifespan_ms":1.5"#;
        let repeated = read(&format!("{HEAD}{more}"), r#"{"z": 1, "a": [0.1]}"#).expect("a message");
        let expected = Metadata::command()
            .priority(Priority::High)
            .message_id(7)
            .source("arm")
            .destination("plant")
            .correlation_id("x")
            .channel(3)
            .delivery(Delivery::Ordered)
            .lifespan(Duration::from_micros(1500));
        assert_eq!(repeated.metadata, expected);
        assert_eq!(repeated.payload.bytes(), br#"{"z": 1, "a": [0.1]}"#);
        assert_eq!(repeated.received, 1_700_000_000_750_000_000);
    }

    #[test]
    fn payloads_keep_their_form_and_the_order_of_their_keys() {
        let of = |name: &str, data: &str| {
            read(&format!(r#"{HEAD},"content_type":"{name}""#), data).map(|repeated| repeated.payload)
        };
        assert_eq!(of("raw", r#""00ff7f""#), Ok(Payload::raw([0, 255, 127])));
        let json = r#"{"z":[1,-2,2.5,true,null],"a":"text"}"#;
        for name in ["msgpack", "cbor"] {
            let payload = of(name, json).expect("encodable");
            assert_eq!(payload.content_type().name(), name);
            let text = payload.decode::<tautline::recording::JsonText>().expect("decodable");
            assert_eq!(text.0, json);
        }
        for wrong in [r#""0""#, r#""xy""#, "1", r#""é0""#] {
            assert!(of("raw", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_message_is_told() {
        for wrong in ["", "1", "{}", r#"{"metadata":{},"data":1}"#] {
            let problem = Repeated::read(wrong.as_bytes()).expect_err(wrong);
            assert!(problem.contains("tautline listen"), "{problem}");
        }
        let no_type = HEAD.replace("command", "order");
        assert_eq!(read(&no_type, "1").expect_err("no type"), "\"order\" is no message type");
        let no_priority = HEAD.replace(":3,", ":9,");
        assert!(read(&no_priority, "1").expect_err("no priority").contains("1 to 4"));
    }

    #[test]
    fn ids_keep_their_kind() {
        for (json, expected) in [
            ("17", Some(Id::Number(17))),
            ("\"17\"", Some(Id::from("17"))),
            ("null", None),
            ("-1.5", Some(Id::Json("-1.5".into()))),
        ] {
            let raw = RawValue::from_string(json.to_owned()).expect("JSON");
            assert_eq!(id(&raw), expected);
        }
    }
}
