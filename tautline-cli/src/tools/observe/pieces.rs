//! Messages that are larger than a datagram, while their fragments pass by. docs/protocol.md §4.5

use std::collections::BTreeMap;

use tautline::Delivery;
use tautline_proto::wire::native::Fragment;

/// The most incomplete messages of one direction. For a further one, the oldest is forgotten.
const MOST: usize = 32;
/// The most bytes of incomplete messages of one direction.
const MOST_BYTES: usize = 16 << 20;

/// The incomplete messages of one direction, from the oldest to the newest.
#[derive(Debug, Default)]
pub(super) struct Pieces(Vec<Incomplete>);

#[derive(Debug)]
struct Incomplete {
    number: u32,
    delivery: Delivery,
    total: u32,
    count: u16,
    bytes: usize,
    pieces: BTreeMap<u16, Vec<u8>>,
}

impl Pieces {
    /// Takes a fragment. Returns the whole body, once all fragments have passed.
    pub(super) fn take(&mut self, fragment: &Fragment<'_>) -> Option<Vec<u8>> {
        let is_it = |message: &Incomplete| {
            (message.number, message.delivery, message.total, message.count)
                == (fragment.number(), fragment.delivery, fragment.total, fragment.count)
        };
        let place = self.0.iter().position(is_it).unwrap_or_else(|| {
            self.0.push(Incomplete {
                number: fragment.number(),
                delivery: fragment.delivery,
                total: fragment.total,
                count: fragment.count,
                bytes: 0,
                pieces: BTreeMap::new(),
            });
            self.0.len() - 1
        });
        let message = &mut self.0[place];
        if message.pieces.insert(fragment.index, fragment.piece.to_vec()).is_none() {
            message.bytes += fragment.piece.len();
        }
        if message.pieces.len() == usize::from(message.count) {
            let message = self.0.remove(place);
            let body: Vec<u8> = message.pieces.into_values().flatten().collect();
            return (body.len() == message.total as usize).then_some(body);
        }
        while self.0.len() > MOST || self.0.iter().map(|message| message.bytes).sum::<usize>() > MOST_BYTES {
            self.0.remove(0);
        }
        None
    }
}
