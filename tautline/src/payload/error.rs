//! Why a value cannot be encoded, and why a payload cannot be decoded.

use std::fmt;

use tautline_proto::json::JsonFault;
use tautline_proto::{ContentType, DropReason};

use super::PayloadLimits;

/// A value that cannot be sent. Nothing was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// It holds NaN or an infinity.
    NotFinite {
        /// Where, as far as it is known: a path such as `joints[2].angle`.
        path: Option<String>,
    },
    /// It is nested too deep.
    TooDeep {
        /// The limit.
        max_depth: usize,
    },
    /// It is too large.
    TooLarge {
        /// Its size, in bytes.
        size: usize,
        /// The limit, in bytes.
        max_size: usize,
    },
    /// The text is not JSON.
    NotJson(JsonFault),
    /// The bytes are not what the content type says.
    Malformed {
        /// What they should be.
        content_type: ContentType,
    },
    /// This build cannot encode values so; raw bytes are never values.
    NoCodec {
        /// The codec.
        codec: ContentType,
    },
    /// The value's own `Serialize` failed, or it has no form in this codec.
    Value {
        /// What is wrong with it.
        problem: String,
    },
}

impl EncodeError {
    /// The fault of JSON text that was to be a payload.
    pub(super) fn from_json_fault(fault: JsonFault, limits: &PayloadLimits) -> Self {
        match fault {
            JsonFault::TooDeep => Self::TooDeep { max_depth: limits.max_depth },
            JsonFault::NotFinite => Self::NotFinite { path: None },
            fault => Self::NotJson(fault),
        }
    }

    /// What a sender is told when its bytes fail the check that the receiver would make.
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
            Self::TooDeep { max_depth } => {
                write!(f, "the value is nested deeper than `max_depth`, which is {max_depth}")
            }
            Self::TooLarge { size, max_size } => {
                write!(f, "the payload has {size} bytes: `max_message_size` is {max_size}")
            }
            Self::NotJson(fault) => fault.fmt(f),
            Self::Malformed { content_type } => {
                write!(f, "the bytes are not one well-formed {content_type} value")
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

/// A payload that is not the value asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// Raw bytes, which no codec reads.
    Raw,
    /// This build does not have the codec.
    NoCodec {
        /// The codec.
        codec: ContentType,
    },
    /// A valid payload of another type than the one asked for.
    Mismatch {
        /// How it is encoded.
        content_type: ContentType,
        /// What differs.
        problem: String,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw => f.write_str("the payload is raw bytes, which no codec reads: take them as bytes"),
            Self::NoCodec { codec } => write_no_codec(f, *codec),
            Self::Mismatch { content_type, problem } => {
                write!(f, "the {content_type} payload is not of the type asked for: {problem}")
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
