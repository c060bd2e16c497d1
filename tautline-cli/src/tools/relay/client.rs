//! One client of the relay: its own socket towards the target, and one path in each direction.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tautline::sim::{Path, PathCounts, Random};
use tautline::{Instant, ServerSocket};
use tautline_proto::wire::native::looks_native;

use super::tap::Tap;
use super::totals::Totals;
use crate::tools::impair::BothDirections;

/// The number of datagrams read from one socket in one turn. The bound keeps one client from delaying the others.
pub(super) const READ_AT_ONCE: usize = 64;

/// The time between two looks whether the system would send from another address now.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A target that has not answered for this time is taken for dead, if its name has further addresses.
pub(super) const UNANSWERED: Duration = Duration::from_secs(1);

/// A client of the relay.
#[derive(Debug)]
pub(super) struct Client {
    address: SocketAddr,
    target: SocketAddr,
    /// The socket is connected to the target, so it receives datagrams from the target only.
    upstream: UdpSocket,
    to_target: Path,
    to_client: Path,
    totals: Totals,
    pub(super) last_seen: Instant,
    /// When the target was last heard, or its way was last looked at.
    checked: Instant,
    /// When the target was last heard, or became the target.
    heard: Instant,
    /// Whether the target's host has reported since then that nobody listens.
    is_refused: bool,
}

impl Client {
    /// Opens the socket of client number `serial`. The number and `seed` determine its random losses.
    pub(super) fn open(
        address: SocketAddr,
        target: SocketAddr,
        impairments: &BothDirections,
        seed: u64,
        serial: u64,
        now: Instant,
    ) -> io::Result<Self> {
        let upstream = towards(target)?;
        let path =
            |impairments, side| Path::new(impairments, Random::stream(seed, 2 * serial + side).next_u64());
        Ok(Self {
            address,
            target,
            upstream,
            to_target: path(impairments.to_target, 0),
            to_client: path(impairments.to_client, 1),
            totals: Totals::default(),
            last_seen: now,
            checked: now,
            heard: now,
            is_refused: false,
        })
    }

    pub(super) fn upstream(&self) -> &UdpSocket {
        &self.upstream
    }

    /// Changes the impairments of the client's later datagrams.
    pub(super) fn impair(&mut self, impairments: &BothDirections) {
        self.to_target.impair(impairments.to_target);
        self.to_client.impair(impairments.to_client);
    }

    /// Returns the address that the client's datagrams are sent on to.
    pub(super) const fn target(&self) -> SocketAddr {
        self.target
    }

    /// Takes in a datagram that the client sent.
    pub(super) fn offer(&mut self, now: Instant, datagram: &[u8]) {
        self.last_seen = now;
        self.to_target.offer(now, datagram);
    }

    /// Returns whether the target was not heard for a while, so that its way should be [looked at](Self::follow).
    pub(super) fn is_unheard(&self, now: Instant) -> bool {
        now.since(self.checked) >= LOOK_EVERY
    }

    /// Returns whether the target seems to be dead: its host has reported that nobody listens there, or it has not answered a
    /// datagram like this one for long. Only native datagrams are always answered.
    pub(super) fn has_dead_target(&self, now: Instant, datagram: &[u8]) -> bool {
        self.is_refused || (looks_native(datagram) && now.since(self.heard) >= UNANSWERED)
    }

    /// Takes another socket if the target is at another address now, or this host has another address towards it. A socket keeps the
    /// address that it had when it was connected, also when the host has lost it, and nothing more arrives there.
    pub(super) fn follow(&mut self, now: Instant, target: SocketAddr) {
        (self.checked, self.is_refused) = (now, false);
        if let Ok(other) = towards(target)
            && (target != self.target || local_ip(&other) != local_ip(&self.upstream))
        {
            (self.target, self.upstream, self.heard) = (target, other, now);
        }
    }

    /// Reads the target's answers.
    pub(super) fn read(&mut self, now: Instant, buffer: &mut [u8], mut tap: Option<&mut Tap>) {
        for _ in 0..READ_AT_ONCE {
            match self.upstream.recv(buffer) {
                Ok(len) => {
                    (self.last_seen, self.checked, self.heard, self.is_refused) = (now, now, now, false);
                    if let Some(tap) = &mut tap {
                        tap.take(false, self.address, self.target, &buffer[..len]);
                    }
                    self.to_client.offer(now, &buffer[..len]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => self.note(&error),
            }
        }
    }

    /// Sends the datagrams that are due.
    pub(super) fn deliver(&mut self, now: Instant, front: &ServerSocket) {
        while let Some(delivery) = self.to_target.poll(now) {
            // The kernel reports the refusal of an earlier datagram here, so this datagram is sent again.
            let mut sent = self.upstream.send(&delivery.datagram);
            if let Err(error) = &sent
                && error.kind() == io::ErrorKind::ConnectionRefused
            {
                self.note(error);
                sent = self.upstream.send(&delivery.datagram);
            }
            self.totals.to_target.sent(sent.is_ok());
        }
        while let Some(delivery) = self.to_client.poll(now) {
            self.totals.to_client.sent(front.send(&delivery.datagram, self.address).is_ok());
        }
    }

    /// Returns the time at which the next datagram is due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        [self.to_target.next_timeout(), self.to_client.next_timeout()].into_iter().flatten().min()
    }

    /// Returns the totals of the client's datagrams.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = self.totals;
        let with = |counts: PathCounts, sent| super::totals::DirectionTotals { counts, ..sent };
        totals.to_target = with(self.to_target.counts(), totals.to_target);
        totals.to_client = with(self.to_client.counts(), totals.to_client);
        totals
    }

    /// Counts an error of the socket. The target's host reports "connection refused" if no socket has the port.
    fn note(&mut self, error: &io::Error) {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            self.totals.refusals += 1;
            self.is_refused = true;
        }
    }
}

/// Opens a socket that is connected to the target. The system chooses its address.
fn towards(target: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn local_ip(socket: &UdpSocket) -> Option<IpAddr> {
    socket.local_addr().ok().map(|address| address.ip())
}
