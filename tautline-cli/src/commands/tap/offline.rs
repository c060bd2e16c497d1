//! Shows what is in a capture.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};

use super::Args;
use super::show::Show;
use crate::tools::capture::{Capture, Contents, Packet, contents, datagrams};
use crate::tools::exit::{Exit, Failure};
use crate::tools::files::check_file;
use crate::tools::interrupt::{Interrupt, LOOK_EVERY};
use crate::tools::observe::Passing;
use crate::tools::output;
use crate::tools::words::counted;
use tautline::recording::canonical;

/// How many packets the reading thread may be ahead.
const AHEAD: usize = 1024;

/// Shows until the capture ends, or until Ctrl-C.
pub(super) fn run(args: &Args, path: &Path) -> Result<Exit, Failure> {
    let packets = read(path)?;
    let interrupt = Interrupt::install()?;
    let mut show = Show::new(args);
    let mut skipped = Skipped::default();
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
                for bytes in datagrams(udp.payload) {
                    show.take(&Passing { at: packet.at, from, to, from_client: None, bytes })?;
                }
            }
            Contents::Partial => skipped.partial += 1,
            Contents::UnknownLink => {
                skipped.unknown_link += 1;
                skipped.link_type = packet.link_type;
            }
            Contents::Other => {}
        }
    }
    skipped.tell();
    show.end()
}

/// The packets of a capture that are not shown.
#[derive(Debug, Default)]
struct Skipped {
    partial: u64,
    unknown_link: u64,
    /// The latest of the unknown link types.
    link_type: u16,
}

impl Skipped {
    fn tell(&self) {
        if self.partial > 0 {
            output::warn(format_args!(
                "skipped {} without a whole datagram (cut up by IP, or captured in part)",
                counted(self.partial, "packet")
            ));
        }
        if self.unknown_link > 0 {
            output::warn(format_args!(
                "skipped {} of link type {}, which `tap` does not know: capture on an interface that \
                 carries IP, such as `tcpdump -i any`",
                counted(self.unknown_link, "packet"),
                self.link_type
            ));
        }
    }
}

/// Reads the capture on a thread of its own: who waits in a read cannot look for Ctrl-C.
fn read(path: &Path) -> Result<Receiver<Result<Packet, String>>, Failure> {
    let input: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        check_file(path)?;
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
