//! Why a value cannot be encoded, and why a payload cannot be decoded.

use std::fmt;

use tautline_proto::json::JsonFault;
use tautline_proto::{ContentType, DropReason};

use super::PayloadLimits;

/// Why a value cannot be encoded. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The value holds NaN or an infinity.
    NotFinite {
        /// The path to the number, such as `joints[2].angle`, if it is known.
        path: Option<String>,
    },
    /// The value is nested too deep.
    TooDeep {
        /// The limit.
        max_depth: usize,
    },
    /// The payload is too large.
    TooLarge {
        /// The size of the payload, in bytes.
        size: usize,
        /// The limit, in bytes.
        max_size: usize,
    },
    /// The text is not JSON.
    NotJson(JsonFault),
    /// The bytes are not one well-formed value of the content type.
    Malformed {
        /// The content type that was given.
        content_type: ContentType,
    },
    /// This build does not have the codec. Raw bytes have no codec in any build.
    NoCodec {
        /// The codec.
        codec: ContentType,
    },
    /// The value's `Serialize` failed, or the codec cannot represent the value.
    Value {
        /// What was wrong.
        problem: String,
    },
}

impl EncodeError {
    /// Converts the fault of JSON text that was given as a payload.
    pub(super) fn from_json_fault(fault: JsonFault, limits: &PayloadLimits) -> Self {
        match fault {
            JsonFault::TooDeep => Self::TooDeep { max_depth: limits.max_depth },
            JsonFault::NotFinite => Self::NotFinite { path: None },
            fault => Self::NotJson(fault),
        }
    }

    /// The error for bytes that fail the check that the receiver would make.
    pub(super) fn refused(
        reason: DropReason,
        content_type: ContentType,
        bytes: &[u8],
        limits: &PayloadLimits,
    ) -> Self {
        match reason {
            DropReason::NotFinite => Self::NotFinite { path: None },
            DropReason::TooDeep => Self::TooDeep { max_depth: limits.max_depth },
            DropReason::TooLarge => Self::TooLarge { size: bytes.len(), max_size: limits.max_size },
            _ => Self::Malformed { content_type },
        }
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite { path: Some(path) } => {
                write!(f, "`{path}` is NaN or infinite: a controller must not act on it, so it is not sent")
            }
            Self::NotFinite { path: None } => f.write_str(
                "the value holds NaN or an infinity: a controller must not act on it, so it is not sent",
            ),
            // No setting allows more, so the text does not say to raise it.
            Self::TooDeep { max_depth } if *max_depth >= PayloadLimits::WIDEST.max_depth => write!(
                f,
                "the value is nested deeper than {max_depth}, the most that `max_depth` can be: make it flatter"
            ),
            Self::TooLarge { size, max_size } if *max_size >= PayloadLimits::WIDEST.max_size => write!(
                f,
                "the payload has {size} bytes, and `max_message_size` can be at most {max_size}: send less at once"
            ),
            Self::TooDeep { max_depth } => {
                write!(
                    f,
                    "the value is nested deeper than `max_depth`, which is {max_depth}: make it flatter, or raise it at both ends"
                )
            }
            Self::TooLarge { size, max_size } => {
                write!(
                    f,
                    "the payload has {size} bytes, and `max_message_size` is {max_size}: send less at once, or raise it at both ends"
                )
            }
            Self::NotJson(fault) => fault.fmt(f),
            Self::Malformed { content_type } => {
                write!(
                    f,
                    "the bytes are not one well-formed {content_type} value: encode one, or send them as raw bytes"
                )
            }
            Self::NoCodec { codec } => write_no_codec(f, *codec),
            Self::Value { problem } => write!(f, "the value cannot be encoded: {problem}"),
        }
    }
}

impl std::error::Error for EncodeError {}

impl serde::ser::Error for EncodeError {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self::Value { problem: problem.to_string() }
    }
}

/// Why a payload cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The payload is raw bytes, which no codec reads.
    Raw,
    /// This build does not have the codec.
    NoCodec {
        /// The codec.
        codec: ContentType,
    },
    /// The payload is valid, but it is not a value of the requested type.
    Mismatch {
        /// The content type of the payload.
        content_type: ContentType,
        /// The difference, in the codec's words.
        problem: String,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw => f.write_str("the payload is raw bytes, which no codec reads: read them as bytes"),
            Self::NoCodec { codec } => write_no_codec(f, *codec),
            Self::Mismatch { content_type, problem } => {
                write!(f, "the {content_type} payload is not of the requested type: {problem}")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

fn write_no_codec(f: &mut fmt::Formatter<'_>, codec: ContentType) -> fmt::Result {
    match codec {
        ContentType::Raw => f.write_str("raw bytes are sent as they are: use Payload::raw"),
        codec => {
            write!(f, "this build has no {codec}: enable the Cargo feature \"{codec}\" of the crate tautline")
        }
    }
}
