//! The socket: opening, reading without blocking, waiting with a wake-up. All platform-only calls are here
//! and in its submodules.

mod calls;
mod mark;
pub(crate) mod options;
mod wait;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;

use crate::sync::{AtomicBool, AtomicU64, Ordering};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use tautline_proto::{Priority, WallTime};

use crate::machine::fault::SocketFault;
use mark::Mark;
pub(crate) use wait::{Waiter, Waker};

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(target_os = "linux")]
pub(in crate::machine) use linux::set_option;
#[cfg(not(target_os = "linux"))]
use portable as platform;

/// Room for the largest UDP datagram and one byte more.
pub(crate) const RECEIVE_BUFFER: usize = 65_536;

/// How often a send is repeated when the kernel first hands out the error of an earlier datagram.
const SEND_TRIES: usize = 3;

/// A non-blocking UDP socket; a client's is connected to its server.
#[derive(Debug)]
pub(crate) struct Socket {
    udp: UdpSocket,
    connected_to: Option<SocketAddr>,
    local: SocketAddr,
    /// Whether several datagrams may be handed to the kernel in one call (UDP GSO). Turned off by the first time that
    /// the kernel or the way out cannot do it.
    ///
    /// Order: relaxed; only the transmit lock's holder writes, and nothing depends on when it is seen.
    segments: AtomicBool,
    /// Whether the kernel may hand over several datagrams in one read (UDP GRO), so that reads must ask for their size.
    ///
    /// Order: relaxed; only the driver reads and writes.
    coalesced: AtomicBool,
    /// Whether the kernel stamps datagrams on arrival.
    ///
    /// Order: relaxed; set before the socket is shared, and then by the driver alone, who alone reads.
    stamped: AtomicBool,
    /// What the kernel has dropped here, as far as it was asked. The kernel's counter is its low half.
    ///
    /// Order: relaxed; it only grows (`fetch_max`), so whoever asks, and in whatever order, nothing counts twice.
    dropped: AtomicU64,
    /// Whether a send has met the error of an earlier datagram and cleared it, so that no read meets it.
    ///
    /// Order: relaxed; nothing depends on when it is seen but how soon the error is told.
    cleared_error: AtomicBool,
}

/// What the kernel granted of the buffers asked for, in bytes; `None` where it would not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) receive_buffer: Option<usize>,
    pub(crate) send_buffer: Option<usize>,
}

/// One or more datagrams of one sender that a read has put into the buffer, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    /// The bytes of all of them.
    pub(crate) len: usize,
    /// The length of each but the last, which may be shorter.
    pub(crate) each: usize,
    /// Who sent them.
    pub(crate) from: SocketAddr,
    /// When the kernel got them, where it says so.
    pub(crate) stamp: Option<WallTime>,
}

impl Arrived {
    const fn one(len: usize, from: SocketAddr) -> Self {
        Self { len, each: len, from, stamp: None }
    }

    /// The datagrams, out of the buffer that was read to. An empty one is one too.
    pub(crate) fn datagrams(self, buffer: &[u8]) -> impl Iterator<Item = &[u8]> {
        let count = if self.each == 0 { 1 } else { self.len.div_ceil(self.each) };
        (0..count).map(move |index| &buffer[index * self.each..((index + 1) * self.each).min(self.len)])
    }
}

/// What a read of the socket gave.
#[derive(Debug)]
pub(crate) enum Received {
    /// Something arrived.
    Datagrams(Arrived),
    /// Nothing waits.
    Empty,
    /// The network reports an error about an earlier datagram to this address, where it is known.
    Unreachable(Option<SocketAddr>, io::Error),
    /// It could not be read; what waits is unknown.
    Failed(io::Error),
}

impl Socket {
    /// A server's socket, bound to `local`.
    pub(crate) fn bind(local: SocketAddr) -> io::Result<Self> {
        let udp = UdpSocket::bind(local)?;
        platform::report_errors(&udp, local);
        Self::from_udp(udp, None)
    }

    /// A client's socket, connected to `server`: the kernel drops what comes from elsewhere.
    pub(crate) fn connect(local: Option<SocketAddr>, server: SocketAddr) -> io::Result<Self> {
        let any: IpAddr =
            if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let udp = UdpSocket::bind(local.unwrap_or(SocketAddr::new(any, 0)))?;
        udp.connect(server)?;
        Self::from_udp(udp, Some(server))
    }

    fn from_udp(udp: UdpSocket, connected_to: Option<SocketAddr>) -> io::Result<Self> {
        udp.set_nonblocking(true)?;
        let local = udp.local_addr()?;
        let [segments, coalesced, stamped, cleared_error] = [const { AtomicBool::new(false) }; 4];
        let dropped = AtomicU64::new(0);
        Ok(Self { udp, connected_to, local, segments, coalesced, stamped, dropped, cleared_error })
    }

    /// Lets several datagrams go to the kernel in one call, where it can do that.
    pub(crate) fn allow_segments(&self) {
        self.segments.store(platform::can_segment(&self.udp), Ordering::Relaxed);
    }

    /// Lets the kernel hand over several datagrams in one read, where it can do that. Not from the start: a read that
    /// has to ask how large they are takes a tenth longer than one that need not.
    pub(crate) fn coalesce(&self) {
        if !self.coalesced.load(Ordering::Relaxed) && platform::coalesce(&self.udp) {
            self.coalesced.store(true, Ordering::Relaxed);
        }
    }

    /// Has the kernel stamp datagrams on arrival, where it can do that; whether it does.
    pub(crate) fn stamp(&self) -> bool {
        let stamps = self.is_stamping() || platform::stamp(&self.udp);
        self.stamped.store(stamps, Ordering::Relaxed);
        stamps
    }

    /// Whether the kernel stamps datagrams on arrival.
    pub(crate) fn is_stamping(&self) -> bool {
        self.stamped.load(Ordering::Relaxed)
    }

    /// Asks for kernel buffers of these sizes (0 leaves the system's) and says what was granted.
    pub(crate) fn set_buffers(&self, receive: usize, send: usize) -> Granted {
        platform::set_buffers(&self.udp, receive, send)
    }

    /// Marks what is sent from now on as being of this priority; whether the system does it. Some system calls.
    pub(crate) fn mark(&self, priority: Priority) -> bool {
        platform::mark(&self.udp, self.local, Mark::of(priority))
    }

    /// How many times the kernel has dropped what arrived because the buffer was full; a system call. 0 where it does not
    /// say. Right as long as it is asked before two thousand million more are dropped.
    pub(crate) fn kernel_drops(&self) -> u64 {
        let seen = self.dropped.load(Ordering::Relaxed);
        let now = platform::kernel_drops(&self.udp).map_or(seen, |count| extended(seen, count));
        self.dropped.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// What [`kernel_drops`](Self::kernel_drops) said last, without a system call.
    pub(crate) fn kernel_drops_seen(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(crate) const fn local_address(&self) -> SocketAddr {
        self.local
    }

    pub(crate) const fn udp(&self) -> &UdpSocket {
        &self.udp
    }

    /// Sends one datagram without blocking. On success the kernel has it.
    pub(crate) fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        self.past_pending_errors(|| match self.connected_to {
            Some(_) => calls::send(&self.udp, datagram),
            None => calls::send_to(&self.udp, datagram, to),
        })
    }

    /// Sends the datagrams that stand in `bytes`, of `each` bytes but for the last, in one call. `None` where that
    /// cannot be done here and they have to be sent one by one; then nothing was sent.
    pub(crate) fn send_segments(&self, bytes: &[u8], each: usize, to: SocketAddr) -> Option<io::Result<()>> {
        if !self.segments.load(Ordering::Relaxed) {
            return None;
        }
        let to = self.connected_to.is_none().then_some(to);
        let sent = self.past_pending_errors(|| platform::send_segments(&self.udp, bytes, each, to));
        match sent {
            Err(error) if platform::cannot_segment(&error) => None,
            sent => Some(sent),
        }
    }

    /// Sends no several datagrams in one call any more: one by one they went. Where they did not, the call was refused for
    /// another reason, such as a local address that is gone, which may come back.
    pub(crate) fn forbid_segments(&self) {
        self.segments.store(false, Ordering::Relaxed);
    }

    /// Sends, again where the kernel first hands out the error of an earlier datagram: this one was not even tried
    /// (ip(7), udp(7)).
    fn past_pending_errors(&self, send: impl Fn() -> io::Result<usize>) -> io::Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            match send() {
                Err(error) if tries < SEND_TRIES && is_pending_error(&error) => {
                    self.cleared_error.store(true, Ordering::Relaxed);
                }
                sent => return sent.map(drop),
            }
        }
    }

    /// Whether a send has cleared an error since this was asked last.
    pub(crate) fn has_cleared_error(&self) -> bool {
        self.cleared_error.load(Ordering::Relaxed) && self.cleared_error.swap(false, Ordering::Relaxed)
    }

    /// Takes one error off the queue of those that the network reported, once a send has met and cleared it:
    /// no read shows it any more, but it still wakes every wait. The destination that it is about.
    pub(crate) fn queued_error(&self) -> Option<(SocketAddr, io::Error)> {
        if self.connected_to.is_some() {
            return None;
        }
        platform::queued_error(&self.udp)
    }

    /// Reads without blocking: one datagram, or several of one sender where the kernel has them together.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Received {
        loop {
            return match self.read(buffer) {
                Ok(arrived) => Received::Datagrams(arrived),
                Err(error) if calls::found_nothing(&error) => Received::Empty,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    _ if is_pending_error(&error) => {
                        let about = self
                            .connected_to
                            .or_else(|| platform::queued_error(&self.udp).map(|queued| queued.0));
                        Received::Unreachable(about, error)
                    }
                    _ => Received::Failed(error),
                },
            };
        }
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<Arrived> {
        if self.is_stamping() || self.coalesced.load(Ordering::Relaxed) {
            return platform::receive(&self.udp, buffer, self.connected_to);
        }
        match self.connected_to {
            Some(server) => calls::receive(&self.udp, buffer).map(|len| Arrived::one(len, server)),
            None => calls::receive_from(&self.udp, buffer).map(|(len, from)| Arrived::one(len, from)),
        }
    }
}

/// The count whose low half is `low`, which has grown since it was `seen`; `seen` itself where `low` is from before.
fn extended(seen: u64, low: u32) -> u64 {
    #[allow(clippy::cast_possible_truncation)] // the low half is meant
    let ahead = low.wrapping_sub(seen as u32);
    if ahead < 1 << 31 { seen + u64::from(ahead) } else { seen }
}

/// Errors that the network may have reported about an earlier datagram (ICMP), or that pass by themselves.
fn is_pending_error(error: &io::Error) -> bool {
    error.kind() == ErrorKind::Interrupted || SocketFault::of(error).may_be_about_another()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    fn wait_for(socket: &Socket) -> Received {
        let mut buffer = [0; 64];
        for _ in 0..1000 {
            match socket.receive(&mut buffer) {
                Received::Empty => std::thread::sleep(std::time::Duration::from_millis(1)),
                received => return received,
            }
        }
        panic!("nothing came within a second");
    }

    #[test]
    fn a_refused_datagram_is_reported_and_the_next_one_is_still_sent() {
        let gone = Socket::bind(local()).unwrap().local_address();
        let socket = Socket::connect(None, gone).unwrap();
        socket.send(b"to nobody", gone).unwrap();
        assert!(matches!(wait_for(&socket), Received::Unreachable(Some(about), _) if about == gone));
        socket.send(b"to nobody again", gone).unwrap();
        let back = Socket::bind(gone).unwrap();
        // The pending error must not swallow this one.
        socket.send(b"to somebody", gone).unwrap();
        assert!(matches!(wait_for(&back), Received::Datagrams(Arrived { len: 11, each: 11, .. })));
    }

    /// What five datagrams of 100 bytes and one of 40 look like at a server, sent in one call; `coalesce` lets the kernel
    /// keep them together.
    #[cfg(target_os = "linux")]
    fn segments_arrive(coalesce: bool, connected: bool) -> Vec<Vec<u8>> {
        let to = Socket::bind(local()).unwrap();
        let from = match connected {
            true => Socket::connect(None, to.local_address()).unwrap(),
            false => Socket::bind(local()).unwrap(),
        };
        if coalesce {
            to.coalesce();
        }
        let bytes: Vec<u8> = (0..6).flat_map(|n| vec![n; if n < 5 { 100 } else { 40 }]).collect();
        from.allow_segments();
        let sent = from.send_segments(&bytes, 100, to.local_address());
        sent.expect("this kernel can segment").expect("the kernel takes it");
        let mut buffer = vec![0; RECEIVE_BUFFER];
        let mut datagrams = Vec::new();
        while let Received::Datagrams(arrived) = to.receive(&mut buffer) {
            assert_eq!(arrived.from.port(), from.local_address().port());
            datagrams.extend(arrived.datagrams(&buffer).map(<[u8]>::to_vec));
        }
        datagrams
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn datagrams_sent_in_one_call_arrive_as_they_are() {
        let expected: Vec<_> = (0..6).map(|n| vec![n; if n < 5 { 100 } else { 40 }]).collect();
        for (coalesce, connected) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(segments_arrive(coalesce, connected), expected, "{coalesce} {connected}");
        }
    }

    #[test]
    fn a_counter_of_the_kernel_that_wraps_goes_on() {
        let wraps = u64::from(u32::MAX);
        assert_eq!([extended(0, 7), extended(wraps, 2), extended(wraps + 5, 4)], [7, wraps + 3, wraps + 5]);
        assert_eq!(extended(10, 9), 10, "asked before, told later");
    }

    #[test]
    fn without_segments_the_caller_sends_one_by_one() {
        let socket = Socket::bind(local()).unwrap();
        assert!(socket.send_segments(&[0; 10], 5, socket.local_address()).is_none());
    }

    #[test]
    fn an_empty_datagram_is_a_datagram() {
        let (to, from) = (Socket::bind(local()).unwrap(), Socket::bind(local()).unwrap());
        to.coalesce();
        from.send(&[], to.local_address()).unwrap();
        let Received::Datagrams(arrived) = wait_for(&to) else { panic!("it came") };
        assert_eq!(arrived.datagrams(&[7; 9]).collect::<Vec<_>>(), [&[0u8; 0]]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_stamps_what_arrives() {
        let (to, from) = (Socket::bind(local()).unwrap(), Socket::bind(local()).unwrap());
        assert!(to.stamp());
        let before = crate::machine::clock::wall_now();
        from.send(b"now", to.local_address()).unwrap();
        let Received::Datagrams(arrived) = wait_for(&to) else { panic!("it came") };
        let stamp = arrived.stamp.expect("asked for");
        assert!(before <= stamp && stamp <= crate::machine::clock::wall_now());
        assert_eq!((arrived.len, arrived.each, arrived.from), (3, 3, from.local_address()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_server_learns_which_peer_cannot_be_reached() {
        let gone = Socket::bind(local()).unwrap().local_address();
        let server = Socket::bind(local()).unwrap();
        server.send(b"to nobody", gone).unwrap();
        assert!(matches!(wait_for(&server), Received::Unreachable(Some(about), _) if about == gone));
    }
}
