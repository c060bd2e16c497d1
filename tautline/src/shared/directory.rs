//! The peers and their counters, for readers on any thread.
//!
//! The driver adds and removes peers. A reader of statistics adds up what it finds. The counts of a removed peer move to
//! the retired sums under the same lock, so that a reader sees them exactly once.

use crate::sync::{Arc, Mutex};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tautline_proto::endpoint::PeerHandle;
use tautline_proto::{InboundCounters, InboundStats, PeerId, PeerRxStats, PeerTxStats, SessionId};

use crate::machine::socket::{Socket, as_users_know, headers_to};
use crate::sync::{lock, log::LineLimit};
use tautline_proto::ConnectionState;

/// What is known of one peer now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Its id.
    pub id: PeerId,
    /// Its address. On a secured link, it may become another one ([`Event::PeerMoved`](crate::Event::PeerMoved)).
    pub address: SocketAddr,
    /// Its interface's name; empty on the classic wire.
    pub name: String,
    /// Who it is by its key: the NAME of the table `[keys.NAME]` that has the key. Empty for a key of `key_file`, which
    /// everybody shares. `None` on a plain link.
    pub identity: Option<Arc<str>>,
    /// Its session; `None` on the classic wire.
    pub session: Option<SessionId>,
    /// `Connecting` until the link is established, `Stale` while heartbeats are overdue, `Reconnecting` while it is silent.
    pub state: ConnectionState,
    /// The counters of what it sent.
    pub received: PeerRxStats,
    /// The counters of what was sent to it.
    pub sent: PeerTxStats,
}

impl PeerInfo {
    /// The largest packet that is sent to it now, in bytes, with the headers of IP and UDP: what its path is known to carry.
    /// `None` on the classic wire, where IP fragments what is larger.
    #[must_use]
    pub fn path_mtu(&self) -> Option<usize> {
        let size = usize::try_from(self.sent.datagram_size).ok().filter(|&size| size > 0)?;
        Some(size + headers_to(self.address))
    }
}

/// The present peers, and the sums of former peers.
#[derive(Debug, Default)]
pub(crate) struct Directory(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    peers: BTreeMap<PeerId, Entry>,
    /// The counters of the present connection.
    inbound: Option<Arc<InboundCounters>>,
    socket: Option<Arc<Socket>>,
    /// Connections that have ended, but whose drivers may still count. One for each handler that has ended its connection and not
    /// returned yet.
    ended: Vec<Ended>,
    retired: Totals,
}

/// A connection that has ended.
#[derive(Debug)]
struct Ended {
    inbound: Arc<InboundCounters>,
    peers: Vec<PeerHandle>,
}

#[derive(Debug)]
struct Entry {
    handle: PeerHandle,
    state: ConnectionState,
    since: Instant,
    /// Limits its events that count as those of the link.
    events: LineLimit,
}

/// A peer of a server that came less long ago is a stranger: its events displace no others.
const STRANGER_TIME: Duration = Duration::from_secs(10);

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
        inner.inbound = Some(counters);
        inner.socket = Some(socket);
    }

    /// Runs `act` with the socket of the present connection. The lock is held, so that a disconnect closes the socket afterwards,
    /// and before it returns.
    #[cfg(unix)]
    pub(crate) fn with_socket<R>(&self, act: impl FnOnce(&Socket) -> R) -> Option<R> {
        lock(&self.0).socket.as_deref().map(act)
    }

    /// Ends a connection: all peers are gone. If a handler has ended it, the turn that called the handler still counts the messages
    /// of its datagram, so the counters are kept until its driver has ended.
    pub(crate) fn end(&self) {
        self.ask_kernel();
        let mut inner = lock(&self.0);
        let peers = std::mem::take(&mut inner.peers).into_values().map(|entry| entry.handle).collect();
        if let Some(inbound) = inner.inbound.take() {
            inner.ended.push(Ended { inbound, peers });
        }
        inner.sum_up();
        let socket = inner.socket.take();
        inner.retired.kernel_drops += socket.as_ref().map_or(0, |socket| socket.kernel_drops_seen());
        // Dropping the socket may close it.
        drop(inner);
    }

    /// The socket's local address; `None` while disconnected, and while the socket waits for its address.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        lock(&self.0).socket.as_ref()?.local_address()
    }

    /// Asks the kernel what it has dropped, without the lock. The socket keeps the answer.
    fn ask_kernel(&self) {
        let socket = lock(&self.0).socket.clone();
        socket.inspect(|socket| _ = socket.kernel_drops());
    }

    pub(crate) fn add(&self, handle: PeerHandle) {
        let (since, events) = (Instant::now(), LineLimit::default());
        let entry = Entry { state: ConnectionState::Connecting, handle, since, events };
        lock(&self.0).peers.insert(entry.handle.id, entry);
    }

    pub(crate) fn remove(&self, id: PeerId) {
        lock(&self.0).retire(id);
    }

    /// Whether the peer is gone, or came not long ago.
    pub(crate) fn is_stranger(&self, id: PeerId) -> bool {
        lock(&self.0).peers.get(&id).is_none_or(|entry| entry.since.elapsed() < STRANGER_TIME)
    }

    /// Whether this peer has brought about more than ten events in this second, with the one that it brings about now.
    pub(crate) fn tells_too_much(&self, id: PeerId, now: Instant) -> bool {
        lock(&self.0).peers.get(&id).is_some_and(|entry| entry.events.allow(now).is_none())
    }

    pub(crate) fn set_name(&self, id: PeerId, name: String) {
        if let Some(entry) = lock(&self.0).peers.get_mut(&id) {
            entry.handle.name = name;
        }
    }

    /// The peer moved to this address, as the socket has it.
    pub(crate) fn set_address(&self, id: PeerId, address: SocketAddr) {
        if let Some(entry) = lock(&self.0).peers.get_mut(&id) {
            entry.handle.address = address;
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

    /// Returns the address of a peer as the socket has it.
    pub(crate) fn socket_address(&self, id: PeerId) -> Option<SocketAddr> {
        lock(&self.0).peers.get(&id).map(|entry| entry.handle.address)
    }

    pub(crate) fn all(&self) -> Vec<PeerInfo> {
        lock(&self.0).peers.values().map(Entry::info).collect()
    }

    /// Returns the sums, and the number of peers.
    pub(crate) fn totals(&self) -> (Totals, usize) {
        self.ask_kernel();
        let mut inner = lock(&self.0);
        inner.sum_up();
        let mut totals = inner.retired;
        inner.ended.iter().for_each(|ended| totals.add_ended(ended));
        if !inner.peers.is_empty() {
            // A gauge: only the present peers count.
            totals.sent.next_sequence = 0;
        }
        inner.peers.values().for_each(|entry| totals.add(&entry.handle));
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
            self.retired.add_former(&entry.handle);
        }
    }

    /// Adds up the connections whose drivers have ended: nobody counts there any more.
    fn sum_up(&mut self) {
        let Self { ended, retired, .. } = self;
        ended.retain_mut(|ended| {
            // The driver's reference is gone, and what it counted before is visible (`get_mut` acquires).
            let is_final = Arc::get_mut(&mut ended.inbound).is_some();
            if is_final {
                retired.add_ended(ended);
            }
            !is_final
        });
    }
}

impl Totals {
    fn add(&mut self, handle: &PeerHandle) {
        self.received.merge(&handle.rx.snapshot());
        self.sent.merge(&handle.tx.snapshot());
    }

    /// Adds a peer that is gone. No datagram will fill the gaps any more.
    fn add_former(&mut self, handle: &PeerHandle) {
        self.add(handle);
        self.received.lost += std::mem::take(&mut self.received.missing);
    }

    fn add_ended(&mut self, ended: &Ended) {
        ended.peers.iter().for_each(|handle| self.add_former(handle));
        self.inbound.merge(&ended.inbound.snapshot());
    }
}

impl Entry {
    fn info(&self) -> PeerInfo {
        PeerInfo {
            id: self.handle.id,
            address: as_users_know(self.handle.address),
            name: self.handle.name.clone(),
            identity: self.handle.identity.clone(),
            session: self.handle.session,
            state: self.state,
            received: self.handle.rx.snapshot(),
            sent: self.handle.tx.snapshot(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tautline_proto::endpoint::{EndpointConfig, Event, Role, Start, WireFormat, endpoint};

    use super::*;
    use crate::machine::clock::Clock;

    /// A server that has a peer.
    fn with_peer() -> (Directory, PeerId) {
        let start = Start { seed: [1; 16], entropy: [1; 32], first_number: 0, peers_before: 0 };
        let config = EndpointConfig::new(Role::Client, WireFormat::Classic(Default::default()));
        let (mut inbound, _outbound) = endpoint(config, start);
        let now = Clock::start().now();
        inbound.dial(([127, 0, 0, 1], 1).into(), now);
        let added = std::iter::from_fn(|| inbound.poll_event(now)).find_map(|event| match event {
            Event::Added(handle) => Some(handle),
            _ => None,
        });
        let (directory, handle) =
            (Directory::default(), added.expect("a classic client has its server at once"));
        let id = handle.id;
        directory.add(handle);
        (directory, id)
    }

    #[test]
    fn a_peer_that_tells_much_is_found() {
        let (directory, peer) = with_peer();
        let now = Instant::now();
        let told = (0..1_000).filter(|_| !directory.tells_too_much(peer, now)).count();
        assert_eq!(told, 10);
        assert!(!directory.tells_too_much(peer, now + Duration::from_secs(1)));
        assert!(!directory.tells_too_much(PeerId::none(), now), "of nobody");
    }
}
