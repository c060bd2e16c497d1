//! Shows several interfaces together.

use std::net::SocketAddr;

use super::UdpInterface;
use crate::config::{Config, MetricsAddress};
use crate::error::ConnectError;
use crate::metrics::Server;

/// Serves what is measured of several interfaces over HTTP: `/metrics` has text for Prometheus, and `/` a live page. Nothing can be
/// changed there. Ends when it is dropped.
///
/// For one interface, the setting [`metrics`](crate::Config::metrics) does the same. Needs the Cargo feature `metrics`.
///
/// ```
/// use tautline::{Config, MetricsServer, create_udp_server};
///
/// let (left, right) = (Config::server("127.0.0.1:0").name("left arm"), Config::server("127.0.0.1:0").name("right arm"));
/// let arms = [create_udp_server(left)?, create_udp_server(right)?];
/// let metrics = MetricsServer::start("127.0.0.1:0")?;
/// arms.iter().for_each(|arm| metrics.show(arm));
/// println!("http://{}/", metrics.address());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MetricsServer(Server);

impl MetricsServer {
    /// Listens at an address of this host: "127.0.0.1:9465", or ":9465" for this host only.
    ///
    /// # Errors
    ///
    /// The text is no address, or the system does not give it.
    pub fn start(address: impl Into<MetricsAddress>) -> Result<Self, ConnectError> {
        let address: MetricsAddress = address.into();
        let config = Config::server("127.0.0.1:0").metrics(address.clone());
        let known = config.validate().map(|()| address.address()).map_err(ConnectError::Config)?;
        let address = known.expect("it was validated");
        let failed = |error: std::io::Error| ConnectError::Metrics { address, problem: error.to_string() };
        Server::start(address).map(Self).map_err(failed)
    }

    /// Shows an interface from now on, until it is dropped. Does not keep it alive.
    pub fn show(&self, interface: &UdpInterface) {
        self.0.show(interface.connection().source());
    }

    /// Returns where it listens, with the port that the system chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

impl UdpInterface {
    /// Returns where the metrics are served, with the port that the system chose; `None` without the setting
    /// [`metrics`](crate::Config::metrics), and before the interface has connected. Needs the Cargo feature `metrics`.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        crate::sync::lock(&self.connection().metrics).as_ref().map(Server::address)
    }
}
