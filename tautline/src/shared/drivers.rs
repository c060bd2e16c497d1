//! Whether the calling thread drives an interface now. Then it must not wait for the driver: it would wait for itself.
//!
//! Each thread keeps its own list, so that a turn takes no lock for it. There is more than one driving thread of an interface if
//! an inline handler disconnected, and another thread connected before the handler returned. There is more than one interface in
//! a thread's list if an inline handler of one turns another.

use std::cell::RefCell;
use std::marker::PhantomData;

use crate::sync::thread_local;

thread_local! {
    /// The interfaces that this thread drives, the latest last.
    static DRIVEN: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// One for each interface. It is known by its address, so it must not move while a thread drives.
#[derive(Debug, Default)]
pub(crate) struct Drivers {
    /// Gives it an address that nothing else has.
    _place: u8,
}

impl Drivers {
    /// Notes that the calling thread drives, until the guard is dropped.
    #[inline]
    pub(crate) fn enter(&self) -> Driving<'_> {
        DRIVEN.with(|driven| driven.borrow_mut().push(self.address()));
        Driving(PhantomData)
    }

    /// Whether the calling thread drives.
    pub(crate) fn include_caller(&self) -> bool {
        DRIVEN.with(|driven| driven.borrow().contains(&self.address()))
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// Stays in its thread: the list is the thread's own.
#[derive(Debug)]
pub(crate) struct Driving<'a>(PhantomData<(&'a Drivers, *const ())>);

impl Drop for Driving<'_> {
    #[inline]
    fn drop(&mut self) {
        // Guards of a thread end in the opposite order.
        DRIVEN.with(|driven| driven.borrow_mut().pop());
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_drives_what_it_has_entered_and_not_left() {
        let (outer, inner, other) = (Drivers::default(), Drivers::default(), Drivers::default());
        let driving = outer.enter();
        {
            let _inside = inner.enter();
            assert!(outer.include_caller() && inner.include_caller() && !other.include_caller());
            std::thread::scope(|scope| {
                scope.spawn(|| assert!(!outer.include_caller() && !inner.include_caller()));
            });
        }
        assert!(outer.include_caller() && !inner.include_caller());
        drop(driving);
        assert!(!outer.include_caller());
    }
}
