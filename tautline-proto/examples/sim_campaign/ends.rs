//! The configuration of the ends of every campaign: plain, or with a key.

use std::sync::atomic::{AtomicBool, Ordering};

use tautline_proto::endpoint::{EndpointConfig, Role};
use tautline_proto::sim;

/// Whether the ends have a key. Set once, before any end is made. Order: relaxed; the campaigns run on the thread that sets it, or
/// on threads that it starts.
static HAVE_KEY: AtomicBool = AtomicBool::new(false);

/// Gives all ends the same key from now on.
pub(crate) fn use_key() {
    HAVE_KEY.store(true, Ordering::Relaxed);
}

/// Whether the ends have a key.
pub(crate) fn have_key() -> bool {
    HAVE_KEY.load(Ordering::Relaxed)
}

/// The configuration of an end, with the library's usual sizes and times.
pub(crate) fn config(role: Role, name: &str) -> EndpointConfig {
    #[allow(unused_mut)] // only a key changes it
    let mut config = sim::config(role, name);
    #[cfg(feature = "secure")]
    if have_key() {
        use tautline_proto::secure::{Key, Keys};
        // A client that moved and was restarted before the server knew it leaves a session behind, which ends in time.
        config.peer_expiry = std::time::Duration::from_secs(2);
        config.security = Some(Keys::shared(Key::from_bytes([7; 32])));
    }
    config
}
