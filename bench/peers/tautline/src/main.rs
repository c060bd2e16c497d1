//! tautline, with everything on that is on by default: CRC, sequence numbers, windows, statistics, heartbeats.
//!
//! | mode | server | client |
//! |---|---|---|
//! | `caller-driven` | its loop is the driver, blocking wait | likewise |
//! | `spinning` | as `caller-driven`, never waiting | likewise |
//! | `inline` | driver thread, inline handler answers | caller-driven |
//! | `threads` | driver thread, inline handler answers | driver thread; the message is handed over to `receive` |
//! | `classic` | as `caller-driven`, on the JSON wire of the Python module | likewise |

use std::convert::Infallible;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use method::{ANSWER_TIMEOUT, Count, Latency, Outcome, Peer, Ready, Throughput};
use tautline::{
    Config, Driver, Handler, MessageRef, MessageType, Metadata, Payload, Reply, SendError, UdpInterface, Wire,
};

struct Tautline;

fn main() -> ExitCode {
    method::main::<Tautline>()
}

impl Peer for Tautline {
    fn echo(mode: &str, ready: Ready) -> Outcome<Infallible> {
        let answer = |message: &MessageRef<'_>, reply: &Reply| {
            // An answer that cannot be sent is a lost one, and seen as such by the client.
            let _ = Payload::encoded(message.content_type, message.payload)
                .map(|payload| reply.send_payload(&payload, &Metadata::status()));
        };
        serve(Mode::parse(mode)?, ready, Handler::inline(answer))
    }

    fn sink(mode: &str, ready: Ready, received: &'static Count) -> Outcome<Infallible> {
        serve(
            Mode::parse(mode)?,
            ready,
            Handler::inline(move |_: &MessageRef<'_>, _: &Reply| received.add(1)),
        )
    }

    fn latency(mode: &str, to: &str, run: &mut Latency) -> Outcome<()> {
        let mode = Mode::parse(mode)?;
        let mut client = Client::connect(mode, to)?;
        while let Some(message) = run.next() {
            client.interface.send_payload(&mode.payload(message)?, &Metadata::command())?;
            let give_up_at = Instant::now() + ANSWER_TIMEOUT;
            while !client.receive(mode, give_up_at, run) {
                if Instant::now() >= give_up_at {
                    run.lost();
                    break;
                }
            }
        }
        Ok(())
    }

    fn throughput(mode: &str, to: &str, run: &mut Throughput) -> Outcome<()> {
        let mode = Mode::parse(mode)?;
        let mut client = Client::connect(mode, to)?;
        let payload = mode.payload(run.message())?;
        while run.more() {
            match client.interface.send_payload(&payload, &Metadata::command()) {
                Ok(_) => {}
                Err(SendError::Busy) => run.refused(),
                Err(error) => return Err(error.into()),
            }
        }
        client.turn(Duration::ZERO);
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    CallerDriven,
    Spinning,
    Inline,
    Threads,
    Classic,
}

impl Mode {
    fn parse(text: &str) -> Outcome<Self> {
        Ok(match text {
            "caller-driven" => Self::CallerDriven,
            "spinning" => Self::Spinning,
            "inline" => Self::Inline,
            "threads" => Self::Threads,
            "classic" => Self::Classic,
            other => return Err(format!("{other}: no mode of tautline").into()),
        })
    }

    fn configure(self, config: Config) -> Config {
        // Nothing waits in an inbox, except where that is what is measured.
        let config = if self == Self::Threads { config } else { config.inbox_capacity(0) };
        config.wire(if self == Self::Classic { Wire::Classic } else { Wire::Native })
    }

    fn payload(self, message: &[u8]) -> Outcome<Payload> {
        if self != Self::Classic {
            return Ok(Payload::raw(message));
        }
        Ok(Payload::json(std::str::from_utf8(message)?)?)
    }

    /// What the other end was given to send.
    fn content(self, payload: &[u8]) -> &[u8] {
        match payload {
            [b'"', content @ .., b'"'] if self == Self::Classic => content,
            content => content,
        }
    }

    /// How long a turn waits, at most.
    fn wait(self, most: Duration) -> Duration {
        if self == Self::Spinning { Duration::ZERO } else { most }
    }
}

fn serve(mode: Mode, ready: Ready, handler: Handler) -> Outcome<Infallible> {
    let config = mode.configure(Config::server("127.0.0.1:0").name("server"));
    if matches!(mode, Mode::Inline | Mode::Threads) {
        let interface = UdpInterface::new(config)?;
        interface.register_message_handler(MessageType::Command, handler);
        interface.connect()?;
        ready.at(interface.local_address().ok_or("not connected")?);
        loop {
            std::thread::park();
        }
    }
    let (interface, mut driver) = UdpInterface::caller_driven(config)?;
    interface.register_message_handler(MessageType::Command, handler);
    driver.connect()?;
    ready.at(interface.local_address().ok_or("not connected")?);
    loop {
        driver.turn(mode.wait(Duration::MAX));
    }
}

struct Client {
    interface: UdpInterface,
    /// `None`: it has a thread.
    driver: Option<Driver>,
}

impl Client {
    fn connect(mode: Mode, to: &str) -> Outcome<Self> {
        let config = mode.configure(Config::client(to).name("client"));
        if mode == Mode::Threads {
            let interface = UdpInterface::new(config)?;
            interface.connect()?;
            return Ok(Self { interface, driver: None });
        }
        let (interface, mut driver) = UdpInterface::caller_driven(config)?;
        driver.connect()?;
        Ok(Self { interface, driver: Some(driver) })
    }

    fn turn(&mut self, wait: Duration) {
        if let Some(driver) = &mut self.driver {
            driver.turn(wait);
        }
    }

    /// Waits for what comes next. Whether it was the answer.
    fn receive(&mut self, mode: Mode, until: Instant, run: &mut Latency) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        let Some(driver) = &mut self.driver else {
            let message = self.interface.receive(Some(left));
            return message.is_ok_and(|message| run.answer(mode.content(message.payload())));
        };
        let mut answered = false;
        driver.turn_with(mode.wait(left), &mut |message, _| {
            answered |= run.answer(mode.content(message.payload));
        });
        answered
    }
}
