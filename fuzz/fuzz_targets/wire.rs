//! Reads one datagram with both wires, unchanged and with a corrected CRC.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tautline_proto::json::{JsonLimits, NonFinite};
use tautline_proto::wire::classic::{self, ClassicFormat};
use tautline_proto::wire::native::{self, Frame, MAX_NAME, MAX_TEXT, TRAILER_LEN};
use tautline_proto::{Id, MessageRef};

fuzz_target!(|datagram: &[u8]| {
    read_native(datagram);
    read_classic(datagram);
    let mut repaired = datagram.to_vec();
    if let Some(checked) = repaired.len().checked_sub(TRAILER_LEN) {
        let crc = crc32fast::hash(&repaired[..checked]);
        repaired[checked..].copy_from_slice(&crc.to_be_bytes());
        read_native(&repaired);
        let crc = crc32fast::hash(&repaired[4..]);
        repaired[..4].copy_from_slice(&crc.to_be_bytes());
        read_classic(&repaired);
    }
});

fn read_native(datagram: &[u8]) {
    let Ok((_, frames)) = native::parse(datagram) else { return };
    for frame in frames {
        match frame {
            Frame::Message(message) => {
                if let Ok(message) = message.decode(1, "default") {
                    check(datagram, &message);
                    assert!(message.source.is_some_and(|source| source.len() <= MAX_TEXT));
                    assert!(!matches!(message.message_id, Id::Text(id) if id.len() > MAX_TEXT));
                }
            }
            Frame::Accept(name) | Frame::Echo { name, .. } => assert!(name.len() <= MAX_NAME),
            _ => {}
        }
    }
}

fn read_classic(datagram: &[u8]) {
    for (use_crc, use_sequence) in [(true, true), (true, false), (false, true), (false, false)] {
        let format = ClassicFormat { use_crc, use_sequence };
        let _ = classic::unlike_settings(datagram, format, &JsonLimits::default(), false);
        let Ok((_, envelope)) = classic::open(datagram, format) else {
            continue;
        };
        for nonfinite in [NonFinite::Refuse, NonFinite::Null] {
            let limits = JsonLimits { nonfinite, ..JsonLimits::default() };
            let mut scratch = Vec::new();
            if let Ok(message) = classic::read_envelope(envelope, &limits, &mut scratch) {
                if nonfinite == NonFinite::Refuse {
                    check(datagram, &message);
                    pass_on(&message);
                }
                let strict = JsonLimits { nonfinite: NonFinite::Refuse, ..limits };
                assert!(tautline_proto::json::check(message.payload, &strict).is_ok());
            }
        }
    }
}

/// Writes a message again. What is read then is the same.
fn pass_on(message: &MessageRef<'_>) {
    let bare = ClassicFormat { use_crc: false, use_sequence: false };
    let mut envelope = Vec::new();
    classic::begin_message(&mut envelope, bare, message);
    envelope.extend_from_slice(message.payload);
    classic::finish_message(&mut envelope);
    let mut scratch = Vec::new();
    let again = classic::read_envelope(&envelope, &JsonLimits::default(), &mut scratch);
    assert_eq!(again.as_ref(), Ok(message));
}

/// Checks that the payload lies within the datagram.
fn check(datagram: &[u8], message: &MessageRef<'_>) {
    let (outer, inner) = (datagram.as_ptr_range(), message.payload.as_ptr_range());
    assert!(outer.start <= inner.start && inner.end <= outer.end);
}
