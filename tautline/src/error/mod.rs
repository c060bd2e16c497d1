//! The errors of connecting and sending. The text of each says what was wrong, and what would be right.

mod connect;
mod send;

pub use connect::ConnectError;
pub use send::{SendError, Unsupported};
