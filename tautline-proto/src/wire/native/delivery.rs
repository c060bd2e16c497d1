//! The numbers of reliable messages. docs/protocol.md §4.4.

use super::layout::{FRAME_HEADER_LEN, MESSAGE_FIXED_LEN, numbers_len};
use super::reader::Reader;
use crate::message::Delivery;

/// The numbers that identify a reliable message. They stay the same in every retransmission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeliveryNumbers {
    /// The low 32 bits of the delivery number.
    pub(crate) number: u32,
    /// How far back the message is that must be delivered first. 0 if there is none.
    pub(crate) behind: u16,
}

impl DeliveryNumbers {
    /// Fills the room that [`begin_message`](super::begin_message) left in a message frame of this class.
    pub(crate) fn fill(self, frame: &mut [u8], delivery: Delivery) {
        let at = FRAME_HEADER_LEN + MESSAGE_FIXED_LEN;
        self.write(&mut frame[at..at + numbers_len(delivery)]);
    }

    pub(super) fn write(self, field: &mut [u8]) {
        let mut bytes = [0; 6];
        bytes[..4].copy_from_slice(&self.number.to_be_bytes());
        bytes[4..].copy_from_slice(&self.behind.to_be_bytes());
        let len = field.len();
        field.copy_from_slice(&bytes[..len]);
    }

    pub(super) fn read(fields: &mut Reader<'_>, delivery: Delivery) -> Option<Self> {
        Some(match delivery {
            Delivery::BestEffort => Self::default(),
            Delivery::Reliable => Self { number: fields.u32()?, behind: 0 },
            Delivery::Ordered => Self { number: fields.u32()?, behind: fields.u16()? },
        })
    }
}
