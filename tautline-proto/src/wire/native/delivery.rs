//! The numbers of reliable messages. docs/protocol.md §4.4.

use super::layout::{FRAME_HEADER_LEN, MESSAGE_FIXED_LEN, numbers_len};
use super::reader::Reader;
use crate::message::Delivery;

/// The number that a reliable message is known by, however often it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeliveryNumbers {
    /// The low 32 bits of its delivery number.
    pub(crate) number: u32,
    /// How far before it the message is that must be delivered first; 0 for none.
    pub(crate) behind: u16,
}

impl DeliveryNumbers {
    /// Fills the hole that [`begin_message`](super::begin_message) left in a message frame of this class.
    pub(crate) fn fill(self, frame: &mut [u8], delivery: Delivery) {
        let at = FRAME_HEADER_LEN + MESSAGE_FIXED_LEN;
        self.write(&mut frame[at..at + numbers_len(delivery)]);
    }

    pub(super) fn write(self, hole: &mut [u8]) {
        let mut bytes = [0; 6];
        bytes[..4].copy_from_slice(&self.number.to_be_bytes());
        bytes[4..].copy_from_slice(&self.behind.to_be_bytes());
        let len = hole.len();
        hole.copy_from_slice(&bytes[..len]);
    }

    pub(super) fn read(fields: &mut Reader<'_>, delivery: Delivery) -> Option<Self> {
        Some(match delivery {
            Delivery::BestEffort => Self::default(),
            Delivery::Reliable => Self { number: fields.u32()?, behind: 0 },
            Delivery::Ordered => Self { number: fields.u32()?, behind: fields.u16()? },
        })
    }
}
