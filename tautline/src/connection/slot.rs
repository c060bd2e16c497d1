//! Where a caller-driven interface keeps its connection between two turns.
//!
//! Not a lock around the turn: a turn takes the connection out and puts it back, so that a handler inside
//! the turn can disconnect without waiting for itself.

use crate::sync::{Condvar, Mutex, PoisonError};

use crate::driver::Turner;
use crate::sync::lock;

#[derive(Debug, Default)]
pub(crate) struct Slot {
    place: Mutex<Place>,
    returned: Condvar,
}

#[derive(Debug, Default)]
enum Place {
    #[default]
    Empty,
    Idle(Box<Turner>),
    /// A thread is turning; whether [`Slot::clear`] waits for it. Connecting and disconnecting never overlap, so
    /// nobody puts a new connection in while someone waits.
    Out {
        awaited: bool,
    },
}

impl Slot {
    /// Puts a new connection in.
    pub(crate) fn put(&self, turner: Turner) {
        *lock(&self.place) = Place::Idle(Box::new(turner));
    }

    /// Closes the connection, waiting for a turn that is under way on another thread.
    pub(crate) fn clear(&self) {
        let mut place = lock(&self.place);
        while let Place::Out { awaited } = &mut *place {
            *awaited = true;
            place = self.returned.wait(place).unwrap_or_else(PoisonError::into_inner);
        }
        let old = std::mem::take(&mut *place);
        drop(place);
        drop(old);
    }

    /// Runs `act` on the connection; `None` where there is none, or where this is called from inside a turn.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Turner) -> T) -> Option<T> {
        let turner = {
            let mut place = lock(&self.place);
            match std::mem::replace(&mut *place, Place::Out { awaited: false }) {
                Place::Idle(turner) => turner,
                other => {
                    *place = other;
                    return None;
                }
            }
        };
        let mut out = Out { slot: self, turner: Some(turner) };
        out.turner.as_deref_mut().map(act)
    }
}

/// A connection that is out of its slot; it returns also when the caller's own code panics in the turn.
struct Out<'a> {
    slot: &'a Slot,
    turner: Option<Box<Turner>>,
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        // One that has ended goes here: its socket closes before anyone who waits is told.
        let kept = self.turner.take().filter(|turner| !turner.life.is_stopped());
        let mut place = lock(&self.slot.place);
        // Unless a new connection has been put in: a handler disconnected, and another thread connected.
        let Place::Out { awaited } = *place else { return };
        *place = kept.map_or(Place::Empty, Place::Idle);
        drop(place);
        // A wake-up is a system call, which a turn that nobody waits for need not make.
        if awaited {
            self.slot.returned.notify_all();
        }
    }
}
