//! Sleeps on Windows: one call waits for an event of the socket, an event that a wake-up sets, and a timer.

use std::io;
use std::net::UdpSocket;
use std::os::windows::io::{AsRawHandle, AsRawSocket, FromRawHandle, OwnedHandle, RawSocket};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{HANDLE, WAIT_FAILED, WAIT_OBJECT_0};
use windows_sys::Win32::Media::{TIMERR_NOERROR, timeBeginPeriod, timeEndPeriod};
use windows_sys::Win32::Networking::WinSock as winsock;
use windows_sys::Win32::System::Threading::{
    CREATE_WAITABLE_TIMER_HIGH_RESOLUTION, CreateEventW, CreateWaitableTimerExW, INFINITE, SetEvent,
    SetWaitableTimer, TIMER_ALL_ACCESS, WaitForMultipleObjects,
};

use super::{handle, succeeded};
use crate::sync::{Mutex, lock};

/// The unit of a timer.
const TICK_NS: u128 = 100;

/// How exactly a deadline is met: a timer of high resolution ends up to half a millisecond late.
const EXACTNESS: Duration = Duration::from_micros(50);

/// What a wait returns if the timer ended it: it is the third of what it waits for.
const TIMER_ENDED: u32 = WAIT_OBJECT_0 + 2;

/// The event that a datagram waits.
const READ: i32 = winsock::FD_READ.cast_signed();

/// One thread sleeps with this, and other threads end its sleep with it.
#[derive(Debug)]
pub(in crate::machine::socket) struct Sleep {
    readable: OwnedHandle,
    ended: OwnedHandle,
    timer: OwnedHandle,
    state: Mutex<State>,
    _period: Period,
}

/// What the events and the timer are set to.
#[derive(Debug, Default)]
struct State {
    /// The socket whose datagrams set `readable`.
    watched: Option<RawSocket>,
    /// When the timer ends, if it has been set and has not ended.
    due: Option<Instant>,
}

/// An event that one wait resets.
fn event() -> io::Result<OwnedHandle> {
    // SAFETY: null pointers mean no attributes and no name.
    owned(unsafe { CreateEventW(std::ptr::null(), 0, 0, std::ptr::null()) })
}

/// A timer that one wait resets.
fn timer(flags: u32) -> io::Result<OwnedHandle> {
    // SAFETY: null pointers mean no attributes and no name.
    owned(unsafe { CreateWaitableTimerExW(std::ptr::null(), std::ptr::null(), flags, TIMER_ALL_ACCESS) })
}

fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was made by the caller, and nothing else owns it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Whether the system has timers that end between its ticks (Windows 10, version 1803).
pub(crate) fn is_precise() -> bool {
    static IS_PRECISE: OnceLock<bool> = OnceLock::new();
    *IS_PRECISE.get_or_init(|| timer(CREATE_WAITABLE_TIMER_HIGH_RESOLUTION).is_ok())
}

/// Keeps the system's tick at a millisecond. By default it is 15.6 ms, and the waits of watchdogs and of time-outs end at
/// ticks.
#[derive(Debug)]
struct Period {
    is_begun: bool,
}

impl Period {
    const MS: u32 = 1;

    fn begin() -> Self {
        // SAFETY: no memory is passed.
        Self { is_begun: unsafe { timeBeginPeriod(Self::MS) } == TIMERR_NOERROR }
    }
}

impl Drop for Period {
    fn drop(&mut self) {
        if self.is_begun {
            // SAFETY: no memory is passed. It ends what `begin` has begun.
            unsafe { timeEndPeriod(Self::MS) };
        }
    }
}

impl Sleep {
    pub(in crate::machine::socket) fn new() -> io::Result<Self> {
        Ok(Self {
            readable: event()?,
            ended: event()?,
            timer: timer(CREATE_WAITABLE_TIMER_HIGH_RESOLUTION).or_else(|_| timer(0))?,
            state: Mutex::default(),
            _period: Period::begin(),
        })
    }

    /// Ends the present sleep, or the next one.
    pub(in crate::machine::socket) fn end(&self) {
        // SAFETY: the event is open.
        unsafe { SetEvent(self.ended.as_raw_handle()) };
    }

    /// Sleeps until the socket is readable, the sleep is ended, or the time is over; `None` sleeps for ever. Returns whether the
    /// socket has an error to be asked for: never, a read returns it.
    ///
    /// It is always the same socket, so it is told once to set the event. Each read lets it set the event again, also a read that
    /// fails.
    pub(in crate::machine::socket) fn until_readable(
        &self,
        socket: &UdpSocket,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        let raw = socket.as_raw_socket();
        if lock(&self.state).watched != Some(raw) {
            self.watch(socket)?;
            lock(&self.state).watched = Some(raw);
        }
        if timeout != Some(Duration::ZERO) {
            self.sleep(timeout)?;
        }
        Ok(false)
    }

    /// Lets the socket set the event: now, if a datagram waits, and when one comes (WSAEventSelect).
    fn watch(&self, socket: &UdpSocket) -> io::Result<()> {
        let readable = self.readable.as_raw_handle() as winsock::WSAEVENT;
        // SAFETY: the socket and the event stay open during the call. If the event closes first, the system forgets it.
        succeeded(unsafe { winsock::WSAEventSelect(handle(socket), readable, READ) })
    }

    /// Sleeps until a watched socket sets its event, the sleep is ended, or the time is over.
    fn sleep(&self, timeout: Option<Duration>) -> io::Result<()> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let handles: [HANDLE; 3] = [&self.readable, &self.ended, &self.timer].map(AsRawHandle::as_raw_handle);
        loop {
            let count = if let Some(until) = until {
                self.set_timer(until)?;
                3
            } else {
                2
            };
            // SAFETY: there are at least `count` handles, which stay open during the call.
            match unsafe { WaitForMultipleObjects(count, handles.as_ptr(), 0, INFINITE) } {
                WAIT_FAILED => return Err(io::Error::last_os_error()),
                TIMER_ENDED => lock(&self.state).due = None,
                _ => return Ok(()),
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return Ok(());
            }
        }
    }

    /// Lets the timer end at this time, or earlier if an earlier wait has set it so: most waits end before their deadline, which
    /// seldom changes, and setting the timer takes as long as the wait.
    fn set_timer(&self, until: Instant) -> io::Result<()> {
        let mut state = lock(&self.state);
        if state.due.is_some_and(|due| due <= until + EXACTNESS) {
            return Ok(());
        }
        let after = until.saturating_duration_since(Instant::now());
        // Negative: from now on.
        let ticks = -i64::try_from(after.as_nanos().div_ceil(TICK_NS)).unwrap_or(i64::MAX);
        let timer = self.timer.as_raw_handle();
        // SAFETY: the timer is open. The system reads `ticks` during the call. Nothing is called back.
        if unsafe { SetWaitableTimer(timer, &raw const ticks, 0, None, std::ptr::null(), 0) } == 0 {
            return Err(io::Error::last_os_error());
        }
        state.due = Some(until);
        Ok(())
    }
}

/// Waits for datagrams at several non-blocking sockets.
///
/// Not part of the stable interface: it exists for `tautline proxy`.
#[derive(Debug)]
pub struct SocketsWaiter(Sleep);

impl SocketsWaiter {
    /// Makes what the waits need.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn new() -> io::Result<Self> {
        Sleep::new().map(Self)
    }

    /// Waits until a socket is readable, or the time is over. Returns for each whether it may be readable.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn wait<'a>(
        &self,
        sockets: impl Iterator<Item = &'a UdpSocket> + Clone,
        longest: Duration,
    ) -> io::Result<Vec<bool>> {
        // Each time: clients come and go.
        sockets.clone().try_for_each(|socket| self.0.watch(socket))?;
        self.0.sleep(Some(longest))?;
        // The event does not tell which.
        Ok(vec![true; sockets.count()])
    }
}
