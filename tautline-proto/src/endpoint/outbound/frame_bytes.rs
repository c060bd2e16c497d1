//! The bytes of the frames that wait to be sent or acknowledged, one behind the other.
//!
//! Frames come and mostly go in the order of their numbers. So one buffer holds all of them. A frame costs a copy, and needs
//! no memory of its own: one thread would take that memory and another would return it, which is slow.

use alloc::vec::Vec;

use crate::snapshot::saved;

/// The most memory that is kept while there are no frames, in bytes.
const MOST_KEPT: usize = 1 << 16;

/// The place of a frame among the [`FrameBytes`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// How many bytes were added before it.
    at: u64,
    len: usize,
}

impl Place {
    pub(super) const fn len(self) -> usize {
        self.len
    }
}

/// The bytes of frames.
///
/// Invariant: `held` begins with the byte before which `gone` were added; the first `freed` of them are needed no longer.
#[derive(Debug, Default)]
pub(super) struct FrameBytes {
    held: Vec<u8>,
    gone: u64,
    freed: usize,
}

impl FrameBytes {
    /// Adds a frame, which `write` appends.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Place {
        let start = self.held.len();
        write(&mut self.held);
        Place { at: self.gone + start as u64, len: self.held.len() - start }
    }

    /// Returns the frame at this place, which was not freed.
    pub(super) fn get(&self, Place { at, len }: Place) -> &[u8] {
        let start = self.offset(at);
        &self.held[start..start + len]
    }

    /// Frees everything before this place.
    pub(super) fn free_before(&mut self, place: Place) {
        self.freed = self.offset(place.at);
        // Moves no more bytes than it frees.
        if self.freed >= self.held.len() / 2 {
            self.gone += self.freed as u64;
            self.held.drain(..self.freed);
            self.freed = 0;
        }
    }

    /// Frees everything.
    pub(super) fn free_all(&mut self) {
        self.gone += self.held.len() as u64;
        self.held.clear();
        self.held.shrink_to(MOST_KEPT);
        self.freed = 0;
    }

    fn offset(&self, at: u64) -> usize {
        usize::try_from(at - self.gone).expect("the window bounds what is held")
    }
}

saved!(Place { at, len });
saved!(FrameBytes { held, gone, freed });

#[cfg(test)]
mod tests {
    use alloc::collections::VecDeque;

    use super::*;

    #[test]
    fn frames_keep_their_bytes_until_they_are_freed_and_memory_stays_small() {
        let mut bytes = FrameBytes::default();
        let mut frames = VecDeque::new();
        for number in 0..=u8::MAX {
            let len = usize::from(number % 7) + 1;
            frames.push_back((bytes.add(|held| held.resize(held.len() + len, number)), number));
            if frames.len() > 10 {
                frames.pop_front();
                bytes.free_before(frames[0].0);
            }
            for &(place, number) in &frames {
                assert!(
                    bytes.get(place).iter().all(|&byte| byte == number)
                        && place.len() == usize::from(number % 7) + 1
                );
            }
        }
        assert!(bytes.held.len() <= 2 * 10 * 7 + 7, "{}", bytes.held.len());
        bytes.free_all();
        let place = bytes.add(|held| held.push(1));
        assert_eq!((bytes.get(place), bytes.held.len()), (&[1][..], 1));
    }
}
