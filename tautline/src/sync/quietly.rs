//! Calls and drops user code so that its panics do not reach the caller.

use std::any::Any;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The error of a call that panicked. The panic payload was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Calls user code, and catches its panic.
///
/// Asserts unwind safety: a handler that panics may break its own state. That is the user's concern, and the handler
/// still gets the next message.
pub(crate) fn quietly<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|thrown| {
        discard(thrown);
        Panicked
    })
}

/// Drops the panic payload. If its destructor panics too, the second payload is leaked, because dropping it could panic
/// again without end.
fn discard(thrown: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(thrown))) {
        std::mem::forget(again);
    }
}

/// A value of the user. A panic of its destructor is caught.
pub(crate) struct DropQuietly<T>(Option<T>);

impl<T> DropQuietly<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Deref for DropQuietly<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("only drop takes the value")
    }
}

impl<T> DerefMut for DropQuietly<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("only drop takes the value")
    }
}

impl<T> Drop for DropQuietly<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        // The panic hook of the process has already reported the panic.
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
    fn a_panic_payload_whose_destructor_panics_is_caught() {
        assert_eq!(quietly(|| std::panic::panic_any(PanicsOnDrop)), Err(Panicked));
    }

    #[test]
    fn a_destructor_that_panics_is_caught() {
        drop(DropQuietly::new(PanicsOnDrop));
    }
}
