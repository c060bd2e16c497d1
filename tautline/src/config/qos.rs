//! The settings of a stream of messages (QoS): of one type, or of one channel of a type.

use std::ops::RangeInclusive;
use std::time::Duration;

use tautline_proto::{Delivery, MessageType};

use super::error::ConfigError;
use super::keys::{HOUR, MAX_QUEUE, ms};
use super::value::{Profile, Setting, SourceValue, Wire};

/// The most periods that `misses` can count.
const MAX_PERIODS: u32 = 64;

/// The shortest lifespan: the wire carries whole microseconds.
const SHORTEST: Duration = Duration::from_micros(1);

/// One key of a stream, as documentation and tools see it.
pub struct StreamKey {
    name: &'static str,
    doc: &'static str,
    expected: fn() -> String,
    found: fn(&Qos) -> Option<String>,
    is_valid: fn(&Qos) -> bool,
    set: fn(&mut Qos, &str, SourceValue<'_>) -> Result<(), ConfigError>,
}

impl StreamKey {
    /// The name in a stream's TOML table. docs/configuration.md says how other sources write it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What the key is for.
    #[must_use]
    pub const fn doc(&self) -> &'static str {
        self.doc
    }

    /// What its value may be, with the unit and the range.
    #[must_use]
    pub fn expected(&self) -> String {
        (self.expected)()
    }

    /// The value in `qos`, as it is written; `None` if it is not set.
    #[must_use]
    pub fn value(&self, qos: &Qos) -> Option<String> {
        (self.found)(qos)
    }

    /// Sets the key. An error names it as its source does.
    pub(super) fn set(
        &self,
        qos: &mut Qos,
        written: &str,
        given: SourceValue<'_>,
    ) -> Result<(), ConfigError> {
        (self.set)(qos, written, given)
    }

    /// The value in `qos`, if it is not possible.
    pub(super) fn fault(&self, qos: &Qos) -> Option<String> {
        if (self.is_valid)(qos) { None } else { self.value(qos) }
    }
}

impl std::fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Turns the table into [`Qos`] and [`STREAM_KEYS`].
macro_rules! stream_keys {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty, $range:expr;)+) => {
        /// The settings of a stream of messages: of one type, or of one channel of a type.
        ///
        /// A value that is `None` comes from the settings of the type, then from the [profile](Profile), then from
        /// [`default_of`](Self::default_of), and else is off.
        ///
        /// ```
        /// use std::time::Duration;
        /// use tautline::{Config, MessageType, Qos};
        ///
        /// let fresh = Qos::new().keep_last(1).lifespan(Duration::from_millis(50));
        /// let config = Config::server("0.0.0.0:9000").qos(MessageType::Command, fresh);
        /// assert_eq!(config.validate(), Ok(()));
        /// ```
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Qos {
            $($(#[doc = $doc])+ pub $name: Option<$type>,)+
        }

        impl Qos {
            /// These settings, with those of `base` for values that are not set.
            #[must_use]
            pub(crate) const fn or(self, base: Self) -> Self {
                Self { $($name: if self.$name.is_some() { self.$name } else { base.$name },)+ }
            }
        }

        /// Every key of a stream, in the order of the documentation.
        pub(super) static STREAM_KEYS: &[StreamKey] = &[$(StreamKey {
            name: stringify!($name),
            doc: concat!($($doc),+),
            expected: || <$type as Setting>::expected(Some(&$range)),
            found: |qos| qos.$name.as_ref().map(Setting::show),
            is_valid: |qos| qos.$name.as_ref().is_none_or(|value| ($range).contains(&value.size())),
            set: |qos, written, given| {
                let read = <$type as Setting>::read(given).filter(|value| ($range).contains(&value.size()));
                let Some(value) = read else {
                    return Err(ConfigError::Invalid {
                        key: written.to_owned(),
                        found: given.to_string(),
                        expected: <$type as Setting>::expected(Some(&$range)),
                    });
                };
                qos.$name = Some(value);
                Ok(())
            },
        }),+];
    };
}

stream_keys! {
    /// How many messages of a peer's stream wait for their reader. A number of 1 or more: a newer message replaces the
    /// oldest, and a message that comes after a newer one is dropped. all: every message waits, while the queue has
    /// room. Default: 1 for commands on the native wire, all for everything else.
    history: History, 1..=MAX_QUEUE;
    /// How long a message is valid after it was made. An older message is dropped, at the sender and at the receiver. A
    /// lifespan in the message itself overrides it.
    lifespan: Duration, SHORTEST..=HOUR;
    /// The longest time between two messages of a peer's stream. A longer silence is an event, and is counted
    /// (docs/safety.md). `Watchdog::configured` acts on it.
    deadline: Duration, SHORTEST..=HOUR;
    /// How many of the latest periods may miss their `deadline` before the stream counts as failed: "2/10" means two of
    /// the latest ten.
    misses: (u32, u32), true..=true;
    /// Whether the messages of the stream are taken from one peer at a time: the first to send, until it is silent for
    /// its `deadline` (without one: `liveness_timeout`), its session ends, it releases the stream, or another claims it.
    /// Messages of other peers are dropped and counted (docs/safety.md).
    owner: bool, ()..=();
    /// Whether the stream stays stopped after a missed `deadline`, until its watchdog is reset. The watchdog is that of the
    /// failsafe, or of `Watchdog::configured`. By default a watchdog on commands latches, and others recover by themselves.
    latch: bool, ()..=();
    /// How the messages of the stream are delivered, unless a message says it itself.
    delivery: Delivery, ()..=();
}

impl Qos {
    /// Settings in which nothing is set.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            history: None,
            lifespan: None,
            deadline: None,
            misses: None,
            owner: None,
            latch: None,
            delivery: None,
        }
    }

    /// What holds for a type on this wire if nothing else is set: on the native wire, only the newest command of a stream
    /// waits. A reader that was held up for a moment then acts on the newest command, and not on each old one for ever.
    ///
    /// ```
    /// use tautline::{History, MessageType, Qos, Wire};
    ///
    /// let commands = Qos::default_of(MessageType::Command, Wire::Native);
    /// assert_eq!(commands.history, Some(History::KeepLast(1)));
    /// assert_eq!(Qos::default_of(MessageType::Data, Wire::Native), Qos::new());
    /// assert_eq!(Qos::default_of(MessageType::Command, Wire::Classic), Qos::new());
    /// ```
    #[must_use]
    pub const fn default_of(message_type: MessageType, wire: Wire) -> Self {
        match (message_type, wire) {
            (MessageType::Command, Wire::Native) => Self::new().keep_last(1),
            _ => Self::new(),
        }
    }

    /// Keeps at most `count` messages of a peer's stream: 1 or more.
    #[must_use]
    pub const fn keep_last(mut self, count: usize) -> Self {
        self.history = Some(History::KeepLast(count));
        self
    }

    /// Keeps all messages, while the queue has room.
    #[must_use]
    pub const fn keep_all(mut self) -> Self {
        self.history = Some(History::KeepAll);
        self
    }

    /// Sets how long a message is valid after it was made: 1 us to 1 h.
    #[must_use]
    pub const fn lifespan(mut self, lifespan: Duration) -> Self {
        self.lifespan = Some(lifespan);
        self
    }

    /// Sets the longest time between two messages of a peer's stream: 1 us to 1 h. See
    /// [`Watchdog::configured`](crate::Watchdog::configured).
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Allows `missed` of `periods` periods in a row to miss their deadline: 1 to 63 of 2 to 64.
    #[must_use]
    pub const fn misses(mut self, missed: u32, periods: u32) -> Self {
        self.misses = Some((missed, periods));
        self
    }

    /// Sets whether the messages of the stream are taken from one peer at a time. See
    /// [`UdpInterface::claim`](crate::UdpInterface::claim).
    #[must_use]
    pub const fn owner(mut self, one: bool) -> Self {
        self.owner = Some(one);
        self
    }

    /// Sets whether the stream stays stopped after a missed deadline, until its watchdog is
    /// [reset](crate::UdpInterface::reset).
    #[must_use]
    pub const fn latch(mut self, latch: bool) -> Self {
        self.latch = Some(latch);
        self
    }

    /// Sets how the messages of the stream are delivered, unless a message says it itself.
    #[must_use]
    pub const fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = Some(delivery);
        self
    }

    /// The most messages of a peer's stream that wait, if the stream has such a bound.
    pub(crate) const fn kept(&self) -> Option<usize> {
        match self.history {
            Some(History::KeepLast(count)) => Some(count),
            Some(History::KeepAll) | None => None,
        }
    }
}

/// How many messages of a stream are kept for their reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum History {
    /// The newest messages, at least 1.
    KeepLast(usize),
    /// All messages, while the queue has room.
    KeepAll,
}

impl Setting for History {
    type Size = usize;

    fn read(given: SourceValue<'_>) -> Option<Self> {
        match given {
            SourceValue::Text("all") | SourceValue::Untyped("all") => Some(Self::KeepAll),
            SourceValue::Text(_) => None,
            given => usize::read(given).map(Self::KeepLast),
        }
    }

    fn size(&self) -> usize {
        match *self {
            Self::KeepLast(count) => count,
            Self::KeepAll => MAX_QUEUE,
        }
    }

    fn show(&self) -> String {
        match self {
            Self::KeepLast(count) => count.to_string(),
            Self::KeepAll => "all".to_owned(),
        }
    }

    fn expected(range: Option<&RangeInclusive<usize>>) -> String {
        format!("{}, or all", usize::expected(range))
    }
}

/// A number of missed periods, of a number of periods.
impl Setting for (u32, u32) {
    /// Whether the two numbers are possible together.
    type Size = bool;

    fn read(given: SourceValue<'_>) -> Option<Self> {
        let (missed, periods) = given.text()?.split_once('/')?;
        Some((missed.trim().parse().ok()?, periods.trim().parse().ok()?))
    }

    fn size(&self) -> bool {
        let (missed, periods) = *self;
        (1..periods).contains(&missed) && periods <= MAX_PERIODS
    }

    fn show(&self) -> String {
        format!("{}/{}", self.0, self.1)
    }

    fn expected(_: Option<&RangeInclusive<bool>>) -> String {
        format!(
            "missed/periods, such as 2/10: 2 to {MAX_PERIODS} periods, of which at least 1 and not all may be missed"
        )
    }
}

impl Profile {
    /// For control loops. Commands: from one peer at a time, only the newest waits, it is valid for 50 ms (or for the
    /// `deadline`, if that is shorter), and one is expected every 100 ms. Status: only the newest waits. Errors and
    /// configuration: reliable, if the wire can do that.
    ///
    /// A server must have a [failsafe](crate::Config::failsafe): when no command has come for the `deadline`, it is called,
    /// and commands are dropped until somebody [resets](crate::UdpInterface::reset) them. A client may have one, which is
    /// called when states stop. A plant that is a client registers [`Watchdog::configured`](crate::Watchdog::configured) for
    /// its commands.
    #[must_use]
    pub const fn control() -> Self {
        Self::Control
    }

    /// What it sets for this type on this wire.
    #[must_use]
    pub const fn qos(self, message_type: MessageType, wire: Wire) -> Qos {
        let (none, native) = (Qos::new(), matches!(wire, Wire::Native));
        match (self, message_type) {
            (Self::Control, MessageType::Command) => {
                none.keep_last(1).lifespan(ms(50)).deadline(ms(100)).owner(true)
            }
            (Self::Control, MessageType::Status) => none.keep_last(1),
            (Self::Control, MessageType::Error | MessageType::Configuration) if native => {
                none.delivery(Delivery::Reliable)
            }
            _ => none,
        }
    }
}
