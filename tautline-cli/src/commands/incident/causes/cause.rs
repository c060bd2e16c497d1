//! What a cause is: its kind, and a sentence.

use serde_json::{Value, json};

/// Something that went wrong.
#[derive(Debug)]
pub(crate) struct Cause {
    pub(super) kind: Kind,
    pub(crate) sentence: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    NotConnected,
    Flood,
    HandlerPanic,
    ClockStep,
    PathShrunk,
    SlowHandler,
    KernelBufferFull,
    DriverLate,
    SlowReader,
    LossBurst,
    SenderStopped,
    PeerClosed,
    NetworkCut,
    NetworkDelay,
    TooOld,
    DroppedHere,
    PeerKilled,
    PeerStopped,
    PeerStoppedOrCut,
    PeerSilent,
}

impl Cause {
    pub(super) const fn new(kind: Kind, sentence: String) -> Self {
        Self { kind, sentence }
    }

    /// The kind, as people call it.
    pub(crate) const fn name(&self) -> &'static str {
        match self.kind {
            Kind::NotConnected => "not connected",
            Kind::Flood => "flood",
            Kind::HandlerPanic => "handler panic",
            Kind::ClockStep => "clock step",
            Kind::PathShrunk => "path shrunk",
            Kind::SlowHandler => "slow handler",
            Kind::KernelBufferFull => "kernel buffer full",
            Kind::DriverLate => "driver late",
            Kind::SlowReader => "slow reader",
            Kind::LossBurst => "network loss",
            Kind::SenderStopped => "sender stopped",
            Kind::PeerClosed => "peer closed",
            Kind::NetworkCut => "network cut",
            Kind::NetworkDelay => "network delay",
            Kind::DroppedHere => "dropped here",
            Kind::TooOld => "messages too old",
            Kind::PeerKilled => "peer killed",
            Kind::PeerStopped => "peer stopped",
            Kind::PeerStoppedOrCut => "peer stopped or network cut",
            Kind::PeerSilent => "peer silent",
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "cause": self.name(), "sentence": self.sentence })
    }
}
