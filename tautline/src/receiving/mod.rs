//! What waits for a reader: the inbox with its queues, and requests that wait for their answers.
//!
//! Called by `interface` (readers), `driver` (offers messages) and `handlers` (its queues). Uses `message`, `machine`,
//! `config` and `sync`.

pub(crate) mod inbox;
pub(crate) mod lag;
pub(crate) mod lanes;
pub(crate) mod requests;
pub(crate) mod shares;
pub(crate) mod waiting;
