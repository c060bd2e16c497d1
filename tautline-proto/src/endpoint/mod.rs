//! The endpoint: the protocol of one socket, in two halves.
//!
//! [`Inbound`] belongs to the thread that reads the socket, the driver. It checks what arrives, keeps the peers with their
//! windows and timers, and decides what must be done. [`Outbound`] belongs to the holder of the transmit lock. It numbers
//! datagrams and seals them. What the inbound half asks of the outbound half crosses as a [`Command`].
//!
//! For each datagram, the driver makes these calls:
//!
//! ```text
//! handle(datagram) -> Accepted     then, until each returns None:
//! poll_command()   -> Command      for Outbound::apply; seal and send the datagram that it writes, if any
//! poll_event()     -> Event        what happened to peers; may cause more commands
//! poll_reply()     -> a datagram outside any session, to be sent as it is
//! messages(Accepted)               the messages, after the commands were carried out; then all three polls again,
//!                                  because a peer that has closed its session is removed after its last message
//! next_timeout()   -> when to call handle_timeout(), followed by the three polls
//! ```
//!
//! The user's threads pass reliable messages to [`Outbound::offer`]. [`Outbound::poll_delivery`] writes the datagrams that are
//! due for them, including retransmissions, and [`Outbound::poll_outcome`] returns how each message ended.
//!
//! Neither half reads a clock, draws random numbers or touches a socket. `inbound` and `outbound` do not import each other.
//! The files beside them hold what both share. This folder may use `wire`, `json` and the crate's root modules.

mod command;
mod config;
mod encoder;
mod event;
mod inbound;
mod outbound;
mod outcome;
mod owner;
mod recorder;
mod rerun;

#[cfg(feature = "secure")]
pub use command::NewKeys;
pub use command::{Command, OpenPeer};
pub use config::{EndpointConfig, PayloadCheck, Role, Start, WireFormat};
pub use encoder::{Encoder, Started};
pub use event::{Event, PeerHandle, RemovalReason};
pub use inbound::{Accepted, Inbound, Messages, Refusals};
pub use outbound::{DueDatagram, Outbound, SealedPack, SentDatagrams};
pub use outcome::{Outcome, Refusal};
pub use owner::{
    ClaimError, ClaimOutcome, MAX_OWNED_STREAMS, OwnedStreams, OwnerChange, OwnerReason, Tenure,
};
pub use recorder::RECORD_FORMAT;
pub use rerun::{Difference, Rerun, RerunSettings, Step, rerun_inbound, rerun_outbound};

/// Creates both halves of a new endpoint.
#[must_use]
pub fn endpoint(config: EndpointConfig, start: Start) -> (Inbound, Outbound) {
    let outbound = Outbound::new(&config, start.first_number);
    (Inbound::new(config, start), outbound)
}
