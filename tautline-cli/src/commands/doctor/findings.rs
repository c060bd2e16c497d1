//! The findings of `tautline doctor`. Serialised, they are the JSON object that it prints.

use serde::Serialize;
use tautline::RealtimeReport;

use super::machine::Machine;
use super::measure::Lateness;
use super::options::SocketOptions;
use super::verdict::Verdict;
use crate::tools::exit::Exit;

/// All findings.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    pub(super) machine: Machine,
    pub(super) profile: RealtimeReport,
    pub(super) socket: SocketOptions,
    pub(super) measured_rate_hz: f64,
    pub(super) latency: Vec<Lateness>,
    /// The highest rate that the last setup is fit for, in Hz.
    pub(super) fit_up_to_hz: Option<f64>,
    pub(super) verdict: Option<Verdict>,
    /// Whether Ctrl-C ended the measurements early. There is no verdict then.
    pub(super) interrupted: bool,
}

impl Findings {
    pub(super) fn exit(&self) -> Exit {
        match &self.verdict {
            _ if self.interrupted => Exit::Interrupted,
            Some(verdict) => verdict.exit(),
            None => Exit::Done,
        }
    }
}
