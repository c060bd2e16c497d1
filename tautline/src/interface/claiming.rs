//! Who may send on a stream: claims, releases, and the owners of the streams here.

use super::UdpInterface;
use crate::config::Role;
use crate::sending::line::Line;
use crate::shared::ownership::{Claim, ClaimAct, ClaimError, StreamOwner};
use crate::watchdog::Surroundings;
use tautline_proto::StreamId;

impl UdpInterface {
    /// Claims a stream at the peer: from now on it takes messages of this type and channel from this interface alone, whoever
    /// owned the stream before. A type alone means its channel 0. A client asks its server, a server all its clients.
    ///
    /// The peer decides: its setting `owner` must be on for the stream. Both ends publish an [event](crate::Event::OwnerChanged),
    /// and the former owner is told ([`StreamDenied`](crate::Event::StreamDenied)). The claim is repeated until it is
    /// answered, for one second. It does not last: after a reconnect, or when this end was silent for the stream's `deadline`
    /// there, another peer may be the owner.
    ///
    /// ```
    /// use tautline::{ClaimOutcome, Config, MessageType, Qos, create_udp_client, create_udp_server};
    ///
    /// let one_owner = Qos::new().owner(true);
    /// let plant = create_udp_server(Config::server("127.0.0.1:0").qos(MessageType::Command, one_owner))?;
    /// plant.connect()?;
    /// let controller = create_udp_client(Config::client(plant.local_address().expect("connected")))?;
    /// controller.connect()?;
    /// let claim = controller.claim(MessageType::Command)?;
    /// assert_eq!(claim.wait(None), Some(ClaimOutcome::Granted));
    /// assert_eq!(plant.owners()[0].stream, MessageType::Command.into());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Why it was not begun: not connected, no peer, the classic wire (which has no claims), or too many open claims.
    pub fn claim(&self, stream: impl Into<StreamId>) -> Result<Claim, ClaimError> {
        self.ask(ClaimAct::Claim, stream.into())
    }

    /// Releases a stream at the peer: the next peer that sends becomes its owner. What was sent before
    /// is still handed out, until the first message of the new owner is there.
    ///
    /// Stop sending first: whoever sends on, and is the first, owns the stream again.
    ///
    /// # Errors
    ///
    /// As for [`claim`](Self::claim).
    pub fn release(&self, stream: impl Into<StreamId>) -> Result<Claim, ClaimError> {
        // What waits to share a datagram goes before.
        self.shared().sender.transmit.exclusively(Line::flush);
        self.ask(ClaimAct::Release, stream.into())
    }

    fn ask(&self, act: ClaimAct, stream: StreamId) -> Result<Claim, ClaimError> {
        let shared = self.shared();
        if shared.role == Role::Server && shared.is_open() && shared.connected_peers().is_empty() {
            return Err(ClaimError::NoPeers);
        }
        let claim = shared.ownership.ask(act, stream)?;
        self.connection().wake_driver();
        Ok(claim)
    }

    /// Takes a stream here away from its owner: the next peer that sends becomes the owner. A watchdog that trips does this by
    /// itself. Returns whether the stream had an owner.
    pub fn free(&self, stream: impl Into<StreamId>) -> bool {
        let stream = stream.into();
        let had_owner = self.shared().ownership.free_where(|owner| owner.stream == stream);
        if had_owner {
            self.connection().wake_driver();
        }
        had_owner
    }

    /// Returns the owner of each stream here that has one (setting `owner`).
    #[must_use]
    pub fn owners(&self) -> Vec<StreamOwner> {
        self.shared().ownership.all()
    }
}
