//! What waits for a reader: the inbox, the queues that it is made of, and requests that wait for their answers.

pub(crate) mod inbox;
pub(crate) mod lanes;
pub(crate) mod requests;
pub(crate) mod waiting;
