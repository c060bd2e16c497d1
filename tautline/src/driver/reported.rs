//! The newest fault that was reported for what this end sent. If a client has waited in vain for its server's answer, the fault
//! says why.

use std::net::SocketAddr;
use std::time::Duration;

use tautline_proto::Instant as Steady;

use crate::error::ConnectError;
use crate::machine::fault::SocketFault;

/// For how long a fault explains a missing answer. A client calls again several times meanwhile, and a network may report only one
/// fault a second.
const EXPLAINS_FOR: Duration = Duration::from_secs(3);

/// A fault that the system or the network (ICMP) reported.
pub(super) struct Reported {
    pub(super) at: Steady,
    pub(super) fault: SocketFault,
    /// The system's description.
    pub(super) problem: String,
}

/// Why a server has not answered in time, as far as is known.
#[cold]
pub(super) fn no_answer(server: SocketAddr, newest: Option<&Reported>, now: Steady) -> ConnectError {
    match newest.filter(|newest| now.since(newest.at) < EXPLAINS_FOR) {
        None => ConnectError::TimedOut { server, refused: false },
        Some(Reported { fault: SocketFault::PortUnreachable, .. }) => {
            ConnectError::TimedOut { server, refused: true }
        }
        Some(Reported { fault, problem, .. }) => {
            ConnectError::Unreachable { server, fault: *fault, problem: problem.clone() }
        }
    }
}
