//! What several subcommands share: options, exit codes, output, timing, charts and the relay.
//!
//! The [subcommands](crate::commands) call these modules; `main` and [`cli`](crate::cli) use [`exit`] and [`output`]. A
//! tool may use other tools and the library `tautline`. It never imports a subcommand.
//!
//! - Options and input: [`link`] (options of a connection), [`impair`] (options of a bad network), [`interrupt`]
//!   (Ctrl-C).
//! - Output: [`exit`] (exit codes and failures), [`output`] (stdout and stderr), [`log`] (what the library logs), [`screen`] (a picture that is redrawn in
//!   place), [`progress`] (progress bars), [`svg`] and [`text_chart`] (charts),
//!   [`words`] (wraps text, counts things), [`origin`] (command and time of a report), [`files`] (pages and pictures).
//! - Messages as text: [`message_line`] (JSON), [`people_line`], [`transcode`], [`traffic`].
//! - Black boxes: [`black_box`] (SIGUSR2).
//! - Recordings: [`recording`] (files), [`repeated`] and [`timed`] (what is sent again, and when).
//! - Links that pass by: [`observe`] (reads their datagrams), [`capture`] (files of tcpdump).
//! - Time: [`waiting`] (says what the program waits for), [`pace`] (sending times), [`round_trips`] (answers and their round-trip times), [`latency`] (percentiles).
//! - Datagrams: [`echo`] (sends messages back), [`relay`] (carries datagrams through a bad network).

pub(crate) mod black_box;
pub(crate) mod capture;
pub(crate) mod echo;
pub(crate) mod exit;
pub(crate) mod files;
pub(crate) mod impair;
pub(crate) mod interrupt;
pub(crate) mod itself;
pub(crate) mod latency;
pub(crate) mod link;
pub(crate) mod log;
pub(crate) mod message_line;
pub(crate) mod observe;
pub(crate) mod origin;
pub(crate) mod output;
pub(crate) mod pace;
pub(crate) mod people_line;
pub(crate) mod progress;
pub(crate) mod recording;
pub(crate) mod relay;
pub(crate) mod reload;
pub(crate) mod repeated;
pub(crate) mod round_trips;
pub(crate) mod screen;
pub(crate) mod svg;
pub(crate) mod text_chart;
pub(crate) mod timed;
pub(crate) mod traffic;
pub(crate) mod transcode;
pub(crate) mod waiting;
pub(crate) mod words;
