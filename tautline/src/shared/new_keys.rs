//! Keys that a user has read again, on their way to the driver.

use tautline_proto::secure::Keys;

use crate::sync::driver_flags::DriverFlags;
use crate::sync::{Arc, Mutex, Ordering, lock};

/// The keys that the driver has not taken over yet. Newer ones replace older ones.
#[derive(Debug)]
pub(crate) struct NewKeys {
    waiting: Mutex<Option<Keys>>,
    /// Its `new_keys` says whether `waiting` has something for the driver.
    flags: Arc<DriverFlags>,
}

impl NewKeys {
    pub(crate) fn new(flags: Arc<DriverFlags>) -> Self {
        Self { waiting: Mutex::new(None), flags }
    }

    pub(crate) fn put(&self, keys: Keys) {
        *lock(&self.waiting) = Some(keys);
        self.flags.new_keys.store(true, Ordering::Release);
    }

    /// Takes the keys. Those that come meanwhile are taken, or announced again.
    #[cold]
    pub(crate) fn take(&self) -> Option<Keys> {
        self.flags.new_keys.store(false, Ordering::Release);
        lock(&self.waiting).take()
    }
}
