//! Writes a recording: chooses the stream of each message, begins and ends files.
//!
//! A file is readable up to its latest chunk at any time: chunks are written whole, at least every [`CHUNK_EVERY`] while
//! messages come. When the recording ends, or another file begins, the file gets its summary and its index.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::stream::Streams;
use super::text::escaped;
use super::view::MessageView;
use super::{COUNTS_NAME, MESSAGE_ENCODING, SCHEMA_ENCODING};
use crate::mcap::{Channel, McapWriter};

/// What waits in memory is written at least this often.
const CHUNK_EVERY: Duration = Duration::from_millis(100);

/// The counts that a file holds at its end, by name.
pub type Counts = BTreeMap<String, String>;

/// Which files a recording has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // options, with a default for each
pub struct RecordingFiles {
    /// The file; if it is split, `run.mcap` stands for `run-0001.mcap`, `run-0002.mcap`, ...
    pub path: PathBuf,
    /// Whether a file that is there is written over.
    pub overwrite: bool,
    /// Another file begins when one has this size, in bytes.
    pub split_size: Option<u64>,
    /// Another file begins after this time.
    pub split_every: Option<Duration>,
    /// The number of files that are kept; the oldest are removed.
    pub keep: Option<u64>,
}

impl RecordingFiles {
    /// Whether there may be several.
    #[must_use]
    pub const fn is_split(&self) -> bool {
        self.split_size.is_some() || self.split_every.is_some()
    }

    /// Whether a file of this size, begun at this time, is complete.
    fn is_full(&self, size: u64, begun: Instant) -> bool {
        self.split_size.is_some_and(|limit| size >= limit)
            || self.split_every.is_some_and(|limit| begun.elapsed() >= limit)
    }

    /// Returns the path of file number `number`, counted from 1.
    fn path(&self, number: u64) -> PathBuf {
        if self.is_split() { numbered(&self.path, &format!("{number:04}")) } else { self.path.clone() }
    }

    fn create(&self, path: &Path) -> Result<File, RecordError> {
        let mut options = OpenOptions::new();
        if self.overwrite {
            options.write(true).create(true).truncate(true);
        } else {
            options.write(true).create_new(true);
        }
        options.open(path).map_err(|error| RecordError { path: path.to_owned(), error })
    }

    /// Returns the number of the file that is removed when file number `number` begins, if there is one.
    fn outdated(&self, number: u64) -> Option<u64> {
        number.checked_sub(self.keep?).filter(|outdated| *outdated > 0)
    }
}

/// Returns `run-NUMBER.mcap` for `run.mcap`.
pub(super) fn numbered(path: &Path, number: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let end = path.extension().unwrap_or("mcap".as_ref()).to_string_lossy();
    path.with_file_name(format!("{stem}-{number}.{end}"))
}

/// A file cannot be written.
#[derive(Debug)]
#[non_exhaustive]
pub struct RecordError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write {}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for RecordError {}

/// Writes messages into files.
#[derive(Debug)]
pub struct Recorder {
    files: RecordingFiles,
    file: OpenFile,
    totals: RecordedTotals,
}

/// What was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedTotals {
    /// Messages.
    pub messages: u64,
    /// Files.
    pub files: u64,
    /// Bytes of the files that have ended.
    pub bytes: u64,
}

/// The file that is being written.
#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    writer: McapWriter<BufWriter<File>>,
    streams: Streams,
    messages: u64,
    begun: Instant,
    chunk_begun: Option<Instant>,
}

impl Recorder {
    /// Creates the first file.
    ///
    /// # Errors
    ///
    /// It cannot be created, or is there already.
    pub fn open(files: RecordingFiles) -> Result<Self, RecordError> {
        let file = OpenFile::create(&files, 1)?;
        Ok(Self { files, file, totals: RecordedTotals { files: 1, ..RecordedTotals::default() } })
    }

    /// Writes a message; into another file, if this one is full. `counts` go into a file that ends.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn write(
        &mut self,
        message: &MessageView<'_>,
        counts: &dyn Fn() -> Counts,
    ) -> Result<(), RecordError> {
        if self.file.messages > 0 && self.files.is_full(self.file.writer.position(), self.file.begun) {
            self.begin_another(counts())?;
        }
        self.file.write(message)?;
        self.totals.messages += 1;
        Ok(())
    }

    /// Writes what has waited for long.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn turn(&mut self) -> Result<(), RecordError> {
        self.file.write_chunk_if_due()
    }

    fn begin_another(&mut self, counts: Counts) -> Result<(), RecordError> {
        let next = OpenFile::create(&self.files, self.totals.files + 1)?;
        let full = std::mem::replace(&mut self.file, next);
        self.totals.bytes += full.end(counts)?;
        self.totals.files += 1;
        if let Some(outdated) = self.files.outdated(self.totals.files) {
            // It may be gone already; nothing depends on it.
            let _ = std::fs::remove_file(self.files.path(outdated));
        }
        Ok(())
    }

    /// Ends the recording. Returns what was recorded.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn finish(self, counts: Counts) -> Result<RecordedTotals, RecordError> {
        let bytes = self.totals.bytes + self.file.end(counts)?;
        Ok(RecordedTotals { bytes, ..self.totals })
    }
}

impl OpenFile {
    fn create(files: &RecordingFiles, number: u64) -> Result<Self, RecordError> {
        let path = files.path(number);
        let file = BufWriter::new(files.create(&path)?);
        let writer = McapWriter::begin(file, concat!("tautline ", env!("CARGO_PKG_VERSION")));
        let writer = writer.map_err(|error| RecordError { path: path.clone(), error })?.in_chunks();
        let (streams, begun) = (Streams::default(), Instant::now());
        Ok(Self { path, writer, streams, messages: 0, begun, chunk_begun: None })
    }

    fn failed(&self, error: io::Error) -> RecordError {
        RecordError { path: self.path.clone(), error }
    }

    fn write(&mut self, message: &MessageView<'_>) -> Result<(), RecordError> {
        let document = message.document();
        self.put(message, &escaped(&document)).map_err(|error| self.failed(error))?;
        self.chunk_begun.get_or_insert_with(Instant::now);
        self.messages += 1;
        Ok(())
    }

    fn put(&mut self, message: &MessageView<'_>, document: &str) -> io::Result<()> {
        let writer = &mut self.writer;
        let channel = self.streams.channel(message, document, |new| {
            writer.channel(&Channel {
                topic: &new.topic,
                encoding: MESSAGE_ENCODING,
                schema: [&new.schema_name, SCHEMA_ENCODING, &new.schema],
                metadata: &new.metadata,
            })
        })?;
        let nanoseconds = |time: i64| u64::try_from(time).unwrap_or(0);
        let times = [message.received.as_nanos(), message.stamp.wall().as_nanos()].map(nanoseconds);
        self.writer.message(channel, times, &[document.as_bytes()])
    }

    fn write_chunk_if_due(&mut self) -> Result<(), RecordError> {
        if self.chunk_begun.is_some_and(|begun| begun.elapsed() >= CHUNK_EVERY) {
            self.writer.flush().map_err(|error| self.failed(error))?;
            self.chunk_begun = None;
        }
        Ok(())
    }

    /// Writes the counts, the summary and the index. Returns the size of the file.
    fn end(self, mut counts: Counts) -> Result<u64, RecordError> {
        counts.insert("messages_recorded".to_owned(), self.messages.to_string());
        counts.insert("streams".to_owned(), self.streams.len().to_string());
        let Self { path, mut writer, .. } = self;
        let ended = writer.metadata(COUNTS_NAME, &counts).and_then(|()| writer.finish());
        ended.map_err(|error| RecordError { path, error }).map(|(_, size)| size)
    }
}
