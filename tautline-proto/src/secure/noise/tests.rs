//! The handshake against the test vector of cacophony, another implementation of Noise, and against those who lack the key.

use alloc::boxed::Box;
use alloc::vec::Vec;

use snow::Builder;

use super::{Asked, Begun, begin, read_first};
use crate::secure::aead::{Aead as _, Cipher};
use crate::secure::key::Key;
use crate::secure::primitives::{MixedKey, Primitives, SUITE};
use crate::secure::random::Random;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

const PSK: &str = "54686973206973206d7920417573747269616e20706572737065637469766521";
const PROLOGUE: &str = "4a6f686e2047616c74";
const EPHEMERAL: [&str; 2] = [
    "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a",
    "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b",
];
/// Payloads and what travels: two messages of the handshake, then two in each direction.
const MESSAGES: [(&str, &str); 6] = [
    (
        "4c756477696720766f6e204d69736573",
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944\
         fda936bec35a8adfdff198386f7d5475880897edaaf7495314c99095a2e4d66a",
    ),
    (
        "4d757272617920526f746862617264",
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843\
         4cd2a371993ba41ea11448024fca32766b169183c9e691a7a433279da7e729",
    ),
    ("462e20412e20486179656b", "bc44da303ae0beb08075fc4eb4e58235c67c2d1f53a4f2fff0bca7"),
    ("4361726c204d656e676572", "416d1af83e9fa6966ce4e871156b131aa9bd7e9a1d6f8794f4872a"),
    (
        "4a65616e2d426170746973746520536179",
        "8a7d81b77bcc6c072f2b807da066efba6b5fab9edf71a7faceb2c8454b0cfef608",
    ),
    (
        "457567656e2042f6686d20766f6e2042617765726b",
        "1e2ee010f72894824a25a867664ff298f2548a145dc4e9d27b1cad83f32fa7c54d69dc3279",
    ),
];

#[test]
fn the_handshake_is_that_of_the_noise_test_vector() {
    let psk: [u8; 32] = hex(PSK).try_into().expect("32 bytes");
    let [prologue, ours, theirs] = [PROLOGUE, EPHEMERAL[0], EPHEMERAL[1]].map(hex);
    let builder = |ephemeral| {
        let primitives = Box::new(Primitives { random: Random::new([0; 32]), key: MixedKey::new(&psk) });
        let builder = Builder::with_resolver(SUITE.parse().expect("known"), primitives);
        let builder = builder.psk(0, &psk).and_then(|builder| builder.prologue(&prologue));
        builder.expect("each once").fixed_ephemeral_key_for_testing_only(ephemeral)
    };
    let mut client = builder(&ours).build_initiator().expect("complete");
    let mut server = builder(&theirs).build_responder().expect("complete");
    let messages = MESSAGES.map(|(payload, message)| (hex(payload), hex(message)));
    assert_eq!(super::write(&mut client, &messages[0].0), messages[0].1);
    assert_eq!(super::read(&mut server, &messages[0].1), Some(messages[0].0.clone()));
    let (server, answer) = Asked(Some(Box::new(server))).answer(&messages[1].0).expect("it was asked");
    assert_eq!(answer, messages[1].1);
    let (client, payload) = Begun(Some(Box::new(client))).finish(&answer).expect("it is the answer");
    assert_eq!(payload, messages[1].0);
    for (index, (payload, sealed)) in (0u64..).zip(&messages[2..]) {
        let key = if index % 2 == 0 { &client.to_server } else { &server.to_client };
        let mut text = payload.clone();
        let tag = Cipher::new(key.bytes()).seal(index / 2, &[], &mut text);
        text.extend_from_slice(&tag);
        assert_eq!(&text, sealed);
    }
}

fn random(seed: u8) -> Random {
    Random::new([seed; 32])
}

fn key(byte: u8) -> Key {
    Key::from_bytes([byte; 32])
}

#[test]
fn both_ends_get_the_same_keys_and_payloads() {
    let (mut begun, first) = begin(&key(1), b"prologue", b"hello", &mut random(1));
    let (asked, payload) = read_first(&key(1), b"prologue", &first, &mut random(2)).expect("it has the key");
    let (server, second) = asked.answer(b"welcome").expect("it was asked");
    let (client, answer) = begun.finish(&second).expect("it is the answer");
    assert_eq!((&payload[..], &answer[..]), (&b"hello"[..], &b"welcome"[..]));
    assert_eq!(client.to_server.bytes(), server.to_server.bytes());
    assert_eq!(client.to_client.bytes(), server.to_client.bytes());
    assert_ne!(client.to_server.bytes(), client.to_client.bytes());
}

#[test]
fn whoever_lacks_the_key_or_means_another_session_is_refused() {
    let (mut begun, first) = begin(&key(1), b"prologue", b"", &mut random(1));
    assert!(read_first(&key(2), b"prologue", &first, &mut random(2)).is_none(), "another key");
    assert!(read_first(&key(1), b"Prologue", &first, &mut random(2)).is_none(), "another session");
    assert!(
        (0..first.len()).all(|len| read_first(&key(1), b"prologue", &first[..len], &mut random(2)).is_none())
    );
    for bit in 0..first.len() * 8 {
        let mut flipped = first.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(read_first(&key(1), b"prologue", &flipped, &mut random(2)).is_none(), "bit {bit}");
    }
    let (asked, _) = read_first(&key(1), b"prologue", &first, &mut random(2)).expect("it has the key");
    let (_, second) = asked.answer(b"").expect("it was asked");
    for bit in (0..second.len() * 8).step_by(5) {
        let mut flipped = second.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(begun.finish(&flipped).is_none(), "bit {bit}");
    }
    assert!(begun.finish(&first).is_none(), "its own message");
    assert!(begun.finish(&second).is_some(), "what was forged has done no harm");
}

#[test]
fn no_two_handshakes_of_an_end_are_alike() {
    let mut random = random(1);
    let mut begin = || begin(&key(1), b"prologue", b"", &mut random).1;
    assert_ne!(begin(), begin());
}

#[test]
fn a_message_that_is_refused_draws_nothing() {
    let (_, first) = begin(&key(1), b"prologue", b"", &mut random(1));
    let mut forged = first.clone();
    forged[40] ^= 1;
    let (mut quiet, mut attacked) = (random(2), random(2));
    for _ in 0..10 {
        assert!(read_first(&key(1), b"prologue", &forged, &mut attacked).is_none());
    }
    for _ in 0..2 {
        let [one, other] = [&mut quiet, &mut attacked].map(|random| {
            let (asked, _) = read_first(&key(1), b"prologue", &first, random).expect("it has the key");
            asked.answer(b"").expect("it was asked").1
        });
        assert_eq!(one, other);
    }
    assert_eq!(quiet.draw(), attacked.draw());
}

#[test]
fn two_answers_of_a_server_are_not_alike() {
    let (_, first) = begin(&key(1), b"prologue", b"", &mut random(1));
    let mut random = random(2);
    let mut answer = || {
        let (asked, _) = read_first(&key(1), b"prologue", &first, &mut random).expect("it has the key");
        asked.answer(b"").expect("it was asked").1
    };
    assert_ne!(answer()[..32], answer()[..32], "its public key is another one each time");
}
