//! What passed in each direction of each link.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::tools::latency::Percentiles;
use crate::tools::observe::{Link, Way};
use crate::tools::output::{BOLD, Styled};
use crate::tools::words::counted;

/// The totals of one link.
#[derive(Debug, Serialize)]
pub(super) struct Total {
    client: SocketAddr,
    server: SocketAddr,
    to_server: WayTotal,
    to_client: WayTotal,
}

/// The totals of one direction.
#[derive(Debug, Serialize)]
struct WayTotal {
    datagrams: u64,
    bytes: u64,
    messages: u64,
    /// Numbers that never passed.
    lost: u64,
    late: u64,
    duplicate: u64,
    /// Reliable messages that were sent again.
    again: u64,
    sealed: u64,
    /// How many of each reason a receiver would drop.
    wrong: BTreeMap<String, u64>,
    /// How old messages were when they passed.
    age_us: Percentiles,
    /// The round trip between here and the sender.
    round_trip_us: Option<f64>,
}

impl Total {
    pub(super) fn of(link: &Link) -> Self {
        let (to_server, to_client) = (WayTotal::of(&link.to_server), WayTotal::of(&link.to_client));
        Self { client: link.client, server: link.server, to_server, to_client }
    }
}

impl WayTotal {
    fn of(way: &Way) -> Self {
        let counts = way.counts();
        let us = |duration: Duration| (duration.as_secs_f64() * 1e7).round() / 10.0;
        Self {
            datagrams: way.datagrams,
            bytes: way.bytes,
            messages: way.messages,
            lost: counts.lost + way.missing(),
            late: counts.late,
            duplicate: counts.duplicate,
            again: way.again,
            sealed: way.sealed,
            wrong: way.wrong.iter().map(|(reason, count)| (reason.to_string(), count)).collect(),
            age_us: way.ages.as_ref().map(|ages| ages.percentiles()).unwrap_or_default(),
            round_trip_us: way.round_trip().map(us),
        }
    }

    fn line(&self) -> String {
        let Self { datagrams, messages, lost, late, duplicate, .. } = self;
        let (datagrams, messages) = (counted(*datagrams, "datagram"), counted(*messages, "message"));
        let mut text = format!("{datagrams}, {messages}, {lost} lost, {late} late, {duplicate} duplicate");
        for (count, what) in [(self.again, "sent again"), (self.sealed, "sealed")] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        for (reason, count) in &self.wrong {
            text.push_str(&format!(", {count} {reason}"));
        }
        text
    }
}

/// Formats the totals for people.
pub(super) fn text(totals: &[Total], forgotten: u64) -> String {
    let mut text = String::new();
    for total in totals {
        let title = format!("client {}, server {}", total.client, total.server);
        text.push_str(&format!("{}\n", Styled(BOLD, title)));
        for (name, way) in [("to the server", &total.to_server), ("to the client", &total.to_client)] {
            text.push_str(&format!("  {name}: {}\n", way.line()));
            if way.age_us.max.is_some() {
                text.push_str(&format!("    age {}\n", way.age_us.line()));
            }
        }
    }
    if forgotten > 0 {
        text.push_str(&format!("{forgotten} further links were forgotten\n"));
    }
    if totals.is_empty() {
        text.push_str("nothing passed\n");
    }
    text
}

/// Formats the totals as one line of JSON.
pub(super) fn json(totals: &[Total], forgotten: u64) -> String {
    #[derive(Serialize)]
    struct Summary<'a> {
        links: &'a [Total],
        forgotten_links: u64,
    }
    let summary = Summary { links: totals, forgotten_links: forgotten };
    serde_json::to_string(&summary).expect("numbers and text are JSON") + "\n"
}
