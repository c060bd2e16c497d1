//! Reads counts of the statistics, and holds the limits that several rules share.

use serde_json::Value;

/// This many lost datagrams are a burst.
pub(super) const BURST: u64 = 10;

pub(super) fn number(statistics: &Value, name: &str) -> f64 {
    statistics[name].as_f64().unwrap_or(0.0)
}

/// The sum of counts by reason. A message that a newer one has replaced is no fault: its stream keeps only the newest.
pub(super) fn sum(counts: &Value) -> f64 {
    let counts = counts.as_object().into_iter().flatten();
    counts.filter(|(reason, _)| *reason != "superseded").filter_map(|(_, count)| count.as_f64()).sum()
}
