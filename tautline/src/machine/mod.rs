//! Every call to the operating system: sockets, waiting, clocks, and real-time scheduling.
//!
//! Used by every folder that needs the system. Uses `config` and `sync`. The only folder that may contain `unsafe` code.

pub(crate) mod clock;
pub(crate) mod fault;
pub(crate) mod life;
pub(crate) mod names;
pub(crate) mod realtime;
pub(crate) mod sleep;
pub(crate) mod socket;
