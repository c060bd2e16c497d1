//! Both ciphers against each other and against RFC 8439.

use alloc::vec::Vec;

use super::portable::Portable;
use super::{Aead, Cipher, TAG_LEN};
use crate::secure::random::Random;

fn sealed<A: Aead>(key: &[u8; 32], number: u64, clear: &[u8], text: &[u8]) -> Vec<u8> {
    let mut sealed = text.to_vec();
    let tag = A::new(key).seal(number, clear, &mut sealed);
    sealed.extend_from_slice(&tag);
    sealed
}

fn opened<A: Aead>(key: &[u8; 32], number: u64, clear: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let mut text = sealed.to_vec();
    let len = A::new(key).open(number, clear, &mut text)?;
    text.truncate(len);
    Some(text)
}

#[test]
fn both_ciphers_seal_alike_and_open_each_other() {
    let mut random = Random::new([3; 32]);
    let long: Vec<u8> = (0..50).flat_map(|_| *random.draw()).collect();
    for (number, len) in [(0, 0), (1, 1), (2, 63), (1 << 32, 64), (u64::MAX, 65), (5, 1440)] {
        let (key, clear) = (random.draw(), random.draw());
        let one = sealed::<Cipher>(&key, number, &clear[..16], &long[..len]);
        let other = sealed::<Portable>(&key, number, &clear[..16], &long[..len]);
        assert_eq!(one, other);
        assert_eq!(opened::<Portable>(&key, number, &clear[..16], &one).as_deref(), Some(&long[..len]));
        assert_eq!(opened::<Cipher>(&key, number, &clear[..16], &one).as_deref(), Some(&long[..len]));
    }
}

#[test]
fn whatever_is_changed_is_refused() {
    fn refuses<A: Aead>() {
        let (key, clear) = ([1; 32], [2; 16]);
        let whole = sealed::<A>(&key, 7, &clear, b"0123456789");
        assert!(opened::<A>(&key, 7, &clear, &whole).is_some());
        assert!(opened::<A>(&key, 8, &clear, &whole).is_none(), "another number");
        assert!(opened::<A>(&[3; 32], 7, &clear, &whole).is_none(), "another key");
        assert!(opened::<A>(&key, 7, &clear[..15], &whole).is_none(), "another header");
        assert!((0..whole.len()).all(|len| opened::<A>(&key, 7, &clear, &whole[..len]).is_none()));
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(opened::<A>(&key, 7, &clear, &flipped).is_none(), "bit {bit}");
        }
    }
    refuses::<Cipher>();
    refuses::<Portable>();
}

/// Made by OpenSSL. The vectors of RFC 8439 have nonces whose first four bytes are not zero.
#[test]
fn another_implementation_seals_alike() {
    let key: [u8; 32] = core::array::from_fn(|index| u8::try_from(index).expect("below 32"));
    let whole = sealed::<Cipher>(&key, 0x0102_0304, b"header", b"sealed text");
    let hex: alloc::string::String = whole.iter().map(|byte| alloc::format!("{byte:02x}")).collect();
    assert_eq!(hex, "78119960bf4bd82092d2553fc7c8ad9ca685a22c94fe0547a75bd6");
    assert_eq!(whole.len(), 11 + TAG_LEN);
}
