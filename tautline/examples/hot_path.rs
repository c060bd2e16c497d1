//! Runs the hot path only, so that its instructions can be counted. On a noisy machine, instructions show the effect of a
//! change more reliably than times.
//!
//! One thread drives both ends, over loopback. Only the rounds are counted, and not the connecting before them:
//!
//! ```text
//! RUSTFLAGS="--cfg rustix_use_libc" cargo build --release -p tautline --example hot_path
//! valgrind --tool=callgrind --toggle-collect='hot_path::Ends::stream' target/release/examples/hot_path stream 100
//! ```
//!
//! The flag is needed because valgrind hides the vDSO, through which rustix reads the clock otherwise.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tautline::{
    Config, Driver, Handler, MessageRef, MessageType, Metadata, Payload, Publisher, Raw, Reply, UdpInterface,
    WaitPolicy, create_udp_client, create_udp_server,
};

/// The size of a message in bytes, unless another is given.
const SIZE: usize = 64;

/// The most messages in a round of `stream` and `batch`: as many of 64 bytes as one system call can send.
const ROUND: usize = 720;

/// The most bytes in a round: what one system call can send.
const ROUND_BYTES: usize = 63_000;

/// The messages in a round of `reliable`. They are in flight together.
const RELIABLE_ROUND: usize = 64;

/// The largest packet, in bytes.
const MTU: usize = 1_500;

/// The memory of a black box. It is written over again and again, as in a black box that has been on for long.
const BLACK_BOX: &str = "1MiB";

/// The key of both ends, if they have one.
#[cfg(feature = "secure")]
const KEY: &str = "9WrBlXE1Lnifu/CoPxNTqd1PDY4gXbagRKW0UCnNZR0=";

/// The time-out of the waits, longer than any delay by the scheduler.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Runs the example with the program's arguments.
pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let (mut arguments, mut extras) = (Vec::new(), Extras::default());
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--key" => extras.key = true,
            "--black-box" => extras.black_box = true,
            "--record" => extras.record = true,
            _ => arguments.push(argument),
        }
    }
    let (way, rounds, size) = match &arguments[..] {
        [way, rounds] => (way, rounds, SIZE),
        [way, rounds, size] => (way, rounds, size.parse().map_err(|_| USAGE)?),
        _ => return Err(USAGE.into()),
    };
    println!("{} messages handled", run(way, rounds.parse().map_err(|_| USAGE)?, size, extras)?);
    Ok(())
}

const USAGE: &str = "hot_path WAY ROUNDS [BYTES] [--key] [--black-box] [--record]; the ways are stream and batch (720 \
    messages of 64 bytes a round, fewer of larger ones), reliable (64), echo (one) and receive (an echo between interfaces with threads that wait in receive)";

/// What both ends have beside the link.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extras {
    /// A key: the link is secured.
    pub(crate) key: bool,
    /// A black box for each end.
    pub(crate) black_box: bool,
    /// A recording of what each end receives.
    pub(crate) record: bool,
}

/// Runs the rounds with messages of `size` bytes. Returns the number of messages that the server has handled.
pub(crate) fn run(way: &str, rounds: usize, size: usize, extras: Extras) -> Result<u64, Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("tautline-hot-path-{}", std::process::id()));
    let result = run_in(&folder, way, rounds, size, extras);
    if extras.record {
        std::fs::remove_dir_all(folder)?;
    }
    result
}

fn run_in(
    folder: &Path,
    way: &str,
    rounds: usize,
    size: usize,
    extras: Extras,
) -> Result<u64, Box<dyn Error>> {
    let mut ends = Ends::connect(folder, size, extras)?;
    match way {
        "echo" => {}
        "receive" => ends.with_threads = Some(with_threads(folder, extras)?),
        _ => ends.find_path_size(),
    }
    for _ in 0..rounds {
        match way {
            "stream" => ends.stream()?,
            "batch" => ends.batch()?,
            "reliable" => ends.reliable()?,
            "echo" => ends.echo()?,
            "receive" => ends.receive()?,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(ends.handled.load(Ordering::Relaxed))
}

struct Ends {
    /// Dropping the last handle would end the connection.
    _server: UdpInterface,
    client: UdpInterface,
    data: Publisher,
    commands: Publisher,
    server_driver: Driver,
    client_driver: Driver,
    payload: Payload,
    payloads: Vec<Payload>,
    handled: Arc<AtomicU64>,
    /// Another server and client, whose drivers have threads.
    with_threads: Option<[UdpInterface; 2]>,
}

impl Ends {
    fn connect(folder: &Path, size: usize, extras: Extras) -> Result<Self, Box<dyn Error>> {
        let end = |config: Config| end(config, folder, extras);
        let (server, mut server_driver) = UdpInterface::caller_driven(end(Config::server("127.0.0.1:0")))?;
        let handled = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&handled);
        let answer = move |message: &MessageRef<'_>, reply: &Reply| {
            counter.fetch_add(1, Ordering::Relaxed);
            if message.message_type() == MessageType::Command {
                // If this fails, the client misses its answer and reports that.
                let _ = reply.send(Raw(message.payload()), &Metadata::status());
            }
        };
        server.register_message_handler(MessageType::Data, Handler::inline(answer.clone()));
        server.register_message_handler(MessageType::Command, Handler::inline(answer));
        server_driver.connect()?;
        let address = server.local_address().ok_or("the server is not connected")?;
        // This thread drives both ends, so connecting must not wait for the server.
        let config = end(Config::client(address))
            .coalescing_delay(Duration::from_millis(1))
            .connect_timeout(Duration::ZERO);
        let (client, mut client_driver) = UdpInterface::caller_driven(config)?;
        client_driver.connect()?;
        while client.peers().first().is_none_or(|server| server.name.is_empty()) {
            server_driver.turn(Some(Duration::ZERO));
            client_driver.turn(Some(Duration::ZERO));
        }
        let payload = Payload::raw(vec![7; size]);
        let payloads = vec![payload.clone(); ROUND.min(ROUND_BYTES / size.max(1))];
        let (data, commands) = (client.publisher(Metadata::data()), client.publisher(Metadata::command()));
        Ok(Self {
            _server: server,
            client,
            data,
            commands,
            server_driver,
            client_driver,
            payload,
            payloads,
            handled,
            with_threads: None,
        })
    }

    /// Turns until the size of the path is known: smaller datagrams hold fewer messages.
    fn find_path_size(&mut self) {
        while self.client.peers().first().is_none_or(|server| server.path_mtu() != Some(MTU)) {
            self.server_driver.turn(Some(Duration::from_millis(1)));
            self.client_driver.turn(Some(Duration::from_millis(1)));
        }
    }

    #[inline(never)]
    fn stream(&mut self) -> Result<(), Box<dyn Error>> {
        for payload in &self.payloads {
            self.data.send(payload)?;
        }
        self.client.flush();
        self.serve();
        Ok(())
    }

    #[inline(never)]
    fn reliable(&mut self) -> Result<(), Box<dyn Error>> {
        for _ in 0..RELIABLE_ROUND {
            self.data.send_reliable(&self.payload)?;
        }
        // Everything is acknowledged: a lost datagram would be sent again first.
        while self.client.statistics().deliveries.waiting > 0 {
            self.serve();
            self.client_driver.turn(Some(Duration::ZERO));
        }
        Ok(())
    }

    #[inline(never)]
    fn batch(&mut self) -> Result<(), Box<dyn Error>> {
        self.data.send_batch(&self.payloads)?;
        self.serve();
        Ok(())
    }

    #[inline(never)]
    fn echo(&mut self) -> Result<(), Box<dyn Error>> {
        self.commands.send(Raw(self.payload.bytes()))?;
        self.serve();
        let mut answers = 0;
        // A turn may bring a heartbeat first.
        while answers == 0 {
            if self.client_driver.turn_with(Some(TIME_LIMIT), &mut |_| answers += 1) == 0 {
                return Err("no answer came".into());
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn receive(&mut self) -> Result<(), Box<dyn Error>> {
        let [server, client] = self.with_threads.as_ref().ok_or(USAGE)?;
        client.send(Raw(self.payload.bytes()), &Metadata::command())?;
        let question = server.receive(Some(TIME_LIMIT))?;
        server.reply(&question, Raw(question.payload()), &Metadata::status())?;
        client.receive(Some(TIME_LIMIT))?;
        self.handled.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Hands out the messages that have arrived at the server.
    fn serve(&mut self) {
        while self.server_driver.turn(Some(Duration::ZERO)) > 0 {}
    }
}

/// Connects a server and a client with a driver's thread each.
fn with_threads(folder: &Path, extras: Extras) -> Result<[UdpInterface; 2], Box<dyn Error>> {
    let end = |config: Config| end(config, folder, extras).inbox_capacity(10);
    let server = create_udp_server(end(Config::server("127.0.0.1:0")))?;
    server.connect()?;
    let client =
        create_udp_client(end(Config::client(server.local_address().ok_or("the server is not connected")?)))?;
    client.connect()?;
    Ok([server, client])
}

/// Returns the configuration of both ends, with as little traffic beside the messages as possible.
fn end(mut config: Config, folder: &Path, extras: Extras) -> Config {
    #[cfg(feature = "secure")]
    if extras.key {
        config = config.key(KEY.parse().expect("base64"));
    }
    #[cfg(not(feature = "secure"))]
    assert!(!extras.key, "this build has no keys");
    if extras.black_box {
        config = config.black_box(BLACK_BOX);
    }
    if extras.record {
        config = config.record(folder.join("received.mcap"));
    }
    config.wait(WaitPolicy::Block).inbox_capacity(0).receive_buffer(8 << 20).mtu(MTU)
}
