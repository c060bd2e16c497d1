//! The black box of the receiving half: records its inputs, reads and writes the state in marks, and sets what a rerun must know.

use alloc::sync::Arc;
use core::hint::cold_path;
use core::net::SocketAddr;

use super::half::Inbound;
use super::record::{self, Input};
use crate::endpoint::config::EndpointConfig;
use crate::peer::PeerId;
use crate::ring::Ring;
use crate::snapshot::Writer;
use crate::time::Now;

impl Inbound {
    /// Records every input into this ring from now on. Of a secured link it records what its keys have opened, and never a key.
    pub fn record(&mut self, ring: Arc<Ring>) {
        self.recorder = Some(record::begin(&mut self.registry, &mut self.sessions, ring));
    }

    /// Returns whether inputs are recorded.
    #[must_use]
    #[inline]
    pub const fn is_recorded(&self) -> bool {
        self.recorder.is_some()
    }

    /// Writes something down that is not an input, between two datagrams. What it means is up to who drives the endpoint.
    pub fn note(&mut self, words: [u64; 3]) {
        let Self { registry, sessions, recorder } = self;
        if let Some(recorder) = recorder {
            record::note(recorder, registry, sessions, words);
        }
    }

    #[inline(never)] // keeps this code out of the path of endpoints without a black box
    pub(super) fn record_datagram(&mut self, now: Now, from: &SocketAddr, datagram: &[u8]) {
        let Self { registry, sessions, recorder: Some(recorder) } = self else { return };
        if !record::usual_datagram(recorder, registry, sessions, now, from, datagram) {
            cold_path();
            record::any_datagram(recorder, registry, sessions, now, from, datagram);
        }
    }

    #[inline(always)]
    pub(super) fn record_accepted(&mut self, peer: PeerId, late: bool, number: Option<u64>) {
        let Self { registry, sessions, recorder: Some(recorder) } = self else { return };
        cold_path();
        record::accepted(recorder, peer, late, number);
        if sessions.is_secured() {
            // So the record is whole, whenever somebody reads it.
            record::answers(recorder, registry, sessions);
        }
    }

    /// Records an input, if there is a black box.
    #[inline]
    pub(super) fn record_input(&mut self, input: Input<'_>) {
        let Self { registry, sessions, recorder } = self;
        if let Some(recorder) = recorder {
            record::input(recorder, registry, sessions, input);
        }
    }

    /// Reads the state of a mark, for a rerun.
    pub(in crate::endpoint) fn from_mark(mark: &[u8]) -> Option<Self> {
        let (registry, sessions, recorder) = record::read_mark(mark)?;
        Some(Self { registry, sessions, recorder: Some(recorder) })
    }

    /// Writes the state as a mark does.
    pub(in crate::endpoint) fn save_mark(&self, out: &mut Writer) {
        if let Some(recorder) = &self.recorder {
            record::write_mark(recorder, &self.registry, &self.sessions, out);
        }
    }

    /// Returns the digest of all outputs so far. 0 without a recorder.
    pub(in crate::endpoint) fn digest(&self) -> u64 {
        self.recorder.as_ref().map_or(0, |recorder| recorder.digest())
    }

    /// Returns the configuration, so that a rerun can change it.
    pub(in crate::endpoint) const fn config_mut(&mut self) -> &mut EndpointConfig {
        &mut self.registry.config
    }

    /// Gives an answer that the next input draws, in a rerun.
    pub(in crate::endpoint) fn give_answer(&mut self, answer: u64) {
        self.sessions.handshake.secrets.give_answer(answer);
    }

    /// Returns whether an input has drawn an answer that was not given.
    pub(in crate::endpoint) fn lacks_answers(&self) -> bool {
        #[cfg(feature = "secure")]
        if self.sessions.secured.as_ref().is_some_and(|secured| secured.lacks_answers()) {
            return true;
        }
        self.sessions.handshake.secrets.lacks_answers()
    }

    /// Sets the result of the next operation with a key, in a rerun.
    #[cfg(feature = "secure")]
    pub(in crate::endpoint) fn give_opened(&mut self, opened: Option<&[u8]>) {
        self.sessions.secured.iter_mut().for_each(|secured| secured.give_answer(opened));
    }

    /// In a rerun, sets the number of the next datagram to a peer, as the next input saw it.
    #[cfg(feature = "secure")]
    pub(in crate::endpoint) fn give_number(&mut self, peer: PeerId, number: u64) {
        if let Some(peer) = self.registry.peers.get(peer) {
            peer.tx.next_sequence.set(number);
        }
    }

    /// Sets what the next input sees as the size of the path to a peer, in a rerun.
    pub(in crate::endpoint) fn give_size(&mut self, peer: PeerId, size: u64) {
        if let Some(peer) = self.registry.peers.get(peer) {
            peer.tx.datagram_size.set(size);
        }
    }
}
