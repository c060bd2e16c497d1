//! Payloads: encodes and decodes them, and checks their bytes against the content type.
//!
//! Called by `sending` (encodes), `connection` (gives the check to the protocol), `message` (decodes), `config` and
//! `error`. Uses no other folder.
//!
//! Sending and receiving make the same checks, so the receiver refuses nothing that was sent. A payload is one
//! well-formed value. It is nested at most `max_depth` deep and has at most `max_message_size` bytes. It holds no NaN
//! and no infinity, because no controller may act on them.

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

/// The limits that a payload must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadLimits {
    /// The largest size, in bytes. Default 65,527.
    pub max_size: usize,
    /// The greatest depth of arrays and objects (in CBOR also of tags): 0 to 127. 0 allows only scalars. Default 32; a
    /// larger number than 127 counts as 127.
    pub max_depth: usize,
    /// What happens to NaN and infinities when a value is encoded as JSON. Default: an error. MessagePack and CBOR
    /// always refuse them, because those formats would carry them to a controller. The literals `NaN` and `Infinity` in
    /// JSON text are always refused, because they are not JSON.
    pub nonfinite: NonFinite,
}

/// The greatest depth that an interface accepts by default.
const USUAL_DEPTH: usize = 32;

impl Default for PayloadLimits {
    fn default() -> Self {
        Self { max_size: 65_527, max_depth: USUAL_DEPTH, nonfinite: NonFinite::Refuse }
    }
}

impl PayloadLimits {
    /// The widest limits that the settings of an interface allow.
    pub(crate) const WIDEST: Self =
        Self { max_size: 1_048_576, max_depth: JsonLimits::MAX_DEPTH, nonfinite: NonFinite::Refuse };

    const fn json(&self) -> JsonLimits {
        JsonLimits { max_depth: self.max_depth, nonfinite: self.nonfinite }
    }

    const fn strict(&self) -> JsonLimits {
        JsonLimits { max_depth: self.max_depth, nonfinite: NonFinite::Refuse }
    }
}

/// Encoded bytes and their content type. A payload is always valid.
///
/// `send` takes any value, so most programs need no `Payload`. Use it to encode a value once for several interfaces, to
/// send text that is already JSON, or to send raw bytes. It may be as large (1 MiB) and as deep (127) as the settings of any
/// interface allow; sending checks the limits of the interface.
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
    /// Whether it is nested deeper than an interface accepts by default. Sending then compares the depth with the interface's limit.
    is_deep: bool,
}

impl Payload {
    /// Encodes a value as JSON, in the form that the classic wire uses.
    ///
    /// # Errors
    /// The value holds NaN or an infinity, is nested too deep, or is too large, or its `Serialize` fails.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, EncodeError> {
        Self::encode(ContentType::Json, value)
    }

    /// Takes JSON text and rewrites it into the form of [`json`](Self::json). Keys keep their order, and integers keep
    /// their digits.
    ///
    /// # Errors
    /// The text is not exactly one JSON value. Otherwise as [`json`](Self::json).
    pub fn json_text(text: impl AsRef<[u8]>) -> Result<Self, EncodeError> {
        Self::made(ContentType::Json, |limits| {
            let mut bytes = Vec::with_capacity(text.as_ref().len());
            normalize(text.as_ref(), &limits.json(), &mut bytes)
                .map_err(|fault| EncodeError::from_json_fault(fault, limits))?;
            check_size(&bytes, limits)?;
            Ok(bytes)
        })
    }

    /// Encodes a value as MessagePack; a struct becomes a map by field name. Needs the Cargo feature `msgpack`.
    ///
    /// # Errors
    /// As [`json`](Self::json).
    #[cfg(feature = "msgpack")]
    pub fn msgpack<T: Serialize + ?Sized>(value: &T) -> Result<Self, EncodeError> {
        Self::encode(ContentType::MessagePack, value)
    }

    /// Encodes a value as CBOR (RFC 8949). Needs the Cargo feature `cbor`.
    ///
    /// # Errors
    /// As [`json`](Self::json).
    #[cfg(feature = "cbor")]
    pub fn cbor<T: Serialize + ?Sized>(value: &T) -> Result<Self, EncodeError> {
        Self::encode(ContentType::Cbor, value)
    }

    /// Takes bytes as they are. Both ends must agree on what they mean. Native wire only.
    #[must_use]
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { content_type: ContentType::Raw, bytes: bytes.into(), is_deep: false }
    }

    /// Takes bytes that are already encoded, such as the payload of a received message to pass on. Works for every
    /// content type, also when its codec is not built in.
    ///
    /// # Errors
    /// The bytes are not of this content type. Otherwise as [`json`](Self::json).
    pub fn encoded(content_type: ContentType, bytes: impl Into<Vec<u8>>) -> Result<Self, EncodeError> {
        let bytes = bytes.into();
        let checked = Self::made(content_type, |limits| {
            let checked = check(content_type, &bytes, limits);
            checked
                .map(|()| Vec::new())
                .map_err(|reason| EncodeError::refused(reason, content_type, &bytes, limits))
        });
        checked.map(|checked| Self { bytes, ..checked })
    }

    /// Makes a payload of bytes that keep the limits. Few payloads are deep, so the default depth is tried first.
    fn made(
        content_type: ContentType,
        make: impl Fn(&PayloadLimits) -> Result<Vec<u8>, EncodeError>,
    ) -> Result<Self, EncodeError> {
        let usual = PayloadLimits { max_depth: USUAL_DEPTH, ..PayloadLimits::WIDEST };
        match make(&usual) {
            Err(EncodeError::TooDeep { .. }) => {
                make(&PayloadLimits::WIDEST).map(|bytes| Self { content_type, bytes, is_deep: true })
            }
            made => made.map(|bytes| Self { content_type, bytes, is_deep: false }),
        }
    }

    /// Checks whether the payload keeps these limits. Those of an interface are `config.settings()?.payload_limits()`.
    ///
    /// # Errors
    /// The payload is too large or nested too deep for these limits.
    pub fn fits(&self, limits: &PayloadLimits) -> Result<(), EncodeError> {
        let Self { content_type, bytes, is_deep } = self;
        if !is_deep && limits.max_depth >= USUAL_DEPTH {
            return check_size(bytes, limits);
        }
        check(*content_type, bytes, limits)
            .map_err(|reason| EncodeError::refused(reason, *content_type, bytes, limits))
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

    /// Decodes the value as a `T`.
    ///
    /// # Errors
    /// The bytes are raw, they hold something other than a `T`, or the codec is not built in.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        decode(self.content_type, &self.bytes)
    }

    fn encode<T: Serialize + ?Sized>(codec: ContentType, value: &T) -> Result<Self, EncodeError> {
        Self::made(codec, |limits| {
            let mut bytes = Vec::new();
            encode_into(&mut bytes, codec, value, limits)?;
            Ok(bytes)
        })
    }

    /// Encodes a value within the limits of an interface.
    pub(crate) fn within<T: Serialize + ?Sized>(
        codec: ContentType,
        limits: &PayloadLimits,
        value: &T,
    ) -> Result<Self, EncodeError> {
        let mut bytes = Vec::new();
        encode_into(&mut bytes, codec, value, limits)?;
        let may_be_deep = limits.max_depth > USUAL_DEPTH;
        let payload = Self { content_type: codec, bytes, is_deep: may_be_deep };
        let usual = PayloadLimits { max_depth: USUAL_DEPTH, ..PayloadLimits::WIDEST };
        let is_deep = may_be_deep && payload.fits(&usual).is_err();
        Ok(Self { is_deep, ..payload })
    }
}

/// Whether this build can encode and decode values with `codec`.
pub(crate) const fn is_built(codec: ContentType) -> bool {
    matches!(codec, ContentType::Json)
        || (cfg!(feature = "msgpack") && matches!(codec, ContentType::MessagePack))
        || (cfg!(feature = "cbor") && matches!(codec, ContentType::Cbor))
}

/// Appends `value` to `out`. After an error, `out` is as before.
///
/// Allocates only room in `out`, with two exceptions: a value that serialises through its `Display` becomes a `String`
/// first, and MessagePack buffers a sequence or map whose `Serialize` does not give the length.
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
            // Our JSON writer checks the limits while it writes.
            ContentType::Json => Ok(()),
            // The writers of the other codecs do not.
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

/// Checks untrusted bytes: exactly one well-formed value within the limits, and nothing after it.
///
/// The time is proportional to the length. Never allocates, never recurses, and works without the codec. For raw bytes
/// only the size is checked.
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

/// Checks an id that the user gave as JSON text. It is copied into the envelope of the classic wire, so anything else would
/// spoil the envelope. `name` is the id's field.
pub(crate) fn check_id(name: &str, text: &str, limits: &PayloadLimits) -> Result<(), EncodeError> {
    let refusal = |fault| match fault {
        JsonFault::NotFinite => EncodeError::NotFinite { path: Some(name.to_owned()) },
        fault => EncodeError::Value { problem: format!("`{name}` is no JSON value: {fault}") },
    };
    tautline_proto::json::check(text.as_bytes(), &limits.strict()).map(drop).map_err(refusal)
}

fn check_json(bytes: &[u8], limits: &PayloadLimits) -> Result<(), DropReason> {
    // Always strict. To read `NaN` as null, the text must be rewritten. Only the reader of the classic wire does that,
    // before this check, because only Python writes `NaN`.
    match tautline_proto::json::check(bytes, &limits.strict()) {
        Ok(_) => Ok(()),
        Err(JsonFault::TooDeep) => Err(DropReason::TooDeep),
        Err(JsonFault::NotFinite) => Err(DropReason::NotFinite),
        Err(_) => Err(DropReason::BadPayload),
    }
}

/// Decodes checked bytes as a `T`.
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
