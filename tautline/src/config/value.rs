//! The types that settings can have, and how each type is read from TOML, from variables and from the command line.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

pub use tautline_proto::endpoint::Role;
use tautline_proto::json::NonFinite;
use tautline_proto::{ContentType, Delivery, UnknownName};

use super::durations::{parse_duration, show_duration};
use super::key_text::holds_key;

/// A value from a source (TOML, a variable, the command line), before it is read as the type of its key.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(not(feature = "toml"), allow(dead_code))] // only TOML has types
pub(super) enum SourceValue<'a> {
    /// Text from a source that has only text. It may mean any type.
    Untyped(&'a str),
    /// Text from a source that has other types too.
    Text(&'a str),
    /// Several texts, with commas between them.
    List(&'a str),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// A type that no setting has, by its name with an article.
    Other(&'static str),
}

impl<'a> SourceValue<'a> {
    /// Returns the text, if the value is text.
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::Untyped(text) | Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The most characters of a wrong text that an error repeats.
const SHOWN_CHARS: usize = 60;

impl fmt::Display for SourceValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::List(texts) => {
                let texts: Vec<String> = texts.split(',').map(|text| Self::Text(text).to_string()).collect();
                write!(f, "[{}]", texts.join(", "))
            }
            Self::Untyped(text) | Self::Text(text) if holds_key(text) => {
                f.write_str("a key, which is not shown")
            }
            Self::Untyped(text) | Self::Text(text) => match text.char_indices().nth(SHOWN_CHARS) {
                Some((end, _)) => write!(f, "{}...", quoted(&text[..end])),
                None => f.write_str(&quoted(text)),
            },
            Self::Integer(number) => write!(f, "{number}"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

/// The text in quotes, with escapes for line ends and the like. A backslash is shown once, as users write paths of Windows.
pub(super) fn quoted(text: &str) -> String {
    format!("{text:?}").replace(r"\\", r"\")
}

/// A type that a setting can have.
pub(super) trait Setting: Sized + Clone {
    /// What a range limits: the value itself, or the length of a text.
    type Size: PartialOrd;

    /// Reads the value. Returns `None` if it is not of this type.
    fn read(given: SourceValue<'_>) -> Option<Self>;

    /// What is wrong with a value that is not of this type, if more can be said than what would be right.
    fn fault(_: SourceValue<'_>) -> Option<String> {
        None
    }

    /// The value as an error shows it.
    fn found(&self) -> String {
        self.show()
    }

    /// The size that is compared with the range.
    fn size(&self) -> Self::Size;

    /// The value as a user writes it.
    fn show(&self) -> String;

    /// What would be right. An error shows it after "expected".
    fn expected(range: Option<&RangeInclusive<Self::Size>>) -> String;
}

impl Setting for bool {
    type Size = ();

    fn read(given: SourceValue<'_>) -> Option<Self> {
        match given {
            SourceValue::Boolean(value) => Some(value),
            SourceValue::Untyped(text) => text.trim().parse().ok(),
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

    fn read(given: SourceValue<'_>) -> Option<Self> {
        match given {
            SourceValue::Integer(number) => Self::try_from(number).ok(),
            SourceValue::Untyped(text) => text.trim().parse().ok(),
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

/// The largest packet to send: a number of bytes, or what the path carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mtu(usize);

impl Mtu {
    /// What the path to each peer carries.
    pub(crate) const AUTO: Self = Self(0);

    /// The most that is tried then: jumbo frames.
    const MOST: usize = 9_000;

    /// Returns the largest packet that may be sent, in bytes.
    pub(crate) const fn most(self) -> usize {
        if self.0 == 0 { Self::MOST } else { self.0 }
    }
}

impl From<usize> for Mtu {
    /// An upper bound of so many bytes.
    fn from(bytes: usize) -> Self {
        Self(bytes)
    }
}

impl Setting for Mtu {
    type Size = usize;

    fn read(given: SourceValue<'_>) -> Option<Self> {
        match given.text() {
            Some(text) if text.trim() == "auto" => Some(Self::AUTO),
            // 0 would be "auto" by another name.
            _ => usize::read(given).filter(|&bytes| bytes > 0).map(Self),
        }
    }

    fn size(&self) -> usize {
        self.most()
    }

    fn show(&self) -> String {
        if *self == Self::AUTO { "auto".to_owned() } else { self.0.to_string() }
    }

    fn expected(range: Option<&RangeInclusive<usize>>) -> String {
        format!("auto or {}", usize::expected(range))
    }
}

impl Setting for Duration {
    type Size = Self;

    fn read(given: SourceValue<'_>) -> Option<Self> {
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

    fn read(given: SourceValue<'_>) -> Option<Self> {
        given.text().map(str::to_owned)
    }

    fn size(&self) -> usize {
        self.len()
    }

    fn show(&self) -> String {
        self.clone()
    }

    fn found(&self) -> String {
        SourceValue::Text(self).to_string()
    }

    fn expected(range: Option<&RangeInclusive<usize>>) -> String {
        range.map_or_else(
            || "host:port, [ipv6]:port or host".to_owned(),
            |range| format!("text of {} to {} bytes", range.start(), range.end()),
        )
    }
}

/// Implements [`Setting`] for a type with a fixed list of named values.
macro_rules! setting_by_name {
    ($type:ty: $($value:path = $name:literal),+) => {
        impl Setting for $type {
            type Size = ();

            fn read(given: SourceValue<'_>) -> Option<Self> {
                match given.text()?.trim() { $($name => Some($value),)+ _ => None }
            }

            fn size(&self) {}

            fn show(&self) -> String {
                // Validation refuses a value outside the list (a raw codec), but its error shows the value.
                match self { $($value => $name.to_owned(),)+ #[allow(unreachable_patterns)] other => format!("{other:?}") }
            }

            fn expected(_: Option<&RangeInclusive<()>>) -> String {
                one_of(&[$($name),+])
            }
        }
    };
}

/// Writes names as "a, b or c".
fn one_of(names: &[&str]) -> String {
    match names {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => names.concat(),
    }
}

/// Defines an enum whose values have the same names in every source.
macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type { $($(#[$vdoc])* $variant),+ }

        impl $type {
            /// Returns the name, in lower case.
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
    /// The wire protocol of an interface. Both ends must use the same one.
    Wire {
        /// The protocol of tautline: sessions, heartbeats, several content types. The default.
        Native = "native",
        /// The protocol of the Python module: one JSON message in each datagram.
        Classic = "classic",
    }
}

named! {
    /// Which message is dropped if a message arrives and the inbox is full. A message that is more urgent than the
    /// arriving message is never dropped: if all waiting messages are more urgent, the arriving message is dropped.
    InboxPolicy {
        /// Drops the oldest of the least urgent waiting messages, because a fresh message is worth more. The default.
        DropOldest = "drop_oldest",
        /// Drops the arriving message. If it is more urgent than a waiting message, drops the newest of the least
        /// urgent waiting messages instead.
        DropNewest = "drop_newest",
        /// As `DropNewest`, and the next `receive` returns an error.
        Refuse = "refuse",
    }
}

named! {
    /// How a thread waits for datagrams.
    WaitPolicy {
        /// Polls the socket for up to 100 us, and then sleeps. While it polls, it yields the core to other threads.
        /// Sleeps at once while polling does not pay: no datagram comes in that time, or another thread needs the core.
        /// The default.
        Adaptive = "adaptive",
        /// Sleeps at once. A wake-up costs about 30 us if the core sleeps too.
        Block = "block",
        /// Never sleeps. Gives the shortest round trips, and takes a whole core.
        Spin = "spin",
    }
}

named! {
    /// Which thread does the driver's work: reads datagrams, hands their messages out, and acts on time.
    DrivenBy {
        /// A thread that waits for a message, an answer, a receipt or room, while it waits; the driver's thread between such calls.
        /// Always the driver's thread if there are inline handlers, or if it has cores of its own. The default.
        Auto = "auto",
        /// Always the driver's thread.
        Thread = "thread",
        /// A thread that waits so, also if there are inline handlers: they run on that thread then.
        Callers = "callers",
    }
}

named! {
    /// Settings for streams of messages that belong together, under one name.
    #[non_exhaustive]
    Profile {
        /// For control loops: fresh commands and states, a deadline for commands, reliable errors and parameters.
        Control = "control",
    }
}

setting_by_name!(Role: Role::Server = "server", Role::Client = "client");
setting_by_name!(Delivery: Delivery::BestEffort = "best_effort", Delivery::Reliable = "reliable", Delivery::Ordered = "ordered");
setting_by_name!(NonFinite: NonFinite::Refuse = "refuse", NonFinite::Null = "null");
setting_by_name!(ContentType: ContentType::Json = "json", ContentType::MessagePack = "msgpack", ContentType::Cbor = "cbor");

impl Default for InboxPolicy {
    /// `DropOldest`, because a fresh message is worth more.
    fn default() -> Self {
        Self::DropOldest
    }
}
