//! The peers and their counters, for readers on any thread.
//!
//! The driver adds and removes peers. A reader of statistics adds up what it finds. The counts of a removed peer move to
//! the retired sums under the same lock, so that a reader sees them exactly once.

use crate::sync::{Arc, Mutex};
use std::collections::BTreeMap;
use std::net::SocketAddr;

use tautline_proto::endpoint::PeerHandle;
use tautline_proto::{InboundCounters, InboundStats, PeerId, PeerRxStats, PeerTxStats, SessionId};

use crate::machine::socket::Socket;
use crate::sync::lock;
use tautline_proto::ConnectionState;

/// What is known of one peer now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Its id.
    pub id: PeerId,
    /// Its address.
    pub address: SocketAddr,
    /// Its interface's name; empty on the classic wire.
    pub name: String,
    /// Its session; `None` on the classic wire.
    pub session: Option<SessionId>,
    /// `Connecting` until the link is established, `Stale` while heartbeats are overdue, `Reconnecting` while it is silent.
    pub state: ConnectionState,
    /// The counters of what it sent.
    pub received: PeerRxStats,
    /// The counters of what was sent to it.
    pub sent: PeerTxStats,
}

/// The present peers, and the sums of former peers.
#[derive(Debug, Default)]
pub(crate) struct Directory(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    peers: BTreeMap<PeerId, Entry>,
    /// The counters of the present connection, or of the last one.
    inbound: Option<Arc<InboundCounters>>,
    socket: Option<Arc<Socket>>,
    retired: Totals,
}

#[derive(Debug)]
struct Entry {
    handle: PeerHandle,
    state: ConnectionState,
}

/// The sums over all peers and datagrams since the interface was made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) received: PeerRxStats,
    pub(crate) sent: PeerTxStats,
    pub(crate) inbound: InboundStats,
    pub(crate) kernel_drops: u64,
}

impl Directory {
    /// Begins a connection with these counters and this socket.
    pub(crate) fn begin(&self, counters: Arc<InboundCounters>, socket: Arc<Socket>) {
        let mut inner = lock(&self.0);
        if let Some(former) = inner.inbound.replace(counters) {
            inner.retired.inbound.merge(&former.snapshot());
        }
        inner.socket = Some(socket);
    }

    /// Ends a connection: all peers are gone. The counters of datagrams and messages stay until the next connection begins.
    /// If a handler has ended the connection, the turn that called the handler still counts what it does not hand out.
    pub(crate) fn end(&self) {
        self.ask_kernel();
        let mut inner = lock(&self.0);
        let ids: Vec<_> = inner.peers.keys().copied().collect();
        ids.into_iter().for_each(|id| inner.retire(id));
        let socket = inner.socket.take();
        inner.retired.kernel_drops += socket.as_ref().map_or(0, |socket| socket.kernel_drops_seen());
        // Dropping the socket may close it.
        drop(inner);
    }

    /// Asks the kernel what it has dropped, without the lock. The socket keeps the answer.
    fn ask_kernel(&self) {
        let socket = lock(&self.0).socket.clone();
        socket.inspect(|socket| _ = socket.kernel_drops());
    }

    pub(crate) fn add(&self, handle: PeerHandle) {
        let entry = Entry { state: ConnectionState::Connecting, handle };
        lock(&self.0).peers.insert(entry.handle.id, entry);
    }

    pub(crate) fn remove(&self, id: PeerId) {
        lock(&self.0).retire(id);
    }

    pub(crate) fn set_name(&self, id: PeerId, name: String) {
        if let Some(entry) = lock(&self.0).peers.get_mut(&id) {
            entry.handle.name = name;
        }
    }

    pub(crate) fn set_state(&self, id: PeerId, state: ConnectionState) {
        if let Some(entry) = lock(&self.0).peers.get_mut(&id) {
            entry.state = state;
        }
    }

    pub(crate) fn get(&self, id: PeerId) -> Option<PeerInfo> {
        lock(&self.0).peers.get(&id).map(Entry::info)
    }

    pub(crate) fn all(&self) -> Vec<PeerInfo> {
        lock(&self.0).peers.values().map(Entry::info).collect()
    }

    /// Returns the sums, and the number of peers.
    pub(crate) fn totals(&self) -> (Totals, usize) {
        self.ask_kernel();
        let inner = lock(&self.0);
        let mut totals = inner.retired;
        if !inner.peers.is_empty() {
            // A gauge: only the present peers count.
            totals.sent.next_sequence = 0;
        }
        inner.peers.values().for_each(|entry| totals.add(entry));
        if let Some(counters) = &inner.inbound {
            totals.inbound.merge(&counters.snapshot());
        }
        totals.kernel_drops += inner.socket.as_ref().map_or(0, |socket| socket.kernel_drops_seen());
        (totals, inner.peers.len())
    }
}

impl Inner {
    fn retire(&mut self, id: PeerId) {
        if let Some(entry) = self.peers.remove(&id) {
            self.retired.add(&entry);
            // No datagram will fill the gaps any more.
            self.retired.received.lost += std::mem::take(&mut self.retired.received.missing);
        }
    }
}

impl Totals {
    fn add(&mut self, entry: &Entry) {
        self.received.merge(&entry.handle.rx.snapshot());
        self.sent.merge(&entry.handle.tx.snapshot());
    }
}

impl Entry {
    fn info(&self) -> PeerInfo {
        PeerInfo {
            id: self.handle.id,
            address: self.handle.address,
            name: self.handle.name.clone(),
            session: self.handle.session,
            state: self.state,
            received: self.handle.rx.snapshot(),
            sent: self.handle.tx.snapshot(),
        }
    }
}
