//! Where a caller-driven interface keeps its connection between two turns.
//!
//! Not a lock around the turn: a turn takes the connection out and puts it back, so that a handler inside
//! the turn can disconnect without waiting for itself.

use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};

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
    /// A thread is turning.
    Out(ThreadId),
}

impl Slot {
    /// Puts a new connection in.
    pub(crate) fn put(&self, turner: Turner) {
        *lock(&self.place) = Place::Idle(Box::new(turner));
    }

    /// Closes the connection, waiting for a turn that is under way on another thread.
    pub(crate) fn clear(&self) {
        let mut place = lock(&self.place);
        while matches!(*place, Place::Out(_)) {
            place = self.returned.wait(place).unwrap_or_else(PoisonError::into_inner);
        }
        let old = std::mem::take(&mut *place);
        drop(place);
        drop(old);
    }

    /// The thread that is turning.
    pub(crate) fn turning(&self) -> Option<ThreadId> {
        match *lock(&self.place) {
            Place::Out(thread) => Some(thread),
            _ => None,
        }
    }

    /// Runs `act` on the connection; `None` where there is none, or where this is called from inside a turn.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Turner) -> T) -> Option<T> {
        let mut turner = {
            let mut place = lock(&self.place);
            match std::mem::replace(&mut *place, Place::Out(thread::current().id())) {
                Place::Idle(turner) => turner,
                other => {
                    *place = other;
                    return None;
                }
            }
        };
        let result = act(&mut turner);
        let ended = turner.life.is_stopped();
        let kept = (!ended).then_some(turner);
        *lock(&self.place) = kept.map_or(Place::Empty, Place::Idle);
        self.returned.notify_all();
        Some(result)
    }
}
