//! The events of a Windows console: Ctrl-C, Ctrl-Break, a closed window.
#![allow(unsafe_code)] // no safe wrapper offers them

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, CTRL_C_EVENT, SetConsoleCtrlHandler};

/// What is called, with each event.
static ACT: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// Windows ends a process five seconds after its window was closed, or at once when the handler returns.
const UNTIL_THE_END: Duration = Duration::from_secs(5);

unsafe extern "system" fn handler(event: u32) -> i32 {
    if let Some(act) = ACT.get() {
        act();
    }
    if !matches!(event, CTRL_C_EVENT | CTRL_BREAK_EVENT) {
        std::thread::sleep(UNTIL_THE_END);
    }
    1
}

/// Calls `act` with each event by which the console asks the program to end, on a thread of the system. It can be set once.
///
/// Not part of the stable interface: it exists for the program.
///
/// # Errors
///
/// Those of the system, and `AlreadyExists`.
pub fn on_console_event(act: impl Fn() + Send + Sync + 'static) -> io::Result<()> {
    ACT.set(Box::new(act)).map_err(|_| io::ErrorKind::AlreadyExists)?;
    // SAFETY: the handler uses no memory but `ACT`, which lives for ever.
    if unsafe { SetConsoleCtrlHandler(Some(handler), 1) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
