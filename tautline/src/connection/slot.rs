//! Holds the connection of a caller-driven interface between two turns.
//!
//! It is no lock around the turn: a turn takes the connection out and puts it back. So a handler inside the turn can
//! disconnect without waiting for itself.

use crate::sync::{Condvar, Mutex, PoisonError};

use crate::driver::Turner;
use crate::sync::lock;

#[derive(Debug, Default)]
pub(crate) struct Slot {
    state: Mutex<SlotState>,
    returned: Condvar,
}

#[derive(Debug, Default)]
enum SlotState {
    #[default]
    Empty,
    Idle(Box<Turner>),
    /// A thread turns. `awaited`: [`Slot::clear`] waits for it. Connecting and disconnecting never overlap, so no new
    /// connection is put in while a thread waits.
    Out {
        awaited: bool,
    },
}

impl Slot {
    /// Puts a new connection in.
    pub(crate) fn put(&self, turner: Turner) {
        *lock(&self.state) = SlotState::Idle(Box::new(turner));
    }

    /// Closes the connection. Waits for a turn that another thread is in.
    pub(crate) fn clear(&self) {
        let mut state = lock(&self.state);
        while let SlotState::Out { awaited } = &mut *state {
            *awaited = true;
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let old = std::mem::take(&mut *state);
        drop(state);
        drop(old);
    }

    /// Runs `act` on the connection. Returns `None` if there is none, or if this is called from inside a turn.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Turner) -> T) -> Option<T> {
        let turner = {
            let mut state = lock(&self.state);
            match std::mem::replace(&mut *state, SlotState::Out { awaited: false }) {
                SlotState::Idle(turner) => turner,
                other => {
                    *state = other;
                    return None;
                }
            }
        };
        let mut out = Out { slot: self, turner: Some(turner) };
        out.turner.as_deref_mut().map(act)
    }
}

/// A connection that was taken out of its slot. It goes back also if the caller's code panics in the turn.
struct Out<'a> {
    slot: &'a Slot,
    turner: Option<Box<Turner>>,
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        // A connection that has ended is dropped here: its socket closes before a waiting thread is woken.
        let kept = self.turner.take().filter(|turner| !turner.life.is_stopped());
        let mut state = lock(&self.slot.state);
        // If a new connection was put in, it stays: a handler disconnected, and another thread connected.
        let SlotState::Out { awaited } = *state else { return };
        *state = kept.map_or(SlotState::Empty, SlotState::Idle);
        drop(state);
        // A wake-up is a system call. A turn that no thread waits for does not need it.
        if awaited {
            self.slot.returned.notify_all();
        }
    }
}
