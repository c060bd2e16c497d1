//! The faults that the system reports for a socket: each has a name and a remedy, and is counted. Used by the line, the driver
//! and connecting. None of them ends a link.

use crate::sync::{AtomicU64, Ordering};
use std::io::{self, ErrorKind};

use serde::ser::{Serialize, Serializer};

/// The command that helps on this system: elsewhere, or on Windows.
#[cfg(not(windows))]
macro_rules! command {
    ($here:literal, $windows:literal) => {
        $here
    };
}
#[cfg(windows)]
macro_rules! command {
    ($elsewhere:literal, $here:literal) => {
        $here
    };
}

/// Defines the enum together with its table, so that every fault has a name.
macro_rules! socket_faults {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $text:expr;)+) => {
        /// A fault that the system reports for a socket. The link survives each of them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum SocketFault { $($(#[$doc])* $variant),+ }

        impl SocketFault {
            /// Every fault.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in statistics and logs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What it means and what helps, for an operator.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

socket_faults! {
    /// Nothing listens at the peer's port (ECONNREFUSED).
    PortUnreachable, "port_unreachable",
        "nobody listens at the peer's port: start the other end, or check the port; the link goes on by itself then";
    /// No route leads to the peer (ENETUNREACH, ENONET).
    NetworkUnreachable, "network_unreachable",
        concat!(
            "no route leads to the peer: check addresses and routes (", command!("ip route", "route print"), "); the link goes on by itself once there is one"
        );
    /// The peer's host does not answer, or the path to it is closed (EHOSTUNREACH, EHOSTDOWN, and the ICMP messages about
    /// protocols and isolated hosts).
    HostUnreachable, "host_unreachable",
        "the peer's host does not answer, or the path to it is closed: check its power, its cable and the firewalls";
    /// The network interface is down (ENETDOWN).
    NetworkDown, "network_down",
        concat!("the network interface is down: set it up (", command!("ip link set NAME up", "Enable-NetAdapter NAME"), "); the link goes on by itself then");
    /// This host does not have the local address of the socket, or no longer has it (EADDRNOTAVAIL; for a send also EINVAL).
    AddressGone, "address_gone",
        "this host does not have the local address, or no longer has it: restore it, or `bind` an address that stays";
    /// This host does not have the network card, or no longer has it (ENODEV).
    CardGone, "card_gone",
        concat!("this host does not have the network card, or no longer has it: plug it in, or check its name (", command!("ip link", "Get-NetAdapter"), ")");
    /// A route of this host drops what is sent to the peer (EINVAL while the local address is there).
    Blackhole, "blackhole",
        concat!("a route drops what is sent there (blackhole): remove it (", command!("ip route", "route print"), "); the link goes on by itself then");
    /// The system forbids it, usually a firewall (EPERM, EACCES).
    NotPermitted, "not_permitted",
        concat!("the system forbids sending there: check the firewall's rules for outgoing datagrams (", command!("nft list ruleset", "Get-NetFirewallRule"), ")");
    /// The kernel has no memory for the datagram (ENOBUFS, ENOMEM).
    OutOfBuffers, "out_of_buffers",
        "the kernel or the network card has no room for the datagram: send less at once, or lengthen the card's queue";
    /// The datagram is larger than the path allows (EMSGSIZE).
    TooLarge, "too_large",
        concat!(
            "the datagram is larger than the path allows: smaller ones are sent in its place; check the path (", command!("ip link, ip route get", "Get-NetIPInterface, Find-NetRoute"), ")"
        );
    /// The send buffer is full (EAGAIN).
    Busy, "busy",
        "the kernel's send buffer is full: try again, or raise `send_buffer`";
    /// The process or the system has no descriptor left (EMFILE, ENFILE).
    OutOfDescriptors, "out_of_descriptors",
        if cfg!(windows) {
            "no socket is left: close some"
        } else {
            "no file descriptor is left: close some, or raise the limit (ulimit -n; fs.file-max)"
        };
    /// The address and port are taken (EADDRINUSE).
    AddressInUse, "address_in_use",
        "the port is in use: stop the other program, or choose another port";
    /// Another fault. The system's description tells which.
    Other, "other",
        "see the system's description";
}

impl SocketFault {
    /// The fault of an error of the system.
    pub(crate) fn of(error: &io::Error) -> Self {
        of_system(error).unwrap_or(match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Self::PortUnreachable,
            ErrorKind::NetworkUnreachable => Self::NetworkUnreachable,
            ErrorKind::HostUnreachable => Self::HostUnreachable,
            ErrorKind::NetworkDown => Self::NetworkDown,
            ErrorKind::AddrNotAvailable => Self::AddressGone,
            ErrorKind::PermissionDenied => Self::NotPermitted,
            ErrorKind::OutOfMemory => Self::OutOfBuffers,
            ErrorKind::WouldBlock => Self::Busy,
            ErrorKind::AddrInUse => Self::AddressInUse,
            _ => Self::Other,
        })
    }

    /// The fault of an error of sending. There, EINVAL means on some kernels that the source address was removed; other
    /// kernels return ENETUNREACH.
    pub(crate) fn of_send(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidInput => Self::AddressGone,
            _ => Self::of(error),
        }
    }

    /// Whether another place of the socket may help: another address of this host, or another card.
    pub(crate) const fn is_of_place(self) -> bool {
        matches!(self, Self::AddressGone | Self::CardGone | Self::NetworkDown | Self::NetworkUnreachable)
    }

    /// Whether the network may have reported it (ICMP) about an earlier datagram, so that it says nothing about the call that
    /// returns it.
    pub(crate) const fn may_be_about_another(self) -> bool {
        matches!(
            self,
            Self::PortUnreachable
                | Self::NetworkUnreachable
                | Self::HostUnreachable
                | Self::NetworkDown
                | Self::NotPermitted
                | Self::TooLarge
        )
    }
}

impl std::fmt::Display for SocketFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.explanation())
    }
}

/// The fault of an error number, which tells more than the kind of an `io::Error`.
#[cfg(unix)]
fn of_system(error: &io::Error) -> Option<SocketFault> {
    use rustix::io::Errno;
    Some(match Errno::from_io_error(error)? {
        Errno::HOSTDOWN | Errno::PROTO | Errno::NOPROTOOPT | Errno::OPNOTSUPP => SocketFault::HostUnreachable,
        #[cfg(target_os = "linux")]
        Errno::NONET => SocketFault::NetworkUnreachable,
        // Between two places, a socket has no address (`machine::socket::place`).
        Errno::DESTADDRREQ | Errno::NOTCONN => SocketFault::AddressGone,
        Errno::NODEV | Errno::NXIO => SocketFault::CardGone,
        Errno::NOBUFS | Errno::NOMEM => SocketFault::OutOfBuffers,
        Errno::MSGSIZE => SocketFault::TooLarge,
        Errno::MFILE | Errno::NFILE => SocketFault::OutOfDescriptors,
        _ => return None,
    })
}

/// The fault of an error number of Windows, as [`of_system`] on Unix.
#[cfg(windows)]
fn of_system(error: &io::Error) -> Option<SocketFault> {
    use windows_sys::Win32::Foundation::{
        ERROR_DEV_NOT_EXIST, ERROR_NOT_ENOUGH_MEMORY, ERROR_TOO_MANY_OPEN_FILES,
    };
    use windows_sys::Win32::Networking::WinSock as winsock;

    const CARD: i32 = ERROR_DEV_NOT_EXIST.cast_signed();
    const MEMORY: i32 = ERROR_NOT_ENOUGH_MEMORY.cast_signed();
    const HANDLES: i32 = ERROR_TOO_MANY_OPEN_FILES.cast_signed();
    Some(match error.raw_os_error()? {
        // WSAECONNRESET: an earlier datagram met no program at its port.
        winsock::WSAECONNRESET | winsock::WSAECONNREFUSED => SocketFault::PortUnreachable,
        winsock::WSAENETUNREACH => SocketFault::NetworkUnreachable,
        // WSAENETRESET: an earlier datagram was on its way for too long.
        winsock::WSAEHOSTUNREACH
        | winsock::WSAEHOSTDOWN
        | winsock::WSAENETRESET
        | winsock::WSAENOPROTOOPT
        | winsock::WSAEPROTONOSUPPORT
        | winsock::WSAEOPNOTSUPP => SocketFault::HostUnreachable,
        winsock::WSAENETDOWN => SocketFault::NetworkDown,
        winsock::WSAEADDRNOTAVAIL | winsock::WSAEDESTADDRREQ | winsock::WSAENOTCONN => {
            SocketFault::AddressGone
        }
        CARD => SocketFault::CardGone,
        winsock::WSAEACCES => SocketFault::NotPermitted,
        winsock::WSAENOBUFS | MEMORY => SocketFault::OutOfBuffers,
        winsock::WSAEMSGSIZE => SocketFault::TooLarge,
        winsock::WSAEWOULDBLOCK => SocketFault::Busy,
        winsock::WSAEMFILE | HANDLES => SocketFault::OutOfDescriptors,
        winsock::WSAEADDRINUSE => SocketFault::AddressInUse,
        _ => return None,
    })
}

const FAULTS: usize = SocketFault::ALL.len();

/// How often each fault occurred. A plain value. Serialises as a map from name to count, without zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketFaults([u64; FAULTS]);

impl SocketFaults {
    /// How often this fault occurred.
    #[must_use]
    pub const fn of(&self, fault: SocketFault) -> u64 {
        self.0[fault as usize]
    }

    /// The sum of all faults.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The faults that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (SocketFault, u64)> + '_ {
        SocketFault::ALL.iter().map(|&fault| (fault, self.of(fault))).filter(|&(_, count)| count > 0)
    }
}

impl Serialize for SocketFaults {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(fault, count)| (fault.name(), count)))
    }
}

/// Counts faults, from any thread. Faults are rare, so the threads may share the counters.
#[derive(Debug, Default)]
pub(crate) struct FaultCounters([AtomicU64; FAULTS]);

impl FaultCounters {
    /// Order: relaxed; nothing else depends on when a count is seen.
    #[cold]
    pub(crate) fn count(&self, fault: SocketFault) {
        self.count_many(fault, 1);
    }

    #[cold]
    pub(crate) fn count_many(&self, fault: SocketFault, count: u64) {
        self.0[fault as usize].fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> SocketFaults {
        SocketFaults(std::array::from_fn(|index| self.0[index].load(Ordering::Relaxed)))
    }
}

#[cfg(all(test, any(target_os = "linux", windows)))]
mod tests {
    use super::*;

    fn of(errno: i32) -> SocketFault {
        SocketFault::of(&io::Error::from_raw_os_error(errno))
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn every_errno_of_udp_sockets_has_a_name() {
        use SocketFault::{
            AddressGone, AddressInUse, Busy, CardGone, HostUnreachable, NetworkDown, NetworkUnreachable,
            NotPermitted, OutOfBuffers, OutOfDescriptors, PortUnreachable, TooLarge,
        };
        let named = [
            (libc::ECONNREFUSED, PortUnreachable),
            (libc::ENETUNREACH, NetworkUnreachable),
            (libc::ENONET, NetworkUnreachable),
            (libc::EHOSTUNREACH, HostUnreachable),
            (libc::EHOSTDOWN, HostUnreachable),
            (libc::ENOPROTOOPT, HostUnreachable),
            (libc::EOPNOTSUPP, HostUnreachable),
            (libc::EPROTO, HostUnreachable),
            (libc::ENETDOWN, NetworkDown),
            (libc::EADDRNOTAVAIL, AddressGone),
            (libc::EDESTADDRREQ, AddressGone),
            (libc::ENODEV, CardGone),
            (libc::EPERM, NotPermitted),
            (libc::EACCES, NotPermitted),
            (libc::ENOBUFS, OutOfBuffers),
            (libc::ENOMEM, OutOfBuffers),
            (libc::EMSGSIZE, TooLarge),
            (libc::EAGAIN, Busy),
            (libc::EMFILE, OutOfDescriptors),
            (libc::ENFILE, OutOfDescriptors),
            (libc::EADDRINUSE, AddressInUse),
        ];
        for (errno, fault) in named {
            assert_eq!(of(errno), fault, "{}", io::Error::from_raw_os_error(errno));
        }
        assert_eq!(of(libc::EIO), SocketFault::Other);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_removed_local_address_is_recognised_only_for_sends() {
        let invalid = io::Error::from_raw_os_error(libc::EINVAL);
        let faults = (SocketFault::of_send(&invalid), SocketFault::of(&invalid));
        assert_eq!(faults, (SocketFault::AddressGone, SocketFault::Other));
    }

    #[cfg(windows)]
    #[test]
    fn every_number_of_winsock_has_a_name() {
        use SocketFault::{
            AddressGone, AddressInUse, Busy, CardGone, HostUnreachable, NetworkDown, NetworkUnreachable,
            NotPermitted, Other, OutOfBuffers, OutOfDescriptors, PortUnreachable, TooLarge,
        };
        // By number, as docs/platforms.md lists them.
        let named = [
            (10_054, PortUnreachable),
            (10_061, PortUnreachable),
            (10_051, NetworkUnreachable),
            (10_065, HostUnreachable),
            (10_064, HostUnreachable),
            (10_052, HostUnreachable),
            (10_042, HostUnreachable),
            (10_043, HostUnreachable),
            (10_045, HostUnreachable),
            (10_050, NetworkDown),
            (10_049, AddressGone),
            (10_039, AddressGone),
            (10_057, AddressGone),
            (55, CardGone),
            (10_013, NotPermitted),
            (10_055, OutOfBuffers),
            (8, OutOfBuffers),
            (10_040, TooLarge),
            (10_035, Busy),
            (10_024, OutOfDescriptors),
            (4, OutOfDescriptors),
            (10_048, AddressInUse),
            (10_038, Other),
        ];
        for (number, fault) in named {
            assert_eq!(of(number), fault, "{}", io::Error::from_raw_os_error(number));
        }
        let invalid = io::Error::from_raw_os_error(10_022);
        assert_eq!(SocketFault::of_send(&invalid), AddressGone);
    }

    #[test]
    fn fault_names_are_unique_and_each_fault_has_its_own_count() {
        let counters = FaultCounters::default();
        for (index, &fault) in SocketFault::ALL.iter().enumerate() {
            (0..=index).for_each(|_| counters.count(fault));
        }
        let counted = counters.snapshot();
        assert!(counted.iter().map(|(_, count)| count).eq(1..=FAULTS as u64));
        let names: std::collections::HashSet<_> = SocketFault::ALL.iter().map(|fault| fault.name()).collect();
        assert_eq!(names.len(), FAULTS);
    }
}
