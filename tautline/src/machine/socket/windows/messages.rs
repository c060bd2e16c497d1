//! Sending and reading with control messages (WSASendMsg, WSARecvMsg): the address of this host that a datagram was for, or is to
//! be sent from. And the addresses of Winsock.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::sync::OnceLock;

use windows_sys::Win32::Networking::WinSock as winsock;

use super::calls::{is_longer, send_again};
use super::{handle, len_of, set_option, succeeded};
use crate::machine::socket::{Arrived, Source};

/// Room for an address of any family.
pub(super) type Name = winsock::SOCKADDR_STORAGE;

/// Room for the control messages of IPv4 and IPv6 at once, aligned.
type Control = [u64; 16];

/// The length of the head of a control message. Its data begin there: both are multiples of the alignment.
const HEAD: usize = size_of::<winsock::CMSGHDR>().next_multiple_of(align_of::<usize>());

/// Lets every read tell which address of this host its datagram was for. An IPv6 socket tells it for IPv4 datagrams too.
pub(in crate::machine::socket) fn tell_destination(udp: &UdpSocket, local: SocketAddr) -> bool {
    let v4 = set_option(udp, winsock::IPPROTO_IP, winsock::IP_PKTINFO, 1).is_ok();
    match local {
        SocketAddr::V4(_) => v4,
        SocketAddr::V6(_) => set_option(udp, winsock::IPPROTO_IPV6, winsock::IPV6_PKTINFO, 1).is_ok(),
    }
}

/// Why WSARecvMsg is not there.
pub(in crate::machine::socket) fn refuses_recvmsg(udp: &UdpSocket) -> Option<io::Error> {
    recvmsg(udp).err()
}

type RecvMsg = unsafe extern "system" fn(
    winsock::SOCKET,
    *mut winsock::WSAMSG,
    *mut u32,
    *mut windows_sys::Win32::System::IO::OVERLAPPED,
    winsock::LPWSAOVERLAPPED_COMPLETION_ROUTINE,
) -> i32;

/// WSARecvMsg, which Winsock gives out by its name alone.
fn recvmsg(udp: &UdpSocket) -> io::Result<RecvMsg> {
    static FOUND: OnceLock<RecvMsg> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(*found);
    }
    let mut found: winsock::LPFN_WSARECVMSG = None;
    let (name, mut returned) = (winsock::WSAID_WSARECVMSG, 0u32);
    // SAFETY: pointers and lengths describe `name`, which is read, and `found` and `returned`, which are written. A function
    // pointer that may be null has the layout of a pointer.
    succeeded(unsafe {
        winsock::WSAIoctl(
            handle(udp),
            winsock::SIO_GET_EXTENSION_FUNCTION_POINTER,
            (&raw const name).cast(),
            size_of_val(&name) as u32,
            (&raw mut found).cast(),
            size_of_val(&found) as u32,
            &raw mut returned,
            std::ptr::null_mut(),
            None,
        )
    })?;
    found.map(|found| *FOUND.get_or_init(|| found)).ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// Sends `bytes` as one datagram, to this address unless the socket is connected, and from this address of the host unless the
/// system may choose. Several datagrams (`each`) are not for Windows.
pub(in crate::machine::socket) fn send_message(
    udp: &UdpSocket,
    bytes: &[u8],
    to: Option<SocketAddr>,
    from: Option<Source>,
    each: Option<usize>,
) -> io::Result<usize> {
    if each.is_some() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let mut control: Control = [0; 16];
    let used = from.map_or(0, |from| append_source(&mut control, from));
    let send = |name: *const winsock::SOCKADDR, namelen: i32| {
        let mut parts = winsock::WSABUF { len: small(bytes.len()), buf: bytes.as_ptr().cast_mut() };
        let message = winsock::WSAMSG {
            name: name.cast_mut(),
            namelen,
            lpBuffers: &raw mut parts,
            dwBufferCount: 1,
            Control: winsock::WSABUF { len: small(used), buf: control.as_ptr().cast_mut().cast() },
            dwFlags: 0,
        };
        let mut sent = 0;
        // SAFETY: name, part and control describe memory that lives until the call returns, and the system only reads it. The
        // call is not overlapped.
        succeeded(unsafe {
            winsock::WSASendMsg(handle(udp), &raw const message, 0, &raw mut sent, std::ptr::null_mut(), None)
        })?;
        Ok(sent as usize)
    };
    send_again(|| match to {
        None => send(std::ptr::null(), 0),
        Some(to) => with_name(to, send),
    })
}

/// No datagram and no control message is longer than this type can say.
fn small(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Writes the control message with the address of this host that a datagram is to be sent from. Returns its length.
fn append_source(control: &mut Control, from: Source) -> usize {
    match from.ip {
        IpAddr::V4(ip) => {
            let info = winsock::IN_PKTINFO { ipi_addr: in_addr(ip), ipi_ifindex: 0 };
            append(control, (winsock::IPPROTO_IP, winsock::IP_PKTINFO), info)
        }
        IpAddr::V6(ip) => {
            let info = winsock::IN6_PKTINFO { ipi6_addr: in6_addr(ip), ipi6_ifindex: from.card };
            append(control, (winsock::IPPROTO_IPV6, winsock::IPV6_PKTINFO), info)
        }
    }
}

fn append<T>(control: &mut Control, kind: (i32, i32), data: T) -> usize {
    let len = HEAD + size_of::<T>();
    let space = len.next_multiple_of(align_of::<usize>());
    assert!(space <= size_of::<Control>(), "room for both families");
    let head = winsock::CMSGHDR { cmsg_len: len, cmsg_level: kind.0, cmsg_type: kind.1 };
    // SAFETY: the assertion says that head and data fit into the buffer, which is aligned and borrowed for writing.
    unsafe {
        let start = control.as_mut_ptr().cast::<u8>();
        start.cast::<winsock::CMSGHDR>().write(head);
        start.add(HEAD).cast::<T>().write_unaligned(data);
    }
    space
}

/// Reads one datagram, and the address of this host that it was for.
pub(in crate::machine::socket) fn receive(
    udp: &UdpSocket,
    buffer: &mut [u8],
    is_client: bool,
    arrived: &mut Arrived,
) -> io::Result<Option<Source>> {
    let receive = recvmsg(udp)?;
    let (mut name, mut control): (Name, Control) = (Name::default(), [0; 16]);
    let mut parts = winsock::WSABUF { len: small(buffer.len()), buf: buffer.as_mut_ptr() };
    let mut message = winsock::WSAMSG {
        name: (&raw mut name).cast(),
        namelen: len_of::<Name>(),
        lpBuffers: &raw mut parts,
        dwBufferCount: 1,
        Control: winsock::WSABUF { len: small(size_of::<Control>()), buf: control.as_mut_ptr().cast() },
        dwFlags: 0,
    };
    let mut read = 0;
    // SAFETY: name, part and control describe memory that lives until the call returns, and no other code uses it meanwhile.
    // The call is not overlapped.
    let result = succeeded(unsafe {
        receive(handle(udp), &raw mut message, &raw mut read, std::ptr::null_mut(), None)
    });
    let len = match result {
        Ok(()) => read as usize,
        Err(error) if is_longer(&error) => buffer.len(),
        Err(error) => return Err(error),
    };
    let from = if is_client { None } else { Some(socket_address(&name)?) };
    let told = (message.Control.len as usize).min(size_of::<Control>());
    *arrived = Arrived::one(len, from);
    Ok(source(&control, told))
}

/// The address of this host in the first `told` bytes of control messages, if a reply can come from it.
fn source(control: &Control, told: usize) -> Option<Source> {
    let start = control.as_ptr().cast::<u8>();
    let (mut at, mut found) = (0, None);
    while at + HEAD <= told {
        // SAFETY: the head lies within the buffer, whose bytes are all written.
        let head = unsafe { start.add(at).cast::<winsock::CMSGHDR>().read_unaligned() };
        if head.cmsg_len < HEAD || at + head.cmsg_len > told {
            break;
        }
        let (data, len) = (at + HEAD, head.cmsg_len - HEAD);
        match (head.cmsg_level, head.cmsg_type) {
            (winsock::IPPROTO_IP, winsock::IP_PKTINFO) if len >= size_of::<winsock::IN_PKTINFO>() => {
                // SAFETY: the message is as long as the type, and any bytes are a value of it.
                let info = unsafe { start.add(data).cast::<winsock::IN_PKTINFO>().read_unaligned() };
                found = found.or_else(|| source_of_ipv4(ipv4(info.ipi_addr)));
            }
            (winsock::IPPROTO_IPV6, winsock::IPV6_PKTINFO) if len >= size_of::<winsock::IN6_PKTINFO>() => {
                // SAFETY: as above.
                let info = unsafe { start.add(data).cast::<winsock::IN6_PKTINFO>().read_unaligned() };
                found = source_of_ipv6(ipv6(info.ipi6_addr), info.ipi6_ifindex);
            }
            _ => {}
        }
        at += head.cmsg_len.next_multiple_of(align_of::<usize>());
    }
    found
}

/// A reply cannot come from a group or a broadcast address. There the system chooses.
fn source_of_ipv4(ip: Ipv4Addr) -> Option<Source> {
    let is_of_many = ip.is_multicast() || ip.is_broadcast();
    (!is_of_many).then_some(Source { ip: ip.into(), card: 0 })
}

/// As [`source_of_ipv4`].
fn source_of_ipv6(ip: Ipv6Addr, card: u32) -> Option<Source> {
    if let Some(v4) = ip.to_ipv4_mapped() {
        return source_of_ipv4(v4).map(|_| Source { ip: ip.into(), card: 0 });
    }
    let card = if ip.is_unicast_link_local() { card } else { 0 };
    (!ip.is_multicast()).then_some(Source { ip: ip.into(), card })
}

fn in_addr(ip: Ipv4Addr) -> winsock::IN_ADDR {
    winsock::IN_ADDR { S_un: winsock::IN_ADDR_0 { S_addr: u32::from_ne_bytes(ip.octets()) } }
}

fn in6_addr(ip: Ipv6Addr) -> winsock::IN6_ADDR {
    winsock::IN6_ADDR { u: winsock::IN6_ADDR_0 { Byte: ip.octets() } }
}

fn ipv4(address: winsock::IN_ADDR) -> Ipv4Addr {
    // SAFETY: every view of the union is plain bytes.
    Ipv4Addr::from(unsafe { address.S_un.S_addr }.to_ne_bytes())
}

fn ipv6(address: winsock::IN6_ADDR) -> Ipv6Addr {
    // SAFETY: every view of the union is plain bytes.
    Ipv6Addr::from(unsafe { address.u.Byte })
}

/// Calls `call` with the address as Winsock writes it.
pub(super) fn with_name<T>(address: SocketAddr, call: impl FnOnce(*const winsock::SOCKADDR, i32) -> T) -> T {
    match address {
        SocketAddr::V4(v4) => {
            let name = winsock::SOCKADDR_IN {
                sin_family: winsock::AF_INET,
                sin_port: v4.port().to_be(),
                sin_addr: in_addr(*v4.ip()),
                sin_zero: [0; 8],
            };
            call((&raw const name).cast(), len_of::<winsock::SOCKADDR_IN>())
        }
        SocketAddr::V6(v6) => {
            let name = winsock::SOCKADDR_IN6 {
                sin6_family: winsock::AF_INET6,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: in6_addr(*v6.ip()),
                Anonymous: winsock::SOCKADDR_IN6_0 { sin6_scope_id: v6.scope_id() },
            };
            call((&raw const name).cast(), len_of::<winsock::SOCKADDR_IN6>())
        }
    }
}

/// The address that the system has written.
pub(super) fn socket_address(name: &Name) -> io::Result<SocketAddr> {
    let name = std::ptr::from_ref(name);
    // SAFETY: the storage is as large and as aligned as both types, and any bytes are values of them.
    unsafe {
        match (*name).ss_family {
            winsock::AF_INET => {
                let v4 = name.cast::<winsock::SOCKADDR_IN>().read();
                Ok(SocketAddrV4::new(ipv4(v4.sin_addr), u16::from_be(v4.sin_port)).into())
            }
            winsock::AF_INET6 => {
                let v6 = name.cast::<winsock::SOCKADDR_IN6>().read();
                let (ip, port) = (ipv6(v6.sin6_addr), u16::from_be(v6.sin6_port));
                Ok(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.Anonymous.sin6_scope_id).into())
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
