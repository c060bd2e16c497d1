//! What messages carry: bytes that were checked against their content type before anyone sees them.
//!
//! The same checks hold on sending and on receiving, so that nothing is sent that the other end would
//! refuse: one value that is well formed, nested no deeper than `max_depth`, no larger than
//! `max_message_size`, and without NaN and infinities, on which no controller may act.

mod cbor;
mod content;
mod error;
mod json;
mod json_key;
mod msgpack;
mod nesting;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tautline_proto::json::{JsonFault, JsonLimits, NonFinite, normalize};
use tautline_proto::{ContentType, DropReason};

pub use content::{Content, Raw};
pub(crate) use content::{Encode, append};
pub use error::{DecodeError, EncodeError};

/// What a payload is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadLimits {
    /// The largest size, in bytes. Default 65,000.
    pub max_size: usize,
    /// How deep arrays and objects (in CBOR also tags) may nest; 0 admits only scalars. Default 32; values
    /// over 127 count as that.
    pub max_depth: usize,
    /// What happens to NaN and infinities when a value is encoded as JSON. MessagePack and CBOR could carry
    /// them to a controller that acts on them, so there they are refused whatever this says; so are the
    /// literals `NaN` and `Infinity` in JSON text, which is no JSON.
    pub nonfinite: NonFinite,
}

impl Default for PayloadLimits {
    fn default() -> Self {
        Self { max_size: 65_000, max_depth: 32, nonfinite: NonFinite::Refuse }
    }
}

impl PayloadLimits {
    const fn json(&self) -> JsonLimits {
        JsonLimits { max_depth: self.max_depth, nonfinite: self.nonfinite }
    }
}

/// Bytes and how they are encoded; valid by construction.
///
/// Encoding ahead of sending is for values that are sent to several interfaces, for text that is JSON
/// already, and for raw bytes; `send` itself takes any value. The constructors hold to the default
/// [`PayloadLimits`]; sending checks the interface's own size limit again.
///
/// ```
/// use tautline::{ContentType, Payload};
///
/// let payload = Payload::json(&("force", 1.5))?;
/// assert_eq!(payload.bytes(), br#"["force", 1.5]"#);
/// assert!(Payload::json(&f64::NAN).is_err());
/// assert_eq!(Payload::raw([1, 2, 3]).content_type(), ContentType::Raw);
/// # Ok::<(), tautline::EncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Invariant: `bytes` passed [`check`] for this content type.
    content_type: ContentType,
    bytes: Vec<u8>,
}

impl Payload {
    /// A value as JSON, in the one form that the classic wire writes.
    ///
    /// # Errors
    /// When the value holds NaN or an infinity, is nested too deep or is too large, or its `Serialize`
    /// fails.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, EncodeError> {
        Self::encode(ContentType::Json, value)
    }

    /// Text that is JSON already, rewritten into the form of [`json`](Self::json): keys keep their order,
    /// integers their digits.
    ///
    /// # Errors
    /// When the text is not exactly one JSON value, and as for [`json`](Self::json).
    pub fn json_text(text: impl AsRef<[u8]>) -> Result<Self, EncodeError> {
        let limits = PayloadLimits::default();
        let mut bytes = Vec::with_capacity(text.as_ref().len());
        normalize(text.as_ref(), &limits.json(), &mut bytes)
            .map_err(|fault| EncodeError::from_json_fault(fault, &limits))?;
        check_size(&bytes, &limits)?;
        Ok(Self { content_type: ContentType::Json, bytes })
    }

    /// A value as MessagePack, structs as maps by name. Needs the Cargo feature `msgpack`.
    ///
    /// # Errors
    /// As for [`json`](Self::json).
    #[cfg(feature = "msgpack")]
    pub fn msgpack<T: Serialize + ?Sized>(value: &T) -> Result<Self, EncodeError> {
        Self::encode(ContentType::MessagePack, value)
    }

    /// A value as CBOR (RFC 8949). Needs the Cargo feature `cbor`.
    ///
    /// # Errors
    /// As for [`json`](Self::json).
    #[cfg(feature = "cbor")]
    pub fn cbor<T: Serialize + ?Sized>(value: &T) -> Result<Self, EncodeError> {
        Self::encode(ContentType::Cbor, value)
    }

    /// Bytes that mean what the two ends agreed on. The native wire carries them; the classic one cannot.
    #[must_use]
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { content_type: ContentType::Raw, bytes: bytes.into() }
    }

    /// Bytes that are encoded already, such as those of a received message that is to be passed on.
    /// Works for every content type, whichever codecs are built in.
    ///
    /// # Errors
    /// When the bytes are not what `content_type` says, and as for [`json`](Self::json).
    pub fn encoded(content_type: ContentType, bytes: impl Into<Vec<u8>>) -> Result<Self, EncodeError> {
        let (bytes, limits) = (bytes.into(), PayloadLimits::default());
        match check(content_type, &bytes, &limits) {
            Ok(()) => Ok(Self { content_type, bytes }),
            Err(reason) => Err(EncodeError::refused(reason, content_type, &bytes, &limits)),
        }
    }

    /// How the bytes are encoded.
    #[must_use]
    pub const fn content_type(&self) -> ContentType {
        self.content_type
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The value, as `T`.
    ///
    /// # Errors
    /// When the bytes are raw or hold something else than a `T`, or the codec is not built in.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        decode(self.content_type, &self.bytes)
    }

    fn encode<T: Serialize + ?Sized>(codec: ContentType, value: &T) -> Result<Self, EncodeError> {
        let mut bytes = Vec::new();
        encode_into(&mut bytes, codec, value, &PayloadLimits::default())?;
        Ok(Self { content_type: codec, bytes })
    }
}

/// Whether values can be encoded and decoded with `codec` in this build.
pub(crate) const fn is_built(codec: ContentType) -> bool {
    matches!(codec, ContentType::Json)
        || (cfg!(feature = "msgpack") && matches!(codec, ContentType::MessagePack))
        || (cfg!(feature = "cbor") && matches!(codec, ContentType::Cbor))
}

/// Appends `value` to `out`, which is as before when this fails.
///
/// Allocates nothing but room in `out`, with two exceptions: values that serialise through their `Display`
/// become a `String` first, and MessagePack sets aside a sequence or map whose `Serialize` does not tell its
/// length.
pub(crate) fn encode_into<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    codec: ContentType,
    value: &T,
    limits: &PayloadLimits,
) -> Result<(), EncodeError> {
    let start = out.len();
    let result = encode_unchecked(out, codec, value, limits).and_then(|()| {
        let bytes = &out[start..];
        check_size(bytes, limits)?;
        match codec {
            // Its writer keeps to the limits while it writes.
            ContentType::Json => Ok(()),
            // Other people's writers do not.
            _ => check(codec, bytes, limits)
                .map_err(|reason| EncodeError::refused(reason, codec, bytes, limits)),
        }
    });
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn encode_unchecked<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    codec: ContentType,
    value: &T,
    limits: &PayloadLimits,
) -> Result<(), EncodeError> {
    match codec {
        ContentType::Json => json::encode(out, value, limits),
        #[cfg(feature = "msgpack")]
        ContentType::MessagePack => msgpack::encode(out, value),
        #[cfg(feature = "cbor")]
        ContentType::Cbor => cbor::encode(out, value),
        codec => Err(EncodeError::NoCodec { codec }),
    }
}

fn check_size(bytes: &[u8], limits: &PayloadLimits) -> Result<(), EncodeError> {
    if bytes.len() > limits.max_size {
        return Err(EncodeError::TooLarge { size: bytes.len(), max_size: limits.max_size });
    }
    Ok(())
}

/// Checks bytes from anyone: exactly one well-formed value within the limits, nothing after it.
///
/// Takes time in proportion to the length, allocates nothing, never recurses, and does not need the codec to
/// be built in. Raw bytes are only held to the size.
pub(crate) fn check(
    content_type: ContentType,
    bytes: &[u8],
    limits: &PayloadLimits,
) -> Result<(), DropReason> {
    if bytes.len() > limits.max_size {
        return Err(DropReason::TooLarge);
    }
    match content_type {
        ContentType::Raw => Ok(()),
        ContentType::Json => check_json(bytes, limits),
        ContentType::MessagePack => msgpack::check(bytes, limits.max_depth),
        ContentType::Cbor => cbor::check(bytes, limits.max_depth),
        _ => Err(DropReason::BadPayload),
    }
}

fn check_json(bytes: &[u8], limits: &PayloadLimits) -> Result<(), DropReason> {
    // Always strict: `NaN` cannot be read as null without rewriting the text, which only the classic
    // wire's reader does (before this), because only Python writes it.
    let strict = JsonLimits { max_depth: limits.max_depth, nonfinite: NonFinite::Refuse };
    match tautline_proto::json::check(bytes, &strict) {
        Ok(_) => Ok(()),
        Err(JsonFault::TooDeep) => Err(DropReason::TooDeep),
        Err(JsonFault::NotFinite) => Err(DropReason::NotFinite),
        Err(_) => Err(DropReason::BadPayload),
    }
}

/// Reads checked bytes as a `T`.
pub(crate) fn decode<T: DeserializeOwned>(content_type: ContentType, bytes: &[u8]) -> Result<T, DecodeError> {
    let mismatch = |problem: String| DecodeError::Mismatch { content_type, problem };
    match content_type {
        ContentType::Raw => Err(DecodeError::Raw),
        ContentType::Json => serde_json::from_slice(bytes).map_err(|error| mismatch(error.to_string())),
        #[cfg(feature = "msgpack")]
        ContentType::MessagePack => rmp_serde::from_slice(bytes).map_err(|error| mismatch(error.to_string())),
        #[cfg(feature = "cbor")]
        ContentType::Cbor => ciborium::from_reader(bytes).map_err(|error| mismatch(cbor::explain(&error))),
        #[allow(unreachable_patterns)] // reachable when a codec is not built in
        codec => Err(DecodeError::NoCodec { codec }),
    }
}
