//! `tautline bench`: measures how fast this machine and this network are with tautline.
//!
//! [`latency`] and [`throughput`] are the two measuring clients. [`serve`] is the other end of both. Without PEER, the
//! other end is a child process of this program ([`other_end`]), so that each process has the CPU time and the memory
//! of one end only.

mod accounting;
mod chart;
mod client;
mod flood;
mod latency;
mod latency_run;
mod machine;
mod other_end;
mod outstanding;
mod page;
mod protocol;
mod report;
mod serve;
mod settings;
mod throughput;
mod time_line;
mod transport;
mod usage;
mod watch;

use crate::tools::exit::{Exit, Failure};

/// Measure latency or throughput, over loopback or to a peer
///
/// Without PEER the program starts the other end itself, over loopback. To measure a network, run `tautline bench
/// serve` on the other machine and give its address as PEER.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline bench latency
  tautline bench latency --rate 1kHz --seconds 30 --budget 1ms --html latency.html
  tautline bench throughput --size 256 --batch 40
  tautline bench serve 0.0.0.0:9000")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Latency(latency::Args),
    Throughput(throughput::Args),
    Serve(serve::Args),
}

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.what {
        What::Latency(args) => latency::run(args),
        What::Throughput(args) => throughput::run(args),
        What::Serve(args) => serve::run(args),
    }
}
