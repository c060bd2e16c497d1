//! The settings of all streams. The settings of a channel override those of its type, and those override the profile.

use std::collections::BTreeMap;
use std::time::Duration;

use super::durations::show_duration;
use super::error::{ConfigError, nearest_key, nearest_stream_key};
use super::invalid;
use super::qos::{Qos, STREAM_KEYS, StreamKey};
use super::selector::Selector;
use super::value::{Profile, SourceValue, Wire};
use tautline_proto::endpoint::OwnedStreams;
use tautline_proto::{Delivery, MessageType};

/// Settings for streams of messages, by type and channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    by_selector: BTreeMap<Selector, Qos>,
}

impl Streams {
    /// Returns the settings of a channel of a type. In a [`Config`](crate::Config) they are only those that were set,
    /// in [`Settings`](crate::Settings) they also have the values of the profile and the defaults.
    #[must_use]
    pub fn of(&self, message_type: MessageType, channel: u16) -> Qos {
        self.at((message_type, channel).into()).or(self.of_type(message_type))
    }

    /// Returns the settings of a type, which hold for the channels without settings of their own.
    #[must_use]
    pub fn of_type(&self, message_type: MessageType) -> Qos {
        self.at(message_type.into())
    }

    /// Returns the channels of a type that have settings of their own, in ascending order.
    pub(crate) fn channels(&self, message_type: MessageType) -> impl Iterator<Item = u16> + '_ {
        let of_type = self.by_selector.keys().filter(move |selector| selector.message_type == message_type);
        of_type.filter_map(|selector| selector.channel)
    }

    /// Whether a stream has a lifespan, so that the driver needs the time of arrival from the start.
    pub(crate) fn have_lifespans(&self) -> bool {
        self.by_selector.values().any(|qos| qos.lifespan.is_some())
    }

    /// Returns the streams that have one owner at a time. `longest`: how long an owner may be silent if its stream has no
    /// deadline.
    pub(crate) fn owned(&self, longest: Duration) -> OwnedStreams {
        let mut owned = OwnedStreams::default();
        for &Selector { message_type, channel } in self.by_selector.keys() {
            let qos = channel.map_or_else(|| self.of_type(message_type), |of| self.of(message_type, of));
            // The stream counts as failed only when more deadlines than this are missed.
            let missed = qos.misses.map_or(0, |(missed, _)| missed);
            let silence = qos.deadline.map_or(longest, |deadline| deadline * (missed + 1));
            owned.set(message_type, channel, qos.owner.filter(|one| *one).map(|_| silence));
        }
        owned
    }

    /// Whether a stream has settings that a sender follows.
    pub(crate) fn concern_senders(&self) -> bool {
        self.by_selector.values().any(|qos| qos.lifespan.is_some() || qos.delivery.is_some())
    }

    /// Returns the settings that were set, by type and channel. A selector without a channel is for the whole type.
    pub fn iter(&self) -> impl Iterator<Item = (Selector, Qos)> + '_ {
        self.by_selector.iter().map(|(&selector, &qos)| (selector, qos))
    }

    /// Returns each value that was set, by its name in text, such as "command.3.lifespan".
    pub(super) fn texts(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.iter().flat_map(|(selector, qos)| {
            let texts = STREAM_KEYS.iter().filter_map(move |key| Some((key, key.value(&qos)?)));
            texts.map(move |(key, value)| (name(selector, key.name()), value))
        })
    }

    fn at(&self, selector: Selector) -> Qos {
        self.by_selector.get(&selector).copied().unwrap_or_default()
    }

    /// Replaces the settings of `selector` by those that `qos` sets, and keeps the others.
    pub(super) fn overlay(&mut self, selector: Selector, qos: Qos) {
        let chosen = self.by_selector.entry(selector).or_default();
        *chosen = qos.or(*chosen);
    }

    /// Returns these settings, with those of the profile for values that are not set.
    pub(super) fn resolve(&self, profile: Option<Profile>, wire: Wire) -> Self {
        let mut resolved = self.clone();
        for (profile, &message_type) in
            profile.iter().flat_map(|p| MessageType::ALL.iter().map(move |t| (p, t)))
        {
            let mut base = profile.qos(message_type, wire);
            if base != Qos::new() {
                let chosen = resolved.by_selector.entry(message_type.into()).or_default();
                // A lifespan that is longer than the deadline would be an error, which the user did not make.
                base.lifespan =
                    base.lifespan.map(|of| chosen.deadline.map_or(of, |deadline| of.min(deadline)));
                *chosen = chosen.or(base);
            }
        }
        resolved
    }

    /// Returns these settings, with the defaults for values that are not set.
    pub(super) fn with_defaults(mut self, wire: Wire) -> Self {
        for &message_type in MessageType::ALL {
            let base = Qos::default_of(message_type, wire);
            if base != Qos::new() {
                let chosen = self.by_selector.entry(message_type.into()).or_default();
                *chosen = chosen.or(base);
            }
        }
        self
    }

    /// Sets one key of a stream.
    pub(super) fn set(
        &mut self,
        name: StreamKeyName,
        written: &str,
        given: SourceValue<'_>,
    ) -> Result<(), ConfigError> {
        name.key.set(self.by_selector.entry(name.selector).or_default(), written, given)
    }

    /// Checks each value, and that the values of each stream do not contradict each other.
    pub(super) fn check(&self, profile: Option<Profile>, wire: Wire) -> Result<(), ConfigError> {
        for (selector, qos) in self.iter() {
            for key in STREAM_KEYS {
                if let Some(found) = key.fault(&qos) {
                    return Err(invalid(&name(selector, key.name()), &found, &key.expected()));
                }
            }
            if wire == Wire::Classic && selector.channel.is_some_and(|channel| channel != 0) {
                return Err(ConfigError::NoEffect { key: table(selector), only: "on the native wire" });
            }
        }
        let resolved = self.resolve(profile, wire);
        resolved.iter().try_for_each(|(selector, _)| {
            StreamCheck { chosen: self, resolved: &resolved, selector }.check(wire)
        })
    }
}

/// The check of the settings of one stream.
struct StreamCheck<'a> {
    chosen: &'a Streams,
    resolved: &'a Streams,
    selector: Selector,
}

impl StreamCheck<'_> {
    fn check(&self, wire: Wire) -> Result<(), ConfigError> {
        let qos = match self.selector.channel {
            Some(channel) => self.resolved.of(self.selector.message_type, channel),
            None => self.resolved.of_type(self.selector.message_type),
        };
        if let (Some(lifespan), Some(deadline)) = (qos.lifespan, qos.deadline)
            && lifespan > deadline
        {
            let expected =
                format!("at most `{}`, that is {}", self.name("deadline"), show_duration(deadline));
            return Err(invalid(&self.name("lifespan"), &show_duration(lifespan), &expected));
        }
        if let (Some(kept), Some(class)) = (qos.kept(), qos.delivery)
            && class != Delivery::BestEffort
        {
            let expected = format!("all, because `{}` is {class}", self.name("delivery"));
            return Err(invalid(&self.name("history"), &kept, &expected));
        }
        let about_deadlines =
            [(qos.misses.is_some(), "misses", "counts"), (qos.latch.is_some(), "latch", "is about")];
        let set = about_deadlines.iter().find(|(is_set, ..)| *is_set);
        if let (Some((_, key, does)), None) = (set, qos.deadline) {
            let (key, deadline) = (self.name(key), self.name("deadline"));
            let expected = format!("a duration, because `{key}` {does} missed deadlines");
            return Err(ConfigError::Missing { key: deadline, expected });
        }
        match qos.delivery {
            Some(class) if class != Delivery::BestEffort && wire == Wire::Classic => {
                let expected = "best_effort, because `wire` is classic, which has no other class";
                Err(invalid(&self.name("delivery"), &class, expected))
            }
            _ => Ok(()),
        }
    }

    /// The name of the key where it was set: for the channel, or for the type.
    fn name(&self, key: &str) -> String {
        let is_set = |selector: Selector| {
            let qos = self.chosen.at(selector);
            STREAM_KEYS.iter().any(|known| known.name() == key && known.value(&qos).is_some())
        };
        let own = self.selector;
        name(if is_set(own) { own } else { own.message_type.into() }, key)
    }
}

/// The name of a stream's table in TOML.
fn table(selector: Selector) -> String {
    let message_type = selector.message_type;
    selector.channel.map_or_else(|| message_type.to_string(), |channel| format!("{message_type}.{channel}"))
}

fn name(selector: Selector, key: &str) -> String {
    format!("{}.{key}", table(selector))
}

/// A stream and one of its keys, read from a name such as "command.3.lifespan".
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamKeyName {
    selector: Selector,
    key: &'static StreamKey,
}

impl StreamKeyName {
    /// Reads "command.lifespan" or "command.3.lifespan", with the separator of the source. Returns `None` if the name
    /// does not begin with a message type. `write` writes a name as the source does.
    pub(super) fn parse(
        name: &str,
        separator: char,
        written: &str,
        write: impl Fn(&str) -> String,
    ) -> Option<Result<Self, ConfigError>> {
        let (message_type, rest) = name.split_once(separator)?;
        let message_type = MessageType::from_name(message_type)?;
        let (channel, key) = match rest.split_once(separator) {
            Some((channel, key)) if is_number(channel) => (Some(channel), key),
            _ => (None, rest),
        };
        let prefix = &name[..name.len() - key.len()];
        Some(Self::find(message_type, channel, key, written, |key| write(&format!("{prefix}{key}"))).map_err(
            |error| {
                // A mistyped plain key, such as "heartbeat_intervall", may begin with a message type too.
                let plain = nearest_key(name)
                    .filter(|_| matches!(error, ConfigError::UnknownStreamKey { nearest: None, .. }));
                match plain {
                    Some(plain) => {
                        ConfigError::UnknownKey { key: written.to_owned(), nearest: Some(write(plain)) }
                    }
                    None => error,
                }
            },
        ))
    }

    /// Finds a key of a stream. `write` writes a key as the source does.
    pub(super) fn find(
        message_type: MessageType,
        channel: Option<&str>,
        key: &str,
        written: &str,
        write: impl Fn(&str) -> String,
    ) -> Result<Self, ConfigError> {
        let channel = channel.map(|channel| read_channel(channel, written)).transpose()?;
        let known = STREAM_KEYS.iter().find(|known| known.name() == key);
        let key = known.ok_or_else(|| ConfigError::UnknownStreamKey {
            key: written.to_owned(),
            nearest: nearest_stream_key(key).map(write),
        })?;
        Ok(Self { selector: Selector { message_type, channel }, key })
    }
}

pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn read_channel(text: &str, written: &str) -> Result<u16, ConfigError> {
    text.parse().map_err(|_| {
        let found = format!("for channel {text}");
        ConfigError::Invalid {
            key: written.to_owned(),
            found,
            expected: format!("a channel from 0 to {}", u16::MAX),
        }
    })
}
