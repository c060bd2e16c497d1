//! Lets SIGUSR2 write the black boxes of this process, and tells where each was written to.

use crate::tools::exit::Failure;
use crate::tools::{log, output};

/// From now on, SIGUSR2 asks every black box of the process to write its file. The path of each file goes to stderr, unless the
/// program is to be quiet.
pub(crate) fn observe() -> Result<(), Failure> {
    if !output::is_quiet() {
        log::start_for_black_boxes();
    }
    write_on_signal()
}

#[cfg(unix)]
fn write_on_signal() -> Result<(), Failure> {
    use std::sync::Once;

    use signal_hook::consts::SIGUSR2;
    use signal_hook::iterator::Signals;

    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| {
        let listen = || {
            let mut signals = Signals::new([SIGUSR2])?;
            let thread = std::thread::Builder::new().name("sigusr2".to_owned());
            thread.spawn(move || signals.forever().for_each(|_| tautline::black_box::write_all()))
        };
        result = listen()
            .map(drop)
            .map_err(|error| Failure::failed(format!("SIGUSR2 cannot be listened for: {error}")));
    });
    result
}

/// Other systems have no such signal.
#[cfg(not(unix))]
fn write_on_signal() -> Result<(), Failure> {
    Ok(())
}
