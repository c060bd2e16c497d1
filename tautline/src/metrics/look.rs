//! What one look at a link found.

use crate::config::Selector;
use crate::config::{Role, Wire};
use crate::handlers::HandlerStats;
use crate::machine::socket::Granted;
use crate::shared::Shared;
use crate::shared::directory::PeerInfo;
use crate::shared::statistics::Statistics;
use crate::sync::{Arc, Weak, lock};
use crate::watchdog::WatchdogStats;
use tautline_proto::{Instant as Steady, PathStats};

/// A link that is looked at. It does not keep the link alive.
#[derive(Debug)]
pub(crate) struct Source {
    shared: Weak<Shared>,
    granted: Granted,
}

/// The peers that are shown at most, so that strangers cannot fill the page. All of them count in the sums.
const MOST_PEERS: usize = 64;

/// What is known of a link at one time.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) wire: Wire,
    pub(super) endpoint: String,
    pub(super) local: Option<String>,
    pub(super) is_secured: bool,
    pub(super) statistics: Statistics,
    /// At most [`MOST_PEERS`].
    pub(super) peers: Vec<PeerInfo>,
    pub(super) watchdogs: Vec<WatchdogStats>,
    pub(super) handlers: Vec<(Selector, HandlerStats)>,
    /// When it was, on the link's clock.
    pub(super) at: Steady,
}

impl Source {
    pub(crate) fn new(shared: &Arc<Shared>, granted: Granted) -> Self {
        Self { shared: Arc::downgrade(shared), granted }
    }

    /// Whether both are about the same link.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.shared.ptr_eq(&other.shared)
    }

    /// Looks at the link. `None`: it is gone.
    pub(super) fn look(&self) -> Option<Look> {
        let shared = self.shared.upgrade()?;
        let (name, wire, endpoint) = {
            let config = lock(&shared.config);
            (config.name.clone(), config.wire, config.endpoint.clone())
        };
        let mut peers = shared.directory.all();
        peers.truncate(MOST_PEERS);
        Some(Look {
            name: name.unwrap_or_else(|| "tautline".to_owned()),
            role: shared.role,
            wire: wire.unwrap_or(Wire::Native),
            endpoint: endpoint.unwrap_or_default(),
            local: shared.directory.local_address().map(|address| address.to_string()),
            is_secured: peers.iter().any(|peer| peer.identity.is_some()),
            statistics: shared.statistics(self.granted),
            peers,
            watchdogs: shared.watchdogs.stats(shared.steady_now()),
            handlers: shared.handlers.stats(),
            at: shared.steady_now(),
        })
    }
}

impl Look {
    /// The path of the peer that was heard last.
    pub(super) fn path(&self) -> Option<&PathStats> {
        self.statistics.path.as_ref()
    }
}
