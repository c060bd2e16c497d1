//! `tautline bench serve`: the other end of `bench latency` and `bench throughput`.
//!
//! One thread drives the interface, or waits in `receive`. [`protocol`](super::protocol) describes what it counts and which messages it
//! answers.

use std::io::Read;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tautline::{
    Driver, Drops, Endpoint, Id, Message, MessageType, Metadata, Payload, PeerId, Role, UdpInterface, Wire,
};

use super::client::Taking;
use super::protocol::{ANSWER, Answer, COUNTED, ECHOED, QUESTION};
use super::settings::SettingsArgs;
use super::usage;
use crate::tools::echo::echo;
use crate::tools::exit::{Exit, Failure};
use crate::tools::interrupt::{Interrupt, LOOK_EVERY};
use crate::tools::link::{listening, open, open_driven, with_all_commands};
use crate::tools::{output, traffic};

/// The number of peers with counts of their own. A further peer replaces the peer that was heard longest ago.
const PEERS: usize = 64;

/// The number of questions answered after one turn. A peer without an answer asks again.
const QUESTIONS: usize = 64;

/// Run the other end of `bench latency` and `bench throughput`
///
/// It sends latency messages back unchanged and counts throughput messages, for any number of runs and peers. Ctrl-C
/// ends it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tautline bench serve 127.0.0.1:9000
  tautline bench serve 0.0.0.0:9000 --baseline
  tautline bench serve [::]:9000 --wire classic --set receive_buffer=8388608")]
pub(super) struct Args {
    /// The address to listen on: host:port, [ipv6]:port, host (port 8080) or :port for every address; port 0 takes any
    /// free one
    #[arg(value_parser = listening)]
    endpoint: Endpoint,
    /// Also send raw datagrams back, for `bench latency --baseline`; it answers any sender, so do not use it on open
    /// networks
    #[arg(long)]
    baseline: bool,
    /// Take messages from `receive`, as most programs do; without it, this thread drives the interface, which is faster
    #[arg(long)]
    receive: bool,
    /// Print the address on standard output, and end when standard input closes
    #[arg(long, hide = true)]
    child: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Serves until Ctrl-C.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let taking = if args.receive { Taking::Receive } else { Taking::CallerDriven };
    let config = args.settings.config(Role::Server, args.child, taking)?.endpoint(args.endpoint.to_string());
    let config = with_all_commands(config);
    let (interface, driver) = match taking {
        Taking::Receive => (open(config, |_| {})?, None),
        Taking::CallerDriven => {
            let (interface, driver) = open_driven(config)?;
            echo(&interface, &[ECHOED]);
            (interface, Some(driver))
        }
    };
    let interrupt = Interrupt::install()?;
    let address = interface.local_address().expect("a server that is connected has a socket");
    let raw_port = args.baseline.then(|| start_raw_echo(address)).transpose()?;
    let is_over = announce(args, address, interrupt)?;
    let mut server = Server { interface, driver, address, raw_port, counts: MessageCounts::default() };
    server.run(&*is_over);
    if !args.child {
        output::note(traffic::report(&server.interface.statistics(), false));
    }
    server.interface.disconnect();
    Ok(Exit::Done)
}

/// Prints the address, and returns a function that tells whether to end. A child ignores Ctrl-C, which a terminal sends
/// to both processes, because its parent has a last question.
fn announce(
    args: &Args,
    address: SocketAddr,
    interrupt: Interrupt,
) -> Result<Box<dyn Fn() -> bool>, Failure> {
    if !args.child {
        output::note_of_start(format_args!("listening on {address}"));
        return Ok(Box::new(move || interrupt.is_asked()));
    }
    output::data(&format!("{address}\n"))?;
    let is_closed = Arc::new(AtomicBool::new(false));
    let closed = Arc::clone(&is_closed);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        closed.store(true, Ordering::Relaxed);
    });
    Ok(Box::new(move || is_closed.load(Ordering::Relaxed)))
}

/// The size of the buffer for one datagram, in bytes. No datagram is longer.
const LONGEST: usize = 65_535;

/// Opens a raw socket on another port and starts a thread that sends every datagram back. The thread ends with the
/// process.
fn start_raw_echo(address: SocketAddr) -> Result<u16, Failure> {
    let failed =
        |error: std::io::Error| Failure::failed(format!("cannot open a socket for --baseline: {error}"));
    let socket = UdpSocket::bind((address.ip(), 0)).map_err(failed)?;
    let port = socket.local_addr().map_err(failed)?.port();
    let mut datagram = vec![0; LONGEST];
    std::thread::spawn(move || {
        loop {
            // Errors reported for earlier datagrams and answers that cannot be sent are ignored. The other end counts
            // them as lost.
            if let Ok((length, from)) = socket.recv_from(&mut datagram) {
                let _ = socket.send_to(&datagram[..length], from);
            }
        }
    });
    Ok(port)
}

/// Sends a message back if it is one to be sent back. One that answers another message is not: two programs that send everything back
/// would do that for ever.
fn send_back(interface: &UdpInterface, message: &Message) {
    if message.message_type() == ECHOED
        && message.correlation_id().is_none()
        && let Ok(payload) = Payload::encoded(message.content_type(), message.payload())
    {
        // If it cannot be sent, the other end counts it as lost.
        let _ = interface.reply(message, &payload, &Metadata::new(ECHOED));
    }
}

struct Server {
    interface: UdpInterface,
    /// `None` if the interface has a driver thread.
    driver: Option<Driver>,
    address: SocketAddr,
    raw_port: Option<u16>,
    counts: MessageCounts,
}

impl Server {
    fn run(&mut self, is_over: &dyn Fn() -> bool) {
        while !is_over() {
            let counts = &mut self.counts;
            match &mut self.driver {
                Some(driver) => drop(driver.turn_with(Some(LOOK_EVERY), &mut |message| {
                    counts.see(message.message_type(), message.peer(), message.message_id());
                })),
                None => {
                    if let Ok(message) = self.interface.receive(Some(LOOK_EVERY)) {
                        counts.see(message.message_type(), message.peer(), message.message_id());
                        send_back(&self.interface, &message);
                    }
                }
            }
            counts.turned(Instant::now());
            for (peer, question) in std::mem::take(&mut self.counts.questions) {
                self.answer(peer, question);
            }
        }
    }

    fn answer(&self, peer: PeerId, question: Id<'static>) {
        let statistics = self.interface.statistics();
        let quiet = self.counts.last_of(peer).map(|last| last.elapsed().as_micros());
        let drops = [&statistics.datagrams_dropped, &statistics.messages_dropped];
        let answer = Answer {
            messages: self.counts.of(peer),
            quiet_us: quiet.and_then(|us| u64::try_from(us).ok()),
            datagrams_lost: self.datagrams_lost(peer),
            kernel_drops: usage::kernel_drops(self.address),
            dropped: drops.into_iter().flat_map(Drops::iter).map(|(why, n)| (why.to_string(), n)).collect(),
            cpu_us: usage::cpu_us(),
            memory_bytes: usage::memory_bytes(),
            raw_port: self.raw_port,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        // If the answer cannot be sent, the peer asks again.
        let metadata = Metadata::new(ANSWER).correlation_id(question);
        let payload = serde_json::to_vec(&answer).expect("numbers and text are JSON");
        if let Ok(payload) = Payload::json_text(payload) {
            let _ = self.interface.publisher(metadata.clone()).to(peer).send(&payload);
        }
    }

    /// Returns the number of missing datagrams that are older than the newest one received. The question was sent after
    /// all of them, so a datagram that is missing now will hardly arrive.
    fn datagrams_lost(&self, peer: PeerId) -> Option<u64> {
        let config = self.interface.config();
        let is_numbered = config.wire != Some(Wire::Classic) || config.use_sequence != Some(false);
        let received = self.interface.peer(peer)?.received;
        is_numbered.then_some(received.lost + received.missing)
    }
}

/// The data messages of one peer.
struct PeerCount {
    peer: PeerId,
    count: u64,
    /// The end of the turn that brought the last message. `None` during the first such turn.
    last: Option<Instant>,
    /// Whether the current turn has brought a message.
    is_new: bool,
}

/// The data messages by peer, with the peer heard last in front, and the questions to answer.
#[derive(Default)]
struct MessageCounts {
    peers: Vec<PeerCount>,
    questions: Vec<(PeerId, Id<'static>)>,
}

impl MessageCounts {
    fn see(&mut self, message_type: MessageType, peer: PeerId, id: Id<'_>) {
        if message_type == COUNTED {
            self.count(peer);
        } else if message_type == QUESTION && self.questions.len() < QUESTIONS {
            self.questions.push((peer, id.into_owned()));
        }
    }

    fn count(&mut self, peer: PeerId) {
        if self.peers.first().is_none_or(|first| first.peer != peer) {
            let count = self.of(peer);
            self.peers.retain(|other| other.peer != peer);
            self.peers.truncate(PEERS - 1);
            self.peers.insert(0, PeerCount { peer, count, last: None, is_new: true });
        }
        self.peers[0].count += 1;
        self.peers[0].is_new = true;
    }

    /// Records that a turn ended at `now`. Reading the clock for each message would cost a tenth of the measured rate.
    fn turned(&mut self, now: Instant) {
        for counted in self.peers.iter_mut().filter(|counted| counted.is_new) {
            (counted.last, counted.is_new) = (Some(now), false);
        }
    }

    fn find(&self, peer: PeerId) -> Option<&PeerCount> {
        self.peers.iter().find(|counted| counted.peer == peer)
    }

    fn of(&self, peer: PeerId) -> u64 {
        self.find(peer).map_or(0, |counted| counted.count)
    }

    fn last_of(&self, peer: PeerId) -> Option<Instant> {
        self.find(peer)?.last
    }
}
