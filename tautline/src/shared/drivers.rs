//! Whether the calling thread drives an interface now. Then it must not wait for the driver: it would wait for itself.
//!
//! Each thread knows it by itself, so that a turn takes no lock for it. There is more than one driving thread of an interface if
//! an inline handler disconnected, and another thread connected before the handler returned. There is more than one interface
//! that a thread drives if an inline handler of one turns another.

use std::cell::{Cell, RefCell};
use std::hint::cold_path;
use std::marker::PhantomData;

use crate::sync::thread_local;

thread_local! {
    /// The interface that this thread drives, the latest if there are several; 0 for none.
    static LATEST: Cell<usize> = const { Cell::new(0) };
    /// The interfaces that this thread drove already when it began to drive the latest.
    static EARLIER: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
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
        let before = LATEST.with(|latest| latest.replace(self.address()));
        if before != 0 {
            cold_path();
            EARLIER.with(|earlier| earlier.borrow_mut().push(before));
        }
        Driving { before, _drivers: PhantomData }
    }

    /// Whether the calling thread drives.
    pub(crate) fn include_caller(&self) -> bool {
        match LATEST.with(Cell::get) {
            0 => false,
            latest if latest == self.address() => true,
            _ => EARLIER.with(|earlier| earlier.borrow().contains(&self.address())),
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// Stays in its thread, which alone knows what it drives.
#[derive(Debug)]
pub(crate) struct Driving<'a> {
    /// What the thread drove before; 0 for nothing.
    before: usize,
    _drivers: PhantomData<(&'a Drivers, *const ())>,
}

impl Drop for Driving<'_> {
    #[inline]
    fn drop(&mut self) {
        // Guards of a thread end in the opposite order.
        LATEST.with(|latest| latest.set(self.before));
        if self.before != 0 {
            cold_path();
            EARLIER.with(|earlier| earlier.borrow_mut().pop());
        }
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
