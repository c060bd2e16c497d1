//! Reads a recording from its start to its end, or to the place where it was cut off.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::{DOCUMENT_KEY, DOCUMENT_VERSION, MESSAGE_ENCODING};
use crate::mcap::{BLACK_BOX, McapError, Record, RecordReader};

/// A message of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedMessage {
    /// When it was received, in nanoseconds since 1970.
    pub log_time: u64,
    /// The document that the recorder wrote.
    pub document: Vec<u8>,
}

/// Why a file cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// Whether it is something else: no MCAP file at all, a black box, or a folder.
    pub is_no_recording: bool,
    problem: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        if self.is_no_recording {
            return write!(f, "{path} is {}", self.problem);
        }
        write!(f, "cannot read {path}: {}", self.problem)
    }
}

impl std::error::Error for ReadError {}

/// Reads the messages of one file.
#[derive(Debug)]
pub struct RecordingReader {
    path: PathBuf,
    reader: RecordReader<BufReader<File>>,
    /// Whether the messages of each channel are documents of a recorder.
    channels: HashMap<u16, bool>,
    foreign: u64,
}

impl RecordingReader {
    /// Opens a file, and checks that it is a recording.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no MCAP file.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = File::open(path).map_err(McapError::Io);
        let reader = file.and_then(|file| RecordReader::begin(BufReader::new(file)));
        let reader = reader.map_err(|error| problem(path, &error))?;
        Ok(Self { path: path.to_owned(), reader, channels: HashMap::new(), foreign: 0 })
    }

    /// Returns the next message. `None` at the end of the file, or where it was cut off.
    ///
    /// # Errors
    ///
    /// The file cannot be read on, or it is a black box.
    pub fn next_message(&mut self) -> Result<Option<RecordedMessage>, ReadError> {
        loop {
            match self.reader.next().map_err(|error| problem(&self.path, &error))? {
                None => return Ok(None),
                Some(Record::Channel { number, encoding, metadata, .. }) => {
                    let version = metadata.get(DOCUMENT_KEY).map(String::as_str);
                    let is_ours = encoding == MESSAGE_ENCODING && version == Some(DOCUMENT_VERSION);
                    self.channels.insert(number, is_ours);
                }
                Some(Record::Message { channel, log_time, data })
                    if self.channels.get(&channel) == Some(&true) =>
                {
                    return Ok(Some(RecordedMessage { log_time, document: data }));
                }
                Some(Record::Message { .. }) => self.foreign += 1,
                Some(Record::Metadata { name, .. }) if name == BLACK_BOX => {
                    return Err(other_kind(
                        &self.path,
                        "a black box, not a recording: `tautline incident` tells what it shows",
                    ));
                }
                Some(Record::Metadata { .. }) => {}
            }
        }
    }

    /// Returns how many messages other programs have written, so far.
    #[must_use]
    pub const fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Returns whether the file was cut off.
    #[must_use]
    pub const fn is_cut_off(&self) -> bool {
        self.reader.is_cut_off
    }
}

fn problem(path: &Path, error: &McapError) -> ReadError {
    if matches!(error, McapError::NotMcap) {
        return other_kind(path, "no MCAP file: name a file that `tautline record` wrote");
    }
    if path.is_dir() {
        return other_kind(path, "a folder: name a recording in it");
    }
    ReadError { path: path.to_owned(), is_no_recording: false, problem: error.to_string() }
}

fn other_kind(path: &Path, kind: &str) -> ReadError {
    ReadError { path: path.to_owned(), is_no_recording: true, problem: kind.to_owned() }
}

#[cfg(test)]
mod tests {
    use tautline_proto::{ContentType, Delivery, Id, MessageType, Priority, WallTime};

    use super::super::{MessageView, Recorder, RecordingFiles};
    use super::*;

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
            content_type: ContentType::Json,
            payload: b"[1.5]",
            peer: ([127, 0, 0, 1], 9).into(),
            identity: None,
            received: time,
            age: None,
        }
    }

    /// Returns the numbers of the messages in a file, and whether it was cut off.
    fn read(path: &Path) -> (Vec<u64>, bool) {
        let mut reader = RecordingReader::open(path).expect("a recording");
        let mut numbers = Vec::new();
        while let Some(message) = reader.next_message().expect("readable") {
            assert!(message.document.ends_with(b"}"), "a whole document");
            numbers.push(message.log_time - 1_700_000_000_000_000_000);
        }
        (numbers, reader.is_cut_off())
    }

    #[test]
    fn a_file_that_is_cut_off_anywhere_gives_every_whole_message() {
        let folder = std::env::temp_dir().join(format!("tautline-cut-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let (path, cut) = (folder.join("whole.mcap"), folder.join("cut.mcap"));
        let files = RecordingFiles { path: path.clone(), ..RecordingFiles::default() };
        let mut recorder = Recorder::open(files).expect("a file");
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
        // Zeros instead of the next record end a file, too, however many there are.
        let header = 8 + 9 + usize::from(whole[9]);
        std::fs::write(&cut, [&whole[..header], &[0; 9], &whole[header..]].concat()).expect("written");
        assert_eq!(read(&cut), (Vec::new(), true));
        std::fs::remove_dir_all(&folder).expect("this test created it");
    }
}
