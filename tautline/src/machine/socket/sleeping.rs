//! Sleeps on Unix: poll(2) on the socket, and on a descriptor that a wake-up makes readable.

use std::io;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

#[cfg(target_os = "linux")]
use super::platform;

/// One thread sleeps with this, and other threads end its sleep with it.
#[derive(Debug)]
pub(super) struct Sleep {
    read: OwnedFd,
    /// The writing end, if it is another descriptor.
    write: Option<OwnedFd>,
    /// The system refuses ppoll(2).
    imprecise: bool,
}

impl Sleep {
    pub(super) fn new() -> io::Result<Self> {
        let (read, write) = Self::descriptors()?;
        Ok(Self { read, write, imprecise: !is_precise() })
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

    /// Ends the present sleep, or the next one.
    pub(super) fn end(&self) {
        let writer = self.write.as_ref().unwrap_or(&self.read);
        // A full pipe is already a wake-up.
        let _ = rustix::io::write(writer, &1u64.to_ne_bytes());
    }

    /// Sleeps until the socket is readable, the sleep is ended, or the time is over; `None` sleeps for ever. Returns whether the
    /// socket has an error.
    pub(super) fn until_readable(&self, socket: &UdpSocket, timeout: Option<Duration>) -> io::Result<bool> {
        let mut fds = [PollFd::new(socket, PollFlags::IN), PollFd::new(&self.read, PollFlags::IN)];
        if self.imprecise {
            poll_imprecisely(&mut fds, timeout)?;
            let _ = rustix::io::read(&self.read, &mut [0; 64]);
            return Ok(fds[0].revents().contains(PollFlags::ERR));
        }
        let timeout = timeout.map(timespec);
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !fds[1].revents().is_empty() {
            // All wake-ups mean the same, so one read takes them all.
            let _ = rustix::io::read(&self.read, &mut [0; 64]);
        }
        Ok(fds[0].revents().contains(PollFlags::ERR))
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

/// The longest sleep. A wait that ends early is made again, and systems without ppoll(2) take 24 days at most.
const LONGEST_SLEEP: Duration = Duration::from_secs(24 * 3_600);

fn timespec(timeout: Duration) -> Timespec {
    let timeout = timeout.min(LONGEST_SLEEP);
    Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    }
}

/// How long [`SocketsWaiter`] waits where the system does not tell which socket is readable.
const UNTOLD_WAIT: Duration = Duration::from_millis(1);

/// Waits for datagrams at several non-blocking sockets.
///
/// Not part of the stable interface: it exists for `tautline proxy`.
#[derive(Debug)]
pub struct SocketsWaiter(());

impl SocketsWaiter {
    /// Makes what the waits need.
    ///
    /// # Errors
    ///
    /// Those of the system; none on Unix.
    pub const fn new() -> io::Result<Self> {
        Ok(Self(()))
    }

    /// Waits until a socket is readable, or the time is over. Returns for each whether it may be readable.
    ///
    /// # Errors
    ///
    /// Those of poll(2).
    pub fn wait<'a>(
        &self,
        sockets: impl Iterator<Item = &'a UdpSocket> + Clone,
        longest: Duration,
    ) -> io::Result<Vec<bool>> {
        let mut polled: Vec<PollFd<'_>> = sockets.map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        match poll(&mut polled, Some(&timespec(longest))) {
            Ok(_) | Err(Errno::INTR) => {}
            // A sandbox refuses the call: then every socket is read, each millisecond.
            Err(Errno::NOSYS | Errno::PERM) => {
                std::thread::sleep(longest.min(UNTOLD_WAIT));
                return Ok(vec![true; polled.len()]);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(polled.iter().map(|polled| !polled.revents().is_empty()).collect())
    }
}
