//! The black box of the sending half: begins a record, makes its marks, and reads and writes the state in them.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hint::cold_path;

use hashbrown::HashMap;

use super::half::{Outbound, SentDatagrams};
use super::peer::OutboundPeer;
use super::record;
use super::sealed_pack::SealedPack;
use crate::endpoint::config::EndpointConfig;
use crate::endpoint::recorder::{ENTRIES_BEFORE, Kind, Recorder};
use crate::peer::PeerId;
use crate::ring::Ring;
use crate::snapshot::{Reader, Saved, Writer};
use crate::time::Instant;
use crate::wire::native::Pack;

impl Outbound {
    /// Records every call that changes something into this ring from now on. Of a secured link it records what is sealed, and
    /// never a key.
    pub fn record(&mut self, ring: Arc<Ring>) {
        self.recorder = Some(Box::new(Recorder::new(Some(ring), ENTRIES_BEFORE)));
    }

    /// Notes when the next datagrams are sent. Only the record shows it.
    #[inline]
    pub fn sends_at(&mut self, now: Instant) {
        if let Some(recorder) = &mut self.recorder {
            recorder.set_now(now);
        }
    }

    /// Begins a call with so many bytes: makes a mark before it if the segment is full.
    #[inline]
    pub(super) fn recorder(&mut self, bytes: usize) -> Option<&mut Recorder> {
        if self.recorder.as_ref()?.needs_mark(bytes) {
            self.mark();
        }
        self.recorder.as_deref_mut()
    }

    #[cold]
    pub(super) fn mark(&mut self) {
        let Some(mut recorder) = self.recorder.take() else { return };
        recorder.mark(|out| self.save(out));
        self.recorder = Some(recorder);
    }

    #[inline(never)] // keeps this code out of the path of endpoints without a black box
    pub(super) fn record_seal(&mut self, id: PeerId, datagram: &[u8]) {
        let Some(recorder) = &mut self.recorder else { return };
        if recorder.needs_mark(datagram.len()) {
            self.mark_and_seal(id, datagram);
        } else {
            recorder.seal(id, datagram);
        }
    }

    #[cold]
    fn mark_and_seal(&mut self, id: PeerId, datagram: &[u8]) {
        self.mark();
        self.recorder.iter_mut().for_each(|recorder| recorder.seal(id, datagram));
    }

    #[inline(never)]
    pub(super) fn seal_pack_recorded<'a>(
        &mut self,
        id: PeerId,
        pack: &'a mut Pack,
        sealed: &'a mut Vec<u8>,
    ) -> Option<SealedPack<'a>> {
        if let Some(recorder) = self.recorder(pack.bytes().len() + record::PACK_FIELDS) {
            recorder.saved_input(Kind::SealPack, 0, [id.to_word()], pack);
        }
        let is_secured = self.is_secured();
        let sealed = self.seal_next_pack(id, pack, sealed);
        if let (Some(recorder), Some(pack)) = (&mut self.recorder, &sealed) {
            record::sealed_pack(recorder, pack, is_secured);
        }
        sealed
    }

    #[inline(always)]
    pub(super) fn record_sent(&mut self, id: PeerId, sent: SentDatagrams) {
        let Some(recorder) = &mut self.recorder else { return };
        cold_path();
        // Mostly it is what was sealed just before.
        let is_latest = sent.datagrams == 1 && recorder.was_sent(id, sent.bytes, sent.messages);
        if !is_latest {
            self.record_sent_apart(id, sent);
        }
    }

    #[inline(never)]
    fn record_sent_apart(&mut self, id: PeerId, sent: SentDatagrams) {
        if let Some(recorder) = self.recorder(0) {
            let words = [id.to_word(), sent.datagrams, sent.bytes as u64, sent.messages];
            recorder.input(Kind::Sent, words, &[]);
        }
    }

    #[cold]
    pub(super) fn record_fits(&mut self, id: PeerId, datagram_len: usize) {
        if let Some(recorder) = self.recorder(0) {
            recorder.input(Kind::Fits, [id.to_word(), datagram_len as u64], &[]);
        }
    }

    /// Reads the state of a mark, for a rerun.
    pub(in crate::endpoint) fn from_mark(mark: &[u8]) -> Option<Self> {
        let mut from = Reader(mark);
        let mut recorder = Recorder::new(None, 0);
        recorder.begin(&mut from)?;
        let mut outbound = Self::load(&mut from)?;
        outbound.recorder = Some(Box::new(recorder));
        from.0.is_empty().then_some(outbound)
    }

    /// Changes what this half uses of the configuration, for a rerun.
    pub(in crate::endpoint) fn change(&mut self, change: &dyn Fn(&mut EndpointConfig)) {
        let mut config = EndpointConfig::new(self.role, self.wire);
        config.name.clone_from(&self.name);
        (config.datagram_size, config.max_tries) = (self.datagram_size, self.max_tries);
        change(&mut config);
        self.name = config.name;
        (self.datagram_size, self.max_tries) = (config.datagram_size, config.max_tries);
    }

    /// Writes the state as a mark does.
    pub(in crate::endpoint) fn save_mark(&self, out: &mut Writer) {
        self.recorder.iter().for_each(|recorder| recorder.save_digests(out));
        self.save(out);
    }

    /// Returns the digest of all outputs so far. 0 without a recorder.
    pub(in crate::endpoint) fn digest(&self) -> u64 {
        self.recorder.as_ref().map_or(0, |recorder| recorder.digest())
    }
}

impl Saved for Outbound {
    fn save(&self, out: &mut Writer) {
        let Self {
            wire,
            role,
            name,
            slots,
            open,
            listening,
            first_number,
            datagram_size,
            extra,
            max_tries,
            ..
        } = self;
        wire.save(out);
        role.save(out);
        name.save(out);
        slots.save(out);
        open.save(out);
        listening.save(out);
        for id in open {
            let is_found = self.peer(*id).is_some_and(|peer| self.by_address.get(&peer.address) == Some(id));
            is_found.save(out);
        }
        first_number.save(out);
        datagram_size.save(out);
        extra.save(out);
        max_tries.save(out);
        self.due.save(out);
        self.outcomes.save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let (wire, role, name) = (Saved::load(from)?, Saved::load(from)?, Saved::load(from)?);
        let (slots, open, listening): (Vec<Option<OutboundPeer>>, Vec<PeerId>, _) =
            (Saved::load(from)?, Saved::load(from)?, Saved::load(from)?);
        let mut by_address = HashMap::new();
        for id in &open {
            let peer = slots.get(id.slot())?.as_ref()?;
            if bool::load(from)? {
                by_address.insert(peer.address, *id);
            }
        }
        Some(Self {
            wire,
            role,
            name,
            slots,
            open,
            listening,
            by_address,
            first_number: Saved::load(from)?,
            datagram_size: Saved::load(from)?,
            extra: Saved::load(from)?,
            max_tries: Saved::load(from)?,
            due: Saved::load(from)?,
            outcomes: Saved::load(from)?,
            recorder: None,
        })
    }
}
