//! The types that settings have, and the one place that reads each of them from what a source gives.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

pub use tautline_proto::endpoint::Role;
use tautline_proto::json::NonFinite;
use tautline_proto::{ContentType, Delivery, UnknownName};

use super::durations::{parse_duration, show_duration};

/// A value as a source gives it, before anyone knows what it should be.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(not(feature = "toml"), allow(dead_code))] // only TOML has types
pub(super) enum Given<'a> {
    /// From a source that knows text only: any type may be meant.
    Untyped(&'a str),
    /// Text where the source tells text from other types.
    Text(&'a str),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// Something that no setting is, by its name with an article.
    Other(&'static str),
}

impl<'a> Given<'a> {
    /// The text, where text is allowed to mean `T`.
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::Untyped(text) | Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// How much of a wrong text an error repeats, in characters.
const SHOWN_CHARS: usize = 60;

impl fmt::Display for Given<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Untyped(text) | Self::Text(text) => match text.char_indices().nth(SHOWN_CHARS) {
                Some((end, _)) => write!(f, "{:?}...", &text[..end]),
                None => write!(f, "{text:?}"),
            },
            Self::Integer(number) => write!(f, "{number}"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

/// A type that a setting can have.
pub(super) trait Setting: Sized + Clone {
    /// What a range limits: the value itself, or a text's length.
    type Size: PartialOrd;

    /// Reads the value; `None` when it is not of this type.
    fn read(given: Given<'_>) -> Option<Self>;

    /// The value as an error repeats it.
    fn found(&self) -> String {
        self.show()
    }

    /// What the range is compared with.
    fn size(&self) -> Self::Size;

    /// The value as a person would write it.
    fn show(&self) -> String;

    /// What would be right, to follow "expected".
    fn expected(range: Option<&RangeInclusive<Self::Size>>) -> String;
}

impl Setting for bool {
    type Size = ();

    fn read(given: Given<'_>) -> Option<Self> {
        match given {
            Given::Boolean(value) => Some(value),
            Given::Untyped(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    fn size(&self) {}

    fn show(&self) -> String {
        self.to_string()
    }

    fn expected(_: Option<&RangeInclusive<()>>) -> String {
        "true or false".to_owned()
    }
}

impl Setting for usize {
    type Size = Self;

    fn read(given: Given<'_>) -> Option<Self> {
        match given {
            Given::Integer(number) => Self::try_from(number).ok(),
            Given::Untyped(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    fn size(&self) -> Self {
        *self
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn expected(range: Option<&RangeInclusive<Self>>) -> String {
        range.map_or_else(
            || "a whole number".to_owned(),
            |range| format!("a whole number from {} to {}", range.start(), range.end()),
        )
    }
}

impl Setting for Duration {
    type Size = Self;

    fn read(given: Given<'_>) -> Option<Self> {
        parse_duration(given.text()?).ok()
    }

    fn size(&self) -> Self {
        *self
    }

    fn show(&self) -> String {
        show_duration(*self)
    }

    fn expected(range: Option<&RangeInclusive<Self>>) -> String {
        let unit = "a duration with its unit (ns, us, ms, s or min)";
        range.map_or_else(
            || unit.to_owned(),
            |range| format!("{unit} from {} to {}", range.start().show(), range.end().show()),
        )
    }
}

impl Setting for String {
    type Size = usize;

    fn read(given: Given<'_>) -> Option<Self> {
        given.text().map(str::to_owned)
    }

    fn size(&self) -> usize {
        self.len()
    }

    fn show(&self) -> String {
        self.clone()
    }

    fn found(&self) -> String {
        Given::Text(self).to_string()
    }

    fn expected(range: Option<&RangeInclusive<usize>>) -> String {
        range.map_or_else(
            || "host:port, [ipv6]:port or host".to_owned(),
            |range| format!("text of {} to {} bytes", range.start(), range.end()),
        )
    }
}

impl Setting for SocketAddr {
    type Size = ();

    /// An address with or without a port; without one, any free port.
    fn read(given: Given<'_>) -> Option<Self> {
        let text = given.text()?.trim();
        text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(|address| Self::new(address, 0)))
    }

    fn size(&self) {}

    fn show(&self) -> String {
        self.to_string()
    }

    fn expected(_: Option<&RangeInclusive<()>>) -> String {
        "a local IP address, with or without a port".to_owned()
    }
}

/// Makes a type with a fixed list of named values a [`Setting`].
macro_rules! setting_by_name {
    ($type:ty: $($value:path = $name:literal),+) => {
        impl Setting for $type {
            type Size = ();

            fn read(given: Given<'_>) -> Option<Self> {
                match given.text()?.trim() { $($name => Some($value),)+ _ => None }
            }

            fn size(&self) {}

            fn show(&self) -> String {
                // A value outside the list (a raw codec) is refused by validation, but shown first.
                match self { $($value => $name.to_owned(),)+ #[allow(unreachable_patterns)] other => format!("{other:?}") }
            }

            fn expected(_: Option<&RangeInclusive<()>>) -> String {
                one_of(&[$($name),+])
            }
        }
    };
}

/// "a, b or c".
fn one_of(names: &[&str]) -> String {
    match names {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => names.concat(),
    }
}

/// Defines an enum whose values have names in every source.
macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type { $($(#[$vdoc])* $variant),+ }

        impl $type {
            /// The name, in lower case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            fn from_str(name: &str) -> Result<Self, UnknownName> {
                match name { $($name => Ok(Self::$variant),)+ _ => Err(UnknownName { expected: &[$($name),+] }) }
            }
        }

        setting_by_name!($type: $($type::$variant = $name),+);
    };
}

named! {
    /// Which of the two wires an interface speaks; both ends must speak the same one.
    Wire {
        /// Tautline's own: sessions, heartbeats, several content types. The default.
        Native = "native",
        /// What the Python deployments speak: one JSON message per datagram.
        Classic = "classic",
    }
}

named! {
    /// What is dropped when a message finds the inbox full. Never one that is more urgent than the
    /// arriving one: when all that wait are, the arriving one is dropped.
    InboxPolicy {
        /// The oldest of the least urgent makes room: fresh beats complete. The default.
        DropOldest = "drop_oldest",
        /// The arriving message, unless it is more urgent than one that waits; then the newest of those.
        DropNewest = "drop_newest",
        /// As `DropNewest`, and the next `receive` reports it as an error.
        Refuse = "refuse",
    }
}

named! {
    /// How whoever waits for datagrams waits.
    WaitPolicy {
        /// Asks the kernel for up to 100 us, giving the core to whoever else wants it, and then sleeps. Sleeps at once
        /// while asking does not pay: nothing comes so soon, or somebody else needs the core. The default.
        Adaptive = "adaptive",
        /// Sleeps at once. Waking up costs some 30 us where a core has fallen asleep.
        Block = "block",
        /// Never sleeps: the shortest round trips, for the price of a whole core.
        Spin = "spin",
    }
}

named! {
    /// Settings for streams of messages that go together, under one name.
    #[non_exhaustive]
    Profile {
        /// For control loops: fresh commands and states, a deadline for commands, nothing lost of errors and parameters.
        Control = "control",
    }
}

setting_by_name!(Role: Role::Server = "server", Role::Client = "client");
setting_by_name!(Delivery: Delivery::BestEffort = "best_effort", Delivery::Reliable = "reliable", Delivery::Ordered = "ordered");
setting_by_name!(NonFinite: NonFinite::Refuse = "refuse", NonFinite::Null = "null");
setting_by_name!(ContentType: ContentType::Json = "json", ContentType::MessagePack = "msgpack", ContentType::Cbor = "cbor");

impl Default for InboxPolicy {
    /// Fresh beats complete.
    fn default() -> Self {
        Self::DropOldest
    }
}
