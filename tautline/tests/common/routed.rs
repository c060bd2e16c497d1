//! Three network namespaces in a row: a controller, a router and a plant, for tests of paths that carry only small packets.
//! They need privilege. Without it, a test prints that it is skipped.

use super::hosts::{Hosts, ip};

/// The hosts and the cables between them.
pub(crate) struct Routed {
    hosts: Hosts<3>,
}

/// A host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Controller,
    Router,
    Plant,
}

use Host::{Controller, Plant, Router};

/// The addresses of the plant: IPv4 and IPv6.
pub(crate) const PLANT: [&str; 2] = ["10.78.2.1", "fd78:2::1"];

impl Routed {
    /// Sets the hosts up. Prints the reason and returns `None` if the system does not allow that.
    pub(crate) fn lay(test: &str) -> Option<Self> {
        let routed = Self { hosts: Hosts::named(['c', 'r', 'p']) };
        routed.hosts.set_up(test, || routed.set_up()).then_some(routed)
    }

    fn set_up(&self) -> Result<(), String> {
        for (host, near, far) in [(Controller, "near", "1"), (Plant, "far", "2")] {
            let (end, router) = (self.name(host), self.name(Router));
            ip(&["link", "add", "eth", "netns", end, "type", "veth", "peer", "name", near, "netns", router])?;
            for (family, length) in [("10.78.", "24"), ("fd78:", "64")] {
                let join = if family.starts_with('f') { "::" } else { "." };
                let address = |last: &str| format!("{family}{far}{join}{last}/{length}");
                let nodad: &[&str] = if family.starts_with('f') { &["nodad"] } else { &[] };
                self.run(host, &[&["addr", "add", &address("1"), "dev", "eth"], nodad].concat())?;
                self.run(Router, &[&["addr", "add", &address("2"), "dev", near], nodad].concat())?;
                self.run(host, &["link", "set", "eth", "up"])?;
                self.run(Router, &["link", "set", near, "up"])?;
                let gateway = format!("{family}{far}{join}2");
                let version = if family.starts_with('f') { "-6" } else { "-4" };
                self.run(host, &[version, "route", "add", "default", "via", &gateway])?;
            }
        }
        self.at(Router, || {
            for setting in
                ["ipv4/ip_forward", "ipv4/icmp_errors_use_inbound_ifaddr", "ipv6/conf/all/forwarding"]
            {
                std::fs::write(format!("/proc/sys/net/{setting}"), "1").map_err(|error| error.to_string())?;
            }
            Ok(())
        })
    }

    fn name(&self, host: Host) -> &str {
        &self.hosts.0[host as usize]
    }

    fn run(&self, host: Host, arguments: &[&str]) -> Result<(), String> {
        self.hosts.run(host as usize, arguments)
    }

    /// Sets the largest packet of the whole path.
    pub(crate) fn set_mtu(&self, mtu: usize) {
        self.set_mtus(&[(Controller, "eth"), (Router, "near")], mtu);
        self.set_far_mtu(mtu);
    }

    /// Sets the largest packet of the path beyond the router alone.
    pub(crate) fn set_far_mtu(&self, mtu: usize) {
        self.set_mtus(&[(Router, "far"), (Plant, "eth")], mtu);
    }

    fn set_mtus(&self, links: &[(Host, &str)], mtu: usize) {
        for &(host, link) in links {
            self.run(host, &["link", "set", link, "mtu", &mtu.to_string()]).expect("setting up was allowed");
        }
    }

    /// Sets whether the router tells senders of packets that are too large (ICMP).
    pub(crate) fn set_told(&self, told: bool) {
        let act = if told { "del" } else { "add" };
        // What the router itself sends is dropped. What it forwards is not.
        let rules: [&[&str]; 3] =
            [&["-4", "from", "10.78.1.2"], &["-4", "from", "10.78.2.2"], &["-6", "iif", "lo"]];
        for rule in rules {
            let rule = [&[rule[0], "rule", act], &rule[1..], &["blackhole"]].concat();
            self.run(Router, &rule).expect("setting up was allowed");
        }
    }

    /// Runs `act` on a thread whose sockets belong to this host.
    pub(crate) fn at<T: Send>(&self, host: Host, act: impl FnOnce() -> T + Send) -> T {
        self.hosts.at(host as usize, act)
    }
}
