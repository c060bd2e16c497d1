//! Finds the addresses of names, and the numbers of network cards.
//!
//! Called by `connection` (on the thread that connects, which may wait) and by the driver, which never waits: [`LookUp`] asks
//! on a thread of its own.
#![allow(unsafe_code)] // if_nametoindex(3), and its like on Windows

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::Duration;

use crate::config::LocalAddress;
use crate::sync::thread;

/// The address of a host that is an address, with or without a zone. `None`: the host is a name.
pub(crate) fn numeric(host: &str, port: u16) -> Option<io::Result<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(Ok(SocketAddr::new(ip, port)));
    }
    let (ip, zone) = host.split_once('%')?;
    let ip = ip.parse().ok()?;
    Some(number_of_card(zone).map(|number| with_zone(ip, port, number)))
}

/// The socket address of an own address, with the present number of its network card.
pub(crate) fn local(address: &LocalAddress) -> io::Result<SocketAddr> {
    match (address.ip(), address.zone()) {
        (IpAddr::V6(ip), Some(zone)) => Ok(with_zone(ip, address.port(), number_of_card(zone)?)),
        (ip, _) => Ok(SocketAddr::new(ip, address.port())),
    }
}

/// The addresses of a host. May wait for servers of names.
fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match numeric(host, port) {
        Some(address) => address.map(|address| vec![address]),
        None => Ok((host, port).to_socket_addrs()?.collect()),
    }
}

const fn with_zone(ip: Ipv6Addr, port: u16, number: u32) -> SocketAddr {
    SocketAddr::V6(SocketAddrV6::new(ip, port, 0, number))
}

/// The number that a network card has now. Another number means another card, or the same one plugged in again.
pub(crate) fn number_of_card(name: &str) -> io::Result<u32> {
    name.parse().or_else(|_| number_of_name(name))
}

#[cfg(unix)]
fn number_of_name(name: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the name ends in a zero byte and lives until the call returns.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        number => Ok(number),
    }
}

/// By the name that Windows shows, such as "Ethernet 2".
#[cfg(windows)]
fn number_of_name(name: &str) -> io::Result<u32> {
    use windows_sys::Win32::Foundation::ERROR_DEV_NOT_EXIST;
    use windows_sys::Win32::NetworkManagement::IpHelper::{
        ConvertInterfaceAliasToLuid, ConvertInterfaceLuidToIndex,
    };
    use windows_sys::Win32::NetworkManagement::Ndis::NET_LUID_LH;

    let name: Vec<u16> = name.encode_utf16().chain([0]).collect();
    let (mut card, mut number) = (NET_LUID_LH::default(), 0);
    // SAFETY: the name ends in a zero and lives until the calls return, which write to `card` and `number`.
    let result = unsafe {
        match ConvertInterfaceAliasToLuid(name.as_ptr(), &raw mut card) {
            0 => ConvertInterfaceLuidToIndex(&raw const card, &raw mut number),
            error => error,
        }
    };
    // The system's error would speak of a file name or a parameter.
    if result == 0 {
        Ok(number)
    } else {
        Err(io::Error::from_raw_os_error(ERROR_DEV_NOT_EXIST.cast_signed()))
    }
}

/// The most look-ups of a name at once. The system's function waits for a name server that does not answer, ten seconds in most systems,
/// and asks it only every five: so a further look-up finds out sooner that it answers again.
const MOST_LOOK_UPS: usize = 10;

/// Looks a name up without waiting: each look-up has a thread of its own, because the system's function waits.
#[derive(Debug, Default)]
pub(crate) struct LookUp(Vec<Receiver<io::Result<Vec<SocketAddr>>>>);

impl LookUp {
    /// Begins one more look-up, unless too many are under way. Calls `wake` when there is an answer.
    pub(crate) fn begin(&mut self, host: &str, port: u16, wake: impl FnOnce() + Send + 'static) {
        if self.0.len() >= MOST_LOOK_UPS {
            return;
        }
        let (answer, answered) = mpsc::channel();
        let host = host.to_owned();
        let ask = move || {
            // Nobody listens any more if the connection has ended, or another look-up was sooner.
            let _ = answer.send(look_up(&host, port));
            wake();
        };
        // Without a thread, the next call tries again.
        let begun = thread::Builder::new().name("tautline-names".to_owned()).spawn(ask);
        self.0.extend(begun.is_ok().then_some(answered));
    }

    /// As [`begin`](Self::begin) and [`take`](Self::take), but waits for the answer, for at most `patience`. Later, the answer can be
    /// taken.
    pub(crate) fn wait(
        &mut self,
        host: &str,
        port: u16,
        patience: Duration,
    ) -> Option<io::Result<Vec<SocketAddr>>> {
        self.begin(host, port, || {});
        let answer = self.0.last()?.recv_timeout(patience).ok()?;
        self.0.clear();
        Some(answer)
    }

    /// Whether a look-up is under way, or its answer was not taken.
    pub(crate) const fn is_begun(&self) -> bool {
        !self.0.is_empty()
    }

    /// The answer that has come since the last call. A failure is no answer while another look-up is under way.
    pub(crate) fn take(&mut self) -> Option<io::Result<Vec<SocketAddr>>> {
        let (mut found, mut failed) = (None, None);
        self.0.retain(|look_up| match look_up.try_recv() {
            // Of several, that of the latest look-up.
            Ok(Ok(addresses)) => {
                found = Some(Ok(addresses));
                false
            }
            Ok(failure) => {
                failed = Some(failure);
                false
            }
            Err(TryRecvError::Empty) => true,
            Err(TryRecvError::Disconnected) => {
                failed = Some(Err(io::Error::other("the look-up failed")));
                false
            }
        });
        if found.is_some() {
            self.0.clear();
        }
        found.or_else(|| failed.filter(|_| self.0.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_no_names() {
        assert_eq!(numeric("10.0.0.5", 9).unwrap().unwrap(), SocketAddr::from(([10, 0, 0, 5], 9)));
        assert_eq!(numeric("::1", 9).unwrap().unwrap(), "[::1]:9".parse().unwrap());
        assert_eq!(numeric("fe80::1%7", 9).unwrap().unwrap(), "[fe80::1%7]:9".parse().unwrap());
        assert!(numeric("plant.local", 9).is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_card_that_is_not_there_is_an_error_and_no_name() {
        assert!(numeric("fe80::1%nothing0", 9).expect("an address").is_err());
        assert_eq!(numeric("fe80::1%lo", 9).unwrap().unwrap(), "[fe80::1%1]:9".parse().unwrap());
    }

    #[test]
    fn a_look_up_answers_without_a_wait() {
        let mut look_up = LookUp::default();
        let (woken, wakes) = mpsc::channel();
        assert!(look_up.take().is_none());
        look_up.begin("127.0.0.1", 9, move || woken.send(()).unwrap());
        wakes.recv().unwrap();
        assert_eq!(look_up.take().unwrap().unwrap(), [SocketAddr::from(([127, 0, 0, 1], 9))]);
        assert!(look_up.take().is_none());
        let waited = look_up.wait("127.0.0.1", 9, Duration::from_secs(60)).expect("it answers").unwrap();
        assert_eq!(waited, [SocketAddr::from(([127, 0, 0, 1], 9))]);
        assert!(!look_up.is_begun());
    }

    #[test]
    fn the_first_answer_counts_and_a_failure_only_if_no_other_look_up_is_under_way() {
        let (one, other) = (mpsc::channel(), mpsc::channel());
        let mut look_up = LookUp(vec![one.1, other.1]);
        one.0.send(Err(io::Error::other("no answer"))).unwrap();
        assert!(look_up.take().is_none() && look_up.is_begun());
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        other.0.send(Ok(vec![address])).unwrap();
        assert_eq!(look_up.take().unwrap().unwrap(), [address]);
        assert!(!look_up.is_begun());
        let (one, other) = (mpsc::channel(), mpsc::channel());
        let mut look_up = LookUp(vec![one.1, other.1]);
        drop(one.0);
        other.0.send(Err(io::Error::other("no answer"))).unwrap();
        assert!(look_up.take().is_some_and(|answer| answer.is_err()), "both have failed");
    }

    #[test]
    fn look_ups_are_bounded() {
        let mut look_up = LookUp::default();
        (0..100).for_each(|_| look_up.begin("127.0.0.1", 9, || {}));
        assert_eq!(look_up.0.len(), MOST_LOOK_UPS);
    }
}
