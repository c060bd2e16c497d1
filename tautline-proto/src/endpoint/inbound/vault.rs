//! The keys of an endpoint, and every operation that needs them: it begins, reads and ends handshakes, opens datagrams, and
//! draws values.
//!
//! `secured` and its modules call it. For a black box, it keeps the result of each operation. The record holds these results
//! in place of the keys, and a rerun takes them from the record. So no key is ever written, and a rerun needs none.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::secure::{self, Asked, Begun, Identity, KeyId, Keys, OpenKey, Random, Split};
use crate::snapshot::{Reader, Saved, Writer};

/// The most bytes that the results for one datagram and the handshakes in it take.
const ROOM: usize = 66_000;

/// The keys. See the module's page.
#[derive(Debug)]
pub(super) struct Vault {
    keys: Keys,
    random: Random,
    /// `None` if nothing is recorded.
    answers: Option<Box<Answers>>,
}

/// The results of the operations of one input. `None` if an operation failed, such as for a datagram that did not open.
#[derive(Debug)]
struct Answers {
    are_given: bool,
    /// Whether each has succeeded, and where it ends in `bytes`.
    ends: Vec<(bool, usize)>,
    bytes: Vec<u8>,
    /// The next one in a rerun.
    next: usize,
    /// A rerun needed a result that is not there: the record ends before it.
    are_missing: bool,
}

impl Vault {
    pub(super) const fn new(keys: Keys, random: Random) -> Self {
        Self { keys, random, answers: None }
    }

    pub(super) const fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(super) fn replace_keys(&mut self, keys: Keys) {
        self.keys = keys;
    }

    /// Begins a handshake with the key that a client calls with. Returns it, and its first message.
    pub(super) fn begin(&mut self, prologue: &[u8], payload: &[u8]) -> (Begun, Vec<u8>) {
        let Self { keys, random, answers } = self;
        let begun = act(answers, || Some(secure::begin(keys.calling(), prologue, payload, random)));
        begun.unwrap_or_default()
    }

    /// Reads the first message of a handshake with this key. Returns its payload, and who holds the key.
    pub(super) fn read_first(
        &mut self,
        id: KeyId,
        prologue: &[u8],
        message: &[u8],
    ) -> Option<(Asked, Vec<u8>, Arc<Identity>)> {
        let Self { keys, random, answers } = self;
        let (key, identity) = keys.find(id)?;
        let (asked, payload) = act(answers, || secure::read_first(key, prologue, message, random))?;
        Some((asked, payload, Arc::clone(identity)))
    }

    /// Answers the first message. Returns the keys, and the second message.
    pub(super) fn answer(&mut self, asked: Asked, payload: &[u8]) -> (Split, Vec<u8>) {
        act(&mut self.answers, || asked.answer(payload)).unwrap_or_default()
    }

    /// Reads the second message. Returns the keys, and its payload.
    pub(super) fn finish(&mut self, begun: &mut Begun, message: &[u8]) -> Option<(Split, Vec<u8>)> {
        act(&mut self.answers, || begun.finish(message))
    }

    /// Draws two values that nobody can guess.
    pub(super) fn draw_values(&mut self) -> [u64; 2] {
        let random = &mut self.random;
        let drawn = act(&mut self.answers, || {
            let mut bytes = Vec::with_capacity(16);
            random.draw_values().iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
            Some(((), bytes))
        });
        let bytes = drawn.map(|((), bytes)| bytes).unwrap_or_default();
        let mut values = bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        [(); 2].map(|()| values.next().unwrap_or(0))
    }

    /// Opens a datagram in place, behind its first `clear` bytes. Returns its length without the tag.
    #[inline]
    pub(super) fn open(
        &mut self,
        key: &OpenKey,
        number: u64,
        datagram: &mut [u8],
        clear: usize,
    ) -> Option<usize> {
        match &mut self.answers {
            None => key.open(number, datagram, clear),
            Some(answers) if answers.are_given => {
                let opened = answers.next()?;
                let text = datagram.get_mut(clear..clear + opened.len())?;
                text.copy_from_slice(opened);
                Some(clear + opened.len())
            }
            Some(answers) => {
                let opened = key.open(number, datagram, clear);
                answers.keep(opened.map(|len| &datagram[clear..len]));
                opened
            }
        }
    }

    /// Keeps the result of each operation from now on.
    pub(super) fn record(&mut self) {
        self.answers = Some(Box::new(Answers::new(ROOM)));
    }

    /// Returns whether there are results that [`take_answers`](Self::take_answers) would return.
    #[inline]
    pub(super) fn has_answers(&self) -> bool {
        self.answers.as_ref().is_some_and(|answers| !answers.are_given && !answers.ends.is_empty())
    }

    /// Returns the results of the operations since the last call, in their order. In a rerun: nothing.
    #[inline]
    pub(super) fn take_answers(&mut self, mut take: impl FnMut(bool, &[u8])) {
        let Some(answers) = self.answers.as_mut().filter(|answers| !answers.are_given) else { return };
        let mut begin = 0;
        for &(is_some, end) in &answers.ends {
            take(is_some, &answers.bytes[begin..end]);
            begin = end;
        }
        answers.forget();
    }

    /// Sets the results of the next operations, in a rerun.
    pub(super) fn give_answer(&mut self, answer: Option<&[u8]>) {
        let Some(answers) = &mut self.answers else { return };
        if answers.next == answers.ends.len() {
            answers.forget();
        }
        answers.keep(answer);
    }

    /// Returns whether a rerun needed a result that the record does not have.
    pub(super) fn lacks_answers(&self) -> bool {
        self.answers.as_ref().is_some_and(|answers| answers.are_missing)
    }
}

/// Runs the operation and keeps its result. In a rerun: returns the result that was kept.
fn act<T: Default>(
    answers: &mut Option<Box<Answers>>,
    act: impl FnOnce() -> Option<(T, Vec<u8>)>,
) -> Option<(T, Vec<u8>)> {
    match answers {
        None => act(),
        Some(answers) if answers.are_given => answers.next().map(|bytes| (T::default(), bytes.to_vec())),
        Some(answers) => {
            let result = act();
            answers.keep(result.as_ref().map(|(_, bytes)| &bytes[..]));
            result
        }
    }
}

impl Answers {
    fn new(room: usize) -> Self {
        let (ends, bytes) = (Vec::with_capacity(16), Vec::with_capacity(room));
        Self { are_given: false, ends, bytes, next: 0, are_missing: false }
    }

    fn keep(&mut self, answer: Option<&[u8]>) {
        self.bytes.extend_from_slice(answer.unwrap_or_default());
        self.ends.push((answer.is_some(), self.bytes.len()));
    }

    fn next(&mut self) -> Option<&[u8]> {
        let begin = self.next.checked_sub(1).map_or(0, |before| self.ends[before].1);
        let Some(&(is_some, end)) = self.ends.get(self.next) else {
            self.are_missing = true;
            return None;
        };
        self.next += 1;
        is_some.then(|| &self.bytes[begin..end])
    }

    fn forget(&mut self) {
        self.ends.clear();
        self.bytes.clear();
        self.next = 0;
    }
}

// The holders of keys are saved. The keys and the seed are not.
impl Saved for Vault {
    fn save(&self, out: &mut Writer) {
        self.keys.save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let answers = Answers { are_given: true, ..Answers::new(0) };
        let random = Random::new([0; 32]);
        Some(Self { keys: Saved::load(from)?, random, answers: Some(Box::new(answers)) })
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use core::net::SocketAddr;
    use core::time::Duration;

    use super::*;
    use crate::endpoint::Role;
    use crate::message::MessageType;
    use crate::secure::{Key, made};
    use crate::sim::{Clock, Impairments, World, config};

    #[test]
    fn no_secret_of_a_session_is_in_the_rings_of_its_ends() {
        let mut world = World::new(Impairments::default(), 1);
        world.record(1 << 22);
        let key = *b"a key of thirty-two bytes to see";
        let address = |host: u8| SocketAddr::from(([10, 0, 0, host], 9000));
        let nodes = [(1, Role::Server), (2, Role::Client)].map(|(host, role)| {
            let mut end = config(role, "end");
            end.security = Some(Keys::shared(Key::from_bytes(key)));
            end.rekey_after = Duration::from_millis(300);
            world.add(address(host), end, Clock::default())
        });
        world.dial(nodes[1], address(1));
        for tick in 1..300 {
            while world.next(Duration::from_millis(10 * tick)).is_some() {}
            let head = world.head(nodes[1], MessageType::Command);
            world.send(nodes[1], &head, b"what is sent stands in the rings");
        }
        let mut secrets = made::secrets();
        assert!(secrets.len() > 8, "{} secrets", secrets.len());
        secrets.push(key);
        let mut with_payloads = 0;
        let boxes = nodes.iter().flat_map(|node| world.black_boxes(*node));
        for ring in boxes.flat_map(|black_box| [&black_box.inbound, &black_box.outbound]) {
            let bytes: Vec<u8> =
                ring.contents().segments.into_iter().flat_map(|segment| segment.bytes).collect();
            let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
            with_payloads += u32::from(holds(b"stands in the rings"));
            assert!(!secrets.iter().any(|secret| holds(&secret[..16]) || holds(&secret[16..])));
        }
        assert_eq!(with_payloads, 2, "one end has sent them, the other has opened them");
    }
}
