//! Reads a recording from its start to its end, or to the place where it was cut off.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use mcap::McapError;
use mcap::records::Record;
use mcap::sans_io::linear_reader::{LinearReadEvent, LinearReader, LinearReaderOptions};

use super::{DOCUMENT_KEY, DOCUMENT_VERSION, MESSAGE_ENCODING};
use crate::tools::exit::Failure;

/// The longest record that is read. A document of the largest message is far shorter.
const LONGEST_RECORD: usize = 64 << 20;

/// A message of a recording.
#[derive(Debug)]
pub(crate) struct RecordedMessage {
    /// When it was received, in nanoseconds since 1970.
    pub(crate) log_time: u64,
    /// The document that `record` wrote.
    pub(crate) document: Vec<u8>,
}

/// Reads the messages of one file.
pub(crate) struct RecordingReader {
    path: PathBuf,
    file: File,
    reader: LinearReader,
    /// Whether the messages of each channel are documents of `record`.
    channels: HashMap<u16, bool>,
    /// How many messages other programs have written.
    pub(crate) foreign: u64,
    /// Whether the file ended before its end.
    pub(crate) is_cut_off: bool,
    is_ended: bool,
}

impl std::fmt::Debug for RecordingReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordingReader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl RecordingReader {
    /// Opens a file, and checks that it is a recording.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let cannot_read = |error| Failure::failed(format!("cannot read {}: {error}", path.display()));
        let mut file = File::open(path).map_err(cannot_read)?;
        let mut magic = [0; mcap::MAGIC.len()];
        let is_mcap = match file.read_exact(&mut magic) {
            Ok(()) => magic == mcap::MAGIC,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => false,
            Err(error) => return Err(cannot_read(error)),
        };
        if !is_mcap {
            let sentence =
                format!("{} is no MCAP file: name a file that `tautline record` wrote", path.display());
            return Err(Failure::usage(sentence));
        }
        let options = LinearReaderOptions::default()
            .with_skip_start_magic(true)
            .with_validate_chunk_crcs(true)
            .with_record_length_limit(LONGEST_RECORD);
        Ok(Self {
            path: path.to_owned(),
            file,
            reader: LinearReader::new_with_options(options),
            channels: HashMap::new(),
            foreign: 0,
            is_cut_off: false,
            is_ended: false,
        })
    }

    /// Returns the next message. `None` at the end of the file, or where it was cut off.
    pub(crate) fn next(&mut self) -> Result<Option<RecordedMessage>, Failure> {
        while !self.is_ended {
            let found = match self.reader.next_event() {
                None => break,
                Some(Ok(LinearReadEvent::ReadRequest(length))) => {
                    let read = self.file.read(self.reader.insert(length));
                    let read = read.map_err(|error| self.problem(&error.to_string()))?;
                    self.reader.notify_read(read);
                    continue;
                }
                Some(Ok(LinearReadEvent::Record { opcode, data })) => {
                    mcap::parse_record(opcode, data).map(mcap::records::Record::into_owned)
                }
                Some(Err(error)) => Err(error),
            };
            match found {
                Ok(Record::Channel(channel)) => {
                    let is_ours = channel.message_encoding == MESSAGE_ENCODING
                        && channel
                            .metadata
                            .get(DOCUMENT_KEY)
                            .is_some_and(|version| version == DOCUMENT_VERSION);
                    self.channels.insert(channel.id, is_ours);
                }
                Ok(Record::Message { header, data })
                    if self.channels.get(&header.channel_id) == Some(&true) =>
                {
                    let (log_time, document) = (header.log_time, data.into_owned());
                    return Ok(Some(RecordedMessage { log_time, document }));
                }
                Ok(Record::Message { .. }) => self.foreign += 1,
                Ok(_) => {}
                Err(McapError::UnexpectedEof) => {
                    (self.is_cut_off, self.is_ended) = (true, true);
                }
                Err(McapError::UnsupportedCompression(name)) => {
                    let how =
                        format!("its chunks are compressed with {name}: write it anew without compression");
                    return Err(self.problem(&how));
                }
                Err(error) => return Err(self.problem(&error.to_string())),
            }
        }
        self.is_ended = true;
        Ok(None)
    }

    fn problem(&self, problem: &str) -> Failure {
        Failure::failed(format!("cannot read {}: {problem}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tautline::{Delivery, Id, MessageType, Priority, WallTime};

    use super::super::{FileArgs, Recorder};
    use super::*;
    use crate::tools::message_view::MessageView;

    #[derive(Parser)]
    struct Files {
        #[command(flatten)]
        files: FileArgs,
    }

    fn message(number: u64) -> MessageView<'static> {
        let time = WallTime::from_nanos(1_700_000_000_000_000_000 + i64::try_from(number).expect("small"));
        MessageView {
            message_type: MessageType::Data,
            priority: Priority::Normal,
            channel: 0,
            stamp: time.into(),
            message_id: Id::Number(number),
            source: Some("arm"),
            destination: None,
            correlation_id: None,
            delivery: Delivery::BestEffort,
            lifespan: None,
            content_type: tautline::ContentType::Json,
            payload: b"[1.5]",
            peer: ([127, 0, 0, 1], 9).into(),
            received: time,
            age: None,
        }
    }

    /// Returns the numbers of the messages in a file, and whether it was cut off.
    fn read(path: &Path) -> (Vec<u64>, bool) {
        let mut reader = RecordingReader::open(path).expect("a recording");
        let mut numbers = Vec::new();
        while let Some(message) = reader.next().expect("readable") {
            assert!(message.document.ends_with(b"}"), "a whole document");
            numbers.push(message.log_time - 1_700_000_000_000_000_000);
        }
        (numbers, reader.is_cut_off)
    }

    #[test]
    fn a_file_that_is_cut_off_anywhere_gives_every_whole_message() {
        let folder = std::env::temp_dir().join(format!("tautline-cut-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let (path, cut) = (folder.join("whole.mcap"), folder.join("cut.mcap"));
        let files = Files::parse_from(["", "-o", path.to_str().expect("text")]).files;
        let mut recorder = Recorder::open(&files).expect("a file");
        for number in 0..700 {
            recorder.write(&message(number), &Default::default).expect("written");
        }
        recorder.finish(Default::default()).expect("written");
        let whole = std::fs::read(&path).expect("readable");
        assert_eq!(read(&path), ((0..700).collect(), false));

        // Each document ends with the time at which it was received.
        let last = b",\"received\":17";
        let starts = (0..whole.len()).filter(|at| whole[*at..].starts_with(last));
        let ends: Vec<usize> = starts
            .map(|at| at + 1 + whole[at..].iter().position(|byte| *byte == b'}').expect("the end"))
            .collect();
        assert_eq!(ends.len(), 700);
        for length in (1_000..whole.len()).step_by(1_000) {
            std::fs::write(&cut, &whole[..length]).expect("written");
            let (numbers, is_cut_off) = read(&cut);
            let complete = ends.iter().filter(|end| **end <= length).count() as u64;
            assert_eq!((numbers, is_cut_off), ((0..complete).collect(), true), "cut at {length}");
        }
        std::fs::remove_dir_all(&folder).expect("this test created it");
    }
}
