//! Waits for a datagram, a wake-up or a deadline, whichever comes first.

use std::io;
use std::time::Duration;

use super::Socket;

#[cfg(unix)]
pub(crate) use with_poll::{SocketWaiter, SocketWaker, is_precise};
#[cfg(not(unix))]
pub(crate) use without_poll::{SocketWaiter, SocketWaker, is_precise};

/// poll(2) on the socket and on a descriptor that a [`SocketWaker`] makes readable.
#[cfg(unix)]
mod with_poll {
    use crate::sync::Arc;
    use std::os::fd::OwnedFd;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;

    #[cfg(target_os = "linux")]
    use super::super::platform;
    use super::{Duration, Socket, io};
    use crate::sync::bell::Bell;

    /// The waiting side. One thread at a time uses it.
    #[derive(Debug)]
    pub(crate) struct SocketWaiter(Arc<Wakeup>);

    /// The waking side. Any thread may wake at any time.
    #[derive(Clone, Debug)]
    pub(crate) struct SocketWaker(Arc<Wakeup>);

    /// The bell, and the descriptor that ends a sleep.
    #[derive(Debug)]
    struct Wakeup {
        bell: Bell,
        read: OwnedFd,
        /// The writing end, if it is another descriptor.
        write: Option<OwnedFd>,
        /// The system refuses ppoll(2).
        imprecise: bool,
    }

    impl Wakeup {
        fn new() -> io::Result<Self> {
            let (read, write) = Self::descriptors()?;
            Ok(Self { bell: Bell::new(), read, write, imprecise: !is_precise() })
        }

        /// An eventfd(2), or the ends of a pipe where there is none.
        fn descriptors() -> io::Result<(OwnedFd, Option<OwnedFd>)> {
            #[cfg(target_os = "linux")]
            {
                use rustix::event::{EventfdFlags, eventfd};
                if let Ok(event) = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK) {
                    return Ok((event, None));
                }
            }
            let (read, write) = rustix::pipe::pipe()?;
            for end in [&read, &write] {
                rustix::io::ioctl_fionbio(end, true)?;
                rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
            }
            Ok((read, Some(write)))
        }

        fn writer(&self) -> &OwnedFd {
            self.write.as_ref().unwrap_or(&self.read)
        }
    }

    /// Whether the system takes time-outs of less than a millisecond.
    pub(crate) fn is_precise() -> bool {
        #[cfg(target_os = "linux")]
        {
            let tried = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
            !tried.is_err_and(|error| platform::refuses_call(&error.into()))
        }
        #[cfg(not(target_os = "linux"))]
        true
    }

    /// Waits in whole milliseconds, at least one.
    #[cold]
    fn poll_imprecisely(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<()> {
        const SLICE: Duration = Duration::from_millis(1);
        let ms = timeout.map_or(-1, |timeout| {
            let whole = timeout.as_nanos().div_ceil(SLICE.as_nanos());
            i32::try_from(whole).unwrap_or(i32::MAX)
        });
        #[cfg(target_os = "linux")]
        match platform::poll_in_ms(fds, ms) {
            Err(error) if platform::refuses_call(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => return polled,
        }
        // The socket and the wake-up are read without a wait.
        let _ = (fds, ms);
        std::thread::sleep(timeout.unwrap_or(SLICE).min(SLICE));
        Ok(())
    }

    impl SocketWaiter {
        pub(crate) fn new() -> io::Result<(Self, SocketWaker)> {
            let wakeup = Arc::new(Wakeup::new()?);
            Ok((Self(Arc::clone(&wakeup)), SocketWaker(wakeup)))
        }

        /// Whether a waker was called since this or [`wait`](Self::wait) last reported it.
        pub(crate) fn is_woken(&self) -> bool {
            self.0.bell.has_rung()
        }

        /// Waits until the socket is readable, a waker is called, or the time is over; `None` waits for ever. Returns whether
        /// the socket has an error.
        pub(crate) fn wait(&self, socket: &Socket, timeout: Option<Duration>) -> io::Result<bool> {
            self.0.bell.sleep(|may| self.sleep(socket, if may { timeout } else { Some(Duration::ZERO) }))
        }

        fn sleep(&self, socket: &Socket, timeout: Option<Duration>) -> io::Result<bool> {
            let mut fds =
                [PollFd::new(socket.udp(), PollFlags::IN), PollFd::new(&self.0.read, PollFlags::IN)];
            if self.0.imprecise {
                poll_imprecisely(&mut fds, timeout)?;
                let _ = rustix::io::read(&self.0.read, &mut [0; 64]);
                return Ok(fds[0].revents().contains(PollFlags::ERR));
            }
            let timeout = timeout.map(|timeout| Timespec {
                tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: timeout.subsec_nanos().into(),
            });
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if !fds[1].revents().is_empty() {
                // All wake-ups mean the same, so one read takes them all.
                let _ = rustix::io::read(&self.0.read, &mut [0; 64]);
            }
            Ok(fds[0].revents().contains(PollFlags::ERR))
        }
    }

    impl SocketWaker {
        /// Ends the present wait, or the next one if no thread waits.
        pub(crate) fn wake(&self) {
            if self.0.bell.ring() {
                // A full pipe is already a wake-up.
                let _ = rustix::io::write(self.0.writer(), &1u64.to_ne_bytes());
            }
        }
    }
}

/// Short blocking reads of the socket, for systems without poll(2).
#[cfg(not(unix))]
mod without_poll {
    use crate::sync::Arc;
    use crate::sync::{AtomicBool, Ordering};

    use super::{Duration, Socket, io};

    /// The greatest delay of a wake-up.
    const SLICE: Duration = Duration::from_millis(1);

    /// WSAEMSGSIZE: a datagram waits that is longer than the buffer. Other systems only cut it short.
    const LONGER: i32 = 10_040;

    /// Whether the system takes time-outs of less than a millisecond: here, waits are slept through in slices.
    pub(crate) const fn is_precise() -> bool {
        true
    }

    /// The waiting side.
    #[derive(Debug)]
    pub(crate) struct SocketWaiter(Arc<AtomicBool>);

    /// The waking side.
    #[derive(Clone, Debug)]
    pub(crate) struct SocketWaker(Arc<AtomicBool>);

    impl SocketWaiter {
        pub(crate) fn new() -> io::Result<(Self, SocketWaker)> {
            let flag = Arc::new(AtomicBool::new(false));
            Ok((Self(Arc::clone(&flag)), SocketWaker(flag)))
        }

        /// Whether a waker was called since this or [`wait`](Self::wait) last reported it.
        pub(crate) fn is_woken(&self) -> bool {
            self.0.swap(false, Ordering::Relaxed)
        }

        /// Waits until a datagram comes, a waker is called, or the time is over. The socket has no error queue here.
        pub(crate) fn wait(&self, socket: &Socket, timeout: Option<Duration>) -> io::Result<bool> {
            let start = std::time::Instant::now();
            let udp = socket.udp();
            // Order: the flag carries no data; the locks taken afterwards do.
            while !self.0.swap(false, Ordering::Relaxed)
                && timeout.is_none_or(|limit| start.elapsed() < limit)
            {
                let seen = udp.peek(&mut [0; 1]);
                if seen.is_ok() || seen.is_err_and(|error| error.raw_os_error() == Some(LONGER)) {
                    break;
                }
                std::thread::sleep(SLICE);
            }
            Ok(false)
        }
    }

    impl SocketWaker {
        /// Ends the present wait, or the next one.
        pub(crate) fn wake(&self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
