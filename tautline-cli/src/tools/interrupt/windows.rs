//! The signals of Windows, which its C library makes of the console's events.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::SIGINT;
use signal_hook::flag;

use crate::tools::exit::Exit;

/// Ctrl-Break, and the closing of the console's window.
const SIGBREAK: i32 = 21;

/// Sets `asked` with the first signal, and ends the program with a later one.
pub(super) fn watch(asked: &Arc<AtomicBool>) -> io::Result<()> {
    for signal in [SIGINT, SIGBREAK] {
        // In this order: the first signal finds that nothing was asked yet.
        flag::register_conditional_shutdown(signal, Exit::Interrupted as i32, Arc::clone(asked))?;
        flag::register(signal, Arc::clone(asked))?;
    }
    Ok(())
}
