//! The states of a connection, and every transition between them.

use core::fmt;

/// The state of an interface, or of the link to one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// The user has not connected yet, or has disconnected.
    #[default]
    Disconnected,
    /// A client waits for its server's answer; or an end waits for its name, its address, its network card or a route.
    Connecting,
    /// A server's socket is ready, or a client's server has answered.
    Connected,
    /// The other end was not heard for half the liveness time-out: several heartbeats are overdue. Messages can still be
    /// sent. Only on the native wire, because the classic wire has no heartbeats.
    Stale,
    /// The other end fell silent or closed. A client keeps sending hellos, with growing and varying waits.
    Reconnecting,
    /// Connecting failed, or the driver failed. The event and the error that `connect` returns hold the cause.
    Error,
    /// The user has cleaned up. This state is final.
    Closed,
}

/// What changes the state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The user asked to connect.
    Connect,
    /// The socket is ready, and no answer is needed: at a server, or on the classic wire.
    Ready,
    /// The other end has accepted us.
    Accepted,
    /// The other end has not been heard for half the liveness time-out.
    Stale,
    /// The other end has not been heard for the liveness time-out.
    Silent,
    /// The other end was heard again.
    Heard,
    /// The other end has closed the connection.
    ClosedByPeer,
    /// The other end has no room for another peer.
    Refused,
    /// Something failed at this end: the name could not be resolved, the socket could not be bound, no answer came in time, or
    /// the driver panicked.
    Failed,
    /// The user disconnected.
    Disconnect,
    /// The user cleaned up.
    Cleanup,
}

impl ConnectionState {
    /// Returns the state after `cause`. The state stays the same if the cause has no effect in it.
    #[must_use]
    pub const fn after(self, cause: Cause) -> Self {
        use Cause::{
            Accepted, Cleanup, ClosedByPeer, Connect, Disconnect, Failed, Heard, Ready, Refused, Silent,
        };
        use ConnectionState::{Closed, Connected, Connecting, Disconnected, Error, Reconnecting, Stale};
        match (self, cause) {
            (Closed, _) | (_, Cleanup) => Closed,
            (_, Disconnect) => Disconnected,
            (Disconnected | Error, Connect) => Connecting,
            (Connecting, Ready) => Connected,
            (Connecting | Stale | Reconnecting, Accepted | Heard) => Connected,
            (Connected, Cause::Stale) => Stale,
            (Connected | Stale, Silent | ClosedByPeer) => Reconnecting,
            (Connecting | Reconnecting, Refused) => Error,
            (Connecting | Connected | Stale | Reconnecting, Failed) => Error,
            // A client that was refused keeps trying, unless `connect` waits for the answer.
            (Error, Accepted) => Connected,
            (state, _) => state,
        }
    }

    /// Returns whether messages can be sent. They can also while stale and reconnecting, because only one direction may be
    /// interrupted.
    #[must_use]
    pub const fn can_send(self) -> bool {
        matches!(self, Self::Connected | Self::Stale | Self::Reconnecting)
    }

    /// Returns the name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Stale => "stale",
            Self::Reconnecting => "reconnecting",
            Self::Error => "error",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Connect => "connect was called",
            Self::Ready => "the socket is ready",
            Self::Accepted => "the other end accepted the connection",
            Self::Stale => "the other end's heartbeats are overdue",
            Self::Silent => "the other end fell silent",
            Self::Heard => "the other end was heard again",
            Self::ClosedByPeer => "the other end closed the connection",
            Self::Refused => "the other end has no room for another peer",
            Self::Failed => "the connection failed",
            Self::Disconnect => "disconnect was called",
            Self::Cleanup => "cleanup was called",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Cause::{
        Accepted, Cleanup, ClosedByPeer, Connect, Disconnect, Failed, Heard, Ready, Refused, Silent,
    };
    use ConnectionState::*;

    fn walk(causes: &[Cause]) -> ConnectionState {
        causes.iter().fold(Disconnected, |state, &cause| state.after(cause))
    }

    #[test]
    fn client_connects_and_reconnects() {
        assert_eq!(walk(&[Connect]), Connecting);
        assert_eq!(walk(&[Connect, Accepted]), Connected);
        assert_eq!(walk(&[Connect, Accepted, Silent]), Reconnecting);
        assert_eq!(walk(&[Connect, Accepted, Silent, Heard]), Connected);
        assert_eq!(walk(&[Connect, Accepted, ClosedByPeer, Accepted]), Connected);
    }

    #[test]
    fn server_becomes_stale_before_it_becomes_silent() {
        assert_eq!(walk(&[Connect, Accepted, Cause::Stale]), Stale);
        assert!(Stale.can_send());
        assert_eq!(walk(&[Connect, Accepted, Cause::Stale, Heard]), Connected);
        assert_eq!(walk(&[Connect, Accepted, Cause::Stale, Silent]), Reconnecting);
        assert_eq!(walk(&[Connect, Accepted, Cause::Stale, ClosedByPeer]), Reconnecting);
        assert_eq!(walk(&[Connect, Accepted, Cause::Stale, Failed]), Error);
        assert_eq!(walk(&[Connect, Accepted, Silent, Cause::Stale]), Reconnecting);
    }

    #[test]
    fn connecting_can_be_repeated_after_a_failure() {
        assert_eq!(walk(&[Connect, Failed]), Error);
        assert_eq!(walk(&[Connect, Failed, Connect, Ready]), Connected);
        assert_eq!(walk(&[Connect, Ready, Failed]), Error);
        assert_eq!(walk(&[Connect, Ready, Refused]), Connected);
    }

    #[test]
    fn closed_is_final() {
        assert_eq!(walk(&[Connect, Ready, Cleanup, Connect, Ready, Disconnect]), Closed);
    }

    #[test]
    fn cause_without_effect_leaves_the_state_unchanged() {
        assert_eq!(walk(&[Accepted]), Disconnected);
        assert_eq!(walk(&[Silent]), Disconnected);
        assert_eq!(walk(&[Connect, Silent]), Connecting);
    }
}
