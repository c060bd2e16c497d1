//! Aeron over UDP. Each end starts its own media driver.
//!
//! | mode | media driver | client's conductor | the program's loop |
//! |---|---|---|---|
//! | `threads` | three threads (the default) | its own thread | polls, and backs off as Aeron does |
//! | `invoker` | called by the program's loop | called by the program's loop | never sleeps |

mod node;

use std::convert::Infallible;
use std::process::ExitCode;
use std::time::Instant;

use method::{ANSWER_TIMEOUT, Count, Latency, Outcome, Peer, Ready, Throughput};
use rusteron_client::AeronExclusivePublication;

use node::{Node, Ports};

/// The largest number of fragments per poll. Aeron's samples use 10, and its throughput samples use 256.
const FRAGMENTS: usize = 256;

struct Aeron;

fn main() -> ExitCode {
    method::main::<Aeron>()
}

impl Peer for Aeron {
    fn echo(mode: &str, ready: Ready) -> Outcome<Infallible> {
        let ports = Ports::free()?;
        let mut node = Node::start(mode)?;
        let pings = node.subscribe(ports.there)?;
        let pongs = node.publish(ports.back)?;
        ready.then(node.cleaning()).at(ports);
        loop {
            // If an answer cannot be sent, the client counts its message as lost.
            let answer = |message: &[u8], _| drop(pongs.offer(message));
            let fragments = pings.poll_fn(answer, FRAGMENTS)?;
            node.work(fragments)?;
        }
    }

    fn sink(mode: &str, ready: Ready, received: &'static Count) -> Outcome<Infallible> {
        let ports = Ports::free()?;
        let mut node = Node::start(mode)?;
        let messages = node.subscribe(ports.there)?;
        ready.then(node.cleaning()).at(ports);
        loop {
            let fragments = messages.poll_fn(|_, _| received.add(1), FRAGMENTS)?;
            node.work(fragments)?;
        }
    }

    fn latency(mode: &str, to: &str, run: &mut Latency) -> Outcome<()> {
        let ports: Ports = to.parse()?;
        let mut node = Node::start(mode)?;
        let pongs = node.subscribe(ports.back)?;
        let pings = node.publish(ports.there)?;
        node.until("no connection", || (pings.is_connected() && pongs.is_connected()).then_some(()))?;
        while let Some(message) = run.next() {
            send(&mut node, &pings, message)?;
            let give_up_at = Instant::now() + ANSWER_TIMEOUT;
            let mut answered = false;
            while !answered {
                let fragments = pongs.poll_fn(|answer, _| answered |= run.answer(answer), FRAGMENTS)?;
                if fragments == 0 && Instant::now() >= give_up_at {
                    run.lost();
                    break;
                }
                if !answered {
                    node.work(fragments)?;
                }
            }
        }
        Ok(())
    }

    fn throughput(mode: &str, to: &str, run: &mut Throughput) -> Outcome<()> {
        let ports: Ports = to.parse()?;
        let mut node = Node::start(mode)?;
        let publication = node.publish(ports.there)?;
        node.until("no connection", || publication.is_connected().then_some(()))?;
        let message = run.message().to_vec();
        while run.more() {
            send(&mut node, &publication, &message)?;
        }
        node.linger()
    }
}

/// Sends a message. It waits for room, because Aeron is flow controlled.
fn send(node: &mut Node, publication: &AeronExclusivePublication, message: &[u8]) -> Outcome<()> {
    loop {
        match publication.offer(message) {
            Ok(_) => return node.sent(),
            Err(error) if error.is_retryable() => node.work(0)?,
            Err(error) => return Err(error.into()),
        }
    }
}
