//! The content of a message to send: a value, raw bytes, or an encoded payload.

use serde::Serialize;
use tautline_proto::ContentType;

use super::{EncodeError, Payload, PayloadLimits, encode_into};

/// What can be sent: a reference to a serialisable value, [`Raw`] bytes, or a reference to an encoded [`Payload`].
///
/// Every sending method takes all three:
///
/// ```
/// use tautline::{Metadata, Payload, Raw, UdpInterface};
///
/// fn send_three(link: &UdpInterface) -> Result<(), tautline::SendError> {
///     link.send(&[0.5, -1.5], &Metadata::command())?; // encoded with the configured codec
///     link.send(Raw(b"\x01\x02"), &Metadata::data())?; // as it is, without an extra copy
///     link.send(&Payload::json(&"encoded once")?, &Metadata::status())?;
///     Ok(())
/// }
/// ```
///
/// You cannot implement this trait. Implement `Serialize` for your own types instead.
pub trait Content: Encode {}

/// Turns content into bytes. `pub` because [`Content`] is public, but only this crate can reach it.
pub trait Encode {
    /// The content type of the bytes. Values use `codec`.
    fn content_type(&self, codec: ContentType) -> ContentType;

    /// Appends the bytes to `out`.
    ///
    /// # Errors
    /// The content cannot be encoded, or it exceeds a limit.
    fn write(&self, codec: ContentType, limits: &PayloadLimits, out: &mut Vec<u8>)
    -> Result<(), EncodeError>;

    /// The content type and the bytes, if no encoding is needed.
    #[inline]
    fn encoded(&self) -> Option<(ContentType, &[u8])> {
        None
    }
}

/// Bytes that are sent as they are. Both ends must agree on what they mean.
///
/// They are not copied before the message is framed, and nothing is allocated. Native wire only, because the classic
/// wire carries JSON.
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
        if self.is_deep {
            self.fits(limits)?;
        }
        append(self.bytes(), limits, out)
    }

    /// Returns `None` for a deep payload, so that `write` compares its depth with the limit of the interface.
    #[inline]
    fn encoded(&self) -> Option<(ContentType, &[u8])> {
        (!self.is_deep).then(|| (Payload::content_type(self), self.bytes()))
    }
}

/// Appends bytes that are already encoded.
#[inline]
pub(crate) fn append(bytes: &[u8], limits: &PayloadLimits, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let (size, max_size) = (bytes.len(), limits.max_size);
    if size > max_size {
        return Err(EncodeError::TooLarge { size, max_size });
    }
    out.extend_from_slice(bytes);
    Ok(())
}
