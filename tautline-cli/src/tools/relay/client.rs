//! One client of the proxy: a socket of its own towards the target, and a path each way.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use tautline::Instant;
use tautline::sim::{Path, PathCounts, Random};

use super::totals::Totals;
use crate::tools::impair::BothDirections;

/// Datagrams read from one socket in one turn: nobody keeps the others waiting.
pub(super) const READ_AT_ONCE: usize = 64;

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    address: SocketAddr,
    /// Connected to the target: only what the target sends reaches it.
    upstream: UdpSocket,
    to_target: Path,
    to_client: Path,
    totals: Totals,
    pub(super) last_seen: Instant,
}

impl Client {
    /// Opens the socket of the `serial`-th client.
    pub(super) fn open(
        address: SocketAddr,
        target: SocketAddr,
        ways: &BothDirections,
        seed: u64,
        serial: u64,
        now: Instant,
    ) -> io::Result<Self> {
        let any: SocketAddr = match target {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let upstream = UdpSocket::bind(any)?;
        upstream.connect(target)?;
        upstream.set_nonblocking(true)?;
        let path =
            |impairments, way| Path::new(impairments, Random::stream(seed, 2 * serial + way).next_u64());
        Ok(Self {
            address,
            upstream,
            to_target: path(ways.to_target, 0),
            to_client: path(ways.to_client, 1),
            totals: Totals::default(),
            last_seen: now,
        })
    }

    pub(super) fn upstream(&self) -> &UdpSocket {
        &self.upstream
    }

    /// Changes what happens to its datagrams from now on.
    pub(super) fn impair(&mut self, ways: &BothDirections) {
        self.to_target.impair(ways.to_target);
        self.to_client.impair(ways.to_client);
    }

    /// The client has sent this.
    pub(super) fn offer(&mut self, now: Instant, datagram: &[u8]) {
        self.last_seen = now;
        self.to_target.offer(now, datagram);
    }

    /// Reads what the target has answered.
    pub(super) fn read(&mut self, now: Instant, buffer: &mut [u8]) {
        for _ in 0..READ_AT_ONCE {
            match self.upstream.recv(buffer) {
                Ok(len) => {
                    self.last_seen = now;
                    self.to_client.offer(now, &buffer[..len]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => self.note(&error),
            }
        }
    }

    /// Sends on what is due.
    pub(super) fn deliver(&mut self, now: Instant, front: &UdpSocket) {
        while let Some(delivery) = self.to_target.poll(now) {
            // A refusal that is told now was that of an earlier datagram: this one is tried again.
            let mut sent = self.upstream.send(&delivery.datagram);
            if let Err(error) = &sent
                && error.kind() == io::ErrorKind::ConnectionRefused
            {
                self.totals.refusals += 1;
                sent = self.upstream.send(&delivery.datagram);
            }
            self.totals.to_target.sent(sent.is_ok());
        }
        while let Some(delivery) = self.to_client.poll(now) {
            self.totals.to_client.sent(front.send_to(&delivery.datagram, self.address).is_ok());
        }
    }

    /// When something is due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        [self.to_target.next_timeout(), self.to_client.next_timeout()].into_iter().flatten().min()
    }

    /// What became of its datagrams.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = self.totals;
        let with = |counts: PathCounts, sent| super::totals::DirectionTotals { counts, ..sent };
        totals.to_target = with(self.to_target.counts(), totals.to_target);
        totals.to_client = with(self.to_client.counts(), totals.to_client);
        totals
    }

    /// An error of the socket: with nobody at the target's port, its host says so.
    fn note(&mut self, error: &io::Error) {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            self.totals.refusals += 1;
        }
    }
}
