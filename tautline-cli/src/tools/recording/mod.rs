//! Recordings: MCAP files (<https://mcap.dev>) with one document for each message. docs/recording.md says what is in them.
//!
//! `record` writes them with a [`Recorder`], `replay` reads them with [`reader`]. A message is the same JSON document that
//! `listen` prints. [`shape`] makes the JSON schema of each stream from its messages, so that viewers know the fields.

mod files;
pub(crate) mod reader;
mod recorder;
mod shape;
mod stream;

pub(crate) use files::FileArgs;
pub(crate) use recorder::{RecordedTotals, Recorder};

/// How messages are encoded, and their schemas (MCAP's registry of well-known encodings).
const MESSAGE_ENCODING: &str = "json";
const SCHEMA_ENCODING: &str = "jsonschema";

/// The key of a channel's metadata that all channels of tautline's recordings have, with the version of their documents.
const DOCUMENT_KEY: &str = "tautline_document";
const DOCUMENT_VERSION: &str = "1";

/// The name of the record with the counts at the end of each file.
const COUNTS_NAME: &str = "tautline_counts";
