//! `tautline tap`: shows what passes on a link: through a proxy, or in a capture.

mod live;
mod offline;
mod show;
mod summary;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tautline::{Endpoint, MessageType};

use crate::tools::exit::{Exit, Failure};
use crate::tools::link::{at_most_an_hour, called, count, listening, types};

/// Show both directions of a link, live or from a capture
///
/// Live, the clients send to LISTEN instead of TARGET. --read names a capture of tcpdump or Wireshark (pcap or pcapng; - is standard
/// input). The program knows both wires. Of a secured link it shows the headers and the handshake, because only the two ends can
/// read the rest.
///
/// Each line has the time since the first datagram, the link and the direction (> to the server, < to the client), the number of
/// the datagram, and what is in it. A number is marked if some before it are missing, or if it is late or a duplicate. A message
/// shows its type and channel, its age, the name of its sender, and its data.
///
/// The age comes from the heartbeats of both ends that pass. On the classic wire, it is the difference between two wall clocks.
///
/// At the end the program tells for each direction what was lost, late or duplicate, and how old the messages were when they passed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline tap 127.0.0.1:9001 127.0.0.1:9000
  tautline tap 127.0.0.1:9001 plant.local:9000 --type command --json
  tautline tap --read capture.pcap
  tcpdump -i any -U -w - udp port 9000 | tautline tap --read -")]
pub(crate) struct Args {
    /// The address that clients send to: host:port, [ipv6]:port, host (port 8080) or :port for every address; port 0 takes
    /// any free port
    #[arg(value_name = "LISTEN", value_parser = listening_not_a_file, required_unless_present = "read", requires = "target")]
    listen: Option<Endpoint>,
    /// The address that the datagrams are sent on to
    #[arg(value_name = "TARGET", value_parser = called)]
    target: Option<Endpoint>,
    /// Read a capture instead: a file, or - for standard input
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["listen", "target", "seconds"])]
    read: Option<PathBuf>,
    /// Show only messages of this type; you can repeat this option
    #[arg(long = "type", value_name = "TYPE", value_parser = types())]
    types: Vec<MessageType>,
    /// End after this many lines
    #[arg(long, value_name = "N", value_parser = count, allow_hyphen_values = true)]
    count: Option<u64>,
    /// End after this time
    #[arg(long, value_name = "TIME", value_parser = at_most_an_hour, allow_hyphen_values = true)]
    seconds: Option<Duration>,
    /// Print lines of JSON; the last line is the summary
    #[arg(long)]
    json: bool,
}

/// Reads LISTEN. Whoever gives a capture there is told how to read it. A value parser for clap.
fn listening_not_a_file(text: &str) -> Result<Endpoint, String> {
    let path = Path::new(text);
    let is_capture = path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng");
    if is_capture || path.is_file() {
        return Err(format!("this is a file: to read a capture, write --read {text}"));
    }
    listening(text)
}

/// Shows datagrams until Ctrl-C, or until the capture ends.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    match (&args.read, &args.listen, &args.target) {
        (Some(path), ..) => offline::run(args, path),
        (None, Some(listen), Some(target)) => live::run(args, listen, target),
        _ => Err(Failure::usage("name LISTEN and TARGET, or a capture with --read")),
    }
}
