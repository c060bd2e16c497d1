//! What Noise is built of: X25519 (RFC 7748), BLAKE2s (RFC 7693), ChaCha20-Poly1305 (RFC 8439), and a generator with a seed.

use alloc::boxed::Box;

use blake2::{Blake2s256, Digest as _};
use curve25519_dalek::MontgomeryPoint;
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{self, Hash as _};
use zeroize::{Zeroize as _, Zeroizing};

use super::aead::{Aead as _, Cipher, TAG_LEN};
use super::random::Random;

pub(super) const SUITE: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";

/// Gives snow its primitives, for one handshake. Its secrets come from this generator, and its key is mixed in as `key` says.
pub(super) struct Primitives {
    pub(super) random: Random,
    pub(super) key: MixedKey,
}

/// What mixing in the key gives at the beginning of a handshake: the chaining key, what is hashed, and the first cipher's key. It depends
/// on the key alone (Noise, revision 34, section 9.2), so it is computed once, and not for each message of a stranger.
#[derive(Clone)]
pub(super) struct MixedKey(Zeroizing<[[u8; 32]; 3]>);

impl MixedKey {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let mut hash = Blake2s { hasher: Blake2s256::new(), key: Self(Zeroizing::default()) };
        let chaining = Blake2s256::digest(SUITE);
        let mut mixed = Zeroizing::new([[0; 32]; 3]);
        expand(&mut hash, &chaining, key, mixed.iter_mut().map(|output| &mut output[..]));
        Self(mixed)
    }
}

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn types::Random>> {
        Some(Box::new(Generator::Unused(self.random.clone())))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn types::Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::<X25519>::default() as Box<dyn types::Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn types::Hash>> {
        matches!(choice, HashChoice::Blake2s).then(|| {
            Box::new(Blake2s { hasher: Blake2s256::new(), key: self.key.clone() }) as Box<dyn types::Hash>
        })
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn types::Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly)
            .then(|| Box::<ChaChaPoly>::default() as Box<dyn types::Cipher>)
    }
}

/// The generator of one handshake. Its seed is drawn when it is first used: most messages of strangers are refused before.
enum Generator {
    Unused(Random),
    Used(Random),
}

impl types::Random for Generator {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        if let Self::Unused(random) = self {
            *self = Self::Used(Random::new(*random.draw()));
        }
        let (Self::Unused(random) | Self::Used(random)) = self;
        for piece in dest.chunks_mut(32) {
            piece.copy_from_slice(&random.draw()[..piece.len()]);
        }
        Ok(())
    }
}

#[derive(Default)]
struct X25519 {
    private: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl types::Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        self.private.copy_from_slice(privkey);
        self.public = MontgomeryPoint::mul_base_clamped(*self.private).to_bytes();
    }

    fn generate(&mut self, rng: &mut dyn types::Random) -> Result<(), Error> {
        let mut drawn = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(&mut *drawn)?;
        self.set(&*drawn);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.private
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let public = pubkey.first_chunk().ok_or(Error::Dh)?;
        let mut shared = MontgomeryPoint(*public).mul_clamped(*self.private).to_bytes();
        out.get_mut(..32).ok_or(Error::Dh)?.copy_from_slice(&shared);
        shared.zeroize();
        Ok(())
    }
}

struct Blake2s {
    hasher: Blake2s256,
    key: MixedKey,
}

impl types::Hash for Blake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.hasher = Blake2s256::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.hasher.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(&self.hasher.finalize_reset());
    }

    /// Three outputs are asked for once, when the key is mixed in.
    fn hkdf(
        &mut self,
        chaining_key: &[u8],
        input: &[u8],
        outputs: usize,
        out1: &mut [u8],
        out2: &mut [u8],
        out3: &mut [u8],
    ) {
        if outputs == 3 {
            for (out, mixed) in [out1, out2, out3].into_iter().zip(self.key.0.iter()) {
                out[..32].copy_from_slice(mixed);
            }
        } else {
            expand(self, chaining_key, input, [out1, out2].into_iter().take(outputs));
        }
    }
}

/// HKDF (Noise, revision 34, section 4.3).
fn expand<'a>(
    hash: &mut Blake2s,
    chaining_key: &[u8],
    input: &[u8],
    outputs: impl Iterator<Item = &'a mut [u8]>,
) {
    let mut key = Zeroizing::new([0; 32]);
    hash.hmac(chaining_key, input, &mut *key);
    let mut text = Zeroizing::new([0; 33]);
    let mut before = 0;
    for (output, number) in outputs.zip(1..) {
        text[before] = number;
        hash.hmac(&*key, &text[..=before], output);
        before = 32;
        text[..32].copy_from_slice(&output[..32]);
    }
}

/// Without a key until Noise sets one.
#[derive(Default)]
struct ChaChaPoly(Option<Cipher>);

impl ChaChaPoly {
    fn cipher(&self) -> &Cipher {
        self.0.as_ref().expect("Noise sets a key before it encrypts")
    }
}

impl types::Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = Some(Cipher::new(key));
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (text, rest) = out.split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        let tag = self.cipher().seal(nonce, authtext, text);
        rest[..TAG_LEN].copy_from_slice(&tag);
        plaintext.len() + TAG_LEN
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let mut text = ciphertext.to_vec();
        let len = self.cipher().open(nonce, authtext, &mut text).ok_or(Error::Decrypt)?;
        out.get_mut(..len).ok_or(Error::Decrypt)?.copy_from_slice(&text[..len]);
        Ok(len)
    }
}
