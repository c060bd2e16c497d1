//! The streams of a recording: which MCAP channel a message belongs to.
//!
//! A stream is what one sender sends with one type on one channel number. Its name is its topic. It has one MCAP channel for each
//! shape of its messages, because a channel has one schema. Names come from strangers, so all is bounded.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use tautline_proto::{ContentType, MessageType};

use super::shape::{self, Shape};
use super::view::MessageView;
use super::{DOCUMENT_KEY, DOCUMENT_VERSION};

/// The most streams with a topic of their own in a file. Messages of further ones go to the topics `/others/TYPE`.
const MOST_STREAMS: usize = 1_000;
/// The most shapes of one stream. Messages of further shapes go to a channel whose schema says that they are objects.
const MOST_SHAPES: usize = 16;
/// The longest name of a sender in a topic, in characters.
const LONGEST_NAME: usize = 64;

/// What distinguishes streams.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct StreamKey {
    sender: String,
    message_type: MessageType,
    channel: u16,
    content_type: ContentType,
}

/// A channel that a file does not have yet.
#[derive(Debug)]
pub(super) struct NewChannel {
    pub(super) topic: String,
    pub(super) schema_name: String,
    pub(super) schema: String,
    pub(super) metadata: BTreeMap<String, String>,
}

/// The shapes of one stream, with the MCAP channel of each. `None` stands for any shape.
#[derive(Debug, Default)]
struct Shapes(Vec<(Option<Shape>, u16)>);

/// The streams of one file.
#[derive(Debug, Default)]
pub(super) struct Streams(HashMap<StreamKey, Shapes>);

impl Streams {
    /// Returns the MCAP channel of a message with this document. `add` makes a new one, if it is the first of its kind.
    pub(super) fn channel<E>(
        &mut self,
        message: &MessageView<'_>,
        document: &str,
        add: impl FnOnce(&NewChannel) -> Result<u16, E>,
    ) -> Result<u16, E> {
        let key = self.key(message);
        let shapes = self.0.entry(key.clone()).or_default();
        // What this cannot read may be anything: it is nested too deep.
        let value = serde_json::from_str::<Value>(document).ok();
        if let Some(id) = shapes.find(value.as_ref()) {
            return Ok(id);
        }
        let members = value.as_ref().and_then(Value::as_object).filter(|_| shapes.0.len() < MOST_SHAPES);
        let shape = members.map(shape::of_object);
        let id = add(&new_channel(&key, shapes.0.len(), shape.as_ref()))?;
        shapes.0.push((shape, id));
        Ok(id)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn key(&self, message: &MessageView<'_>) -> StreamKey {
        let key = StreamKey {
            sender: name(&message.sender()),
            message_type: message.message_type,
            channel: message.channel,
            content_type: message.content_type,
        };
        if self.0.len() < MOST_STREAMS || self.0.contains_key(&key) {
            return key;
        }
        StreamKey { sender: "others".to_owned(), channel: 0, content_type: ContentType::Json, ..key }
    }
}

impl Shapes {
    fn find(&self, value: Option<&Value>) -> Option<u16> {
        let is_it = |shape: &Shape| value.is_some_and(|value| shape.admits(value));
        self.0.iter().find(|(shape, _)| shape.as_ref().is_none_or(is_it)).map(|(_, id)| *id)
    }
}

fn new_channel(key: &StreamKey, number: usize, shape: Option<&Shape>) -> NewChannel {
    let StreamKey { sender, message_type, channel, content_type } = key;
    let mut topic = format!("/{sender}/{message_type}");
    if *channel != 0 {
        topic.push_str(&format!("/{channel}"));
    }
    let mut schema = shape.map_or_else(|| json!({ "type": "object" }), Shape::schema);
    let mut metadata = BTreeMap::from([
        (DOCUMENT_KEY.to_owned(), DOCUMENT_VERSION.to_owned()),
        ("message_type".to_owned(), message_type.to_string()),
        ("channel".to_owned(), channel.to_string()),
        ("content_type".to_owned(), content_type.name().to_owned()),
    ]);
    if *content_type == ContentType::Raw {
        metadata.insert("layout".to_owned(), RAW_LAYOUT.to_owned());
        schema["properties"]["data"]["description"] = RAW_LAYOUT.into();
    }
    // Viewers tell schemas apart by their names.
    let number = if number == 0 { String::new() } else { format!(".{}", number + 1) };
    let content =
        if *content_type == ContentType::Json { String::new() } else { format!(".{}", content_type.name()) };
    let schema_name = format!("tautline{}{content}{number}", topic.replace('/', "."));
    NewChannel { topic, schema_name, schema: schema.to_string(), metadata }
}

/// What `data` holds for raw payloads.
const RAW_LAYOUT: &str = "the bytes of the payload, as hexadecimal digits";

/// Returns a sender's name as a part of a topic: letters, digits, `-`, `_` and `.`, as viewers expect.
fn name(sender: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    sender.chars().take(LONGEST_NAME).map(letter).collect()
}
