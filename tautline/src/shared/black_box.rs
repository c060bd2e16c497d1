//! The black box of an interface: the rings of its present connection, what happened, and who writes all that to a file.
//!
//! The driver and the holder of the line write the rings (`tautline_proto::Ring`); nothing here is on their way. A thread of the
//! black box listens to the events and takes the statistics once a second. When a watchdog trips or the connection fails, it
//! writes a file a moment later, so that the file shows what followed, too. `UdpInterface::dump` writes one at once.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::sync::thread;
use crate::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

use serde_json::Value;
use tautline_proto::endpoint::RECORD_FORMAT;
use tautline_proto::{ConnectionState, Ring, WallTime};

use crate::black_box::{asked, checksum, names};
use crate::config::{Config, Settings, WatchdogChange};
use crate::machine::clock::{Clock, wall_now};
use crate::mcap::{Channel, McapWriter, Texts, create_numbered};
use crate::shared::event_json::as_json;
use crate::shared::events::Event;
use crate::shared::subscribers::Events;
use crate::sync::log::Repeats;
use crate::sync::{lock, try_lock};

/// How many events a file holds, and how many seconds of statistics. The oldest are left out.
const MOST_EVENTS: usize = 1_024;
const MOST_STATISTICS: usize = 120;

/// A file shows what happened for this time after its cause.
const AFTER: Duration = Duration::from_millis(300);

/// Causes that come sooner after a file was written lead to no file of their own.
const QUIET: Duration = Duration::from_secs(5);

/// Statistics are taken this often.
const STATISTICS_EVERY: Duration = Duration::from_secs(1);

/// The end of the interface waits at most so long for a file that is due. If writing takes longer, the program may end before that.
const LONGEST_WAIT_AT_END: Duration = Duration::from_secs(5);

/// The rings of an earlier connection are kept for this time.
const KEPT: Duration = Duration::from_secs(1);

/// The thread looks around at least this often.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Why a black box was not written.
#[derive(Debug)]
#[non_exhaustive]
pub enum DumpError {
    /// The setting `black_box` is 0, or the interface was never connected.
    Off,
    /// It is being written already.
    Busy,
    /// The system does not take the file.
    Failed(io::Error),
}

impl std::fmt::Display for DumpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Off => {
                f.write_str("there is no black box: set `black_box`, such as \"64MiB\", and connect")
            }
            Self::Busy => f.write_str("the black box is being written already: try again when that is done"),
            Self::Failed(error) => {
                write!(f, "cannot write the black box to the folder of `black_box_dir`: {error}")
            }
        }
    }
}

impl std::error::Error for DumpError {}

/// The black box of an interface. See the module's page.
#[derive(Debug, Default)]
pub(crate) struct BlackBox {
    present: Mutex<Option<Arc<Present>>>,
    log: Mutex<Log>,
    /// Nobody watches the interface any more: `is_watched` of the log has changed.
    ended: Condvar,
    /// Held while a file is written, so that there are never two at once.
    writing: Mutex<()>,
}

/// The rings of the present connection, or of the last one.
#[derive(Debug)]
struct Present {
    begun: Instant,
    inbound: Arc<Ring>,
    outbound: Arc<Ring>,
    clock: Clock,
    folder: PathBuf,
    name: String,
    role: &'static str,
    settings: Texts,
}

/// What happened lately, with its time.
#[derive(Debug, Default)]
struct Log {
    events: VecDeque<(WallTime, Value)>,
    statistics: VecDeque<(WallTime, Value)>,
    /// A fault that lasts causes ten events a second. While nothing else happens, each is kept once a minute.
    faults: Repeats<Value>,
    is_watched: bool,
}

/// What the thread of a black box knows of the interface: everything that may end before it.
pub(crate) trait Observed: Send + Sync {
    fn black_box(&self) -> &BlackBox;
    fn statistics(&self) -> Value;
    fn state(&self) -> ConnectionState;
}

impl BlackBox {
    /// Begins the rings of a new connection. Returns them: that of the receiving half first. `None` if the setting is 0.
    pub(crate) fn begin(&self, config: &Config, settings: &Settings, clock: Clock) -> Option<[Arc<Ring>; 2]> {
        let bytes = settings.black_box.bytes();
        if bytes == 0 {
            return None;
        }
        let [inbound, outbound] = [(); 2].map(|()| Ring::new(bytes / 2));
        *lock(&self.present) = Some(Arc::new(Present {
            begun: Instant::now(),
            inbound: Arc::clone(&inbound),
            outbound: Arc::clone(&outbound),
            clock,
            folder: settings.black_box_dir.path().to_owned(),
            name: settings.name.clone(),
            role: if settings.role == crate::config::Role::Server { "server" } else { "client" },
            settings: config.texts(),
        }));
        Some([inbound, outbound])
    }

    /// Begins to watch the interface, if nobody does.
    pub(crate) fn watch<T: Observed + 'static>(&self, observed: &Arc<T>, events: Events) -> io::Result<()> {
        if std::mem::replace(&mut lock(&self.log).is_watched, true) {
            return Ok(());
        }
        let observed = Arc::downgrade(observed);
        let thread = thread::Builder::new().name("tautline-black-box".to_owned());
        thread.spawn(move || watch(&observed, events)).map(drop)
    }

    /// Waits until a file that is due has been written, so that a program that ends because of a trip does not end before. Call it
    /// when the interface is closed.
    pub(crate) fn finish(&self) {
        let until = Instant::now() + LONGEST_WAIT_AT_END;
        let mut log = lock(&self.log);
        while log.is_watched {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            log = self.ended.wait_timeout(log, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The rings of the present connection, or of the last one.
    fn present(&self) -> Option<Arc<Present>> {
        lock(&self.present).clone()
    }

    /// Writes a file about the present connection, or the last one. Returns its path.
    pub(crate) fn write(&self, cause: &str) -> Result<PathBuf, DumpError> {
        let present = self.present().ok_or(DumpError::Off)?;
        self.write_about(&present, cause)
    }

    fn write_about(&self, present: &Present, cause: &str) -> Result<PathBuf, DumpError> {
        let Some(_writing) = try_lock(&self.writing) else { return Err(DumpError::Busy) };
        let now = present.clock.now().wall;
        let name: String = present
            .name
            .chars()
            .map(|c| if c.is_alphanumeric() || "-_".contains(c) { c } else { '_' })
            .collect();
        let now_ms = now.as_nanos() / 1_000_000;
        let path = |number| present.folder.join(format!("{name}-{number}-{cause}.mcap"));
        let created = fs::create_dir_all(&present.folder).and_then(|()| create(now_ms, path));
        let (file, unfinished, path) = created.map_err(DumpError::Failed)?;
        let written = self.write_to(file, present, cause, now).and_then(|()| fs::rename(&unfinished, &path));
        written.map_err(|error| {
            let _ = fs::remove_file(&unfinished);
            DumpError::Failed(error)
        })?;
        Ok(path)
    }

    fn write_to(&self, file: File, present: &Present, cause: &str, now: WallTime) -> io::Result<()> {
        let library = concat!("tautline ", env!("CARGO_PKG_VERSION"));
        let mut writer = McapWriter::begin(BufWriter::new(file), library)?;
        let contents = [&present.inbound, &present.outbound].map(|ring| ring.contents());
        let [left_out_inbound, left_out_outbound] =
            [0, 1].map(|half: usize| contents[half].left_out.to_string());
        let at = present.clock.now();
        let facts = [
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            (names::FORMAT, RECORD_FORMAT.to_owned()),
            ("name", present.name.clone()),
            ("role", present.role.to_owned()),
            ("cause", cause.to_owned()),
            ("written_ns", now.as_nanos().to_string()),
            ("wall_ahead_ns", at.wall.as_nanos().wrapping_sub_unsigned(at.steady.as_nanos()).to_string()),
            ("left_out_inbound", left_out_inbound),
            ("left_out_outbound", left_out_outbound),
        ];
        let facts = facts.map(|(name, value)| (name.to_owned(), value));
        writer.metadata(names::INCIDENT, &Texts::from(facts))?;
        writer.metadata(names::SETTINGS, &present.settings)?;
        let none = Texts::new();
        let (events, statistics) = {
            let log = lock(&self.log);
            (log.events.clone(), log.statistics.clone())
        };
        for (topic, name, entries) in [
            (names::EVENTS, "tautline.Event", events),
            (names::STATISTICS, "tautline.Statistics", statistics),
        ] {
            let schema = [name, "jsonschema", JSON_OBJECT];
            let channel = Channel { topic, encoding: "json", schema, metadata: &none };
            let channel = writer.channel(&channel)?;
            for (at, value) in entries {
                writer.message(channel, [unsigned(at); 2], &[value.to_string().as_bytes()])?;
            }
        }
        for (topic, contents) in [names::INBOUND, names::OUTBOUND].into_iter().zip(contents) {
            let schema = ["tautline.Ring", "tautline.ring", RING_LAYOUT];
            let channel = Channel { topic, encoding: "tautline.ring", schema, metadata: &none };
            let channel = writer.channel(&channel)?;
            for segment in contents.segments {
                let sum = checksum(&segment.bytes).to_le_bytes();
                writer.message(
                    channel,
                    [unsigned(now); 2],
                    &[&segment.period.to_le_bytes(), &sum, &segment.bytes],
                )?;
            }
        }
        let (file, _) = writer.finish()?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()
    }

    /// The time of what is logged: that of the connection's time stamps, which does not move when the system's clock is set.
    fn now(&self) -> WallTime {
        lock(&self.present).as_ref().map_or_else(wall_now, |present| present.clock.now().wall)
    }

    fn note(&self, event: &Event, now: Instant) {
        let at = self.now();
        lock(&self.log).note(at, event, now);
    }

    /// Logs the present statistics.
    pub(crate) fn take_statistics(&self, statistics: Value) {
        let at = self.now();
        let mut log = lock(&self.log);
        if log.statistics.len() == MOST_STATISTICS {
            log.statistics.pop_front();
        }
        log.statistics.push_back((at, statistics));
    }
}

/// Creates the unfinished file with this number, or with the next one that is free. Returns it, its path, and its path once it is
/// finished.
fn create(number: i64, path: impl Fn(i64) -> PathBuf) -> io::Result<(File, PathBuf, PathBuf)> {
    create_numbered(number, |number| {
        let path = path(number);
        let unfinished = path.with_extension("part");
        let file = File::create_new(&unfinished)?;
        if path.exists() {
            // Another one was finished just before.
            fs::remove_file(&unfinished)?;
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok((file, unfinished, path))
    })
}

impl Log {
    fn note(&mut self, at: WallTime, event: &Event, now: Instant) {
        let logged = as_json(event);
        if !is_fault(event) {
            self.faults = Repeats::default();
        } else if !self.faults.is_news(logged.clone(), now) {
            return;
        }
        if self.events.len() == MOST_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back((at, logged));
    }
}

const fn is_fault(event: &Event) -> bool {
    matches!(event, Event::PeerUnreachable { .. } | Event::SocketFailed { .. } | Event::SendFailed { .. })
}

const JSON_OBJECT: &str = r#"{"type":"object"}"#;

const RING_LAYOUT: &str = "A segment of a ring: its number and a checksum (8 bytes each), then entries of 8-byte words, all little-endian. \
    docs/incidents.md of tautline says what the entries are.";

fn unsigned(at: WallTime) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(0)
}

/// A file that is to be written.
struct Due {
    at: Instant,
    cause: &'static str,
    /// The connection that it is about.
    about: Option<Arc<Present>>,
}

/// The present connection, and for a moment the one before: the program may connect again before a trip is told.
#[derive(Default)]
struct Connections {
    present: Option<Arc<Present>>,
    before: Option<(Instant, Arc<Present>)>,
}

impl Connections {
    fn look(&mut self, black_box: &BlackBox, now: Instant) {
        let present = black_box.present();
        self.before.take_if(|(since, _)| now.duration_since(*since) > KEPT);
        if self.present.as_ref().map(Arc::as_ptr) != present.as_ref().map(Arc::as_ptr) {
            self.before = std::mem::replace(&mut self.present, present).map(|before| (now, before));
        }
    }

    /// Returns the connection that there was at this time.
    fn at(&self, at: Instant) -> Option<Arc<Present>> {
        let is_before = self.present.as_ref().is_some_and(|present| at < present.begun);
        let before = self.before.as_ref().filter(|_| is_before).map(|(_, before)| before);
        before.or(self.present.as_ref()).cloned()
    }
}

/// What the thread does, until the interface is gone.
fn watch<T: Observed>(observed: &Weak<T>, mut events: Events) {
    let mut due: Option<Due> = None;
    let (mut written, mut statistics_at) = (None::<Instant>, Instant::now());
    let mut answered = asked();
    let mut known = Connections::default();
    loop {
        let event = events.next(Some(LOOK_EVERY));
        let Some(observed) = observed.upgrade() else { return };
        let (black_box, now) = (observed.black_box(), Instant::now());
        known.look(black_box, now);
        if let Some(event) = &event {
            black_box.note(event, now);
            let is_quiet = written.is_none_or(|at| now.duration_since(at) > QUIET);
            if let Some((cause, at)) = cause(event, now).filter(|_| is_quiet && due.is_none()) {
                due = Some(Due { at: now + AFTER, cause, about: known.at(at) });
            }
        }
        if std::mem::replace(&mut answered, asked()) != answered {
            due.get_or_insert_with(|| Due { at: now, cause: "signal", about: black_box.present() });
        }
        let is_closed = observed.state() == ConnectionState::Closed;
        if now >= statistics_at || (is_closed && due.is_some()) {
            statistics_at = now + STATISTICS_EVERY;
            black_box.take_statistics(observed.statistics());
        }
        if let Some(Due { cause, about: Some(about), .. }) = due.take_if(|due| now >= due.at || is_closed) {
            written = Some(now);
            black_box.take_statistics(observed.statistics());
            match black_box.write_about(&about, cause) {
                Ok(path) => tracing::warn!(cause, path = %path.display(), "black box written"),
                Err(error) => tracing::error!(cause, %error, "black box not written"),
            }
        }
        if is_closed && event.is_none() {
            lock(&black_box.log).is_watched = false;
            black_box.ended.notify_all();
            return;
        }
    }
}

/// Whether an event leads to a file: what the file is named after, and when the event happened.
fn cause(event: &Event, now: Instant) -> Option<(&'static str, Instant)> {
    match event {
        // The end of the interface trips its watchdogs too. That is no incident.
        Event::Watchdog(event) if matches!(event.change, WatchdogChange::Tripped { .. }) => {
            Some(("watchdog", event.at))
        }
        Event::StateChanged { to: ConnectionState::Error, .. } => Some(("error", now)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fault::SocketFault;

    #[test]
    fn a_cable_that_is_out_for_long_leaves_the_earlier_events_in_the_log() {
        let unreachable = |address: &str, fault| {
            let address = Some(address.parse().expect("an address"));
            Event::PeerUnreachable { address, fault, problem: "unreachable".to_owned() }
        };
        let refused = unreachable("10.0.0.1:9000", SocketFault::PortUnreachable);
        let down = unreachable("10.0.0.1:9000", SocketFault::NetworkDown);
        let other = unreachable("10.0.0.2:9000", SocketFault::NetworkDown);
        let lost = Event::KernelDropped { dropped: 1, receive_buffer: None };
        let mut log = Log::default();
        let start = Instant::now();
        let note = |log: &mut Log, tenth: u32, event: &Event| {
            log.note(WallTime::default(), event, start + Duration::from_millis(100) * tenth);
        };
        note(&mut log, 0, &lost);
        note(&mut log, 0, &refused);
        for tenth in 0..18_000 {
            note(&mut log, tenth, [&down, &other][usize::from(tenth % 2 == 1)]);
        }
        assert_eq!(log.events.len(), 2 + 2 * 30, "each fault once in a minute");
        assert_eq!(log.events[0].1, as_json(&lost));
        note(&mut log, 18_000, &lost);
        note(&mut log, 18_000, &down);
        assert_eq!(log.events.len(), 4 + 2 * 30, "a fault after another event is kept");
    }
}
