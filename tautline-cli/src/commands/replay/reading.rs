//! Reads the recording on a thread of its own, so that a slow disk does not delay a message that is due.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tautline::MessageType;
use tautline::recording::RecordingReader;

use super::Args;
use crate::tools::exit::Failure;
use crate::tools::output;
use crate::tools::recording::unreadable;
use crate::tools::repeated::Repeated;

/// How many parts are read at once. With many, the reading thread seldom wakes up. On a machine with few cores, each time takes the
/// processor from the thread that sends.
const BATCH: usize = 256;

/// How many batches the reading thread may be ahead.
const AHEAD: usize = 4;

/// What comes next.
#[derive(Debug)]
pub(super) enum Part {
    Message(Box<Repeated>),
    /// A document that is no message, and why.
    Bad(String),
    /// Everything was read.
    End,
}

/// The recording while it is read.
#[derive(Debug)]
pub(super) struct Reading {
    batches: Receiver<Result<Vec<Part>, Failure>>,
    batch: std::vec::IntoIter<Part>,
}

impl Reading {
    /// Opens the files, and begins to read.
    pub(super) fn begin(args: &Args) -> Result<Self, Failure> {
        // Finds a wrong file before it connects. Leaves out pipes, which can be read only once.
        for path in args.files.iter().filter(|path| path.is_file() || path.is_dir() || !path.exists()) {
            let first = RecordingReader::open(path).and_then(|mut reader| reader.next_message());
            first.map_err(|error| unreadable(&error))?;
        }
        let (sender, batches) = sync_channel(AHEAD);
        let reader = Reader {
            files: args.files.clone(),
            from: args.from,
            types: args.types.clone(),
            begin: None,
            batch: Vec::new(),
            sender,
        };
        std::thread::spawn(move || reader.read());
        Ok(Self { batches, batch: Vec::new().into_iter() })
    }

    /// Waits for the next part. `None` if there was none in time.
    pub(super) fn next(&mut self, wait: Duration) -> Result<Option<Part>, Failure> {
        if let Some(part) = self.batch.next() {
            return Ok(Some(part));
        }
        match self.batches.recv_timeout(wait) {
            Ok(batch) => {
                self.batch = batch?.into_iter();
                Ok(self.batch.next())
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Ok(Some(Part::End)),
        }
    }
}

/// What the reading thread works with.
struct Reader {
    files: Vec<PathBuf>,
    from: Option<Duration>,
    types: Vec<MessageType>,
    /// The first time that is sent, in nanoseconds since 1970. `None` before the first message.
    begin: Option<i64>,
    batch: Vec<Part>,
    sender: SyncSender<Result<Vec<Part>, Failure>>,
}

impl Reader {
    fn read(mut self) {
        for path in std::mem::take(&mut self.files) {
            let opened = RecordingReader::open(&path).map_err(|error| unreadable(&error));
            let read = opened.and_then(|mut file| {
                let is_over = self.read_file(&mut file)?;
                tell_of_rest(&path, &file);
                Ok(is_over)
            });
            match read {
                Ok(false) => {}
                Ok(true) => return,
                Err(failure) => {
                    self.hand_over();
                    let _ = self.sender.send(Err(failure)); // the other end may be gone
                    return;
                }
            }
        }
        self.hand_over();
    }

    /// Hands over what was read. Returns whether nobody wants more.
    fn hand_over(&mut self) -> bool {
        self.sender.send(Ok(std::mem::take(&mut self.batch))).is_err()
    }

    /// Reads a file. Returns whether nobody wants more.
    fn read_file(&mut self, file: &mut RecordingReader) -> Result<bool, Failure> {
        while let Some(recorded) = file.next_message().map_err(|error| unreadable(&error))? {
            let part = match Repeated::read(&recorded.document) {
                Ok(message) => {
                    // With all digits: a number in a document has fewer.
                    let received = i64::try_from(recorded.log_time).unwrap_or(i64::MAX);
                    let message = Repeated { received, ..message };
                    if !self.wants(&message) {
                        continue;
                    }
                    Part::Message(Box::new(message))
                }
                Err(problem) => Part::Bad(problem),
            };
            self.batch.push(part);
            if self.batch.len() == BATCH && self.hand_over() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn wants(&mut self, message: &Repeated) -> bool {
        let begin = *self.begin.get_or_insert_with(|| {
            let after = self.from.unwrap_or_default().as_nanos();
            message.received.saturating_add(i64::try_from(after).unwrap_or(i64::MAX))
        });
        let is_of_type = self.types.is_empty() || self.types.contains(&message.metadata.message_type);
        message.received >= begin && is_of_type
    }
}

fn tell_of_rest(path: &std::path::Path, file: &RecordingReader) {
    let path = path.display();
    if file.is_cut_off() {
        output::warn(format_args!("{path} was cut off: what follows its last whole message is missing"));
    }
    if file.foreign() > 0 {
        output::warn(format_args!(
            "{path} has {} messages of other programs, which are not sent",
            file.foreign()
        ));
    }
}
