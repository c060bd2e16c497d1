//! Shows what is in a capture.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};

use super::Args;
use super::show::Show;
use crate::tools::capture::{Capture, Contents, Packet, contents};
use crate::tools::exit::{Exit, Failure};
use crate::tools::interrupt::{Interrupt, LOOK_EVERY};
use crate::tools::observe::Passing;
use crate::tools::output;
use tautline::recording::canonical;

/// How many packets the reading thread may be ahead.
const AHEAD: usize = 1024;

/// Shows until the capture ends, or until Ctrl-C.
pub(super) fn run(args: &Args, path: &Path) -> Result<Exit, Failure> {
    let packets = read(path)?;
    let interrupt = Interrupt::install()?;
    let mut show = Show::new(args);
    let mut partial = 0_u64;
    while !interrupt.is_asked() && show.goes_on() {
        let packet = match packets.recv_timeout(LOOK_EVERY) {
            Ok(packet) => packet
                .map_err(|problem| Failure::failed(format!("cannot read {}: {problem}", path.display())))?,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        match contents(packet.link_type, &packet.bytes) {
            Contents::Udp(udp) => {
                let (from, to) = (canonical(udp.from), canonical(udp.to));
                show.take(&Passing { at: packet.at, from, to, from_client: None, bytes: udp.payload })?;
            }
            Contents::Partial => partial += 1,
            Contents::Other => {}
        }
    }
    if partial > 0 {
        output::warn(format_args!(
            "{partial} packets hold a part of a datagram only (cut up by IP, or captured in part), and were skipped"
        ));
    }
    show.end()
}

/// Reads the capture on a thread of its own: who waits in a read cannot look for Ctrl-C.
fn read(path: &Path) -> Result<Receiver<Result<Packet, String>>, Failure> {
    let input: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let problem = |error| Failure::failed(format!("cannot read {}: {error}", path.display()));
        Box::new(File::open(path).map_err(problem)?)
    };
    let (sender, packets) = sync_channel(AHEAD);
    std::thread::spawn(move || {
        let mut capture = match Capture::begin(BufReader::new(input)) {
            Ok(capture) => capture,
            // The other end may be gone.
            Err(problem) => return drop(sender.send(Err(problem))),
        };
        while let Some(packet) = capture.next().transpose() {
            let is_last = packet.is_err();
            if sender.send(packet).is_err() || is_last {
                break;
            }
        }
    });
    Ok(packets)
}
