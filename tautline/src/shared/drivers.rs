//! The threads that drive an interface now. They must not wait for the driver: they would wait for themselves.
//!
//! There is more than one if an inline handler disconnected, and another thread connected before the handler returned.

use crate::sync::Mutex;
use crate::sync::thread::ThreadId;
use crate::sync::{lock, thread_id};

#[derive(Debug, Default)]
pub(crate) struct Drivers(Mutex<Vec<ThreadId>>);

impl Drivers {
    /// Adds the calling thread until the guard is dropped.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(crate) fn enter(&self) -> Driving<'_> {
        let own = thread_id();
        lock(&self.0).push(own);
        Driving(self, own)
    }

    /// Whether the calling thread is one of them.
    pub(crate) fn include_caller(&self) -> bool {
        lock(&self.0).contains(&thread_id())
    }
}

#[derive(Debug)]
pub(crate) struct Driving<'a>(&'a Drivers, ThreadId);

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        let Self(drivers, own) = self;
        let mut threads = lock(&drivers.0);
        if let Some(index) = threads.iter().rposition(|thread| thread == own) {
            threads.swap_remove(index);
        }
    }
}
