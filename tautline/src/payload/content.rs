//! What the sending methods take: a value, bytes, or a payload that is encoded already.

use serde::Serialize;
use tautline_proto::ContentType;

use super::{EncodeError, Payload, PayloadLimits, encode_into};

/// What can be sent: a reference to any serialisable value, [`Raw`] bytes, or a [`Payload`] that is encoded already.
///
/// Every method that sends takes any of the three:
///
/// ```
/// use tautline::{Metadata, Payload, Raw, UdpInterface};
///
/// fn send_three(link: &UdpInterface) -> Result<(), tautline::SendError> {
///     link.send(&[0.5, -1.5], &Metadata::command())?; // encoded with the configured codec
///     link.send(Raw(b"\x01\x02"), &Metadata::data())?; // as it is, without a copy in between
///     link.send(&Payload::json(&"encoded once")?, &Metadata::status())?;
///     Ok(())
/// }
/// ```
///
/// You cannot implement this trait: a type of your own implements `Serialize`.
pub trait Content: Encode {}

/// How content becomes bytes. Public, because [`Content`] is; reachable only inside the crate.
pub trait Encode {
    /// The content type, where values use `codec`.
    fn content_type(&self, codec: ContentType) -> ContentType;

    /// Appends the bytes to `out`.
    ///
    /// # Errors
    /// The content is not encodable, or larger than the limits allow.
    fn write(&self, codec: ContentType, limits: &PayloadLimits, out: &mut Vec<u8>)
    -> Result<(), EncodeError>;

    /// The content type and the bytes, where they need no encoding.
    #[inline]
    fn encoded(&self) -> Option<(ContentType, &[u8])> {
        None
    }
}

/// Bytes that are sent as they are. Both ends must agree on what they mean.
///
/// Nothing is copied or allocated before the message is framed. Native wire only: the classic wire carries JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(pub &'a [u8]);

impl<T: Serialize + ?Sized> Content for &T {}

impl<T: Serialize + ?Sized> Encode for &T {
    fn content_type(&self, codec: ContentType) -> ContentType {
        codec
    }

    fn write(
        &self,
        codec: ContentType,
        limits: &PayloadLimits,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        encode_into(out, codec, *self, limits)
    }
}

impl Content for Raw<'_> {}

impl Encode for Raw<'_> {
    #[inline]
    fn content_type(&self, _codec: ContentType) -> ContentType {
        ContentType::Raw
    }

    #[inline]
    fn write(
        &self,
        _codec: ContentType,
        limits: &PayloadLimits,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        append(self.0, limits, out)
    }

    #[inline]
    fn encoded(&self) -> Option<(ContentType, &[u8])> {
        Some((ContentType::Raw, self.0))
    }
}

impl Content for &Payload {}

impl Encode for &Payload {
    #[inline]
    fn content_type(&self, _codec: ContentType) -> ContentType {
        Payload::content_type(self)
    }

    #[inline]
    fn write(
        &self,
        _codec: ContentType,
        limits: &PayloadLimits,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        append(self.bytes(), limits, out)
    }

    #[inline]
    fn encoded(&self) -> Option<(ContentType, &[u8])> {
        Some((Payload::content_type(self), self.bytes()))
    }
}

/// Appends bytes that are encoded already.
#[inline]
pub(crate) fn append(bytes: &[u8], limits: &PayloadLimits, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let (size, max_size) = (bytes.len(), limits.max_size);
    if size > max_size {
        return Err(EncodeError::TooLarge { size, max_size });
    }
    out.extend_from_slice(bytes);
    Ok(())
}
