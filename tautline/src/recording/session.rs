//! The recording of an interface. The driver offers the messages that it hands out, and a separate thread writes them to a
//! file.
//!
//! Messages wait in a queue of their own between the two. The driver never waits for the disk: what the queue has no room for is
//! counted.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tautline_proto::MessageRef;

use super::recorder::{Counts, RecordError, Recorder, RecordingFiles, numbered};
use super::view::MessageView;
use crate::config::InboxPolicy;
use crate::message::Arrival;
use crate::message::pool::Pool;
use crate::receiving::inbox::{Inbox, ReceiveError};
use crate::receiving::waiting::Limits;
use crate::sync::driver_flags::DriverFlags;
use crate::sync::latches::Latches;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, lock, park_until, wait_for};

/// The most messages and bytes that wait to be written.
const MOST_WAITING: usize = if cfg!(test) { 1_000 } else { 65_536 };
const MOST_WAITING_BYTES: usize = 64 << 20;

/// The thread looks around at least this often.
const LOOK_EVERY: Duration = Duration::from_millis(20);

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
    queue: Arc<Inbox>,
    /// Its `records` says whether the driver offers messages.
    flags: Arc<DriverFlags>,
    present: Mutex<Option<Present>>,
}

/// The present recording, or the last one.
struct Present {
    path: PathBuf,
    /// What the queue had counted before: taken and dropped.
    before: [u64; 2],
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("is_on", &self.flags.are_recording()).finish_non_exhaustive()
    }
}

impl Recording {
    pub(crate) fn new(pool: Arc<Pool>, latches: Arc<Latches>, flags: Arc<DriverFlags>) -> Self {
        let queue = Arc::new(Inbox::new(pool, latches));
        Self { queue, flags, present: Mutex::new(None) }
    }

    /// Offers a message to the file. Called while there is one.
    #[inline(never)] // keeps this code out of the path of interfaces without a recording
    pub(crate) fn offer(&self, message: &MessageRef<'_>, arrival: &Arrival) {
        self.queue.offer(message, *arrival, Limits::NONE);
    }

    /// Begins a file: for `run.mcap`, one such as `run-1795965519400.mcap`, with the time in milliseconds.
    pub(crate) fn begin(&self, path: &Path, now_ms: i64) -> Result<(), RecordError> {
        let path = numbered(path, &now_ms.to_string());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| RecordError { path: path.clone(), error })?;
        }
        let recorder = Recorder::open(RecordingFiles { path: path.clone(), ..RecordingFiles::default() })?;
        self.queue.open(MOST_WAITING, MOST_WAITING_BYTES, InboxPolicy::DropOldest);
        let before = self.counts();
        self.flags.records.store(true, Ordering::Relaxed);
        let (queue, flags) = (Arc::clone(&self.queue), Arc::clone(&self.flags));
        let write = move || write(recorder, &queue, &flags.records, before[1]);
        let thread = thread::Builder::new().name("tautline-record".to_owned()).spawn(write);
        let thread = thread.map_err(|error| {
            self.flags.records.store(false, Ordering::Relaxed);
            RecordError { path: path.clone(), error }
        })?;
        *lock(&self.present) = Some(Present { path, before, thread: Some(thread) });
        Ok(())
    }

    /// Writes what waits, and ends the file. The driver offers nothing any more.
    pub(crate) fn end(&self) {
        self.flags.records.store(false, Ordering::Relaxed);
        let thread = lock(&self.present).as_mut().and_then(|present| present.thread.take());
        if let Some(thread) = thread {
            // One that panicked is a bug of ours. The connection ends all the same.
            wait_for(thread);
        }
        self.queue.close();
    }

    /// What the queue has counted: messages taken, and dropped.
    fn counts(&self) -> [u64; 2] {
        let stats = self.queue.stats();
        [stats.taken, stats.dropped.total()]
    }

    pub(crate) fn status(&self) -> Option<RecordingStatus> {
        let present = lock(&self.present);
        let Present { path, before, .. } = present.as_ref()?;
        let [recorded, not_recorded] = self.counts();
        let path = path.clone();
        Some(RecordingStatus { path, recorded: recorded - before[0], not_recorded: not_recorded - before[1] })
    }
}

/// Writes messages until the recording is turned off and none waits any more.
fn write(mut recorder: Recorder, queue: &Inbox, is_on: &AtomicBool, dropped_before: u64) {
    let counts = || {
        let missed = queue.stats().dropped.total() - dropped_before;
        Counts::from([("not_recorded".to_owned(), missed.to_string())])
    };
    let written = loop {
        let was_on = is_on.load(Ordering::Relaxed);
        let received = queue.receive_within(Some(LOOK_EVERY), &mut |deadline, _| park_until(deadline));
        let result = match received {
            Ok(message) => recorder.write(&MessageView::of(&message), &counts).and_then(|()| recorder.turn()),
            Err(ReceiveError::TimedOut) if was_on => recorder.turn(),
            Err(_) => break recorder.finish(counts()).map(drop),
        };
        if result.is_err() {
            break result;
        }
    };
    if let Err(error) = written {
        // From now on nothing is recorded. What still waits is counted when the queue is closed.
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
    fn what_comes_faster_than_it_is_written_is_counted() {
        let folder = std::env::temp_dir().join(format!("tautline-record-fast-{}", std::process::id()));
        let recording = Recording::new(Arc::new(Pool::new()), Arc::default(), Arc::default());
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
