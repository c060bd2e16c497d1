//! What a system refuses to a socket: sandboxes (seccomp) refuse single calls. Found out when the socket is opened, so that no
//! later call fails, and told by name in the report of the machine ([`realtime`](crate::machine::realtime)).

use std::net::UdpSocket;

use super::{Socket, calls, platform};
use crate::sync::Ordering;

/// The calls that are refused, each with the system's description.
#[derive(Clone, Debug, Default)]
pub(super) struct Lacking {
    pub(super) sendmsg: Option<String>,
    pub(super) recvmsg: Option<String>,
}

impl Lacking {
    /// Tries the calls on a socket that is at no place yet: nothing is sent or read.
    pub(super) fn of(udp: &UdpSocket) -> Self {
        let problem = |refused: Option<std::io::Error>| refused.map(|error| error.to_string());
        let lacking = Self {
            sendmsg: problem(platform::refuses_sendmsg(udp)),
            recvmsg: problem(platform::refuses_recvmsg(udp)),
        };
        // Sending gives a socket a port, also if nothing is sent.
        calls::leave(udp);
        lacking
    }

    pub(super) const fn is_nothing(&self) -> bool {
        self.sendmsg.is_none() && self.recvmsg.is_none()
    }

    /// Why something is not there that needs these calls and an option.
    fn why(&self, option: &str) -> String {
        let call = |name: &str, problem: &Option<String>| {
            problem.as_ref().map(|problem| format!("the system refuses {name} ({problem})"))
        };
        let call = call("sendmsg", &self.sendmsg).or_else(|| call("recvmsg", &self.recvmsg));
        call.unwrap_or_else(|| format!("the system refuses the socket option {option}, or does not know it"))
    }
}

impl Socket {
    /// Why datagrams are not sent and read many at once; `None` if they are.
    pub(in crate::machine) fn lacks_offload(&self) -> Option<String> {
        let lacks = !self.lacking.is_nothing() || !self.segments.load(Ordering::Relaxed);
        lacks.then(|| self.lacking.why("UDP_SEGMENT"))
    }

    /// Why the kernel does not stamp datagrams; `None` if it does.
    pub(in crate::machine) fn lacks_stamps(&self) -> Option<String> {
        (!self.is_stamping()).then(|| self.lacking.why("SO_TIMESTAMPNS"))
    }

    /// Why peers are not answered from the address that they called; `None` if they are.
    pub(in crate::machine) fn lacks_called_address(&self) -> Option<String> {
        (!self.answers_as_called()).then(|| self.lacking.why("IP_PKTINFO"))
    }
}
