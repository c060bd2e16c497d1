//! What a socket sends, reads and reports, with the system's own sockets.

use super::*;

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn client(server: SocketAddr) -> Socket {
    Socket::connect(&place::Place::at(server)).unwrap()
}

fn wait_for(socket: &Socket) -> (Received, Arrived) {
    let (mut buffer, mut arrived) = ([0; 64], Arrived::default());
    for _ in 0..1000 {
        match socket.receive(&mut buffer, &mut arrived) {
            Received::Empty => std::thread::sleep(std::time::Duration::from_millis(1)),
            received => return (received, arrived),
        }
    }
    panic!("nothing came within a second");
}

#[test]
fn a_refused_datagram_is_reported_and_the_next_one_is_still_sent() {
    let gone = Socket::bind(local()).unwrap().address();
    let socket = client(gone);
    socket.send(b"to nobody", gone).unwrap();
    assert!(matches!(wait_for(&socket), (Received::Unreachable(_), _)));
    assert!(socket.take_cleared().is_none());
    socket.send(b"to nobody again", gone).unwrap();
    if cfg!(target_os = "linux") {
        // Over loopback the error is there at once, and the next send clears it.
        socket.send(b"to nobody", gone).unwrap();
        let (count, error) = socket.take_cleared().expect("a send has cleared it");
        assert_eq!((count, SocketFault::of(&error)), (1, SocketFault::PortUnreachable));
    }
    let back = Socket::bind(gone).unwrap();
    // The pending error must not swallow this one.
    socket.send(b"to somebody", gone).unwrap();
    assert!(matches!(wait_for(&back), (Received::Datagrams, Arrived { len: 11, each: 11, .. })));
}

/// Sends five datagrams of 100 bytes and one of 40 in one call. Returns what the server reads; `coalesce` lets the kernel
/// keep them together.
#[cfg(target_os = "linux")]
fn segments_arrive(coalesce: bool, connected: bool) -> Vec<Vec<u8>> {
    let to = Socket::bind(local()).unwrap();
    let from = match connected {
        true => client(to.address()),
        false => Socket::bind(local()).unwrap(),
    };
    if coalesce {
        to.coalesce();
    }
    let bytes: Vec<u8> = (0..6).flat_map(|n| vec![n; if n < 5 { 100 } else { 40 }]).collect();
    from.allow_segments();
    let sent = from.send_segments(&bytes, 100, to.address());
    sent.expect("this kernel can segment").expect("the kernel takes it");
    let (mut buffer, mut arrived) = (vec![0; RECEIVE_BUFFER], Arrived::default());
    let mut datagrams = Vec::new();
    while let Received::Datagrams = to.receive(&mut buffer, &mut arrived) {
        assert_eq!(arrived.from.expect("not a client").port(), from.address().port());
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
    assert!(socket.send_segments(&[0; 10], 5, socket.address()).is_none());
}

#[test]
fn an_empty_datagram_is_received() {
    let (to, from) = (Socket::bind(local()).unwrap(), Socket::bind(local()).unwrap());
    to.coalesce();
    from.send(&[], to.address()).unwrap();
    let (Received::Datagrams, arrived) = wait_for(&to) else { panic!("it came") };
    assert_eq!(arrived.datagrams(&[7; 9]).collect::<Vec<_>>(), [&[0u8; 0]]);
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_stamps_arriving_datagrams() {
    let (to, from) = (Socket::bind(local()).unwrap(), Socket::bind(local()).unwrap());
    assert!(to.stamp());
    let before = crate::machine::clock::wall_now();
    from.send(b"now", to.address()).unwrap();
    let (Received::Datagrams, arrived) = wait_for(&to) else { panic!("it came") };
    let stamp = arrived.stamp.expect("asked for");
    assert!(before <= stamp && stamp <= crate::machine::clock::wall_now());
    assert_eq!((arrived.len, arrived.each, arrived.from), (3, 3, Some(from.address())));
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_learns_which_peer_cannot_be_reached() {
    let gone = Socket::bind(local()).unwrap().address();
    let server = Socket::bind(local()).unwrap();
    server.send(b"to nobody", gone).unwrap();
    let mut waits = 0;
    while !server.has_cleared_error() {
        assert!(matches!(server.receive(&mut [0; 64], &mut Arrived::default()), Received::Empty));
        waits += 1;
        assert!(waits < 1000, "no error came within a second");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let errors: Vec<_> = server.take_errors().collect();
    let [(about, error)] = &errors[..] else { panic!("{errors:?}") };
    assert_eq!((*about, SocketFault::of(error)), (gone, SocketFault::PortUnreachable));
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_reads_datagrams_before_errors() {
    let gone = Socket::bind(local()).unwrap().address();
    let (server, peer) = (Socket::bind(local()).unwrap(), Socket::bind(local()).unwrap());
    for _ in 0..MAX_ERRORS + 1 {
        // Over loopback the error is there at once.
        server.send(b"to nobody", gone).unwrap();
    }
    peer.send(b"hello", server.address()).unwrap();
    let (mut buffer, mut arrived) = ([0; 64], Arrived::default());
    assert!(matches!(server.receive(&mut buffer, &mut arrived), Received::Datagrams));
    assert_eq!(arrived.len, 5);
    for left in [MAX_ERRORS, 1, 0] {
        assert_eq!(server.has_cleared_error(), left > 0);
        assert!(server.take_errors().map(|(about, _)| about).eq(vec![gone; left]));
        assert!(matches!(server.receive(&mut buffer, &mut arrived), Received::Empty));
    }
}
