//! A black box that was written to a file.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

pub use tautline_proto::endpoint::{Difference, EndpointConfig, Event as Happened, Rerun, Step};
use tautline_proto::endpoint::{RECORD_FORMAT, RerunSettings, rerun_inbound, rerun_outbound};
use tautline_proto::json::NonFinite;
use tautline_proto::{RingContents, RingSegment};

use super::{checksum, names};
use crate::config::{Config, Settings};
use crate::mcap::{McapError, Record, RecordReader};
use crate::payload::{self, PayloadLimits};

/// A black box that was read from a file.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BlackBoxFile {
    /// Who wrote it, when and why, by name.
    pub incident: BTreeMap<String, String>,
    /// The settings of the interface, by key.
    pub settings: BTreeMap<String, String>,
    /// What happened: the time in nanoseconds since 1970, and JSON.
    pub events: Vec<(u64, String)>,
    /// The statistics of the last seconds, as the events.
    pub statistics: Vec<(u64, String)>,
    /// The ring of the receiving half.
    pub inbound: RingContents,
    /// The ring of the sending half.
    pub outbound: RingContents,
    /// How many segments of the rings were damaged, and are left out.
    pub damaged: u64,
    /// Whether the rest of the file is missing, or cannot be read: it was cut off, or it is damaged.
    pub is_cut_off: bool,
}

/// Why a file cannot be read or run again.
#[derive(Debug)]
#[non_exhaustive]
pub enum BlackBoxError {
    /// The system does not give it.
    Unreadable(std::io::Error),
    /// It is no black box.
    NotABlackBox,
    /// Another build of tautline wrote it, in another format.
    OtherFormat {
        /// The version of that build.
        version: String,
        /// Its format; `None` if that build was older than the first number.
        format: Option<String>,
    },
    /// Its contents contradict themselves.
    Damaged,
}

impl fmt::Display for BlackBoxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "cannot read the file: {error}"),
            Self::NotABlackBox => f.write_str(
                "the file is no black box of tautline: give a file that an interface with `black_box` wrote, not a recording",
            ),
            Self::OtherFormat { version, format } => {
                let format = format.as_deref().unwrap_or("older than 1").escape_debug();
                let version = version.escape_debug();
                write!(
                    f,
                    "another build of tautline ({version}) wrote this black box: its format is {format}, and this build reads \
                     format {RECORD_FORMAT}; use the program `tautline` of the build that wrote it"
                )
            }
            Self::Damaged => f.write_str("the file is damaged: its contents contradict themselves"),
        }
    }
}

impl std::error::Error for BlackBoxError {}

/// One half of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The receiving half.
    Inbound,
    /// The sending half.
    Outbound,
}

impl BlackBoxFile {
    /// Reads a file. If it was cut off, reads what is there.
    ///
    /// # Errors
    ///
    /// The system does not give the file, it is no black box, or it has another format than this build reads.
    pub fn open(path: &Path) -> Result<Self, BlackBoxError> {
        Self::of_bytes(&std::fs::read(path).map_err(BlackBoxError::Unreadable)?)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    ///
    /// They are no black box, or they have another format than this build reads.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, BlackBoxError> {
        let mut file = Self::default();
        let mut reader = RecordReader::begin(bytes).map_err(|_| BlackBoxError::NotABlackBox)?;
        let mut topics = BTreeMap::new();
        loop {
            match reader.next() {
                Ok(None) => break,
                Ok(Some(Record::Metadata { name, values })) if name == names::INCIDENT => {
                    file.incident = values;
                }
                Ok(Some(Record::Metadata { name, values })) if name == names::SETTINGS => {
                    file.settings = values;
                }
                Ok(Some(Record::Metadata { .. })) => {}
                Ok(Some(Record::Channel { number, topic, .. })) => drop(topics.insert(number, topic)),
                Ok(Some(Record::Message { channel, log_time, data })) => match topics.get(&channel) {
                    Some(topic) => file.add(topic, log_time, &data),
                    None => file.damaged += 1,
                },
                Err(McapError::Io(error)) => return Err(BlackBoxError::Unreadable(error)),
                // What was read before is worth telling.
                Err(_) => {
                    file.is_cut_off = true;
                    break;
                }
            }
        }
        file.is_cut_off |= reader.is_cut_off;
        let left_out = |half| file.incident.get(half).and_then(|count| count.parse().ok()).unwrap_or(0);
        (file.inbound.left_out, file.outbound.left_out) =
            (left_out("left_out_inbound"), left_out("left_out_outbound"));
        file.check_format().map(|()| file)
    }

    fn check_format(&self) -> Result<(), BlackBoxError> {
        let Some(version) = self.incident.get("version") else { return Err(BlackBoxError::NotABlackBox) };
        let format = self.incident.get(names::FORMAT);
        if format.is_some_and(|format| format == RECORD_FORMAT) {
            return Ok(());
        }
        Err(BlackBoxError::OtherFormat { version: version.clone(), format: format.cloned() })
    }

    fn add(&mut self, topic: &str, time: u64, data: &[u8]) {
        let text = || String::from_utf8_lossy(data).into_owned();
        let segment = || {
            let (period, rest) = data.split_first_chunk::<8>()?;
            let (sum, bytes) = rest.split_first_chunk::<8>()?;
            let is_sound = checksum(bytes) == u64::from_le_bytes(*sum);
            is_sound.then(|| RingSegment::new(u64::from_le_bytes(*period), bytes.to_vec()))
        };
        match topic {
            names::EVENTS => self.events.push((time, text())),
            names::STATISTICS => self.statistics.push((time, text())),
            names::INBOUND | names::OUTBOUND => match (segment(), topic) {
                (Some(segment), names::INBOUND) => self.inbound.segments.push(segment),
                (Some(segment), _) => self.outbound.segments.push(segment),
                (None, _) => self.damaged += 1,
            },
            _ => {}
        }
    }

    /// Returns by how much the time stamps are ahead of the steady clock, in nanoseconds.
    #[must_use]
    pub fn wall_ahead(&self) -> i64 {
        self.incident.get("wall_ahead_ns").and_then(|ns| ns.parse().ok()).unwrap_or(0)
    }

    /// Runs both halves again, and compares every output. `see` gets each input and what came of it, of the receiving half first.
    ///
    /// # Errors
    ///
    /// The contents contradict themselves.
    pub fn rerun(&self, mut see: impl FnMut(Half, &Step<'_>)) -> Result<[Rerun; 2], BlackBoxError> {
        let settings = RerunSettings::unchanged(self.payload_check());
        self.run(&settings, &mut see)
    }

    /// Returns the settings of the interface, as a configuration. Its keys and its failsafe are not among them.
    #[must_use]
    pub fn config(&self) -> Config {
        Config::of_texts(&self.settings)
    }

    /// Runs both halves again as if the interface had had these settings. The outputs are then not compared. What its user sent, and
    /// what the peers sent, is as recorded. Returns `None` if the protocol reads nothing that differs from the recorded settings.
    ///
    /// # Errors
    ///
    /// The contents contradict themselves.
    pub fn rerun_with(
        &self,
        recorded: &Settings,
        changed: &Settings,
        mut see: impl FnMut(Half, &Step<'_>),
    ) -> Result<Option<[Rerun; 2]>, BlackBoxError> {
        let [before, after] = [recorded, changed].map(|settings| settings.for_protocol(settings.mtu.most()));
        if before.has_same_values(&after) {
            return Ok(None);
        }
        let check = Arc::clone(&after.check_payload);
        let change = |config: &mut EndpointConfig| {
            let mut new = after.clone();
            // The length of the headers depends on the address, and only the interface had the keys.
            new.datagram_size =
                (config.datagram_size + after.datagram_size).saturating_sub(before.datagram_size);
            #[cfg(feature = "secure")]
            {
                new.security = config.security.take();
                new.rekey_after = config.rekey_after;
            }
            *config = new;
        };
        let mut settings = RerunSettings::unchanged(check);
        settings.change = Some(&change);
        self.run(&settings, &mut see).map(Some)
    }

    fn run(
        &self,
        settings: &RerunSettings<'_>,
        see: &mut dyn FnMut(Half, &Step<'_>),
    ) -> Result<[Rerun; 2], BlackBoxError> {
        // The state machine relies on its own state. That of a file may contradict itself.
        let run = || {
            let inbound = rerun_inbound(&self.inbound, settings, |step| see(Half::Inbound, step));
            let outbound = rerun_outbound(&self.outbound, settings, |step| see(Half::Outbound, step));
            [inbound, outbound]
        };
        catch_unwind(AssertUnwindSafe(run)).map_err(|_| BlackBoxError::Damaged)
    }

    /// The check of payloads, as the settings have it.
    fn payload_check(&self) -> tautline_proto::endpoint::PayloadCheck {
        let number = |key: &str| self.settings.get(key).and_then(|value| value.parse().ok());
        let usual = PayloadLimits::default();
        let limits = PayloadLimits {
            max_size: number("max_message_size").unwrap_or(usual.max_size),
            max_depth: number("max_depth").unwrap_or(usual.max_depth),
            nonfinite: match self.settings.get("nonfinite").map(String::as_str) {
                Some("null") => NonFinite::Null,
                _ => NonFinite::Refuse,
            },
        };
        Arc::new(move |content_type, bytes| payload::check(content_type, bytes, &limits))
    }
}
