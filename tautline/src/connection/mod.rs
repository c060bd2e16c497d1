//! The life of one connection: what all its handles share, how it opens and ends, and what it reports.
//!
//! Called by `interface`, and by `driver`, which runs the connection that `lifecycle` opens. That pair is the only
//! import loop between folders. Uses every folder below.

pub(crate) mod candidates;
pub(crate) mod directory;
pub(crate) mod driving;
pub(crate) mod events;
pub(crate) mod lifecycle;
pub(crate) mod shared;
pub(crate) mod slot;
pub(crate) mod statistics;
pub(crate) mod status;
