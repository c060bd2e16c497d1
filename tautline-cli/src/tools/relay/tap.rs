//! Copies of the datagrams that a relay carries, for a thread that looks at them. Looking takes time, and relaying must not wait.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tautline::WallTime;

use crate::tools::observe::Passing;
use tautline::recording::canonical;

/// The most datagrams that wait to be looked at.
const MOST_WAITING: usize = 65_536;
/// The most bytes of the datagrams that wait.
const MOST_BYTES: usize = 64 << 20;

/// The end that the relay writes to.
#[derive(Debug)]
pub(super) struct Tap {
    sender: SyncSender<TappedDatagram>,
    shared: Arc<Shared>,
}

/// The end that the looking thread reads.
#[derive(Debug)]
pub(super) struct Tapped {
    receiver: Receiver<TappedDatagram>,
    shared: Arc<Shared>,
}

/// A datagram that the relay has received.
#[derive(Debug)]
pub(super) struct TappedDatagram {
    at: WallTime,
    from_client: bool,
    client: SocketAddr,
    target: SocketAddr,
    bytes: Vec<u8>,
}

impl TappedDatagram {
    /// Returns the datagram as an observer reads it.
    pub(super) fn passing(&self) -> Passing<'_> {
        let (from, to) =
            if self.from_client { (self.client, self.target) } else { (self.target, self.client) };
        Passing { at: self.at, from, to, from_client: Some(self.from_client), bytes: &self.bytes }
    }
}

/// Both are counts that no other memory depends on, so relaxed order is enough. `waiting` is at least the bytes in the channel:
/// it is raised before a datagram is sent, and lowered after it was received.
#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    dropped: AtomicU64,
}

/// Creates both ends.
pub(super) fn tap() -> (Tap, Tapped) {
    let (sender, receiver) = sync_channel(MOST_WAITING);
    let shared = Arc::<Shared>::default();
    (Tap { sender, shared: Arc::clone(&shared) }, Tapped { receiver, shared })
}

impl Tap {
    /// Takes a copy. If too many wait, it is dropped and counted.
    pub(super) fn take(
        &mut self,
        from_client: bool,
        client: SocketAddr,
        target: SocketAddr,
        datagram: &[u8],
    ) {
        let waiting = self.shared.waiting.fetch_add(datagram.len(), Ordering::Relaxed);
        let (client, target) = (canonical(client), canonical(target));
        let copy = TappedDatagram { at: now(), from_client, client, target, bytes: datagram.to_vec() };
        if waiting > MOST_BYTES || self.sender.try_send(copy).is_err() {
            self.shared.waiting.fetch_sub(datagram.len(), Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Tapped {
    /// Waits for a datagram.
    ///
    /// # Errors
    /// `Timeout` if none came in time, `Disconnected` once the relay is gone and all were taken.
    pub(super) fn next(&self, wait: Duration) -> Result<TappedDatagram, RecvTimeoutError> {
        let copy = self.receiver.recv_timeout(wait)?;
        self.shared.waiting.fetch_sub(copy.bytes.len(), Ordering::Relaxed);
        Ok(copy)
    }

    /// Returns how many datagrams were dropped because too many waited.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

/// Returns the time on the wall clock of this machine.
fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
