//! Which settings hold for which stream: the profile's, the type's over them, the channel's over those.

use std::collections::BTreeMap;

use super::durations::show_duration;
use super::error::{ConfigError, nearest_key, nearest_stream_key};
use super::invalid;
use super::qos::{Qos, STREAM_KEYS, StreamKey};
use super::selector::Selector;
use super::value::{Given, Profile, Wire};
use tautline_proto::{Delivery, MessageType};

/// Settings for streams of messages, by type and channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    by_selector: BTreeMap<Selector, Qos>,
}

impl Streams {
    /// What holds for the messages of a type on a channel: of a [`Config`](crate::Config) as far as it says, of
    /// [`Settings`](crate::Settings) in full.
    #[must_use]
    pub fn of(&self, message_type: MessageType, channel: u16) -> Qos {
        self.at((message_type, channel).into()).or(self.of_type(message_type))
    }

    /// What holds for the channels of a type that nothing is said of.
    #[must_use]
    pub fn of_type(&self, message_type: MessageType) -> Qos {
        self.at(message_type.into())
    }

    /// The channels of a type that something is said of, in order.
    pub fn channels(&self, message_type: MessageType) -> impl Iterator<Item = u16> + '_ {
        let of_type = self.by_selector.keys().filter(move |selector| selector.message_type == message_type);
        of_type.filter_map(|selector| selector.channel)
    }

    /// Whether it matters of any stream when its messages came.
    pub(crate) fn need_stamps(&self) -> bool {
        self.by_selector.values().any(|qos| qos.lifespan.is_some() || qos.kept().is_some())
    }

    /// What is said in so many words of a type (`None`) or of one of its channels, by type and channel.
    pub fn iter(&self) -> impl Iterator<Item = (Selector, Qos)> + '_ {
        self.by_selector.iter().map(|(&selector, &qos)| (selector, qos))
    }

    fn at(&self, selector: Selector) -> Qos {
        self.by_selector.get(&selector).copied().unwrap_or_default()
    }

    /// Lays `qos` over what is said of `selector`.
    pub(super) fn lay(&mut self, selector: Selector, qos: Qos) {
        let said = self.by_selector.entry(selector).or_default();
        *said = qos.or(*said);
    }

    /// These settings over those of the profile.
    pub(super) fn resolve(&self, profile: Option<Profile>, wire: Wire) -> Self {
        let mut resolved = self.clone();
        for (profile, &message_type) in
            profile.iter().flat_map(|p| MessageType::ALL.iter().map(move |t| (p, t)))
        {
            let base = profile.qos(message_type, wire);
            if base != Qos::new() {
                let said = resolved.by_selector.entry(message_type.into()).or_default();
                *said = said.or(base);
            }
        }
        resolved
    }

    /// Sets one key of a stream.
    pub(super) fn set(
        &mut self,
        name: StreamName,
        written: &str,
        given: Given<'_>,
    ) -> Result<(), ConfigError> {
        name.key.set(self.by_selector.entry(name.selector).or_default(), written, given)
    }

    /// Whether all that holds is possible, and goes together.
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
        resolved
            .iter()
            .try_for_each(|(selector, _)| Checked { said: self, resolved: &resolved, selector }.check(wire))
    }
}

/// A stream whose settings are looked at.
struct Checked<'a> {
    said: &'a Streams,
    resolved: &'a Streams,
    selector: Selector,
}

impl Checked<'_> {
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
        if qos.misses.is_some() && qos.deadline.is_none() {
            let (misses, deadline) = (self.name("misses"), self.name("deadline"));
            let expected = format!("a duration, because `{misses}` counts its misses");
            return Err(ConfigError::Missing { key: deadline, expected });
        }
        match qos.delivery {
            Some(class) if class != Delivery::BestEffort && wire == Wire::Classic => {
                let expected = "best_effort, because `wire` is classic and carries no other class";
                Err(invalid(&self.name("delivery"), &class, expected))
            }
            _ => Ok(()),
        }
    }

    /// What the key is called where it was set.
    fn name(&self, key: &str) -> String {
        let is_set = |selector: Selector| {
            let qos = self.said.at(selector);
            STREAM_KEYS.iter().any(|known| known.name() == key && known.value(&qos).is_some())
        };
        let own = self.selector;
        name(if is_set(own) { own } else { own.message_type.into() }, key)
    }
}

/// A stream's table in TOML.
fn table(selector: Selector) -> String {
    let message_type = selector.message_type;
    selector.channel.map_or_else(|| message_type.to_string(), |channel| format!("{message_type}.{channel}"))
}

fn name(selector: Selector, key: &str) -> String {
    format!("{}.{key}", table(selector))
}

/// A key of a stream, as it was named.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamName {
    selector: Selector,
    key: &'static StreamKey,
}

impl StreamName {
    /// Reads "command.lifespan" or "command.3.lifespan", with the separator of the source. `None` where it does not
    /// begin with a message type; `write` writes a name as the source does.
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
                // "heartbeat_intervall" begins with a message type too.
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

    /// Finds a key of a stream; `write` writes it as the source does.
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
