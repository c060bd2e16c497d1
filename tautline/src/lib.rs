//! A thread-safe UDP interface for real-time control.
pub use tautline_proto::*;
