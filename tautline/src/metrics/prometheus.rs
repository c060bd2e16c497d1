//! Writes what was seen as text for Prometheus (exposition format 0.0.4).

use std::fmt::{Display, Write};

use super::look::Look;
use super::percentiles::Percentiles;
use super::published::role;
use crate::config::Role;
use tautline_proto::{ConnectionState, Drops, MessageType};

/// The type of this text in HTTP.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What was seen of all links.
type Seen = [(Look, Percentiles)];

pub(super) fn text(seen: &Seen) -> String {
    let mut page = Page { text: String::with_capacity(8_192), seen, names: names(seen) };
    page.links();
    page.traffic();
    page.drops();
    page.deliveries();
    page.round_trips();
    page.watchdogs_and_handlers();
    page.peers();
    page.text
}

struct Page<'a> {
    text: String,
    seen: &'a Seen,
    /// The label of each link. No two are the same.
    names: Vec<String>,
}

/// Returns a name for each link: that of its interface, with a number if another link has it, too.
fn names(seen: &Seen) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (look, _) in seen {
        let numbered = (2..).map(|number| format!("{} {number}", look.name));
        let name = std::iter::once(look.name.clone()).chain(numbered).find(|name| !names.contains(name));
        names.extend(name);
    }
    names
}

/// A label and its value.
type Label<'a> = (&'static str, &'a dyn Display);

impl Page<'_> {
    /// Begins a family of values.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail, here and below.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn value(&mut self, name: &str, link: usize, labels: &[Label<'_>], value: f64) {
        let _ = write!(self.text, "{name}{{link=\"{}\"", Escaped(&self.names[link]));
        for (label, of) in labels {
            let _ = write!(self.text, ",{label}=\"{}\"", Escaped(&of.to_string()));
        }
        let _ = writeln!(self.text, "}} {value}");
    }

    /// Writes one value of each link that has it.
    fn each(&mut self, name: &str, kind: &str, help: &str, value: impl Fn(&Look) -> Option<f64>) {
        self.family(name, kind, help);
        for link in 0..self.seen.len() {
            if let Some(value) = value(&self.seen[link].0) {
                self.value(name, link, &[], value);
            }
        }
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Fn(&Look) -> u64) {
        self.each(name, "counter", help, |look| Some(value(look) as f64));
    }

    fn links(&mut self) {
        self.family("tautline_link_info", "gauge", "What kind of link it is; the value is 1.");
        for link in 0..self.seen.len() {
            let look = &self.seen[link].0;
            let (role, wire, secured) = (role(look.role), look.wire.name(), look.is_secured);
            let place = look.local.as_ref().filter(|_| look.role == Role::Server).unwrap_or(&look.endpoint);
            let labels: [Label<'_>; 5] = [
                ("role", &role),
                ("endpoint", place),
                ("wire", &wire),
                ("secured", &secured),
                ("version", &env!("CARGO_PKG_VERSION")),
            ];
            self.value("tautline_link_info", link, &labels, 1.0);
        }
        let is_connected = |look: &Look| look.statistics.connection_state == ConnectionState::Connected;
        self.each("tautline_connected", "gauge", "1 while the link is connected, else 0.", |look| {
            Some(f64::from(u8::from(is_connected(look))))
        });
        self.each("tautline_peers", "gauge", "Peers known now.", |look| Some(look.statistics.peers as f64));
    }

    fn traffic(&mut self) {
        self.counter(
            "tautline_messages_sent_total",
            "Messages that the kernel took, once for each peer.",
            |look| look.statistics.messages_sent,
        );
        self.counter("tautline_messages_received_total", "Messages that passed every check.", |look| {
            look.statistics.messages_received
        });
        self.counter("tautline_bytes_sent_total", "Bytes of datagrams sent.", |look| {
            look.statistics.bytes_sent
        });
        self.counter("tautline_bytes_received_total", "Bytes of accepted datagrams.", |look| {
            look.statistics.bytes_received
        });
        self.counter("tautline_datagrams_sent_total", "Datagrams sent.", |look| {
            look.statistics.datagrams_sent
        });
        self.counter("tautline_datagrams_accepted_total", "Datagrams that passed every check.", |look| {
            look.statistics.datagrams_accepted
        });
        self.counter("tautline_datagrams_lost_total", "Datagrams of peers that did not come.", |look| {
            look.statistics.lost
        });
        self.counter("tautline_datagrams_late_total", "Datagrams that came after a newer one.", |look| {
            look.statistics.late
        });
        self.counter("tautline_datagrams_duplicate_total", "Datagrams that came a second time.", |look| {
            look.statistics.duplicate
        });
        self.counter(
            "tautline_kernel_drops_total",
            "Datagrams dropped because the receive buffer was full.",
            |look| look.statistics.kernel_drops,
        );
        self.counter("tautline_send_failures_total", "What the kernel refused to send.", |look| {
            look.statistics.send_failures
        });
        self.counter("tautline_peer_silences_total", "How often a peer fell silent.", |look| {
            look.statistics.timeout_errors
        });
    }

    fn drops(&mut self) {
        type OfLook = fn(&Look) -> &Drops;
        let all: [(&str, &str, OfLook); 4] = [
            ("tautline_datagrams_dropped_total", "Datagrams dropped.", |look| {
                &look.statistics.datagrams_dropped
            }),
            ("tautline_messages_dropped_total", "Messages dropped from accepted datagrams.", |look| {
                &look.statistics.messages_dropped
            }),
            ("tautline_inbox_dropped_total", "Messages that the inbox dropped.", |look| {
                &look.statistics.inbox.dropped
            }),
            ("tautline_send_dropped_total", "Messages dropped before they were written.", |look| {
                &look.statistics.send_dropped
            }),
        ];
        for (name, help, drops) in all {
            self.family(name, "counter", help);
            for link in 0..self.seen.len() {
                for (reason, count) in drops(&self.seen[link].0).iter() {
                    self.value(name, link, &[("reason", &reason.name())], count as f64);
                }
            }
        }
    }

    fn deliveries(&mut self) {
        const NAME: &str = "tautline_deliveries_total";
        self.family(NAME, "counter", "Outcomes of reliable messages.");
        for link in 0..self.seen.len() {
            let found = self.seen[link].0.statistics.deliveries;
            for (outcome, count) in [
                ("delivered", found.delivered),
                ("expired", found.expired),
                ("abandoned", found.abandoned),
                ("peer_lost", found.peer_lost),
                ("unknown", found.unknown),
            ] {
                self.value(NAME, link, &[("outcome", &outcome)], count as f64);
            }
        }
    }

    fn round_trips(&mut self) {
        const QUANTILES: &str = "tautline_rtt_quantile_seconds";
        self.family(QUANTILES, "gauge", "Quantiles of the latest 1,000 round trips of heartbeats.");
        for link in 0..self.seen.len() {
            let found = self.seen[link].1;
            for (quantile, us) in [
                ("0.5", found.p50_us),
                ("0.9", found.p90_us),
                ("0.99", found.p99_us),
                ("0.999", found.p999_us),
                ("1", found.max_us),
            ] {
                if let Some(us) = us {
                    self.value(QUANTILES, link, &[("quantile", &quantile)], us / 1e6);
                }
            }
        }
        let seconds = |of: fn(&tautline_proto::PathStats) -> f64| move |look: &Look| look.path().map(of);
        self.each(
            "tautline_rtt_seconds",
            "gauge",
            "Smoothed round trip of the peer heard last.",
            seconds(|path| path.rtt_smoothed.as_secs_f64()),
        );
        self.each(
            "tautline_jitter_seconds",
            "gauge",
            "Jitter of its heartbeats.",
            seconds(|path| path.jitter.as_secs_f64()),
        );
        self.each(
            "tautline_age_seconds",
            "gauge",
            "How old its data are when they come: the estimated delay.",
            seconds(|path| path.one_way_delay.as_secs_f64()),
        );
        self.each(
            "tautline_clock_offset_seconds",
            "gauge",
            "Its clock minus the clock here.",
            seconds(|path| path.clock_offset_ns as f64 / 1e9),
        );
        self.each(
            "tautline_clock_offset_error_seconds",
            "gauge",
            "The bound on the error of the clock offset.",
            seconds(|path| path.clock_offset_error.as_secs_f64()),
        );
    }

    fn watchdogs_and_handlers(&mut self) {
        type OfWatchdog = fn(&crate::watchdog::WatchdogStats) -> f64;
        let all: [(&str, &str, &str, OfWatchdog); 2] = [
            ("tautline_watchdog_trips_total", "counter", "How often the watchdogs tripped.", |stats| {
                stats.trips as f64
            }),
            (
                "tautline_watchdog_tripped",
                "gauge",
                "How many of the watchdogs have tripped and wait.",
                |stats| f64::from(u8::from(stats.state == crate::config::WatchdogState::Tripped)),
            ),
        ];
        for (name, kind, help, value) in all {
            self.family(name, kind, help);
            for link in 0..self.seen.len() {
                // Several watchdogs may watch the same.
                let mut sums = std::collections::BTreeMap::<&str, f64>::new();
                for stats in &self.seen[link].0.watchdogs {
                    *sums
                        .entry(stats.watched.message_type().map_or("any", MessageType::name))
                        .or_default() += value(stats);
                }
                for (watched, sum) in sums {
                    self.value(name, link, &[("type", &watched)], sum);
                }
            }
        }
        const HANDLED: &str = "tautline_handled_total";
        const LOST: &str = "tautline_handler_dropped_total";
        self.family(HANDLED, "counter", "Messages for which a handler returned.");
        for link in 0..self.seen.len() {
            for (selector, stats) in &self.seen[link].0.handlers {
                let (of_type, channel) = (selector.message_type, selector.channel.map(|of| of.to_string()));
                let labels: [Label<'_>; 2] = [("type", &of_type), ("channel", &channel.unwrap_or_default())];
                self.value(HANDLED, link, &labels, stats.handled as f64);
            }
        }
        self.family(LOST, "counter", "Messages that a handler did not get.");
        for link in 0..self.seen.len() {
            for (selector, stats) in &self.seen[link].0.handlers {
                let (of_type, channel) = (selector.message_type, selector.channel.map(|of| of.to_string()));
                let channel = channel.unwrap_or_default();
                for (reason, count) in stats.dropped.iter() {
                    let labels: [Label<'_>; 3] =
                        [("type", &of_type), ("channel", &channel), ("reason", &reason.name())];
                    self.value(LOST, link, &labels, count as f64);
                }
            }
        }
    }

    fn peers(&mut self) {
        type OfPeer = fn(&crate::shared::directory::PeerInfo) -> Option<f64>;
        let all: [(&str, &str, &str, OfPeer); 6] = [
            ("tautline_peer_connected", "gauge", "1 while the peer is connected, else 0.", |peer| {
                Some(f64::from(u8::from(peer.state == ConnectionState::Connected)))
            }),
            ("tautline_peer_messages_received_total", "counter", "Messages of the peer.", |peer| {
                Some(peer.received.messages as f64)
            }),
            ("tautline_peer_messages_sent_total", "counter", "Messages to the peer.", |peer| {
                Some(peer.sent.messages as f64)
            }),
            (
                "tautline_peer_datagrams_lost_total",
                "counter",
                "Datagrams of the peer that did not come.",
                |peer| Some(peer.received.lost as f64),
            ),
            ("tautline_peer_rtt_seconds", "gauge", "Smoothed round trip.", |peer| {
                peer.received.path.map(|path| path.rtt_smoothed.as_secs_f64())
            }),
            (
                "tautline_peer_path_size_bytes",
                "gauge",
                "The largest packet that the path is known to carry.",
                |peer| peer.path_mtu().map(|size| size as f64),
            ),
        ];
        for (name, kind, help, value) in all {
            self.family(name, kind, help);
            for link in 0..self.seen.len() {
                for peer in &self.seen[link].0.peers {
                    if let Some(value) = value(peer) {
                        self.value(name, link, &[("peer", &peer.address), ("name", &peer.name)], value);
                    }
                }
            }
        }
    }
}

/// The text of a label's value. Strangers choose names.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            character if character.is_control() => f.write_char('\u{fffd}'),
            character => f.write_char(character),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_stranger_stays_in_its_quotes() {
        assert_eq!(Escaped("a\"} 1\nb\\\r\u{9b}").to_string(), "a\\\"} 1\\nb\\\\\u{fffd}\u{fffd}");
    }
}
