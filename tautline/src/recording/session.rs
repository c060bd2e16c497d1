//! The recording of an interface. The driver offers the messages that it hands out, and a separate thread writes them to a
//! file.
//!
//! Messages wait in a queue of their own between the two. The driver never waits for the disk: what the queue has no room for is
//! counted.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tautline_proto::MessageRef;

use super::queue::{Batch, Offered, Queue};
use super::recorder::{Counts, RecordError, Recorder, RecordingFiles, numbered};
use super::view::MessageView;
use crate::mcap::create_numbered;
use crate::message::Arrival;
use crate::message::pool::Pool;
use crate::sync::driver_flags::DriverFlags;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, lock, park_until, wait_for};

/// The thread writes what waits at least this often.
const WRITE_EVERY: Duration = Duration::from_millis(20);

/// What an interface has recorded since it connected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordingStatus {
    /// The file.
    pub path: PathBuf,
    /// How many messages were given to the file.
    pub recorded: u64,
    /// How many were not, because they came faster than they could be written, or because the file cannot be written.
    pub not_recorded: u64,
}

/// The recording of an interface. Off at first; each connection with a file turns it on.
pub(crate) struct Recording {
    waiting: Arc<Waiting>,
    /// Its `records` says whether the driver offers messages.
    flags: Arc<DriverFlags>,
    present: Mutex<Option<Present>>,
}

/// What the driver and the thread that writes share.
struct Waiting {
    queue: Queue,
    /// How many messages of the present file were written, and how many were not. Order: relaxed; they guard nothing.
    recorded: AtomicU64,
    not_recorded: AtomicU64,
}

/// The present recording, or the last one.
struct Present {
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("is_on", &self.flags.are_recording()).finish_non_exhaustive()
    }
}

impl Recording {
    pub(crate) fn new(pool: Arc<Pool>, flags: Arc<DriverFlags>) -> Self {
        let queue = Queue::new(pool);
        let waiting = Waiting { queue, recorded: AtomicU64::new(0), not_recorded: AtomicU64::new(0) };
        Self { waiting: Arc::new(waiting), flags, present: Mutex::new(None) }
    }

    /// Offers a message to the file. Called while there is one.
    #[inline(never)] // keeps this code out of the path of interfaces without a recording
    pub(crate) fn offer(&self, message: &MessageRef<'_>, arrival: &Arrival) {
        match self.waiting.queue.offer(message, arrival) {
            Offered::Waits => {}
            Offered::HalfFull => self.wake(),
            Offered::Dropped => self.waiting.count_dropped(1),
        }
    }

    /// Lets the thread write now.
    #[cold]
    fn wake(&self) {
        if let Some(Present { thread: Some(thread), .. }) = &*lock(&self.present) {
            thread.thread().unpark();
        }
    }

    /// Begins a file: for `run.mcap`, one such as `run-1795965519400.mcap`, with the time in milliseconds.
    pub(crate) fn begin(&self, path: &Path, now_ms: i64) -> Result<(), RecordError> {
        if let Some(folder) = path.parent() {
            let path = numbered(path, &now_ms.to_string());
            std::fs::create_dir_all(folder).map_err(|error| RecordError { path, error })?;
        }
        let (path, recorder) = open(path, now_ms)?;
        for count in [&self.waiting.recorded, &self.waiting.not_recorded] {
            count.store(0, Ordering::Relaxed);
        }
        self.flags.records.store(true, Ordering::Relaxed);
        let (waiting, flags) = (Arc::clone(&self.waiting), Arc::clone(&self.flags));
        let write = move || write(recorder, &waiting, &flags.records);
        let thread = thread::Builder::new().name("tautline-record".to_owned()).spawn(write);
        let thread = thread.map_err(|error| {
            self.flags.records.store(false, Ordering::Relaxed);
            RecordError { path: path.clone(), error }
        })?;
        *lock(&self.present) = Some(Present { path, thread: Some(thread) });
        Ok(())
    }

    /// Writes what waits, and ends the file. The driver offers nothing any more.
    pub(crate) fn end(&self) {
        self.flags.records.store(false, Ordering::Relaxed);
        let thread = lock(&self.present).as_mut().and_then(|present| present.thread.take());
        if let Some(thread) = thread {
            thread.thread().unpark();
            // One that panicked is a bug of ours. The connection ends all the same.
            wait_for(thread);
        }
        // What came after the file could not be written any more.
        let mut left = Batch::default();
        self.waiting.queue.exchange(&mut left);
        self.waiting.count_dropped(left.messages().len());
    }

    pub(crate) fn status(&self) -> Option<RecordingStatus> {
        let path = lock(&self.present).as_ref()?.path.clone();
        let Waiting { recorded, not_recorded, .. } = &*self.waiting;
        let [recorded, not_recorded] = [recorded, not_recorded].map(|count| count.load(Ordering::Relaxed));
        Some(RecordingStatus { path, recorded, not_recorded })
    }
}

impl Waiting {
    #[cold]
    fn count_dropped(&self, messages: usize) {
        self.not_recorded.fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// Writes all messages of a batch, and counts those that were.
    fn write(&self, recorder: &mut Recorder, batch: &Batch) -> Result<(), RecordError> {
        for (written, message) in batch.messages().iter().enumerate() {
            if let Err(error) = recorder.write(&MessageView::of(message), &|| self.counts()) {
                self.count_dropped(batch.messages().len() - written);
                return Err(error);
            }
            self.recorded.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What the file says at its end.
    fn counts(&self) -> Counts {
        let missed = self.not_recorded.load(Ordering::Relaxed);
        Counts::from([("not_recorded".to_owned(), missed.to_string())])
    }
}

/// Creates the file with this number, or with the next one that is free.
fn open(path: &Path, number: i64) -> Result<(PathBuf, Recorder), RecordError> {
    let mut tried = PathBuf::new();
    let opened = create_numbered(number, |number| {
        tried = numbered(path, &number.to_string());
        let files = RecordingFiles { path: tried.clone(), ..RecordingFiles::default() };
        Recorder::open(files).map_err(|problem| problem.error)
    });
    match opened {
        Ok(recorder) => Ok((tried, recorder)),
        Err(error) => Err(RecordError { path: tried, error }),
    }
}

/// Writes messages until the recording is turned off and none waits any more.
fn write(mut recorder: Recorder, waiting: &Waiting, is_on: &AtomicBool) {
    let mut batch = Batch::default();
    let written = loop {
        let was_on = is_on.load(Ordering::Relaxed);
        waiting.queue.exchange(&mut batch);
        let result = waiting.write(&mut recorder, &batch).and_then(|()| recorder.turn());
        if result.is_err() {
            break result;
        }
        batch.clear();
        if !was_on {
            break recorder.finish(waiting.counts()).map(drop);
        }
        park_until(Some(Instant::now() + WRITE_EVERY));
    };
    if let Err(error) = written {
        // From now on nothing is recorded. What still waits is counted when the recording ends.
        is_on.store(false, Ordering::Relaxed);
        tracing::error!(%error, "the recording has ended, because its file cannot be written");
    }
}

#[cfg(test)]
mod tests {
    use super::super::RecordingReader;
    use super::*;
    use crate::tests::fixtures;

    #[test]
    fn interfaces_that_begin_at_the_same_time_record_into_files_of_their_own() {
        let folder = std::env::temp_dir().join(format!("tautline-record-same-{}", std::process::id()));
        let recordings = [(); 3].map(|()| Recording::new(Arc::new(Pool::new()), Arc::default()));
        for recording in &recordings {
            recording.begin(&folder.join("run.mcap"), 7).expect("a file");
        }
        let paths = recordings.each_ref().map(|recording| {
            recording.end();
            recording.status().expect("it was on").path
        });
        assert_eq!(paths, ["run-7.mcap", "run-8.mcap", "run-9.mcap"].map(|name| folder.join(name)));
        std::fs::remove_dir_all(&folder).expect("this test created it");
    }

    #[test]
    fn what_comes_faster_than_it_is_written_is_counted() {
        let folder = std::env::temp_dir().join(format!("tautline-record-fast-{}", std::process::id()));
        let recording = Recording::new(Arc::new(Pool::new()), Arc::default());
        assert_eq!(recording.status(), None);
        recording.begin(&folder.join("fast.mcap"), 7).expect("a file");
        let (message, arrival) =
            (fixtures::numbered(7, tautline_proto::Priority::Normal), fixtures::arrival());
        for _ in 0..20_000 {
            recording.offer(&message, &arrival);
        }
        recording.end();
        let RecordingStatus { path, recorded, not_recorded } = recording.status().expect("it was on");
        assert_eq!(recorded + not_recorded, 20_000);
        assert!(not_recorded > 0 && recorded >= 1_000, "{recorded} {not_recorded}");
        let mut reader = RecordingReader::open(&path).expect("a recording");
        let mut read = 0;
        while reader.next_message().expect("readable").is_some() {
            read += 1;
        }
        assert_eq!((read, reader.is_cut_off()), (recorded, false));
        let bytes = std::fs::read(&path).expect("readable");
        let count = not_recorded.to_string();
        assert!(
            bytes.windows(count.len()).any(|window| window == count.as_bytes()),
            "the count is in the file"
        );
        drop(reader); // Windows keeps a file that is open
        std::fs::remove_dir_all(&folder).expect("this test created it");
    }
}
