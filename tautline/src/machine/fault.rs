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
    error.raw_os_error().and_then(of_windows)
}

/// The fault of a number of Windows. Plain numbers, so that the tests read the table of docs/platforms.md on every system.
#[cfg(any(windows, test))]
const fn of_windows(number: i32) -> Option<SocketFault> {
    Some(match number {
        // WSAECONNRESET: an earlier datagram met no program at its port. WSAECONNREFUSED.
        10_054 | 10_061 => SocketFault::PortUnreachable,
        // WSAENETUNREACH.
        10_051 => SocketFault::NetworkUnreachable,
        // WSAEHOSTUNREACH, WSAEHOSTDOWN, WSAENETRESET (an earlier datagram was on its way for too long), WSAENOPROTOOPT,
        // WSAEPROTONOSUPPORT, WSAEOPNOTSUPP.
        10_065 | 10_064 | 10_052 | 10_042 | 10_043 | 10_045 => SocketFault::HostUnreachable,
        // WSAENETDOWN.
        10_050 => SocketFault::NetworkDown,
        // WSAEADDRNOTAVAIL, WSAEDESTADDRREQ, WSAENOTCONN.
        10_049 | 10_039 | 10_057 => SocketFault::AddressGone,
        // ERROR_DEV_NOT_EXIST.
        55 => SocketFault::CardGone,
        // WSAEACCES.
        10_013 => SocketFault::NotPermitted,
        // WSAENOBUFS, ERROR_NOT_ENOUGH_MEMORY.
        10_055 | 8 => SocketFault::OutOfBuffers,
        // WSAEMSGSIZE.
        10_040 => SocketFault::TooLarge,
        // WSAEWOULDBLOCK.
        10_035 => SocketFault::Busy,
        // WSAEMFILE, ERROR_TOO_MANY_OPEN_FILES.
        10_024 | 4 => SocketFault::OutOfDescriptors,
        // WSAEADDRINUSE.
        10_048 => SocketFault::AddressInUse,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(any(target_os = "linux", windows))]
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

    /// The cells of the rows of a page's table that begins with `head`.
    fn table(page: &str, head: &str) -> Vec<Vec<String>> {
        let path = format!("{}/../docs/{page}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().skip_while(|line| !line.starts_with(head)).skip(2);
        let rows = rows.take_while(|line| line.starts_with('|'));
        rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
            .collect()
    }

    /// The numbers of Windows in a text: `WSAECONNRESET 10054, ...`.
    fn numbers(text: &str) -> Vec<i32> {
        let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let is_name = |word: &str| word.starts_with("WSAE") || word.starts_with("ERROR_");
        let named = words.windows(2).filter(|pair| is_name(pair[0]));
        named.map(|pair| pair[1].parse().unwrap_or_else(|_| panic!("{} has no number", pair[0]))).collect()
    }

    #[test]
    fn every_fault_of_the_page_of_safety_has_its_numbers_of_windows() {
        let rows = table("platforms.md", "| `SocketFault` | numbers of Windows");
        for faults in table("safety.md", "| the system reports | `SocketFault`") {
            let row = rows.iter().find(|row| row[0] == faults[1]);
            let row = row.unwrap_or_else(|| panic!("docs/platforms.md has no row for {}", faults[1]));
            assert!(!numbers(&row[1]).is_empty(), "{row:?}");
        }
        let mut listed = Vec::new();
        for row in &rows {
            let (first, of_sends) = row[1].split_once("when sending").unwrap_or((&row[1], ""));
            let fault = SocketFault::ALL.iter().copied().find(|fault| row[0] == format!("`{fault:?}`"));
            // A blackhole has the number of an address that is gone. What interrupts a call is no fault.
            let known = if fault == Some(SocketFault::Blackhole) { None } else { fault };
            assert!(fault.is_some() || row[0] == "none", "{row:?}");
            for number in numbers(first) {
                assert_eq!(of_windows(number), known, "{number}");
                listed.push(number);
            }
            for number in numbers(of_sends) {
                assert_eq!(of_windows(number), None, "{number} means another thing elsewhere");
                #[cfg(windows)]
                assert_eq!(
                    SocketFault::of_send(&io::Error::from_raw_os_error(number)),
                    SocketFault::AddressGone
                );
            }
        }
        let unlisted = (0..20_000).find(|number| of_windows(*number).is_some() && !listed.contains(number));
        assert_eq!(unlisted, None, "docs/platforms.md lists every number");
    }

    #[cfg(windows)]
    #[test]
    fn the_numbers_are_those_of_windows() {
        use windows_sys::Win32::Foundation::{
            ERROR_DEV_NOT_EXIST, ERROR_NOT_ENOUGH_MEMORY, ERROR_TOO_MANY_OPEN_FILES,
        };
        use windows_sys::Win32::Networking::WinSock as winsock;
        let other = [ERROR_DEV_NOT_EXIST, ERROR_NOT_ENOUGH_MEMORY, ERROR_TOO_MANY_OPEN_FILES];
        assert_eq!(other, [55, 8, 4]);
        assert_eq!((winsock::WSAECONNRESET, winsock::WSAEINVAL), (10_054, 10_022));
        assert_eq!(of(winsock::WSAENOTSOCK), SocketFault::Other);
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
