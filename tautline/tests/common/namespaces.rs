//! Two network namespaces with a cable between them, for tests in which a machine's network fails. They need privilege.
//! Without it, a test prints that it is skipped.
#![allow(dead_code)] // no test file uses all helpers

use super::hosts::{Hosts, ip};

/// Two hosts and the cable between them.
pub(crate) struct Cable {
    hosts: Hosts<2>,
}

/// One end of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Plant,
    Controller,
}

/// Both ends.
pub(crate) const ENDS: [End; 2] = [End::Plant, End::Controller];

impl End {
    pub(crate) const fn address(self) -> &'static str {
        match self {
            Self::Plant => "10.77.0.1",
            Self::Controller => "10.77.0.2",
        }
    }
}

impl Cable {
    /// Sets the hosts and the cable up. Prints the reason and returns `None` if the system does not allow that.
    pub(crate) fn lay(test: &str) -> Option<Self> {
        let cable = Self { hosts: Hosts::named(['p', 'c']) };
        cable.hosts.set_up(test, || cable.set_up()).then_some(cable)
    }

    fn set_up(&self) -> Result<(), String> {
        self.plug()?;
        for end in ENDS {
            self.run(end, &["addr", "add", &format!("{}/24", end.address()), "dev", self.name(end)])?;
        }
        Ok(())
    }

    /// Lays the cable between the two hosts: a network card at each, up and without addresses.
    fn plug(&self) -> Result<(), String> {
        let [plant, controller] = &self.hosts.0;
        ip(&[
            "link", "add", plant, "netns", plant, "type", "veth", "peer", "name", controller, "netns",
            controller,
        ])?;
        for end in ENDS {
            self.run(end, &["link", "set", self.name(end), "up"])?;
            self.ask_neighbours_often(end);
        }
        Ok(())
    }

    /// Makes the kernel ask for a neighbour's address every 20 ms instead of every second. Otherwise a request that is lost
    /// because the other end is not quite up costs a second. If this cannot be set, the printed times show it.
    fn ask_neighbours_often(&self, end: End) {
        for family in ["ipv4", "ipv6"] {
            let setting = format!("/proc/sys/net/{family}/neigh/{}/retrans_time_ms", self.name(end));
            if let Err(error) = self.at(end, || std::fs::write(&setting, "20")) {
                println!("{setting} cannot be set: {error}");
            }
        }
    }

    /// The name of the end's network card.
    pub(crate) fn name(&self, end: End) -> &str {
        &self.hosts.0[end as usize]
    }

    fn run(&self, end: End, arguments: &[&str]) -> Result<(), String> {
        self.hosts.run(end as usize, arguments)
    }

    /// Sets the end's network interface up or down.
    pub(crate) fn set_link(&self, end: End, up: bool) {
        let state = if up { "up" } else { "down" };
        self.run(end, &["link", "set", self.name(end), state]).expect("setting up was allowed");
    }

    /// Removes the end's address or gives it back.
    pub(crate) fn set_address(&self, end: End, there: bool) {
        let act = if there { "add" } else { "del" };
        let address = format!("{}/24", end.address());
        self.run(end, &["addr", act, &address, "dev", self.name(end)]).expect("setting up was allowed");
    }

    /// Gives the end a further address.
    pub(crate) fn add_address(&self, end: End, address: &str) {
        // IPv6 addresses are there at once, without a search for others who have them.
        let at_once: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        let add = [&["addr", "add", address, "dev", self.name(end)], at_once].concat();
        self.run(end, &add).expect("setting up was allowed");
    }

    /// Takes an address away from the end.
    pub(crate) fn remove_address(&self, end: End, address: &str) {
        self.run(end, &["addr", "del", address, "dev", self.name(end)]).expect("setting up was allowed");
    }

    /// Takes the cable away together with the network cards at its ends.
    pub(crate) fn unplug(&self) {
        let end = End::Plant;
        self.run(end, &["link", "del", self.name(end)]).expect("setting up was allowed");
    }

    /// Plugs the network cards in again, up and without addresses. The system gives them other numbers.
    pub(crate) fn plug_again(&self) {
        self.plug().expect("setting up was allowed");
    }

    /// Changes a route of the end.
    pub(crate) fn route(&self, end: End, arguments: &[&str]) {
        self.run(end, &[&["route"], arguments].concat()).expect("setting up was allowed");
    }

    /// Runs `act` on a thread whose sockets belong to this end.
    pub(crate) fn at<T: Send>(&self, end: End, act: impl FnOnce() -> T + Send) -> T {
        self.hosts.at(end as usize, act)
    }
}
