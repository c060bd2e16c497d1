//! The events of a Windows console: Ctrl-C, Ctrl-Break, a closed window.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::tools::exit::Exit;

/// Sets `asked` with the first event, and ends the program with a later one.
pub(super) fn watch(asked: &Arc<AtomicBool>) -> io::Result<()> {
    let flag = Arc::clone(asked);
    tautline::on_console_event(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(Exit::Interrupted as i32);
        }
    })
}
