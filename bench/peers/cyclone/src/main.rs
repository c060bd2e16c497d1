//! Cyclone DDS with the crate `cyclors`, which builds the C library. It is reliable and keeps all samples, as in the
//! library's `ddsperf`; samples are opaque bytes. Throughput runs write in batches, as `ddsperf` does.
//!
//! Discovery uses 127.0.0.1 only, without multicast. Each server has its own domain, which serves as its address.

mod dds;

use std::convert::Infallible;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use method::{ANSWER_TIMEOUT, Count, Latency, Outcome, Peer, Ready, Throughput};

use dds::{Participant, Reader, Writer};

const THERE: &str = "there";
const BACK: &str = "back";

/// How long the two ends may take to discover each other.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// How long the participant stays after the last message, so that messages in flight arrive.
const LINGER: Duration = Duration::from_millis(200);

/// A wait that is longer than any run.
const LONG: Duration = Duration::from_secs(3600);

/// The number of domains to choose from. Cyclone uses 250 ports per domain, and there are 65,536 ports.
const DOMAINS: u32 = 230;

struct Cyclone;

fn main() -> ExitCode {
    method::main::<Cyclone>()
}

impl Peer for Cyclone {
    fn echo(_: &str, ready: Ready) -> Outcome<Infallible> {
        let domain = own_domain();
        let participant = Participant::join(domain)?;
        let (reader, writer) = (participant.reader(THERE)?, participant.writer(BACK, false)?);
        ready.at(domain);
        loop {
            if reader.wait(LONG)? {
                // If an answer cannot be sent, the client counts its message as lost.
                reader.take(|message| drop(writer.write(message)))?;
            }
        }
    }

    fn sink(_: &str, ready: Ready, received: &'static Count) -> Outcome<Infallible> {
        let domain = own_domain();
        let participant = Participant::join(domain)?;
        let reader = participant.reader(THERE)?;
        ready.at(domain);
        loop {
            if reader.wait(LONG)? {
                reader.take(|_| received.add(1))?;
            }
        }
    }

    fn latency(_: &str, to: &str, run: &mut Latency) -> Outcome<()> {
        let participant = Participant::join(to.parse()?)?;
        let (reader, writer) = (participant.reader(BACK)?, participant.writer(THERE, false)?);
        meet(&writer, Some(&reader))?;
        while let Some(message) = run.next() {
            writer.write(message)?;
            let give_up_at = Instant::now() + ANSWER_TIMEOUT;
            let mut answered = false;
            while !answered {
                if !reader.wait(give_up_at.saturating_duration_since(Instant::now()))? {
                    run.lost();
                    break;
                }
                reader.take(|answer| answered |= run.answer(answer))?;
            }
        }
        Ok(())
    }

    fn throughput(_: &str, to: &str, run: &mut Throughput) -> Outcome<()> {
        let participant = Participant::join(to.parse()?)?;
        let writer = participant.writer(THERE, true)?;
        meet(&writer, None)?;
        while run.more() {
            writer.write(run.message())?;
        }
        writer.flush()?;
        std::thread::sleep(LINGER);
        Ok(())
    }
}

fn own_domain() -> u32 {
    std::process::id() % DOMAINS
}

/// Waits until both ends have discovered each other.
fn meet(writer: &Writer, reader: Option<&Reader>) -> Outcome<()> {
    let give_up_at = Instant::now() + TIME_LIMIT;
    while !writer.is_matched()? || !reader.map_or(Ok(true), Reader::is_matched)? {
        if Instant::now() >= give_up_at {
            return Err("the other end was not found".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
