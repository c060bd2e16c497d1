//! Address tokens and session ids. They must not be guessed, and all come from one seed. docs/protocol.md §5.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::cell::{Cell, RefCell};
use core::hash::Hasher;
use core::net::SocketAddr;
use core::time::Duration;

use siphasher::sip::SipHasher24;

use crate::network::halves;
use crate::peer::SessionId;
use crate::snapshot::{Reader, Saved, Writer};
use crate::time::Instant;
use crate::wire::native::Token;

/// For how long a token proves its address.
pub(crate) const TOKEN_LIFETIME: Duration = Duration::from_secs(3);

/// The purpose of a hash. It is hashed too, so that a token never equals a session id.
#[derive(Clone, Copy)]
enum Purpose {
    Token = 1,
    Session = 2,
    Jitter = 3,
}

/// A source of numbers that cannot be guessed: SipHash-2-4, keyed with the seed.
#[derive(Clone)]
pub(crate) struct Secrets {
    key: [u8; 16],
    drawn: u64,
    /// How many answers are kept, and not yet taken.
    kept: Cell<usize>,
    /// `None` if nothing is recorded.
    answers: Option<Box<Answers>>,
}

/// What was drawn or proven, for a black box. It holds this in place of the seed, so that nobody can forge tokens with it. In a rerun
/// the answers come from there.
#[derive(Clone, Default)]
struct Answers {
    are_given: bool,
    /// Those of one input: a few.
    values: RefCell<VecDeque<u64>>,
    /// An answer was wanted that is not there: the record ends before it.
    are_missing: Cell<bool>,
}

impl core::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Never shows the key.
        f.debug_struct("Secrets").field("drawn", &self.drawn).finish_non_exhaustive()
    }
}

impl Secrets {
    pub(crate) const fn new(seed: [u8; 16]) -> Self {
        Self { key: seed, drawn: 0, kept: Cell::new(0), answers: None }
    }

    /// Keeps all answers from now on, until they are [taken](Self::take_answer).
    pub(crate) fn record(&mut self) {
        let values = RefCell::new(VecDeque::with_capacity(16));
        self.answers = Some(Box::new(Answers { values, ..Answers::default() }));
    }

    /// Returns whether there are answers that were kept.
    #[inline]
    pub(crate) fn have_answers(&self) -> bool {
        self.kept.get() != 0
    }

    /// Takes the first answer that was kept. There is none in a rerun.
    #[inline]
    pub(crate) fn take_answer(&mut self) -> Option<u64> {
        let answer =
            self.answers.as_mut().filter(|answers| !answers.are_given)?.values.get_mut().pop_front()?;
        self.kept.update(|kept| kept - 1);
        Some(answer)
    }

    /// Gives this as the next answer, in a rerun.
    pub(crate) fn give_answer(&mut self, answer: u64) {
        self.answers.iter_mut().for_each(|answers| answers.values.get_mut().push_back(answer));
    }

    /// Returns whether an answer was wanted that was not given.
    pub(crate) fn lacks_answers(&self) -> bool {
        self.answers.as_ref().is_some_and(|answers| answers.are_missing.get())
    }

    pub(crate) fn session(&mut self) -> SessionId {
        SessionId::from_bits(self.draw(Purpose::Session))
    }

    /// Returns `wait`, shortened by up to a quarter, so that the clients of a restarted server do not call at the same time.
    pub(crate) fn jittered(&mut self, wait: Duration) -> Duration {
        let share = u32::try_from(self.draw(Purpose::Jitter) % 64).unwrap_or(0);
        wait - wait / 256 * share
    }

    /// Issues the token for a client at `address` that wants `session`.
    pub(crate) fn issue(&self, address: SocketAddr, session: SessionId, now: Instant) -> Token {
        let issued_ms = now.as_nanos() / 1_000_000;
        Token { issued_ms, proof: self.proof(address, session, issued_ms) }
    }

    /// Returns whether `token` was issued here for this address and session, and has not expired.
    pub(crate) fn verify(&self, token: Token, address: SocketAddr, session: SessionId, now: Instant) -> bool {
        now >= token.issued()
            && now.since(token.issued()) <= TOKEN_LIFETIME
            && token.proof == self.proof(address, session, token.issued_ms)
    }

    fn proof(&self, address: SocketAddr, session: SessionId, issued_ms: u64) -> u64 {
        let (ip, scope) = match address {
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
            SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
        };
        let [scope, port] = [u64::from(scope), u64::from(address.port())];
        let [high, low] = halves(ip);
        self.hash(Purpose::Token, &[high, low, scope << 16 | port, session.bits(), issued_ms])
    }

    fn draw(&mut self, purpose: Purpose) -> u64 {
        self.drawn += 1;
        self.hash(purpose, &[self.drawn])
    }

    /// Hashes the words as bytes in a fixed order, so that the result is the same on every machine and with every compiler.
    fn hash(&self, purpose: Purpose, words: &[u64]) -> u64 {
        let Some(answers) = &self.answers else { return self.hash_anew(purpose, words) };
        let mut values = answers.values.borrow_mut();
        if answers.are_given {
            answers.are_missing.set(answers.are_missing.get() || values.is_empty());
            return values.pop_front().unwrap_or(0);
        }
        let answer = self.hash_anew(purpose, words);
        values.push_back(answer);
        self.kept.update(|kept| kept + 1);
        answer
    }

    fn hash_anew(&self, purpose: Purpose, words: &[u64]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(&[purpose as u8]);
        for word in words {
            hasher.write(&word.to_be_bytes());
        }
        hasher.finish()
    }
}

// The seed is never saved.
impl Saved for Secrets {
    fn save(&self, _: &mut Writer) {}

    fn load(_: &mut Reader<'_>) -> Option<Self> {
        let answers = Answers { are_given: true, ..Answers::default() };
        Some(Self { answers: Some(Box::new(answers)), ..Self::new([0; 16]) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_valid_only_for_its_address_session_and_time() {
        let mut secrets = Secrets::new([7; 16]);
        let session = secrets.session();
        let [here, there]: [SocketAddr; 2] = ["10.0.0.1:5".parse().unwrap(), "10.0.0.2:5".parse().unwrap()];
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let token = secrets.issue(here, session, at(1000));
        assert!(secrets.verify(token, here, session, at(1000)));
        assert!(secrets.verify(token, here, session, at(4000)));
        assert!(!secrets.verify(token, here, session, at(4001)));
        assert!(!secrets.verify(token, here, session, at(999)));
        assert!(!secrets.verify(token, there, session, at(1000)));
        let other = secrets.session();
        assert!(!secrets.verify(token, here, other, at(1000)));
        assert!(!Secrets::new([8; 16]).verify(token, here, session, at(1000)));
    }

    #[test]
    fn session_ids_differ() {
        let mut secrets = Secrets::new([0; 16]);
        let drawn: hashbrown::HashSet<_> = (0..1000).map(|_| secrets.session()).collect();
        assert_eq!(drawn.len(), 1000);
    }
}
