//! Recordings: MCAP files (<https://mcap.dev>) with one JSON document for each message. docs/recording.md says what is in them.
//!
//! [`Config::record`](crate::Config::record) lets an interface record what it receives. The program `tautline record` writes the same files with
//! a [`Recorder`], and `tautline replay` reads them with a [`RecordingReader`]. `shape` makes the JSON schema of each stream from its
//! messages, so that viewers know the fields.

mod json_text;
mod queue;
mod reader;
mod recorder;
mod session;
mod shape;
mod stream;
mod text;
mod view;

pub use json_text::JsonText;
pub use reader::{ReadError, RecordedMessage, RecordingReader};
pub use recorder::{Counts, RecordError, RecordedTotals, Recorder, RecordingFiles};
pub(crate) use session::Recording;
pub use session::RecordingStatus;
pub use text::{escaped, misleads};
pub use view::{MessageView, canonical};

/// How messages are encoded, and their schemas (MCAP's registry of well-known encodings).
const MESSAGE_ENCODING: &str = "json";
const SCHEMA_ENCODING: &str = "jsonschema";

/// The key of a channel's metadata that all channels of tautline's recordings have, with the version of their documents.
const DOCUMENT_KEY: &str = "tautline_document";
const DOCUMENT_VERSION: &str = "1";

/// The name of the record with the counts at the end of each file.
const COUNTS_NAME: &str = "tautline_counts";
