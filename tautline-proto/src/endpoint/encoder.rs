//! Encodes messages for either wire. It needs no lock.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::hint::cold_path;

use portable_atomic::{AtomicU32, AtomicU64, Ordering};

use super::config::{EndpointConfig, WireFormat};
use crate::message::{Id, MessageRef};
use crate::wire::native::{BadText, Head, MessageStart};
use crate::wire::{classic, native};

/// Encodes messages. All sending threads share it.
#[derive(Debug)]
pub struct Encoder {
    wire: WireFormat,
    name: String,
    /// The last default id (classic): the time in microseconds, or one more than the id before if that is higher.
    ///
    /// Order: relaxed. Only the uniqueness of the values matters, which the read-modify-write guarantees.
    last_id: AtomicU64,
    /// The number of the next large best-effort message (native).
    ///
    /// Order: relaxed, as for `last_id`.
    next_large: AtomicU32,
}

/// A message that was begun and not finished.
#[derive(Clone, Copy, Debug)]
#[must_use = "Encoder::finish needs it"]
pub struct Started(Option<MessageStart>);

impl Encoder {
    /// Creates the encoder of an endpoint with this configuration.
    #[must_use]
    pub fn new(config: &EndpointConfig) -> Self {
        Self {
            wire: config.wire,
            name: config.name.clone(),
            last_id: AtomicU64::new(0),
            next_large: AtomicU32::new(0),
        }
    }

    /// Begins a datagram with one message in the empty buffer `out`. Append the payload, then call [`finish`](Self::finish).
    ///
    /// # Errors
    ///
    /// A text does not fit its field of the native wire.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub fn begin(&self, out: &mut Vec<u8>, head: &Head<'_>) -> Result<Started, BadText> {
        match self.wire {
            WireFormat::Native => {
                native::begin_datagram(out);
                native::begin_message(out, head).map(|start| Started(Some(start)))
            }
            WireFormat::Classic(format) => {
                cold_path();
                self.begin_classic(out, head, format);
                Ok(Started(None))
            }
        }
    }

    /// Finishes the message. Returns `false` if the message does not fit its frame.
    #[must_use]
    #[inline]
    pub fn finish(&self, out: &mut Vec<u8>, started: Started) -> bool {
        match started.0 {
            Some(start) => native::finish_message(out, start),
            None => {
                classic::finish_message(out);
                true
            }
        }
    }

    /// Returns the number of the next best-effort message that is larger than a datagram. No other has it, until the numbers
    /// wrap.
    pub fn next_large(&self) -> u32 {
        self.next_large.fetch_add(1, Ordering::Relaxed)
    }

    #[inline(never)] // keeps this long code out of the path of native messages
    fn begin_classic(&self, out: &mut Vec<u8>, head: &Head<'_>, format: classic::ClassicFormat) {
        let mut default_id = ShortText::default();
        let message_id = match head.message_id {
            Some(id) => id.borrowed(),
            None => {
                let id = self.unique_micros(head.timestamp.as_nanos() / 1000);
                write!(default_id, "udp_{id}").expect("24 bytes hold every u64 and the prefix");
                Id::from(default_id.as_str())
            }
        };
        let message = MessageRef {
            message_type: head.message_type,
            priority: head.priority,
            channel: 0,
            timestamp: head.timestamp,
            exact: head.exact,
            message_id,
            source: head.has_source.then(|| Cow::Borrowed(head.source.unwrap_or(&self.name))),
            destination: head.destination.map(Cow::Borrowed),
            correlation_id: head.correlation_id.map(Id::borrowed),
            delivery: head.delivery,
            lifespan: None,
            identity: None,
            content_type: head.content_type,
            payload: &[],
        };
        classic::begin_message(out, format, &message);
    }

    fn unique_micros(&self, now: i64) -> u64 {
        let now = u64::try_from(now).unwrap_or(0);
        let next = |last: u64| Some(now.max(last + 1));
        let last = self.last_id.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        now.max(last.unwrap_or(0) + 1)
    }
}

/// A text on the stack: `udp_` and up to 20 digits.
#[derive(Default)]
struct ShortText {
    bytes: [u8; 24],
    len: usize,
}

impl ShortText {
    fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl Write for ShortText {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(core::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}
