//! Waits for a datagram, a wake-up or a deadline, whichever comes first. What such a sleep is, differs between systems:
//! [`Sleep`].

use std::io;
use std::time::Duration;

use super::Socket;
use super::sleeping::Sleep;
use crate::sync::Arc;
use crate::sync::bell::Bell;

/// The waiting side, for one socket. One thread at a time uses it.
#[derive(Debug)]
pub(crate) struct SocketWaiter(Arc<Wakeup>);

/// The waking side. Any thread may wake at any time.
#[derive(Clone, Debug)]
pub(crate) struct SocketWaker(Arc<Wakeup>);

#[derive(Debug)]
struct Wakeup {
    bell: Bell,
    sleep: Sleep,
}

impl SocketWaiter {
    pub(crate) fn new() -> io::Result<(Self, SocketWaker)> {
        let wakeup = Arc::new(Wakeup { bell: Bell::new(), sleep: Sleep::new()? });
        Ok((Self(Arc::clone(&wakeup)), SocketWaker(wakeup)))
    }

    /// Whether a waker was called since this or [`wait`](Self::wait) last reported it.
    pub(crate) fn is_woken(&self) -> bool {
        self.0.bell.has_rung()
    }

    /// Waits until the socket is readable, a waker is called, or the time is over; `None` waits for ever. Returns whether the
    /// socket has an error to be asked for. A read must follow, before the next wait.
    pub(crate) fn wait(&self, socket: &Socket, timeout: Option<Duration>) -> io::Result<bool> {
        let Wakeup { bell, sleep } = &*self.0;
        bell.sleep(|may| sleep.until_readable(socket.udp(), if may { timeout } else { Some(Duration::ZERO) }))
    }
}

impl SocketWaker {
    /// Ends the present wait, or the next one if no thread waits.
    pub(crate) fn wake(&self) {
        if self.0.bell.ring() {
            self.0.sleep.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};
    use std::time::Instant;

    use super::*;
    use crate::machine::socket::place::Place;
    use crate::machine::socket::{Arrived, Received};

    /// Longer than any wait here takes that something ends.
    const LONG: Duration = Duration::from_secs(20);

    fn local() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    /// Waits, and reads, until a datagram was read. Returns its first byte.
    fn next(waiter: &SocketWaiter, socket: &Socket) -> u8 {
        let (began, mut buffer) = (Instant::now(), [0; 16]);
        loop {
            let left = LONG.checked_sub(began.elapsed()).expect("a datagram ends the wait");
            waiter.wait(socket, Some(left)).unwrap();
            if let Received::Datagrams = socket.receive(&mut buffer, &mut Arrived::default()) {
                return buffer[0];
            }
        }
    }

    #[test]
    fn each_datagram_ends_a_wait_also_if_others_wait_behind_it() {
        let (to, from) = (Socket::bind(local()).unwrap(), Socket::bind(local()).unwrap());
        let (waiter, _waker) = SocketWaiter::new().unwrap();
        for round in 0..3 {
            for number in 0..3 {
                from.send(&[round * 3 + number], to.address()).unwrap();
            }
            assert_eq!([0; 3].map(|_: u8| next(&waiter, &to)), [0, 1, 2].map(|number| round * 3 + number));
        }
    }

    #[test]
    fn a_wake_up_and_a_deadline_end_a_wait() {
        let socket = Socket::bind(local()).unwrap();
        let (waiter, waker) = SocketWaiter::new().unwrap();
        let began = Instant::now();
        waiter.wait(&socket, Some(Duration::from_millis(20))).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(20));
        for _ in 0..50 {
            std::thread::scope(|scope| {
                scope.spawn(|| waker.wake());
                waiter.wait(&socket, None).unwrap();
            });
        }
    }

    /// Whether a plain socket hears a server that comes back after a datagram was refused.
    fn a_plain_socket_hears_again(gone: SocketAddr) -> bool {
        let plain = UdpSocket::bind(local()).unwrap();
        plain.connect(gone).unwrap();
        plain.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        plain.send(b"to nobody").unwrap();
        while plain.recv(&mut [0; 16]).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset) {}
        plain.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let (to, server) = (plain.local_addr().unwrap(), UdpSocket::bind(gone).unwrap());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(200));
                server.send_to(b"back", to).unwrap();
            });
            plain.recv(&mut [0; 16]).is_ok()
        })
    }

    #[test]
    #[allow(clippy::print_stderr)] // prints why the test is skipped
    fn a_server_that_comes_back_after_a_refusal_ends_a_wait() {
        let gone = Socket::bind(local()).unwrap().address();
        if cfg!(windows) && !a_plain_socket_hears_again(gone) {
            eprintln!("skipped: a read of a plain socket does not end here either (a fault of Wine)");
            return;
        }
        let client = Socket::connect(&Place::at(gone)).unwrap();
        let (waiter, _waker) = SocketWaiter::new().unwrap();
        client.send(b"to nobody", gone).unwrap();
        while !matches!(client.receive(&mut [0; 16], &mut Arrived::default()), Received::Unreachable(..)) {
            waiter.wait(&client, Some(LONG)).unwrap();
        }
        let (server, to) = (Socket::bind(gone).unwrap(), client.address());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Most likely the client waits by then.
                std::thread::sleep(Duration::from_millis(50));
                server.send(b"back", to).unwrap();
            });
            assert_eq!(next(&waiter, &client), b'b');
        });
    }
}
