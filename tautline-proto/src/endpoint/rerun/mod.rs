//! Runs what a black box holds again, and compares every output.
//!
//! [`rerun_inbound`] and [`rerun_outbound`] read the ring of one half. Each segment begins with a mark, from which the half goes on
//! with the recorded inputs. Before each input, the digest of all outputs must be the recorded one; at the end of a segment, the
//! whole state must be that of the next mark. The caller sees each input and what came of it as a [`Step`].
//!
//! Nothing imports this module. It uses both halves and the recorder's words.

mod comparison;
mod inbound;
mod outbound;
mod step;
mod words;

pub use comparison::{Difference, Rerun, RerunSettings};
pub use inbound::rerun_inbound;
pub use outbound::rerun_outbound;
pub use step::Step;
