//! The handshake `Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s` (Noise revision 34), by snow.
//!
//! The first message is refused before any X25519 if its sender does not have the key: its payload is sealed with the key and the
//! ephemeral public key alone. The second message is sealed with the shared secret of both ephemeral keys too.

use alloc::boxed::Box;
use alloc::vec::Vec;

use snow::params::NoiseParams;
use snow::{Builder, HandshakeState};
use zeroize::{Zeroize as _, Zeroizing};

use super::key::Key;
use super::primitives::{Primitives, SUITE};
use super::random::Random;
use super::sealing::DirectionKey;
use crate::snapshot::{Reader, Saved, Writer};

/// What a message of the handshake adds to its payload: a public key and a tag.
const MESSAGE_OVERHEAD: usize = 48;

/// The keys that a handshake gives. Without keys in a rerun, as the two states of a handshake below.
#[derive(Default)]
pub(crate) struct Split {
    pub(crate) to_server: DirectionKey,
    pub(crate) to_client: DirectionKey,
    /// The handshake's hash, which the next handshake of the session builds on.
    pub(crate) hash: [u8; 32],
}

/// A handshake that the client has begun.
#[derive(Default)]
pub(crate) struct Begun(Option<Box<HandshakeState>>);

/// A handshake of which the server has read the first message.
#[derive(Default)]
pub(crate) struct Asked(Option<Box<HandshakeState>>);

// It holds the key, and is never saved.
impl Saved for Begun {
    fn save(&self, _: &mut Writer) {}

    fn load(_: &mut Reader<'_>) -> Option<Self> {
        Some(Self::default())
    }
}

impl core::fmt::Debug for Begun {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Begun")
    }
}

/// The client's side: begins a handshake. Returns it and its first message, which holds `payload` sealed.
pub(crate) fn begin(key: &Key, prologue: &[u8], payload: &[u8], random: &mut Random) -> (Begun, Vec<u8>) {
    let mut state = state(key, prologue, random, Builder::build_initiator);
    random.skip();
    let message = write(&mut state, payload);
    (Begun(Some(state)), message)
}

/// The server's side: reads the first message. Returns its payload; `None` if its sender does not have the key.
pub(crate) fn read_first(
    key: &Key,
    prologue: &[u8],
    message: &[u8],
    random: &mut Random,
) -> Option<(Asked, Vec<u8>)> {
    let mut state = state(key, prologue, random, Builder::build_responder);
    let payload = read(&mut state, message)?;
    random.skip();
    Some((Asked(Some(state)), payload))
}

impl Asked {
    /// Answers. Returns the second message, which holds `payload` sealed, and the keys. `None` without a state.
    pub(crate) fn answer(self, payload: &[u8]) -> Option<(Split, Vec<u8>)> {
        let mut state = self.0?;
        let message = write(&mut state, payload);
        Some((split(&mut state), message))
    }
}

impl Begun {
    /// Reads the second message. Returns its payload and the keys; `None` if it does not answer the first message. The handshake
    /// then goes on waiting.
    pub(crate) fn finish(&mut self, message: &[u8]) -> Option<(Split, Vec<u8>)> {
        let state = self.0.as_mut()?;
        let payload = read(state, message)?;
        Some((split(state), payload))
    }
}

/// A handshake with this key, built by one of the builder's two functions for that. It takes the next draw of the generator, which must
/// be [skipped](Random::skip) unless the handshake ends before it is this end's turn to write.
fn state<'a>(
    key: &'a Key,
    prologue: &'a [u8],
    random: &Random,
    build: impl FnOnce(Builder<'a>) -> Result<HandshakeState, snow::Error>,
) -> Box<HandshakeState> {
    let suite: NoiseParams = SUITE.parse().expect("snow knows the suite");
    let builder = Builder::with_resolver(
        suite,
        Box::new(Primitives { random: random.clone(), key: key.mixed().clone() }),
    );
    let builder = builder.psk(0, key.bytes()).and_then(|builder| builder.prologue(prologue));
    Box::new(builder.and_then(build).expect("the key and every primitive are there"))
}

fn write(state: &mut HandshakeState, payload: &[u8]) -> Vec<u8> {
    let mut message = alloc::vec![0; payload.len() + MESSAGE_OVERHEAD];
    let len = state.write_message(payload, &mut message).expect("it is this end's turn, and there is room");
    message.truncate(len);
    message
}

fn read(state: &mut HandshakeState, message: &[u8]) -> Option<Vec<u8>> {
    let mut payload = alloc::vec![0; message.len().checked_sub(MESSAGE_OVERHEAD)?];
    let len = state.read_message(message, &mut payload).ok()?;
    payload.truncate(len);
    Some(payload)
}

fn split(state: &mut HandshakeState) -> Split {
    let (mut to_server, mut to_client) = state.dangerously_get_raw_split();
    let mut hash = [0; 32];
    hash.copy_from_slice(state.get_handshake_hash());
    let keys = [to_server, to_client].map(|key| DirectionKey::new(Zeroizing::new(key)));
    let [server, client] = keys;
    let split = Split { to_server: server, to_client: client, hash };
    to_server.zeroize();
    to_client.zeroize();
    split
}

#[cfg(test)]
mod tests;
