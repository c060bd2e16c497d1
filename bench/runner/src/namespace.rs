//! A network of its own, whose loopback has the packet size of Ethernet (network_namespaces(7)).

use std::process::Command;

use serde::Deserialize;

use crate::process::Process;

/// What a process in the namespace does: it sets loopback up, says so, and then waits for its end.
const SET_UP: &str = "ip link set lo up mtu 1500 && echo '{\"is_ready\":true}' && exec cat";

/// A namespace. It lives until this is dropped, and as long as processes are in it.
pub(crate) struct Namespace(Process);

#[derive(Deserialize)]
struct Ready {
    #[serde(rename = "is_ready")]
    _is_ready: bool,
}

impl Namespace {
    pub(crate) fn start() -> Result<Self, String> {
        let mut command = Command::new("unshare");
        command.args(["-rn", "sh", "-c", SET_UP]);
        let mut process = Process::start(command).map_err(|why| format!("unshare: {why}"))?;
        let _: Ready = process.ready().map_err(|why| format!("no network namespace: {why}"))?;
        Ok(Self(process))
    }

    /// Returns the words of a command line that let a program run in the namespace.
    pub(crate) fn words(&self) -> Vec<String> {
        let id = self.0.id().to_string();
        ["nsenter", "-t", &id, "-U", "-n", "--preserve-credentials"].map(str::to_owned).to_vec()
    }
}
