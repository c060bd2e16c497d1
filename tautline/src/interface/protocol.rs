//! The interface as a trait: code that uses it can be tested with another transport.

use std::time::Duration;

use crate::error::{ConnectError, SendError};
use crate::interface::UdpInterface;
use crate::message::Message;
use crate::message::metadata::Metadata;
use crate::payload::Payload;
use crate::receiving::inbox::ReceiveError;
use crate::sending::link::Sent;
use crate::shared::statistics::Statistics;
use tautline_proto::ConnectionState;

/// A link over which messages are sent and received. Object-safe. [`UdpInterface`] implements it.
///
/// ```
/// use tautline::{CommunicationProtocol, Metadata, Payload};
///
/// fn stop(link: &dyn CommunicationProtocol) -> Result<(), Box<dyn std::error::Error>> {
///     link.send(&Payload::json(&"stop")?, &Metadata::command())?;
///     Ok(())
/// }
/// # let link = tautline::create_udp_server(tautline::Config::server("127.0.0.1:0"))?;
/// # assert!(stop(&link).is_err(), "not connected");
/// # Ok::<(), tautline::ConfigError>(())
/// ```
pub trait CommunicationProtocol: Send + Sync {
    /// Opens the link; see [`UdpInterface::connect`].
    ///
    /// # Errors
    ///
    /// Why the link is not open.
    fn connect(&self) -> Result<(), ConnectError>;

    /// Closes the link; see [`UdpInterface::disconnect`].
    fn disconnect(&self);

    /// Sends a payload to every peer; see [`UdpInterface::send`].
    ///
    /// # Errors
    ///
    /// Why the message was not sent.
    fn send(&self, payload: &Payload, metadata: &Metadata) -> Result<Sent, SendError>;

    /// Takes the next message; see [`UdpInterface::receive`].
    ///
    /// # Errors
    ///
    /// Why there is no message.
    fn receive(&self, timeout: Option<Duration>) -> Result<Message, ReceiveError>;

    /// Returns the state of the connection.
    fn connection_state(&self) -> ConnectionState;

    /// Returns everything that was counted so far.
    fn statistics(&self) -> Statistics;
}

impl CommunicationProtocol for UdpInterface {
    fn connect(&self) -> Result<(), ConnectError> {
        self.connect()
    }

    fn disconnect(&self) {
        self.disconnect();
    }

    fn send(&self, payload: &Payload, metadata: &Metadata) -> Result<Sent, SendError> {
        self.send(payload, metadata)
    }

    fn receive(&self, timeout: Option<Duration>) -> Result<Message, ReceiveError> {
        self.receive(timeout)
    }

    fn connection_state(&self) -> ConnectionState {
        self.connection_state()
    }

    fn statistics(&self) -> Statistics {
        self.statistics()
    }
}
