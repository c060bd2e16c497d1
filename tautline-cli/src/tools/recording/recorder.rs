//! Writes a recording: chooses the stream of each message, begins and ends files.
//!
//! A file is readable up to its latest chunk at any time: chunks are written whole, at least every [`CHUNK_EVERY`] while
//! messages come. When the program ends, or another file begins, the file gets its summary and its index.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mcap::records::{MessageHeader, Metadata};
use mcap::{McapError, WriteOptions, Writer};

use super::files::FileArgs;
use super::stream::Streams;
use super::{COUNTS_NAME, MESSAGE_ENCODING, SCHEMA_ENCODING};
use crate::tools::exit::Failure;
use crate::tools::message_line;
use crate::tools::message_view::MessageView;
use crate::tools::output::printable;

/// What waits in memory is written at least this often.
const CHUNK_EVERY: Duration = Duration::from_millis(100);
/// The size of a chunk. Readers take a chunk that was cut off for none.
const CHUNK_SIZE: u64 = 64 * 1024;

/// Writes messages into files.
#[derive(Debug)]
pub(crate) struct Recorder<'a> {
    args: &'a FileArgs,
    file: OpenFile,
    totals: RecordedTotals,
}

/// What was recorded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RecordedTotals {
    pub(crate) messages: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// The file that is being written.
struct OpenFile {
    path: PathBuf,
    writer: Writer<Counted>,
    /// How many bytes were given to the file.
    size: Arc<AtomicU64>,
    streams: Streams,
    /// The number of the next message of each channel.
    sequences: BTreeMap<u16, u32>,
    messages: u64,
    begun: Instant,
    chunk_begun: Option<Instant>,
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenFile")
            .field("path", &self.path)
            .field("messages", &self.messages)
            .finish_non_exhaustive()
    }
}

impl<'a> Recorder<'a> {
    /// Creates the first file.
    pub(crate) fn open(args: &'a FileArgs) -> Result<Self, Failure> {
        args.check()?;
        let file = OpenFile::create(args, 1)?;
        Ok(Self { args, file, totals: RecordedTotals { files: 1, ..RecordedTotals::default() } })
    }

    /// Writes a message; into another file, if this one is full. `counts` go into a file that ends.
    pub(crate) fn write(
        &mut self,
        message: &MessageView<'_>,
        counts: &dyn Fn() -> BTreeMap<String, String>,
    ) -> Result<(), Failure> {
        if self.file.messages > 0 && self.args.is_full(self.file.size(), self.file.begun) {
            self.begin_another(counts())?;
        }
        self.file.write(message)?;
        self.totals.messages += 1;
        Ok(())
    }

    /// Writes what has waited for long.
    pub(crate) fn turn(&mut self) -> Result<(), Failure> {
        self.file.write_chunk_if_due()
    }

    fn begin_another(&mut self, counts: BTreeMap<String, String>) -> Result<(), Failure> {
        let next = OpenFile::create(self.args, self.totals.files + 1)?;
        let full = std::mem::replace(&mut self.file, next);
        self.totals.bytes += full.end(counts)?;
        self.totals.files += 1;
        if let Some(outdated) = self.args.outdated(self.totals.files) {
            // It may be gone already; nothing depends on it.
            let _ = std::fs::remove_file(self.args.path(outdated));
        }
        Ok(())
    }

    /// Ends the recording. Returns what was recorded.
    pub(crate) fn finish(self, counts: BTreeMap<String, String>) -> Result<RecordedTotals, Failure> {
        let bytes = self.totals.bytes + self.file.end(counts)?;
        Ok(RecordedTotals { bytes, ..self.totals })
    }
}

impl OpenFile {
    fn create(args: &FileArgs, number: u64) -> Result<Self, Failure> {
        let path = args.path(number);
        let size = Arc::new(AtomicU64::new(0));
        let file = Counted { file: BufWriter::new(args.create(&path)?), size: Arc::clone(&size) };
        let options = WriteOptions::new()
            .compression(None)
            .chunk_size(Some(CHUNK_SIZE))
            // So a chunk is written whole, with its length before it.
            .disable_seeking(true)
            .library(concat!("tautline ", env!("CARGO_PKG_VERSION")));
        let writer = options.create(file).map_err(|error| cannot_write(&path, &error))?;
        let (streams, sequences, begun) = (Streams::default(), BTreeMap::new(), Instant::now());
        Ok(Self { path, writer, size, streams, sequences, messages: 0, begun, chunk_begun: None })
    }

    fn write(&mut self, message: &MessageView<'_>) -> Result<(), Failure> {
        let document = message_line::document(message);
        let document = printable(&document);
        self.put(message, &document).map_err(|error| cannot_write(&self.path, &error))?;
        self.chunk_begun.get_or_insert_with(Instant::now);
        self.messages += 1;
        Ok(())
    }

    fn put(&mut self, message: &MessageView<'_>, document: &str) -> Result<(), McapError> {
        let writer = &mut self.writer;
        let channel_id = self.streams.channel(message, document, |new| {
            let schema = writer.add_schema(&new.schema_name, SCHEMA_ENCODING, &new.schema)?;
            writer.add_channel(schema, &new.topic, MESSAGE_ENCODING, &new.metadata)
        })?;
        let next = self.sequences.entry(channel_id).or_default();
        let nanoseconds = |time: i64| u64::try_from(time).unwrap_or(0);
        let header = MessageHeader {
            channel_id,
            sequence: *next,
            log_time: nanoseconds(message.received.as_nanos()),
            publish_time: nanoseconds(message.stamp.wall().as_nanos()),
        };
        *next = next.wrapping_add(1);
        writer.write_to_known_channel(&header, document.as_bytes())
    }

    fn write_chunk_if_due(&mut self) -> Result<(), Failure> {
        if self.chunk_begun.is_some_and(|begun| begun.elapsed() >= CHUNK_EVERY) {
            self.writer.flush().map_err(|error| cannot_write(&self.path, &error))?;
            self.chunk_begun = None;
        }
        Ok(())
    }

    /// Writes the counts, the summary and the index. Returns the size of the file.
    fn end(self, mut counts: BTreeMap<String, String>) -> Result<u64, Failure> {
        counts.insert("messages_recorded".to_owned(), self.messages.to_string());
        counts.insert("streams".to_owned(), self.streams.len().to_string());
        let record = Metadata { name: COUNTS_NAME.to_owned(), metadata: counts };
        let Self { path, mut writer, size, .. } = self;
        let ended = writer.write_metadata(&record).and_then(|()| writer.finish()).map(drop);
        let ended = ended.and_then(|()| Ok(writer.into_inner().flush()?));
        ended.map_err(|error| cannot_write(&path, &error))?;
        Ok(size.load(Ordering::Relaxed))
    }

    /// Returns how many bytes the file has, without what waits in memory.
    fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }
}

/// A file that counts what is written to it, so that it can tell its position without writing what it holds back.
struct Counted {
    file: BufWriter<File>,
    size: Arc<AtomicU64>,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.size.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            SeekFrom::Current(0) => Ok(self.size.load(Ordering::Relaxed)),
            // The writer was told not to.
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

fn cannot_write(path: &Path, error: &McapError) -> Failure {
    let problem = match error {
        McapError::Io(error) => error.to_string(),
        error => error.to_string(),
    };
    Failure::failed(format!("cannot write {}: {problem}", path.display()))
}
