//! The states of a connection and, in one place, every transition between them.

use core::fmt;

/// How an interface, or the link to one peer, stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Never connected, or disconnected by the user.
    #[default]
    Disconnected,
    /// A client waits for its server's answer.
    Connecting,
    /// Messages flow: a server's socket is ready, or a client's server has answered.
    Connected,
    /// The other end was not heard for half the liveness time-out: several heartbeats are overdue. Messages can be sent.
    /// On the native wire only, because the classic one has no heartbeats.
    Stale,
    /// The other end fell silent or closed; a client keeps saying hello, ever more seldom and at times that vary.
    Reconnecting,
    /// Connecting failed, or the driver did; the cause is in the event and in the error that `connect` returns.
    Error,
    /// Cleaned up for good.
    Closed,
}

/// What moves a connection from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The user asked to connect.
    Connect,
    /// The socket is ready and no answer is needed: a server, or the classic wire.
    Ready,
    /// The other end accepted us.
    Accepted,
    /// The other end has not been heard for half the liveness time-out.
    Stale,
    /// The other end has not been heard for the liveness time-out.
    Silent,
    /// The other end was heard again.
    Heard,
    /// The other end closed its side.
    ClosedByPeer,
    /// The other end cannot take another peer.
    Refused,
    /// It failed on our side: resolving, binding, no answer in time, a driver that panicked.
    Failed,
    /// The user disconnected.
    Disconnect,
    /// The user cleaned up.
    Cleanup,
}

impl ConnectionState {
    /// The state after `cause`; unchanged where the cause means nothing.
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
            // A refused client keeps trying when it was told not to wait.
            (Error, Accepted) => Connected,
            (state, _) => state,
        }
    }

    /// Whether messages can be sent: also while stale and reconnecting, because the silence may be one-way.
    #[must_use]
    pub const fn can_send(self) -> bool {
        matches!(self, Self::Connected | Self::Stale | Self::Reconnecting)
    }

    /// The name, in lower case.
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
            Self::Accepted => "the other end accepted",
            Self::Stale => "the other end is overdue",
            Self::Silent => "the other end fell silent",
            Self::Heard => "the other end was heard again",
            Self::ClosedByPeer => "the other end closed",
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
    fn a_client_connects_loses_its_server_and_finds_it_again() {
        assert_eq!(walk(&[Connect]), Connecting);
        assert_eq!(walk(&[Connect, Accepted]), Connected);
        assert_eq!(walk(&[Connect, Accepted, Silent]), Reconnecting);
        assert_eq!(walk(&[Connect, Accepted, Silent, Heard]), Connected);
        assert_eq!(walk(&[Connect, Accepted, ClosedByPeer, Accepted]), Connected);
    }

    #[test]
    fn an_overdue_server_is_stale_before_it_is_silent() {
        assert_eq!(walk(&[Connect, Accepted, Cause::Stale]), Stale);
        assert!(Stale.can_send());
        assert_eq!(walk(&[Connect, Accepted, Cause::Stale, Heard]), Connected);
        assert_eq!(walk(&[Connect, Accepted, Cause::Stale, Silent]), Reconnecting);
        assert_eq!(walk(&[Connect, Accepted, Cause::Stale, ClosedByPeer]), Reconnecting);
        assert_eq!(walk(&[Connect, Accepted, Cause::Stale, Failed]), Error);
        assert_eq!(walk(&[Connect, Accepted, Silent, Cause::Stale]), Reconnecting);
    }

    #[test]
    fn a_failed_connect_can_be_tried_again() {
        assert_eq!(walk(&[Connect, Failed]), Error);
        assert_eq!(walk(&[Connect, Failed, Connect, Ready]), Connected);
        assert_eq!(walk(&[Connect, Ready, Failed]), Error);
        assert_eq!(walk(&[Connect, Ready, Refused]), Connected);
    }

    #[test]
    fn closed_is_for_good() {
        assert_eq!(walk(&[Connect, Ready, Cleanup, Connect, Ready, Disconnect]), Closed);
    }

    #[test]
    fn a_cause_out_of_place_changes_nothing() {
        assert_eq!(walk(&[Accepted]), Disconnected);
        assert_eq!(walk(&[Silent]), Disconnected);
        assert_eq!(walk(&[Connect, Silent]), Connecting);
    }
}
