//! Two transports for round trips: tautline, and a raw socket to compare with.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use tautline::{Metadata, Payload, SendError};

use super::client::Client;
use super::protocol::ECHOED;
use crate::tools::exit::{Exit, Failure};
use crate::tools::interrupt::LOOK_EVERY;

/// Sends numbered messages to an other end that sends them back.
pub(super) trait Transport {
    /// Sends message `number`. If the network refuses the message, it counts as lost, and this is not a failure.
    fn send(&mut self, number: u64) -> Result<(), Failure>;

    /// Waits up to about `wait`, and calls `back` with the number of each message that came back.
    fn receive(&mut self, wait: Duration, back: &mut dyn FnMut(u64)) -> Result<(), Failure>;

    /// Waits while no message is in flight.
    fn rest(&mut self, wait: Duration);
}

/// The measured transport.
pub(super) struct TautlineTransport<'a> {
    pub(super) client: &'a mut Client,
    pub(super) payload: Payload,
    /// How many messages were refused at once. They count as lost.
    pub(super) refused: u64,
}

impl Transport for TautlineTransport<'_> {
    fn send(&mut self, number: u64) -> Result<(), Failure> {
        let metadata = Metadata::new(ECHOED).message_id(number);
        match self.client.interface.send(&self.payload, &metadata) {
            Err(error @ (SendError::Encode(_) | SendError::TooLarge { .. })) => Err(too_large(&error)),
            Err(_) => {
                self.refused += 1;
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    fn receive(&mut self, wait: Duration, back: &mut dyn FnMut(u64)) -> Result<(), Failure> {
        self.client.take(wait, &mut |heard| {
            if heard.message_type == ECHOED {
                heard.answers.into_iter().for_each(&mut *back);
            }
        });
        Ok(())
    }

    fn rest(&mut self, wait: Duration) {
        self.client.rest(wait);
    }
}

/// Returns the failure for a message that is too large.
pub(super) fn too_large(error: &SendError) -> Failure {
    Failure::usage(format!("{error}; choose a smaller --size"))
}

/// A blocking socket of the standard library. A datagram holds the message's number and padding up to the size.
pub(super) struct RawTransport {
    socket: UdpSocket,
    sent: Vec<u8>,
    received: Vec<u8>,
}

/// The size of the number at the front of a datagram.
const NUMBER: usize = size_of::<u64>();

impl RawTransport {
    pub(super) fn connect(to: SocketAddr, size: u64) -> Result<Self, Failure> {
        let failed = |error| {
            Failure::new(Exit::NoConnection, format!("cannot open a socket to {to} for --baseline: {error}"))
        };
        let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
        let socket = UdpSocket::bind(any).map_err(failed)?;
        socket.connect(to).map_err(failed)?;
        // Set once, because each change is a system call that would be measured too.
        socket.set_read_timeout(Some(LOOK_EVERY)).map_err(failed)?;
        let size = usize::try_from(size).unwrap_or(NUMBER).max(NUMBER);
        Ok(Self { socket, sent: vec![0x5A; size], received: vec![0; size] })
    }
}

fn raw_failed(error: &std::io::Error) -> Failure {
    Failure::failed(format!("the raw socket of --baseline failed: {error}"))
}

/// Whether an error means that a message is lost, and not that the socket failed.
fn is_loss(kind: ErrorKind) -> bool {
    use ErrorKind::{ConnectionRefused, Interrupted, TimedOut, WouldBlock};
    matches!(kind, WouldBlock | TimedOut | Interrupted | ConnectionRefused)
}

impl Transport for RawTransport {
    fn send(&mut self, number: u64) -> Result<(), Failure> {
        self.sent[..NUMBER].copy_from_slice(&number.to_le_bytes());
        match self.socket.send(&self.sent) {
            Err(error) if !is_loss(error.kind()) => Err(raw_failed(&error)),
            _ => Ok(()),
        }
    }

    fn receive(&mut self, _: Duration, back: &mut dyn FnMut(u64)) -> Result<(), Failure> {
        match self.socket.recv(&mut self.received) {
            Ok(length) => {
                if let Some(number) = self.received[..length].first_chunk() {
                    back(u64::from_le_bytes(*number));
                }
                Ok(())
            }
            Err(error) if is_loss(error.kind()) => Ok(()),
            Err(error) => Err(raw_failed(&error)),
        }
    }

    fn rest(&mut self, wait: Duration) {
        std::thread::sleep(wait);
    }
}
