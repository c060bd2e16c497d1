//! The rule of streams that keep only their newest messages: what is older than a message that was handed out is not handed out
//! any more.
//!
//! The library asks before it offers a message of a stream with a history. Datagrams are compared by their numbers, which rise
//! during the session of a peer. Time plays no part.

use hashbrown::HashMap;

use crate::message::StreamId;
use crate::peer::PeerId;

/// The most streams of peers whose newest message is remembered. Of a further stream, what comes late is dropped.
pub const MAX_STREAMS: usize = 4_096;

/// The newest message of each peer's stream.
#[derive(Debug, Default)]
pub struct Newest {
    by_stream: HashMap<(PeerId, StreamId), u64>,
    /// The stream of the last message, which is usually that of the next one. It is in `by_stream` too, but its number here is the
    /// right one.
    latest: Option<((PeerId, StreamId), u64)>,
}

impl Newest {
    /// Returns whether a newer message of this stream was handed out before. If not, this message is the newest now.
    ///
    /// `number` is the number of the message's datagram. `late`: a datagram with a higher number came before.
    #[inline]
    pub fn is_stale(&mut self, peer: PeerId, stream: StreamId, number: u64, late: bool) -> bool {
        match &mut self.latest {
            Some((latest, newest)) if *latest == (peer, stream) => {
                let is_stale = number < *newest;
                *newest = number.max(*newest);
                is_stale
            }
            _ => self.is_stale_in_other((peer, stream), number, late),
        }
    }

    /// As [`is_stale`](Self::is_stale), for another stream than the last one.
    #[inline(never)]
    fn is_stale_in_other(&mut self, stream: (PeerId, StreamId), number: u64, late: bool) -> bool {
        if let Some((latest, newest)) = self.latest.take() {
            self.by_stream.insert(latest, newest);
        }
        let has_room = self.by_stream.len() < MAX_STREAMS;
        match self.by_stream.get_mut(&stream) {
            Some(newest) if number < *newest => return true,
            Some(newest) => *newest = number,
            None if has_room => drop(self.by_stream.insert(stream, number)),
            None => return late,
        }
        self.latest = Some((stream, number));
        false
    }

    /// Forgets a peer, or a former life of a peer.
    #[cold]
    pub fn forget(&mut self, peer: PeerId) {
        self.by_stream.retain(|(of, _), _| *of != peer);
        self.latest = self.latest.filter(|((of, _), _)| *of != peer);
    }

    /// Returns how many streams are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_stream.len()
    }

    /// Returns whether no stream is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_stream.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageType;

    fn peer(serial: u32) -> PeerId {
        PeerId::new(serial, 0)
    }

    fn stream(channel: u16) -> StreamId {
        (MessageType::Command, channel).into()
    }

    #[test]
    fn a_message_after_a_newer_one_of_its_stream_is_stale_whatever_comes_between() {
        let mut newest = Newest::default();
        for between in [false, true] {
            newest.forget(peer(1));
            for (number, stale) in [(5, false), (7, false), (6, true), (7, false), (8, false), (5, true)] {
                assert_eq!(newest.is_stale(peer(1), stream(0), number, stale), stale, "{number}");
                if between {
                    assert!(!newest.is_stale(peer(2), stream(0), number + 100, false));
                    assert!(!newest.is_stale(peer(1), stream(1), 1, true), "its own first");
                    newest.forget(peer(2));
                }
            }
        }
    }

    #[test]
    fn a_peer_that_is_forgotten_begins_anew() {
        let mut newest = Newest::default();
        assert!(!newest.is_stale(peer(1), stream(0), 9, false));
        newest.forget(peer(1));
        assert!(newest.is_empty() && !newest.is_stale(peer(1), stream(0), 0, false));
    }

    #[test]
    fn beyond_the_bound_what_comes_late_is_stale() {
        let mut newest = Newest::default();
        for channel in 0..u16::try_from(MAX_STREAMS).expect("few") {
            assert!(!newest.is_stale(peer(1), stream(channel), 1, true));
        }
        let beyond = stream(u16::MAX);
        assert!(newest.is_stale(peer(1), beyond, 0, true) && !newest.is_stale(peer(1), beyond, 2, false));
        assert_eq!(newest.len(), MAX_STREAMS);
    }
}
