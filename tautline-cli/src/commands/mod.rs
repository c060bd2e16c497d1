//! The subcommands of the program: a file or a folder for each.
//!
//! [`cli`](crate::cli) is the only caller. Each subcommand offers `Args`, which clap fills from the command line, and
//! `run`, which ends with an exit code or a failure. A subcommand may use [`tools`](crate::tools), the modules in its
//! own folder and the library `tautline`. It never imports another subcommand or [`cli`](crate::cli).

pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod hz;
pub(crate) mod incident;
pub(crate) mod keygen;
pub(crate) mod listen;
pub(crate) mod man;
pub(crate) mod ping;
pub(crate) mod proxy;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod send;
pub(crate) mod tap;
pub(crate) mod watch;
