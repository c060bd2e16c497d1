//! Waiting for a datagram, a wake-up or a deadline, whichever comes first.

use std::io;
use std::time::Duration;

use super::Socket;

#[cfg(unix)]
pub(crate) use with_poll::{Waiter, Waker};
#[cfg(not(unix))]
pub(crate) use without_poll::{Waiter, Waker};

/// poll(2) over the socket and a pipe-like descriptor that a [`Waker`] makes readable.
#[cfg(unix)]
mod with_poll {
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;

    use super::{Duration, Socket, io};

    /// The waiting side.
    #[derive(Debug)]
    pub(crate) struct Waiter(Arc<Bell>);

    /// The waking side; any thread may wake at any time.
    #[derive(Clone, Debug)]
    pub(crate) struct Waker(Arc<Bell>);

    #[derive(Debug)]
    struct Bell {
        read: OwnedFd,
        #[cfg(not(target_os = "linux"))]
        write: OwnedFd,
    }

    impl Bell {
        #[cfg(target_os = "linux")]
        fn new() -> io::Result<Self> {
            use rustix::event::{EventfdFlags, eventfd};
            Ok(Self { read: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
        }

        #[cfg(not(target_os = "linux"))]
        fn new() -> io::Result<Self> {
            let (read, write) = rustix::pipe::pipe()?;
            rustix::io::ioctl_fionbio(&read, true)?;
            rustix::io::ioctl_fionbio(&write, true)?;
            Ok(Self { read, write })
        }

        fn writer(&self) -> &OwnedFd {
            #[cfg(target_os = "linux")]
            return &self.read;
            #[cfg(not(target_os = "linux"))]
            return &self.write;
        }
    }

    impl Waiter {
        pub(crate) fn new() -> io::Result<(Self, Waker)> {
            let bell = Arc::new(Bell::new()?);
            Ok((Self(Arc::clone(&bell)), Waker(bell)))
        }

        /// Waits until the socket is readable, someone wakes us or the time is over; `None` waits for ever.
        pub(crate) fn wait(&self, socket: &Socket, timeout: Option<Duration>) -> io::Result<()> {
            let timeout = timeout.map(|timeout| Timespec {
                tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: timeout.subsec_nanos().into(),
            });
            let mut fds =
                [PollFd::new(socket.udp(), PollFlags::IN), PollFd::new(&self.0.read, PollFlags::IN)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if !fds[1].revents().is_empty() {
                // Whatever was written stands for "look around": one read takes it all.
                let _ = rustix::io::read(&self.0.read, &mut [0; 64]);
            }
            Ok(())
        }
    }

    impl Waker {
        /// Ends the present wait, or the next one if nobody waits.
        pub(crate) fn wake(&self) {
            // A full pipe is already a wake-up.
            let _ = rustix::io::write(self.0.writer(), &1u64.to_ne_bytes());
        }
    }
}

/// Short waits in the socket's own blocking read, for systems without poll(2).
#[cfg(not(unix))]
mod without_poll {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::{Duration, Socket, io};

    /// How late a wake-up may be noticed.
    const SLICE: Duration = Duration::from_millis(1);

    /// The waiting side.
    #[derive(Debug)]
    pub(crate) struct Waiter(Arc<AtomicBool>);

    /// The waking side.
    #[derive(Clone, Debug)]
    pub(crate) struct Waker(Arc<AtomicBool>);

    impl Waiter {
        pub(crate) fn new() -> io::Result<(Self, Waker)> {
            let flag = Arc::new(AtomicBool::new(false));
            Ok((Self(Arc::clone(&flag)), Waker(flag)))
        }

        /// Waits until a datagram is there, someone wakes us or the time is over.
        pub(crate) fn wait(&self, socket: &Socket, timeout: Option<Duration>) -> io::Result<()> {
            let start = std::time::Instant::now();
            let udp = socket.udp();
            // Order: the flag carries no data; the locks taken afterwards do.
            while !self.0.swap(false, Ordering::Relaxed)
                && timeout.is_none_or(|limit| start.elapsed() < limit)
            {
                if udp.peek(&mut [0; 1]).is_ok() {
                    break;
                }
                std::thread::sleep(SLICE);
            }
            Ok(())
        }
    }

    impl Waker {
        /// Ends the present wait, or the next one.
        pub(crate) fn wake(&self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
