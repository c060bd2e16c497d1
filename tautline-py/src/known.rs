//! What a link knows, as the plain values of which the package makes its classes (`_types.py`).

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tautline::{HandlerStats, PartOutcome, PartReport, PeerInfo, Selector, WatchdogStats};

use crate::peer::PeerId;
use crate::watch::{Watch, state_name};

/// The fields of `WatchdogStatistics`, in order.
pub(crate) type WatchdogFields = (Watch, String, &'static str, u64, u64, u64, u64, f64);

/// The fields of `HandlerStatistics`, in order.
pub(crate) type HandlerFields = (&'static str, Option<u16>, u64, u64, u64, u64, u64, u64, u64);

/// The fields of `RealtimePart`, in order.
pub(crate) type PartFields = (&'static str, Option<String>, Option<String>, Option<String>, Option<String>);

pub(crate) fn watchdog(stats: &WatchdogStats) -> WatchdogFields {
    let (watched, state) = (stats.watched.to_string(), state_name(stats.state));
    let WatchdogStats { watch, trips, recoveries, resets, missed, .. } = *stats;
    (Watch(watch), watched, state, trips, recoveries, resets, missed, stats.worst_late.as_secs_f64())
}

pub(crate) fn handler((of, stats): &(Selector, HandlerStats)) -> HandlerFields {
    let ended = (stats.handled, stats.panicked, stats.timed_out, stats.dropped.total());
    let now = (stats.waiting, stats.running, stats.overdue);
    (of.message_type.name(), of.channel, ended.0, ended.1, ended.2, ended.3, now.0, now.1, now.2)
}

pub(crate) fn part(part: &PartReport) -> PartFields {
    let (granted, problem, remedy) = match &part.outcome {
        PartOutcome::Granted { granted } => (Some(granted.clone()), None, None),
        PartOutcome::Refused { problem, remedy } => (None, Some(problem.clone()), Some(remedy.clone())),
        _ => (None, None, None),
    };
    (part.part.name(), part.asked.clone(), granted, problem, remedy)
}

/// The fields of `Peer`.
pub(crate) fn peer<'py>(py: Python<'py>, peer: &PeerInfo) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("id", PeerId(peer.id))?;
    fields.set_item("address", peer.address.to_string())?;
    fields.set_item("name", &peer.name)?;
    fields.set_item("state", peer.state.name())?;
    fields.set_item("messages_sent", peer.sent.messages)?;
    fields.set_item("messages_received", peer.received.messages)?;
    fields.set_item("lost", peer.received.lost)?;
    fields.set_item("identity", peer.identity.as_deref())?;
    fields.set_item("path_size", peer.path_mtu())?;
    let path = peer.received.path;
    fields.set_item("round_trip", path.map(|path| path.rtt_smoothed.as_secs_f64()))?;
    fields.set_item("jitter", path.map(|path| path.jitter.as_secs_f64()))?;
    #[allow(clippy::cast_precision_loss)] // a float of seconds is what Python's users expect
    fields.set_item("clock_offset", path.map(|path| path.clock_offset_ns as f64 / 1e9))?;
    fields.set_item("clock_offset_error", path.map(|path| path.clock_offset_error.as_secs_f64()))?;
    Ok(fields)
}
