//! What the looking thread saw last: the text for Prometheus, and the JSON of the page.
//!
//! A lock guards it. The looking thread holds it while it stores, and a request while it copies a reference. Lock order: `links`,
//! `latest`.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::look::{Look, Source};
use super::percentiles::{Percentiles, RoundTrips, us};
use super::prometheus;
use crate::config::Role;
use crate::shared::statistics::Statistics;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, lock};

/// The links that one server shows at most. Further ones are not shown.
const MOST_LINKS: usize = 64;

/// Every so many looks, the page gets a new snapshot.
const SNAPSHOT_EVERY: u64 = 10;

/// The links, and what was seen of them.
#[derive(Debug, Default)]
pub(super) struct Published {
    links: Mutex<Vec<Shown>>,
    latest: Mutex<Latest>,
    /// Signalled with `latest`: a snapshot came, or the server ends.
    changed: Condvar,
}

#[derive(Debug)]
struct Shown {
    source: Source,
    round_trips: RoundTrips,
}

#[derive(Debug, Default)]
struct Latest {
    /// The number of looks since a link was added.
    looks: u64,
    started: Option<Instant>,
    text: Arc<String>,
    /// The number of the snapshot; 0 before the first.
    number: u64,
    json: Arc<String>,
    is_over: bool,
}

impl Published {
    pub(super) fn show(&self, source: Source) {
        let mut links = lock(&self.links);
        let known = links.iter().position(|shown| shown.source.is_same(&source));
        match known {
            Some(at) => links[at].source = source,
            None if links.len() < MOST_LINKS => {
                links.push(Shown { source, round_trips: RoundTrips::default() });
            }
            None => {}
        }
        // Whoever asks next waits for a look at this link.
        lock(&self.latest).looks = 0;
    }

    /// Looks at every link, and publishes what it saw.
    pub(super) fn look(&self) {
        let mut seen = Vec::new();
        // Held to the end: no link is added between the look and its publication.
        let mut links = lock(&self.links);
        links.retain_mut(|shown| {
            let Some(look) = shown.source.look() else { return false };
            shown.round_trips.take(&look);
            seen.push((look, shown.round_trips.percentiles()));
            true
        });
        let text = Arc::new(prometheus::text(&seen));
        let mut latest = lock(&self.latest);
        let started = *latest.started.get_or_insert_with(Instant::now);
        latest.text = text;
        if latest.looks.is_multiple_of(SNAPSHOT_EVERY) {
            latest.number += 1;
            let snapshot = Snapshot {
                number: latest.number,
                time_s: started.elapsed().as_secs_f64(),
                version: env!("CARGO_PKG_VERSION"),
                links: seen.iter().map(|(look, trips)| LinkJson::new(look, *trips)).collect(),
            };
            latest.json = Arc::new(serde_json::to_string(&snapshot).expect("numbers and text are JSON"));
            self.changed.notify_all();
        }
        latest.looks += 1;
    }

    /// Waits until the next look, or until the server ends.
    pub(super) fn pause(&self, pause: Duration) {
        let deadline = Instant::now() + pause;
        let mut latest = lock(&self.latest);
        while !latest.is_over {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            latest = self.changed.wait_timeout(latest, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn text(&self) -> Arc<String> {
        Arc::clone(&self.seen().text)
    }

    pub(super) fn json(&self) -> Arc<String> {
        Arc::clone(&self.seen().json)
    }

    /// Waits until every link was looked at, or until the server ends.
    fn seen(&self) -> MutexGuard<'_, Latest> {
        let mut latest = lock(&self.latest);
        while latest.looks == 0 && !latest.is_over {
            latest = self.changed.wait(latest).unwrap_or_else(PoisonError::into_inner);
        }
        latest
    }

    /// Waits for a snapshot after number `after`. `None`: the server ends.
    pub(super) fn next(&self, after: u64) -> Option<(u64, Arc<String>)> {
        let mut latest = lock(&self.latest);
        loop {
            if latest.is_over {
                return None;
            }
            if latest.number > after {
                return Some((latest.number, Arc::clone(&latest.json)));
            }
            latest = self.changed.wait(latest).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn end(&self) {
        lock(&self.latest).is_over = true;
        self.changed.notify_all();
    }
}

/// What the page shows.
#[derive(Debug, Serialize)]
struct Snapshot<'a> {
    number: u64,
    /// Since the server was started.
    time_s: f64,
    version: &'a str,
    links: Vec<LinkJson<'a>>,
}

#[derive(Debug, Serialize)]
struct LinkJson<'a> {
    name: &'a str,
    role: &'static str,
    wire: &'static str,
    endpoint: &'a str,
    local: Option<&'a str>,
    state: &'static str,
    secured: bool,
    rtt: Percentiles,
    /// How old data are when they come: the estimated delay from the peer to here.
    age_us: Option<f64>,
    /// How long ago the latest valid datagram came.
    heard_ms: Option<f64>,
    clock_offset_us: Option<f64>,
    clock_offset_error_us: Option<f64>,
    path_mtu: Option<usize>,
    watchdogs: Vec<WatchdogJson>,
    peers: Vec<PeerJson<'a>>,
    statistics: &'a Statistics,
}

#[derive(Debug, Serialize)]
struct WatchdogJson {
    of: String,
    tripped: bool,
    armed: bool,
    trips: u64,
    missed: u64,
}

#[derive(Debug, Serialize)]
struct PeerJson<'a> {
    name: &'a str,
    address: String,
    state: &'static str,
    rtt_us: Option<f64>,
    path_mtu: Option<usize>,
    messages_received: u64,
    messages_sent: u64,
    lost: u64,
}

impl<'a> LinkJson<'a> {
    fn new(look: &'a Look, rtt: Percentiles) -> Self {
        let path = look.path();
        let heard = look.peers.iter().filter_map(|peer| peer.received.last_activity).max();
        Self {
            name: &look.name,
            role: role(look.role),
            wire: look.wire.name(),
            endpoint: &look.endpoint,
            local: look.local.as_deref(),
            state: look.statistics.connection_state.name(),
            secured: look.is_secured,
            rtt,
            age_us: path.map(|path| us(path.one_way_delay)),
            heard_ms: heard.map(|heard| us(look.at.since(heard)) / 1e3),
            clock_offset_us: path.map(|path| path.clock_offset_ns as f64 / 1e3),
            clock_offset_error_us: path.map(|path| us(path.clock_offset_error)),
            path_mtu: look.peers.iter().filter_map(crate::shared::directory::PeerInfo::path_mtu).min(),
            watchdogs: look.watchdogs.iter().map(WatchdogJson::new).collect(),
            peers: look.peers.iter().map(PeerJson::new).collect(),
            statistics: &look.statistics,
        }
    }
}

impl WatchdogJson {
    fn new(stats: &crate::watchdog::WatchdogStats) -> Self {
        use crate::config::WatchdogState::{Armed, Tripped};
        let (tripped, armed) = (stats.state == Tripped, stats.state == Armed);
        Self { of: stats.watched.to_string(), tripped, armed, trips: stats.trips, missed: stats.missed }
    }
}

impl<'a> PeerJson<'a> {
    fn new(peer: &'a crate::shared::directory::PeerInfo) -> Self {
        Self {
            name: &peer.name,
            address: peer.address.to_string(),
            state: peer.state.name(),
            rtt_us: peer.received.path.map(|path| us(path.rtt_smoothed)),
            path_mtu: peer.path_mtu(),
            messages_received: peer.received.messages,
            messages_sent: peer.sent.messages,
            lost: peer.received.lost,
        }
    }
}

pub(super) const fn role(role: Role) -> &'static str {
    match role {
        Role::Server => "server",
        Role::Client => "client",
    }
}
