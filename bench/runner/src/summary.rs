//! The table of the README: some figures of the tables, tautline beside the raw socket.

use std::fmt::Write;

use crate::measure::RoundTrips;
use crate::peers::CONTESTANTS;
use crate::report::{Table, row};

/// What a row shows.
#[derive(Clone, Copy)]
enum Shown {
    /// Two figures of round trips.
    Trips([fn(&RoundTrips) -> f64; 2]),
    /// Messages a second.
    Rate,
    /// The memory of the server's process.
    Memory,
}

const P50_P99: Shown = Shown::Trips([|trips| trips.p50, |trips| trips.p99]);
const P50_P999: Shown = Shown::Trips([|trips| trips.p50, |trips| trips.p999]);

/// The rows: what it is, the name of the table, tautline's contestant there, and the other one (or none).
const ROWS: &[(&str, &str, &str, &str, Shown)] = &[
    ("round trip, both blocking: p50, p99", "ping-pong", "tautline, blocking", "raw", P50_P99),
    ("round trip, both spinning: p50, p99", "ping-pong", "tautline, spinning", "raw, spinning", P50_P99),
    (
        "round trip in one process, unpinned; tautline with default settings and `receive`, beside a blocking socket: p50, p99",
        "unpinned",
        "tautline, receive",
        "raw",
        P50_P99,
    ),
    (
        "paced at 1 kHz, unpinned, both blocking: p50, p99",
        "unpinned-paced",
        "tautline, blocking",
        "raw",
        P50_P99,
    ),
    ("the same, tautline with `receive`: p50, p99", "unpinned-paced", "tautline, receive", "raw", P50_P99),
    (
        "with a busy neighbour process, both blocking: p50, p99.9",
        "busy-neighbour",
        "tautline, blocking",
        "raw",
        P50_P999,
    ),
    (
        "with a busy neighbour process, `realtime = true` beside an ordinary blocking socket: p50, p99.9",
        "busy-neighbour",
        "tautline, real-time profile",
        "raw",
        P50_P999,
    ),
    (
        "messages a second, one datagram each",
        "throughput-64",
        "tautline, a datagram each",
        "raw",
        Shown::Rate,
    ),
    ("messages a second, one `send` each, coalesced", "throughput-64", "tautline, send", "", Shown::Rate),
    (
        "messages a second, `send_batch`, at most 256 datagrams in flight, none lost",
        "throughput-64",
        "tautline, send_batch, windowed",
        "",
        Shown::Rate,
    ),
    ("reliable messages a second", "reliable", "tautline, 0 % lost", "", Shown::Rate),
    (
        "the same, while each end loses 1 % of the datagrams",
        "reliable",
        "tautline, 1 % lost",
        "",
        Shown::Rate,
    ),
    ("memory of the server's process", "ping-pong", "tautline, blocking", "raw", Shown::Memory),
];

/// The other libraries of the sentence below the table.
const OTHERS: &[&str] =
    &["ENet", "ZeroMQ", "Aeron", "Aeron, invoker", "Cyclone DDS", "quinn datagrams", "Zenoh"];

/// Returns the table as Markdown. Rows without figures are left out.
pub(crate) fn summary(tables: &[Table], date: &str) -> String {
    let mut text = String::from("\n| | tautline | raw socket |\n|---|---:|---:|\n");
    for (what, table, ours, other, shown) in ROWS {
        let Some(ours) = cell(tables, table, ours, *shown) else { continue };
        row(&mut text, [(*what).to_owned(), ours, cell(tables, table, other, *shown).unwrap_or_default()]);
    }
    let p50 = |name: &&str| {
        let (table, index) = find(tables, "ping-pong", name)?;
        Some(format!("{name} {:.1} µs", table.trip_us(index, |trips| trips.p50)))
    };
    let others: Vec<String> = OTHERS.iter().filter_map(p50).collect();
    let _ = write!(text, "\nMeasured on {date}.");
    if !others.is_empty() {
        let _ = write!(
            text,
            " The p50 of other libraries in the first round trip test, with their default settings: {}. They do not promise the \
             same: QUIC (quinn) encrypts, and Aeron and Cyclone DDS lose nothing.",
            others.join(", ")
        );
    }
    text.push('\n');
    text
}

/// Returns a table and the place of a contestant that has figures there.
fn find<'a>(tables: &'a [Table], table: &str, name: &str) -> Option<(&'a Table, usize)> {
    let table = tables.iter().find(|it| it.kind.name() == table)?;
    let is_it = |index: &usize| CONTESTANTS[*index].name == name && table.has_figures(*index);
    (0..CONTESTANTS.len()).find(is_it).map(|index| (table, index))
}

fn cell(tables: &[Table], table: &str, name: &str, shown: Shown) -> Option<String> {
    let (table, index) = find(tables, table, name)?;
    Some(match shown {
        Shown::Trips(of) => {
            let [one, two] = of.map(|value| table.trip_us(index, value));
            format!("{one:.1}, {two:.1} µs")
        }
        Shown::Rate => format!("{:.2} million", table.rate(index) / 1e6),
        Shown::Memory => format!("{:.0} MB", table.megabytes(index, |outcome| outcome.server_mb)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;

    #[test]
    fn every_row_names_a_table_and_contestants_that_take_part_in_it() {
        for (what, table, ours, other, _) in ROWS {
            let kind = KINDS.iter().find(|kind| kind.name() == *table).expect(table);
            for name in [ours, other].into_iter().filter(|name| !name.is_empty()) {
                let takes_part = CONTESTANTS.iter().any(|it| it.name == *name && it.takes_part(*kind));
                assert!(takes_part, "{what}: {name}");
            }
        }
        for name in OTHERS {
            assert!(CONTESTANTS.iter().any(|it| it.name == *name), "{name}");
        }
    }

    #[test]
    fn rows_without_figures_are_left_out() {
        let text = summary(&[Table::new(KINDS[0])], "today");
        assert!(text.ends_with("|---|---:|---:|\n\nMeasured on today.\n"), "{text}");
    }
}
