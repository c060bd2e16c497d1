//! The sending half of an endpoint.
//!
//! [`Outbound`] is the only type of this folder that the driver calls. It is in `half`; the commands of the other half are
//! in `commands`, its calls about reliable messages in `deliveries`, those about the sizes of datagrams in `sizes`, and what a black box needs in `recording`. `peer` holds what is known of each peer,
//! `reliable_sender` the reliable messages that a peer has not acknowledged, frame by frame (`queued_frame`, `frame_bytes`) and
//! datagram by datagram (`flights`), and their messages (`pending_messages`).
//!
//! On a plain link, a sequence number is used up only when the kernel takes the datagram: [`seal`](Outbound::seal) writes the next number, and
//! [`sent`](Outbound::sent) moves on to the following one. Both happen under the transmit lock, so that datagrams are sent in
//! the order of their numbers. On a secured link (`sealed`), sealing itself uses the number up.
//!
//! This folder may use `wire`, the crate's root modules and what both halves share. It never uses `inbound`.

mod commands;
mod deliveries;
mod flights;
mod frame_bytes;
mod half;
mod path_size;
mod peer;
mod pending_messages;
mod queued_frame;
mod record;
mod recording;
mod reliable_sender;
#[cfg(feature = "secure")]
mod sealed;
mod sealed_pack;
mod sizes;

pub use half::{DueDatagram, Outbound, SentDatagrams};
pub use sealed_pack::SealedPack;
