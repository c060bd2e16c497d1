//! The UDP socket: opens, sends and reads without blocking, and waits with a wake-up.
//!
//! Called by `connection` (opens), `sending` (sends) and `driver` (reads and waits). Uses `sync` and `machine::fault`. The
//! calls that differ between platforms are in the submodules. It never blocks, except in [`SocketWaiter::wait`].

#[cfg(unix)]
mod calls;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
mod lacking;
mod mark;
pub(crate) mod options;
mod path;
pub(crate) mod place;
pub(crate) mod server;
#[cfg(unix)]
mod sleeping;
mod sources;
mod wait;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(all(unix, not(target_os = "linux")))]
mod portable;
#[cfg(windows)]
mod windows;

use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering, lock};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use tautline_proto::{Priority, WallTime};

use crate::machine::fault::SocketFault;
use lacking::Lacking;
use mark::Mark;
pub(crate) use path::{IpFragments, headers_to};
pub use sleeping::SocketsWaiter;
#[cfg(any(target_os = "linux", windows))]
pub(in crate::machine) use sleeping::is_precise;
pub(crate) use sources::Source;
use sources::Sources;
pub(crate) use wait::{SocketWaiter, SocketWaker};

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(target_os = "linux")]
pub(in crate::machine) use linux::set_option;
#[cfg(all(unix, not(target_os = "linux")))]
use portable as platform;
#[cfg(windows)]
use windows as platform;
#[cfg(windows)]
use windows::{calls, sleeping};

/// The size of a receive buffer: the largest UDP datagram, and one byte more.
pub(crate) const RECEIVE_BUFFER: usize = 65_536;

/// How often a call is tried if the kernel first returns errors of earlier datagrams. A router answers each datagram of a pack
/// that is too large for it, so several errors may come one after the other.
const TRIES: usize = 8;

/// The most errors of earlier datagrams that are read in a row. Datagrams that have come meanwhile are read next.
const MAX_ERRORS: usize = 64;

/// Whether the errors of a server's earlier datagrams wait in a queue of their own.
const HAS_ERROR_QUEUE: bool = cfg!(target_os = "linux");

/// The address as users know it: IPv4 where a socket of IPv6 has mapped it.
#[inline]
pub(crate) fn as_users_know(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => v6_as_users_know(v6),
    }
}

#[inline(never)] // keeps this code out of the path of IPv4 addresses
fn v6_as_users_know(address: SocketAddrV6) -> SocketAddr {
    // Keeps the zone of an address that is IPv6.
    address.ip().to_ipv4_mapped().map_or(address.into(), |ip| (ip, address.port()).into())
}

/// The address that stands for every address of this host: the IPv6 one, whose socket takes IPv4 too, unless there is no IPv6.
pub(crate) fn everywhere(port: u16) -> SocketAddr {
    let both = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
    let tried =
        Socket::open(&place::Place::at(both), false).and_then(|socket| socket.place(&place::Place::at(both)));
    let any: IpAddr = match tried {
        Ok(()) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(any, port)
}

/// A non-blocking UDP socket. The socket of a client is connected to its server.
#[derive(Debug)]
pub(crate) struct Socket {
    udp: UdpSocket,
    is_client: bool,
    /// The local address; `None` while the socket is at no [place](place). Only the thread that places it writes.
    local: Mutex<Option<SocketAddr>>,
    /// The family of its addresses.
    ///
    /// Order: relaxed; written with the transmit lock held, and read for marks alone otherwise, with that lock held too.
    is_ipv6: AtomicBool,
    /// The calls that the system refuses, for example in a sandbox. The socket does without them.
    lacking: Lacking,
    /// What [`IpFragments`] was set to.
    ///
    /// Order: relaxed; only the holder of the transmit lock writes and reads it once the socket is shared.
    allows_ip_fragments: AtomicBool,
    /// Whether several datagrams may be sent in one call (UDP GSO). Turned off when the kernel or the network card cannot do
    /// it.
    ///
    /// Order: relaxed; only the holder of the transmit lock writes it, and nothing depends on when it is seen.
    segments: AtomicBool,
    /// Whether reads must ask for more than the bytes: the size of each datagram (UDP GRO), its time stamp, or the address
    /// that it was for.
    ///
    /// Order: relaxed; set before the socket is shared, and then only by the driver, which is the only reader.
    asks_for_more: AtomicBool,
    /// Whether a read may return several datagrams (UDP GRO).
    ///
    /// Order: relaxed; only the driver reads and writes.
    coalesced: AtomicBool,
    /// Whether the kernel stamps datagrams on arrival.
    ///
    /// Order: relaxed; set before the socket is shared, and then only by the driver, which is the only reader.
    stamped: AtomicBool,
    /// The number of datagrams that the kernel had dropped at the last look. The kernel's counter is the low half.
    ///
    /// Order: relaxed; it only grows (`fetch_max`), so nothing counts twice, whatever the order of the looks.
    dropped: AtomicU64,
    /// The number of datagrams that were dropped before another socket was put behind the descriptor.
    ///
    /// Order: relaxed; only the driver writes it.
    dropped_before: AtomicU64,
    /// Whether a call has cleared the error of an earlier datagram, so that no read returns it.
    ///
    /// Order: relaxed; only the time of the report depends on when it is seen.
    cleared_error: AtomicBool,
    /// How many errors of earlier datagrams sends have cleared at a client since the driver took them, and the system's number of
    /// the latest one. At a server, the error queue keeps them.
    ///
    /// Order: relaxed; `cleared_error` tells the driver to look, and a count that is seen late is taken at the next look.
    cleared: AtomicU64,
    cleared_errno: AtomicU64,
    /// Whether the socket is bound to all addresses of this host, and answers each peer from the one that it called.
    ///
    /// Order: relaxed; set before the socket is shared.
    answers_as_called: AtomicBool,
    /// Where each peer called, then.
    sources: Sources,
}

/// The buffers that the kernel granted, in bytes; `None` if it does not report them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) receive_buffer: Option<usize>,
    pub(crate) send_buffer: Option<usize>,
}

/// One or more datagrams of one sender, which a read has put into the buffer one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrived {
    /// The bytes of all datagrams.
    pub(crate) len: usize,
    /// The length of each datagram, except the last, which may be shorter.
    pub(crate) each: usize,
    /// The address of the sender; `None` at a client: it is the server.
    pub(crate) from: Option<SocketAddr>,
    /// When the kernel got them, if it stamps datagrams.
    pub(crate) stamp: Option<WallTime>,
}

impl Arrived {
    const fn one(len: usize, from: Option<SocketAddr>) -> Self {
        Self { len, each: len, from, stamp: None }
    }

    /// The datagrams in the buffer. An empty datagram counts too.
    pub(crate) fn datagrams<'a>(&self, buffer: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (mut rest, each) = (Some(&buffer[..self.len]), self.each.max(1));
        std::iter::from_fn(move || {
            let bytes = rest?;
            let (datagram, others) = bytes.split_at(each.min(bytes.len()));
            rest = (!others.is_empty()).then_some(others);
            Some(datagram)
        })
    }
}

/// The result of a read.
#[derive(Debug)]
pub(crate) enum Received {
    /// Datagrams arrived. The read has filled in which.
    Datagrams,
    /// No datagram waits.
    Empty,
    /// The network reports an error of an earlier datagram. At a client, that was for the server.
    Unreachable(io::Error),
    /// The read failed. It is unknown whether datagrams wait.
    Failed(io::Error),
}

impl Socket {
    fn from_udp(udp: UdpSocket, is_client: bool, is_ipv6: bool) -> io::Result<Self> {
        udp.set_nonblocking(true)?;
        let lacking = Lacking::of(&udp);
        let [segments, asks_for_more, coalesced, stamped, cleared_error, answers_as_called] =
            [const { AtomicBool::new(false) }; 6];
        Ok(Self {
            udp,
            is_client,
            local: Mutex::new(None),
            is_ipv6: AtomicBool::new(is_ipv6),
            lacking,
            allows_ip_fragments: AtomicBool::new(true),
            segments,
            asks_for_more,
            coalesced,
            stamped,
            dropped: AtomicU64::new(0),
            dropped_before: AtomicU64::new(0),
            cleared_error,
            cleared: AtomicU64::new(0),
            cleared_errno: AtomicU64::new(0),
            answers_as_called,
            sources: Sources::default(),
        })
    }

    /// The family of its addresses.
    pub(crate) fn is_ipv6(&self) -> bool {
        self.is_ipv6.load(Ordering::Relaxed)
    }

    /// Allows several datagrams in one send call, if the kernel can do that.
    pub(crate) fn allow_segments(&self) {
        let can = self.lacking.sendmsg.is_none() && platform::can_segment(&self.udp);
        self.segments.store(can, Ordering::Relaxed);
    }

    /// Allows several datagrams in one read, if the kernel can do that. Not from the start: a read that asks for their size
    /// takes a tenth longer.
    pub(crate) fn coalesce(&self) {
        if self.lacking.recvmsg.is_none()
            && !self.coalesced.load(Ordering::Relaxed)
            && platform::coalesce(&self.udp)
        {
            self.coalesced.store(true, Ordering::Relaxed);
            self.asks_for_more.store(true, Ordering::Relaxed);
        }
    }

    /// Lets the kernel stamp datagrams on arrival. Returns whether it does.
    pub(crate) fn stamp(&self) -> bool {
        let stamps = self.is_stamping() || (self.lacking.recvmsg.is_none() && platform::stamp(&self.udp));
        self.stamped.store(stamps, Ordering::Relaxed);
        self.asks_for_more.fetch_or(stamps, Ordering::Relaxed);
        stamps
    }

    /// Whether the kernel stamps datagrams on arrival.
    pub(crate) fn is_stamping(&self) -> bool {
        self.stamped.load(Ordering::Relaxed)
    }

    /// Asks for kernel buffers of these sizes; 0 keeps the system's default. Returns what was granted.
    pub(crate) fn set_buffers(&self, receive: usize, send: usize) -> Granted {
        platform::set_buffers(&self.udp, receive, send)
    }

    /// Marks the datagrams that are sent from now on with this priority. Returns whether the system does it. Makes some
    /// system calls.
    pub(crate) fn mark(&self, priority: Priority) -> bool {
        platform::mark(&self.udp, self.is_ipv6(), Mark::of(priority))
    }

    /// Asks the kernel how many datagrams it has dropped because the buffer was full; a system call. 0 if it does not report
    /// that. Correct if it is called before two thousand million more are dropped.
    pub(crate) fn kernel_drops(&self) -> u64 {
        let seen = self.dropped.load(Ordering::Relaxed);
        let before = self.dropped_before.load(Ordering::Relaxed);
        let now =
            platform::kernel_drops(&self.udp).map_or(seen, |count| before + extended(seen - before, count));
        self.dropped.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// The last result of [`kernel_drops`](Self::kernel_drops), without a system call.
    pub(crate) fn kernel_drops_seen(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(crate) const fn udp(&self) -> &UdpSocket {
        &self.udp
    }

    /// Sends one datagram without blocking. On success the kernel has it.
    #[inline]
    pub(crate) fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        match self.send_once(datagram, to) {
            Ok(_) => Ok(()),
            Err(error) => self.send_again(datagram, to, error),
        }
    }

    /// As [`send`](Self::send), after a first try that has failed with this error.
    #[cold]
    fn send_again(&self, datagram: &[u8], to: SocketAddr, error: io::Error) -> io::Result<()> {
        self.past_further_errors(error, || self.send_once(datagram, to))
    }

    #[inline(always)] // else the compiler makes a call of it
    fn send_once(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        match self.is_client {
            true => calls::send(&self.udp, datagram),
            false if self.answers_as_called() => self.send_as_called(datagram, to),
            false => calls::send_to(&self.udp, datagram, to),
        }
    }

    /// Sends from the address at which the peer called.
    #[cold]
    fn send_as_called(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        match self.sources.of(to) {
            Some(from) => platform::send_message(&self.udp, datagram, Some(to), Some(from), None),
            None => calls::send_to(&self.udp, datagram, to),
        }
    }

    /// Whether each peer is answered from the address at which it called: the socket is bound to all addresses of this
    /// host. Then the driver [confirms](Self::confirm_source) and [forgets](Self::forget_source).
    pub(crate) fn answers_as_called(&self) -> bool {
        self.answers_as_called.load(Ordering::Relaxed)
    }

    /// The latest datagram from this address was one of a peer's. So the peer is answered from where it called.
    #[cold]
    pub(crate) fn confirm_source(&self, from: SocketAddr) {
        self.sources.confirm(from);
    }

    /// The address of this host that the latest datagram of this sender was for, if that decides from where it is answered.
    #[cold]
    pub(crate) fn called_by(&self, from: SocketAddr) -> Option<Source> {
        if self.answers_as_called() { self.sources.latest_of(from) } else { None }
    }

    /// A datagram of this sender, which was for this address of this host, is handled only now.
    #[cold]
    pub(crate) fn was_called(&self, from: SocketAddr, at: Source) {
        self.sources.arrived(from, at);
    }

    /// The peer at this address is gone.
    pub(crate) fn forget_source(&self, peer: SocketAddr) {
        self.sources.forget(peer);
    }

    /// Sends the datagrams in `bytes`, each of `each` bytes except the last, in one call. `None`: that is not possible here,
    /// nothing was sent, and the datagrams must be sent one by one.
    pub(crate) fn send_segments(&self, bytes: &[u8], each: usize, to: SocketAddr) -> Option<io::Result<()>> {
        if !self.segments.load(Ordering::Relaxed) {
            return None;
        }
        let from = if self.answers_as_called() { self.sources.of(to) } else { None };
        let to = (!self.is_client).then_some(to);
        let sent =
            self.past_pending_errors(|| platform::send_message(&self.udp, bytes, to, from, Some(each)));
        match sent {
            Err(error) if platform::cannot_segment(&error) => None,
            sent => Some(sent),
        }
    }

    /// Turns GSO off: single sends worked where a segmented send failed. If the single sends failed too, it had another
    /// reason, such as a missing local address, which may come back; then do not call this.
    pub(crate) fn forbid_segments(&self) {
        self.segments.store(false, Ordering::Relaxed);
    }

    /// Sends, and repeats it if the kernel first returns the error of an earlier datagram: then this datagram was not tried
    /// (ip(7), udp(7)).
    #[inline]
    fn past_pending_errors(&self, send: impl Fn() -> io::Result<usize>) -> io::Result<()> {
        match send() {
            Ok(_) => Ok(()),
            Err(error) => self.past_further_errors(error, send),
        }
    }

    /// As [`past_pending_errors`](Self::past_pending_errors), after a first try that has failed with this error.
    #[cold]
    fn past_further_errors(
        &self,
        mut error: io::Error,
        send: impl Fn() -> io::Result<usize>,
    ) -> io::Result<()> {
        for tries in 1..TRIES {
            if !is_pending_error(&error) {
                break;
            }
            self.cleared_error.store(true, Ordering::Relaxed);
            match send() {
                Ok(_) => {
                    self.note_cleared(tries, &error);
                    return Ok(());
                }
                // If every try fails, this datagram itself is the reason.
                Err(next) => error = next,
            }
        }
        Err(error)
    }

    /// Notes that a send of a client has cleared so many errors of earlier datagrams, the last of which is this one.
    #[cold]
    fn note_cleared(&self, count: usize, error: &io::Error) {
        let errno = error.raw_os_error().filter(|_| error.kind() != ErrorKind::Interrupted);
        if let Some(errno) = errno.filter(|_| self.is_client) {
            self.cleared_errno.store(u64::from(errno.unsigned_abs()), Ordering::Relaxed);
            self.cleared.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// Takes how many errors sends have cleared at a client since the last call, and the latest of them.
    pub(crate) fn take_cleared(&self) -> Option<(u64, io::Error)> {
        let count = self.cleared.swap(0, Ordering::Relaxed);
        let errno = i32::try_from(self.cleared_errno.load(Ordering::Relaxed)).ok()?;
        (count > 0).then(|| (count, io::Error::from_raw_os_error(errno)))
    }

    /// The fault of a send that failed. EINVAL means one of two: the address that it was sent from is gone, or a route drops
    /// what is sent there.
    #[cold]
    pub(crate) fn fault_of_send(&self, error: &io::Error, to: SocketAddr) -> SocketFault {
        let fault = SocketFault::of_send(error);
        if fault != SocketFault::AddressGone || error.kind() != ErrorKind::InvalidInput {
            return fault;
        }
        let from = self.sources.of(to).map(|source| source.ip);
        let from = from.or_else(|| lock(&self.local).map(|local| local.ip()));
        if from.is_some_and(place::has_address) { SocketFault::Blackhole } else { fault }
    }

    /// Whether a call has cleared an error since the last look.
    pub(crate) fn has_cleared_error(&self) -> bool {
        self.cleared_error.load(Ordering::Relaxed) && self.cleared_error.swap(false, Ordering::Relaxed)
    }

    /// Takes errors off the error queue, at most [`MAX_ERRORS`], each with the destination of its datagram. After a call has
    /// cleared an error, no read returns it any more, but in the queue it still ends every wait at once. If errors are left, the
    /// kernel returns one of them from the next call, so [`has_cleared_error`](Self::has_cleared_error) is true again.
    pub(crate) fn take_errors(&self) -> impl Iterator<Item = (SocketAddr, io::Error)> {
        let most = if self.is_client { 0 } else { MAX_ERRORS };
        std::iter::from_fn(|| platform::queued_error(&self.udp)).take(most)
    }

    /// Whether a datagram waits to be read, as far as the system tells.
    pub(crate) fn has_waiting(&self) -> bool {
        calls::has_waiting(&self.udp)
    }

    /// Reads without blocking: one datagram, or several of one sender if the kernel has them together. Fills in `arrived` if there
    /// are any.
    ///
    /// Datagrams come before the errors of earlier datagrams where those have a queue of their own:
    /// [`has_cleared_error`](Self::has_cleared_error) tells of them.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    #[inline(never)] // three calls of it
    pub(crate) fn receive(&self, buffer: &mut [u8], arrived: &mut Arrived) -> Received {
        let mut tries = 1;
        loop {
            match self.read(buffer, arrived) {
                Ok(()) => return Received::Datagrams,
                Err(error) if calls::found_nothing(&error) => {
                    // It is the number of an error and holds no memory. To drop it would be a call.
                    std::mem::forget(error);
                    return Received::Empty;
                }
                Err(error) => {
                    if let Some(received) = self.judge_error(error, &mut tries) {
                        return received;
                    }
                }
            }
        }
    }

    /// Returns what a read means that has returned this error; `None` if it must be tried again. `tries`: how often it was tried.
    #[cold]
    fn judge_error(&self, error: io::Error, tries: &mut usize) -> Option<Received> {
        if error.kind() == ErrorKind::Interrupted {
            return None;
        }
        if !is_pending_error(&error) {
            return Some(Received::Failed(error));
        }
        let are_queued = HAS_ERROR_QUEUE && !self.is_client;
        if !are_queued || *tries == TRIES {
            return Some(Received::Unreachable(error));
        }
        self.cleared_error.store(true, Ordering::Relaxed);
        *tries += 1;
        None
    }

    #[inline(always)] // into the one function that reads
    fn read(&self, buffer: &mut [u8], arrived: &mut Arrived) -> io::Result<()> {
        if self.asks_for_more.load(Ordering::Relaxed) {
            let at = platform::receive(&self.udp, buffer, self.is_client, arrived)?;
            if let (Some(at), Some(from)) = (at, arrived.from) {
                self.sources.arrived(from, at);
            }
            return Ok(());
        }
        let (len, from) = match self.is_client {
            true => (calls::receive(&self.udp, buffer)?, None),
            false => calls::receive_from(&self.udp, buffer).map(|(len, from)| (len, Some(from)))?,
        };
        *arrived = Arrived::one(len, from);
        Ok(())
    }
}

/// The count whose low half is `low`, and which has grown since it was `seen`; `seen` if `low` is older.
fn extended(seen: u64, low: u32) -> u64 {
    #[allow(clippy::cast_possible_truncation)] // the low half is meant
    let ahead = low.wrapping_sub(seen as u32);
    if ahead < 1 << 31 { seen + u64::from(ahead) } else { seen }
}

/// Whether the network may have reported the error about an earlier datagram (ICMP), or it passes by itself.
fn is_pending_error(error: &io::Error) -> bool {
    error.kind() == ErrorKind::Interrupted || SocketFault::of(error).may_be_about_another()
}

#[cfg(test)]
mod tests;
