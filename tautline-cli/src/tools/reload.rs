//! SIGUSR2: the program reads its keys again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tautline::{Config, SecretKey, UdpInterface};

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
            Ok(()) => {
                output::note(format_args!("read the keys again{}", accepted(&interface.config())));
            }
            Err(error) => {
                output::complain(format_args!("{error}; the link goes on with the keys that it has"));
            }
        }
    }
}

/// Returns the fingerprints of the keys that everybody may share (`--key`, `key_file`), and the names of other holders.
fn accepted(config: &Config) -> String {
    let path = config.key_file.as_ref().and_then(|file| file.path());
    let keys = path.and_then(|path| SecretKey::read_file(path).ok()).unwrap_or_default();
    let keys = keys.iter().map(|key| format!("key {}", key.fingerprint()));
    let holders = config.key_holders.keys().map(|name| format!("the keys of {name}"));
    let all: Vec<String> = keys.chain(holders).collect();
    if all.is_empty() { String::new() } else { format!("; accepted now: {}", all.join(", ")) }
}
