//! The UDP socket: opens, sends and reads without blocking, and waits with a wake-up.
//!
//! Called by `connection` (opens), `sending` (sends) and `driver` (reads and waits). Uses `sync` and `machine::fault`. The
//! calls that differ between platforms are in the submodules. It never blocks, except in [`SocketWaiter::wait`].

mod calls;
mod mark;
pub(crate) mod options;
mod path;
pub(crate) mod server;
mod sources;
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
pub(crate) use path::{IpFragments, headers_to};
use sources::{Source, Sources};
pub(crate) use wait::{SocketWaiter, SocketWaker};

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(target_os = "linux")]
pub(in crate::machine) use linux::set_option;
#[cfg(not(target_os = "linux"))]
use portable as platform;

/// The size of a receive buffer: the largest UDP datagram, and one byte more.
pub(crate) const RECEIVE_BUFFER: usize = 65_536;

/// How often a send is repeated if the kernel first returns the error of an earlier datagram.
const SEND_TRIES: usize = 3;

/// The address that stands for every address of this host: the IPv6 one, whose socket takes IPv4 too, unless there is no IPv6.
pub(crate) fn everywhere(port: u16) -> SocketAddr {
    let both = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
    let any: IpAddr = match platform::bind(both) {
        Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(any, port)
}

/// A non-blocking UDP socket. The socket of a client is connected to its server.
#[derive(Debug)]
pub(crate) struct Socket {
    udp: UdpSocket,
    connected_to: Option<SocketAddr>,
    local: SocketAddr,
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
    /// Whether a send has cleared the error of an earlier datagram, so that no read returns it.
    ///
    /// Order: relaxed; only the time of the report depends on when it is seen.
    cleared_error: AtomicBool,
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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    /// The bytes of all datagrams.
    pub(crate) len: usize,
    /// The length of each datagram, except the last, which may be shorter.
    pub(crate) each: usize,
    /// The address of the sender.
    pub(crate) from: SocketAddr,
    /// When the kernel got them, if it stamps datagrams.
    pub(crate) stamp: Option<WallTime>,
}

impl Arrived {
    const fn one(len: usize, from: SocketAddr) -> Self {
        Self { len, each: len, from, stamp: None }
    }

    /// The datagrams in the buffer. An empty datagram counts too.
    pub(crate) fn datagrams(self, buffer: &[u8]) -> impl Iterator<Item = &[u8]> {
        let count = if self.each == 0 { 1 } else { self.len.div_ceil(self.each) };
        (0..count).map(move |index| &buffer[index * self.each..((index + 1) * self.each).min(self.len)])
    }
}

/// The result of a read.
#[derive(Debug)]
pub(crate) enum Received {
    /// Datagrams arrived.
    Datagrams(Arrived),
    /// No datagram waits.
    Empty,
    /// The network reports an error of an earlier datagram, to this address if it is known.
    Unreachable(Option<SocketAddr>, io::Error),
    /// The read failed. It is unknown whether datagrams wait.
    Failed(io::Error),
}

impl Socket {
    /// Opens the socket of a server, bound to `local`.
    pub(crate) fn bind(local: SocketAddr) -> io::Result<Self> {
        let socket = Self::bind_without_errors(local)?;
        platform::report_errors(&socket.udp, local);
        Ok(socket)
    }

    /// As [`bind`](Self::bind), but the network's errors about datagrams are not reported.
    fn bind_without_errors(local: SocketAddr) -> io::Result<Self> {
        let socket = Self::from_udp(platform::bind(local)?, None)?;
        if local.ip().is_unspecified() && platform::tell_destination(&socket.udp, local) {
            socket.answers_as_called.store(true, Ordering::Relaxed);
            socket.asks_for_more.store(true, Ordering::Relaxed);
        }
        Ok(socket)
    }

    /// Opens the socket of a client, connected to `server`: the kernel drops datagrams from other addresses.
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
        let [segments, asks_for_more, coalesced, stamped, cleared_error, answers_as_called] =
            [const { AtomicBool::new(false) }; 6];
        Ok(Self {
            udp,
            connected_to,
            local,
            segments,
            asks_for_more,
            coalesced,
            stamped,
            dropped: AtomicU64::new(0),
            cleared_error,
            answers_as_called,
            sources: Sources::default(),
        })
    }

    /// Allows several datagrams in one send call, if the kernel can do that.
    pub(crate) fn allow_segments(&self) {
        self.segments.store(platform::can_segment(&self.udp), Ordering::Relaxed);
    }

    /// Allows several datagrams in one read, if the kernel can do that. Not from the start: a read that asks for their size
    /// takes a tenth longer.
    pub(crate) fn coalesce(&self) {
        if !self.coalesced.load(Ordering::Relaxed) && platform::coalesce(&self.udp) {
            self.coalesced.store(true, Ordering::Relaxed);
            self.asks_for_more.store(true, Ordering::Relaxed);
        }
    }

    /// Lets the kernel stamp datagrams on arrival. Returns whether it does.
    pub(crate) fn stamp(&self) -> bool {
        let stamps = self.is_stamping() || platform::stamp(&self.udp);
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
        platform::mark(&self.udp, self.local, Mark::of(priority))
    }

    /// Asks the kernel how many datagrams it has dropped because the buffer was full; a system call. 0 if it does not report
    /// that. Correct if it is called before two thousand million more are dropped.
    pub(crate) fn kernel_drops(&self) -> u64 {
        let seen = self.dropped.load(Ordering::Relaxed);
        let now = platform::kernel_drops(&self.udp).map_or(seen, |count| extended(seen, count));
        self.dropped.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// The last result of [`kernel_drops`](Self::kernel_drops), without a system call.
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
            None if self.answers_as_called() => self.send_as_called(datagram, to),
            None => calls::send_to(&self.udp, datagram, to),
        })
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
        let to = self.connected_to.is_none().then_some(to);
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

    /// Whether a send has cleared an error since the last call.
    pub(crate) fn has_cleared_error(&self) -> bool {
        self.cleared_error.load(Ordering::Relaxed) && self.cleared_error.swap(false, Ordering::Relaxed)
    }

    /// Takes one error off the error queue, with the destination that it is about. After a send has cleared an error, no read
    /// returns it any more, but it still wakes every wait.
    pub(crate) fn queued_error(&self) -> Option<(SocketAddr, io::Error)> {
        if self.connected_to.is_some() {
            return None;
        }
        platform::queued_error(&self.udp)
    }

    /// Reads without blocking: one datagram, or several of one sender if the kernel has them together.
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
        if self.asks_for_more.load(Ordering::Relaxed) {
            let (arrived, at) = platform::receive(&self.udp, buffer, self.connected_to)?;
            if let Some(at) = at.filter(|_| self.answers_as_called()) {
                self.sources.arrived(arrived.from, at);
            }
            return Ok(arrived);
        }
        match self.connected_to {
            Some(server) => calls::receive(&self.udp, buffer).map(|len| Arrived::one(len, server)),
            None => calls::receive_from(&self.udp, buffer).map(|(len, from)| Arrived::one(len, from)),
        }
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

    /// Sends five datagrams of 100 bytes and one of 40 in one call. Returns what the server reads; `coalesce` lets the kernel
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
    fn datagrams_sent_in_one_call_arrive_unchanged() {
        let expected: Vec<_> = (0..6).map(|n| vec![n; if n < 5 { 100 } else { 40 }]).collect();
        for (coalesce, connected) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(segments_arrive(coalesce, connected), expected, "{coalesce} {connected}");
        }
    }

    #[test]
    fn a_wrapped_kernel_counter_is_extended() {
        let wraps = u64::from(u32::MAX);
        assert_eq!([extended(0, 7), extended(wraps, 2), extended(wraps + 5, 4)], [7, wraps + 3, wraps + 5]);
        assert_eq!(extended(10, 9), 10, "an older look that ends later");
    }

    #[test]
    fn without_gso_send_segments_returns_none() {
        let socket = Socket::bind(local()).unwrap();
        assert!(socket.send_segments(&[0; 10], 5, socket.local_address()).is_none());
    }

    #[test]
    fn an_empty_datagram_is_received() {
        let (to, from) = (Socket::bind(local()).unwrap(), Socket::bind(local()).unwrap());
        to.coalesce();
        from.send(&[], to.local_address()).unwrap();
        let Received::Datagrams(arrived) = wait_for(&to) else { panic!("it came") };
        assert_eq!(arrived.datagrams(&[7; 9]).collect::<Vec<_>>(), [&[0u8; 0]]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_stamps_arriving_datagrams() {
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
