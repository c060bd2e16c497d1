//! SIGUSR2: the program reads its keys again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tautline::UdpInterface;

use crate::tools::exit::Failure;
use crate::tools::output;

/// Whether somebody has asked the program to read its keys again.
#[derive(Debug)]
pub(crate) struct Reload(Arc<AtomicBool>);

impl Reload {
    /// Installs the signal handler.
    pub(crate) fn install() -> Result<Self, Failure> {
        let asked = Arc::new(AtomicBool::new(false));
        #[cfg(unix)]
        signal_hook::flag::register(signal_hook::consts::SIGUSR2, Arc::clone(&asked))
            .map_err(|error| Failure::failed(format!("cannot watch for SIGUSR2: {error}")))?;
        Ok(Self(asked))
    }

    /// Reads the keys of an interface again if somebody has asked for it, and says how it went.
    pub(crate) fn if_asked(&self, interface: &UdpInterface) {
        if !self.0.swap(false, Ordering::Relaxed) {
            return;
        }
        let config = interface.config();
        if config.key_file.is_none() && config.black_box.is_some() {
            return; // The signal was for the black box.
        }
        match interface.reload_keys() {
            Ok(()) => output::note("read the keys again"),
            Err(error) => {
                output::complain(format_args!("{error}; the link goes on with the keys that it has"));
            }
        }
    }
}
