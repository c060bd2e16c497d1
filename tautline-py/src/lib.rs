//! The extension module `tautline._native`: the library for Python, thin. The package in `python/tautline` is what users see.
//!
//! Each class has a file. No thread of the library ever runs Python: messages for handlers and changes of watchdogs cross in
//! queues (`queue.rs`), from which threads and event loops of Python take them. Other threads of Python run while a call
//! waits or sends (`life.rs`).

mod arguments;
mod bell;
mod config;
mod cycle;
mod errors;
mod event;
mod jobs;
mod known;
mod life;
mod link;
mod message;
mod peer;
mod pending;
#[cfg(feature = "program")]
mod program;
mod publisher;
mod queue;
#[cfg(target_os = "linux")]
mod reader;
mod receiving;
mod reply;
mod sending;
mod value;
mod wait;
mod watch;
mod world;

/// See the package `tautline`.
#[pyo3::pymodule(gil_used = false)]
mod _native {
    /// The version of the package.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    #[pymodule_export]
    use crate::arguments::seconds;
    #[pymodule_export]
    use crate::bell::Bell;
    #[pymodule_export]
    use crate::config::Config;
    #[pymodule_export]
    use crate::cycle::Cycle;
    #[pymodule_export]
    use crate::event::Events;
    #[pymodule_export]
    use crate::jobs::{Job, Jobs};
    #[pymodule_export]
    use crate::life::{after_fork, begin_exit, guests};
    #[pymodule_export]
    use crate::link::Link;
    #[pymodule_export]
    use crate::message::Message;
    #[pymodule_export]
    use crate::peer::PeerId;
    #[pymodule_export]
    use crate::pending::Pending;
    #[cfg(feature = "program")]
    #[pymodule_export]
    use crate::program::run_program;
    #[pymodule_export]
    use crate::publisher::Publisher;
    #[cfg(target_os = "linux")]
    #[pymodule_export]
    use crate::reader::Reader;
    #[pymodule_export]
    use crate::reply::Reply;
    #[pymodule_export]
    use crate::watch::{Changes, Watch};
    #[pymodule_export]
    use crate::world::World;
}
