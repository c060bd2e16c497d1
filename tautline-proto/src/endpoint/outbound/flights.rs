//! The datagrams of reliable messages that are in flight to one peer.

use alloc::vec::Vec;

use crate::snapshot::saved;

/// A datagram: its place among the [`Flights`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flight {
    place: usize,
}

/// How many frames of each datagram are in flight. A frame that is retransmitted changes to another datagram.
///
/// Invariant: `open` is the number of places with frames, `free` holds the others. There are at most as many places as frames in
/// flight, and one more.
#[derive(Debug, Default)]
pub(super) struct Flights {
    frames: Vec<usize>,
    free: Vec<usize>,
    open: usize,
    /// The place of the datagram that is being filled, once a frame is in it.
    filled: Option<usize>,
}

impl Flights {
    /// Begins a datagram.
    pub(super) const fn begin(&mut self) {
        self.filled = None;
    }

    /// Adds a frame to the datagram that was begun last.
    pub(super) fn add(&mut self) -> Flight {
        let place = self.filled.unwrap_or_else(|| {
            self.open += 1;
            self.free.pop().unwrap_or_else(|| {
                self.frames.push(0);
                self.frames.len() - 1
            })
        });
        self.filled = Some(place);
        self.frames[place] += 1;
        Flight { place }
    }

    /// Moves a frame to the datagram that was begun last.
    pub(super) fn change(&mut self, before: Flight) -> Flight {
        self.leave(before);
        self.add()
    }

    /// A frame of this datagram is in flight no longer.
    pub(super) fn leave(&mut self, Flight { place }: Flight) {
        self.frames[place] -= 1;
        if self.frames[place] == 0 {
            self.open -= 1;
            self.free.push(place);
            self.filled = self.filled.filter(|&filled| filled != place);
        }
    }

    /// How many datagrams are in flight.
    pub(super) const fn count(&self) -> usize {
        self.open
    }
}

saved!(Flight { place });
saved!(Flights { frames, free, open, filled });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_in_flight_until_its_last_frame_left() {
        let mut flights = Flights::default();
        flights.begin();
        let (one, two) = (flights.add(), flights.add());
        flights.begin();
        let three = flights.add();
        assert_eq!(flights.count(), 2);
        flights.leave(one);
        assert_eq!(flights.count(), 2);
        flights.begin();
        let again = flights.change(two);
        assert_eq!(flights.count(), 2, "the first one is empty, and its frame goes in a new one");
        flights.leave(three);
        flights.leave(again);
        assert_eq!((flights.count(), flights.frames.len()), (0, 2));
    }
}
