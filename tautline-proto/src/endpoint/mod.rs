//! The endpoint: one socket's protocol, in two halves.
//!
//! [`Inbound`] belongs to whoever reads the socket: it checks what arrives, keeps the peers, their
//! windows and timers, and says what is to be done. [`Outbound`] belongs to whoever holds the transmit
//! lock: it numbers and seals datagrams. What one half must tell the other crosses as a [`Command`], once
//! per turn:
//!
//! ```text
//! handle(datagram) -> Accepted     then, until each is empty:
//! poll_command()   -> Command      for Outbound::apply, whose datagram is then sealed and sent
//! poll_event()     -> Event        what happened to peers; may bring more commands
//! poll_reply()     -> a datagram outside any session, to be sent as it is
//! messages(Accepted)               the messages, once the commands were carried out; then all three again,
//!                                  because a peer that said goodbye goes after its last message
//! next_timeout()   -> when handle_timeout() wants to be called
//! ```
//!
//! Reliable messages are handed to [`Outbound::offer`]; [`Outbound::poll_delivery`] says what is to be sent of them,
//! for the first time and again, and [`Outbound::poll_outcome`] how each ended.
//!
//! Neither half reads a clock, draws randomness or touches a socket.

mod command;
mod config;
mod encoder;
mod event;
mod inbound;
mod outbound;
mod outcome;

pub use command::{Command, OpenPeer};
pub use config::{EndpointConfig, PayloadCheck, Role, Start, WireFormat};
pub use encoder::{Encoder, Started};
pub use event::{Event, PeerHandle, RemovalReason};
pub use inbound::{Accepted, Inbound, Messages, Refusals};
pub use outbound::{DueDatagram, Outbound, SentDatagrams};
pub use outcome::{Outcome, Refusal};

/// Both halves of a new endpoint.
#[must_use]
pub fn endpoint(config: EndpointConfig, start: Start) -> (Inbound, Outbound) {
    let outbound = Outbound::new(&config, start.first_number);
    (Inbound::new(config, start), outbound)
}
