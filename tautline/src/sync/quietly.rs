//! Running and dropping users' code so that its panics end here.

use std::any::Any;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why a call gave no result; what was thrown is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Calls users' code.
///
/// Unwind safety is asserted: what a handler breaks in its own state by panicking is its own, and the next
/// message is still given to it.
pub(crate) fn quietly<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|thrown| {
        discard(thrown);
        Panicked
    })
}

/// Drops what was thrown; what its own destructor throws is leaked, or there would be no end.
fn discard(thrown: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(thrown))) {
        std::mem::forget(again);
    }
}

/// A value of the user whose destructor may panic without consequences.
pub(crate) struct DropQuietly<T>(Option<T>);

impl<T> DropQuietly<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Deref for DropQuietly<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("taken by drop only")
    }
}

impl<T> DerefMut for DropQuietly<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("taken by drop only")
    }
}

impl<T> Drop for DropQuietly<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        // The panic itself was reported by the process's panic hook.
        let _ = quietly(|| drop(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct PanicsOnDrop;

    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }

    #[test]
    fn a_thrown_value_that_panics_in_its_destructor_ends_here() {
        assert_eq!(quietly(|| std::panic::panic_any(PanicsOnDrop)), Err(Panicked));
    }

    #[test]
    fn a_destructor_that_panics_ends_here() {
        drop(DropQuietly::new(PanicsOnDrop));
    }
}
