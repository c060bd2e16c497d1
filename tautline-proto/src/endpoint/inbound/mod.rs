//! The receiving half of an endpoint.
//!
//! [`Inbound`] is the only type of this folder that the driver calls. It is in `half`; what a black box needs is in `recording`,
//! `record` and `digest`. The other modules:
//!
//! - `sessions` handles datagrams of the native wire, `classic` those of the classic wire;
//! - `handshake` begins sessions, with the address tokens of `token` and the memory of `closed_sessions`;
//! - `secured` begins the sessions of those who have a key, and opens what they send (feature `secure`);
//! - `keyring` holds the keys of a session that follow one another, `elsewhere` where else its peer was heard;
//! - `registry` adds and removes the peers (`peer`, in the table `peers`), and queues what there is to say (`outputs`);
//!   `admission` decides who becomes one, by what `strangers` may cost and who gives way (`places`); `liveness` visits them;
//! - `sorting` decides about reliable and large messages, whose state of each peer is in `delivery/`;
//! - `ownership` decides which peer may send on a stream, `claims` holds what two ends have asked of each other about that;
//! - `accepted` decodes the messages of a datagram.
//!
//! This folder may use `wire`, the crate's root modules and what both halves share. It never uses `outbound`: what the other
//! half must do crosses as a [`Command`](crate::endpoint::Command).

mod accepted;
mod admission;
mod claims;
mod classic;
mod closed_sessions;
mod delivery;
mod digest;
#[cfg(feature = "secure")]
mod elsewhere;
mod half;
mod handshake;
#[cfg(feature = "secure")]
mod keyring;
mod liveness;
mod outputs;
mod ownership;
mod peer;
mod peers;
mod places;
mod record;
mod recording;
mod registry;
mod rights;
#[cfg(feature = "secure")]
mod secured;
mod sessions;
mod sorting;
mod strangers;
mod token;
#[cfg(feature = "secure")]
mod vault;

pub use accepted::{Accepted, Messages, Refusals};
pub use half::Inbound;
