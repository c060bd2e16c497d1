//! Zenoh: two peers with one link between them, without router and scouting. It has default settings except for the
//! congestion control, which waits for room, as in Zenoh's throughput example.
//!
//! Modes: `tcp` and `udp`, the transport of the link.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use method::{ANSWER_TIMEOUT, Count, Latency, Outcome, Peer, Ready, Throughput};
use zenoh::bytes::ZBytes;
use zenoh::pubsub::Publisher;
use zenoh::qos::CongestionControl;
use zenoh::sample::Sample;
use zenoh::{Config, Session, Wait};

const THERE: &str = "bench/there";
const BACK: &str = "bench/back";

/// How long the two peers may take to discover each other.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// How long the session stays open after the last message, so that messages in flight arrive.
const LINGER: Duration = Duration::from_millis(200);

struct Zenoh;

fn main() -> ExitCode {
    method::main::<Zenoh>()
}

impl Peer for Zenoh {
    fn echo(mode: &str, ready: Ready) -> Outcome<Infallible> {
        let (session, address) = listen(mode)?;
        let publisher = publisher(&session, BACK)?;
        // If an answer cannot be sent, the client counts its message as lost.
        let answer = move |sample: Sample| drop(publisher.put(sample.payload().clone()).wait());
        let _subscriber = session.declare_subscriber(THERE).callback(answer).wait().done()?;
        serve(ready, address)
    }

    fn sink(mode: &str, ready: Ready, received: &'static Count) -> Outcome<Infallible> {
        let (session, address) = listen(mode)?;
        let count = move |_: Sample| received.add(1);
        let _subscriber = session.declare_subscriber(THERE).callback(count).wait().done()?;
        serve(ready, address)
    }

    fn latency(_: &str, to: &str, run: &mut Latency) -> Outcome<()> {
        let session = connect(to)?;
        let answers = session.declare_subscriber(BACK).wait().done()?;
        let publisher = publisher(&session, THERE)?;
        wait_for_the_other(&publisher)?;
        while let Some(message) = run.next() {
            publisher.put(message).wait().done()?;
            let give_up_at = Instant::now() + ANSWER_TIMEOUT;
            loop {
                match answers.recv_deadline(give_up_at).done()? {
                    Some(sample) if run.answer(&sample.payload().to_bytes()) => break,
                    Some(_) => {}
                    None => {
                        run.lost();
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn throughput(_: &str, to: &str, run: &mut Throughput) -> Outcome<()> {
        let session = connect(to)?;
        let publisher = publisher(&session, THERE)?;
        wait_for_the_other(&publisher)?;
        let message = ZBytes::from(run.message());
        while run.more() {
            publisher.put(message.clone()).wait().done()?;
        }
        std::thread::sleep(LINGER);
        Ok(())
    }
}

fn serve(ready: Ready, address: String) -> Outcome<Infallible> {
    ready.at(address);
    loop {
        std::thread::park();
    }
}

/// Opens a session on a port that was free a moment ago, because Zenoh needs to know the port.
fn listen(mode: &str) -> Outcome<(Session, String)> {
    let free = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?.local_addr()?;
    let address = match mode {
        "tcp" | "udp" => format!("{mode}/{free}"),
        other => return Err(format!("{other}: the modes are tcp and udp").into()),
    };
    Ok((open("listen", &address)?, address))
}

fn connect(to: &str) -> Outcome<Session> {
    open("connect", to)
}

/// Opens a session. `verb` is listen or connect. The other list of endpoints is empty.
fn open(verb: &str, address: &str) -> Outcome<Session> {
    let mut config = Config::default();
    config.insert_json5("mode", "\"peer\"").done()?;
    config.insert_json5("listen/endpoints", "[]").done()?;
    config.insert_json5(&format!("{verb}/endpoints"), &format!("[\"{address}\"]")).done()?;
    config.insert_json5("scouting/multicast/enabled", "false").done()?;
    config.insert_json5("scouting/gossip/enabled", "false").done()?;
    zenoh::open(config).wait().done()
}

fn publisher(session: &Session, key: &'static str) -> Outcome<Publisher<'static>> {
    session.declare_publisher(key).congestion_control(CongestionControl::Block).wait().done()
}

/// Waits until the subscription of the other end is known here.
fn wait_for_the_other(publisher: &Publisher<'_>) -> Outcome<()> {
    let give_up_at = Instant::now() + TIME_LIMIT;
    while !publisher.matching_status().wait().done()?.matching() {
        if Instant::now() >= give_up_at {
            return Err("the other end has not subscribed".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Converts Zenoh's errors, which are `Send`, because `?` does not convert them into plain boxed errors.
trait Done<T> {
    fn done(self) -> Outcome<T>;
}

impl<T> Done<T> for zenoh::Result<T> {
    fn done(self) -> Outcome<T> {
        self.map_err(|error| error as Box<dyn std::error::Error>)
    }
}
