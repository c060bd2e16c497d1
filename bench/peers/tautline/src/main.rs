//! tautline with its default features: CRC, sequence numbers, windows, statistics and heartbeats.
//!
//! The modes are in `modes.rs`, and `reliable.rs` has those of reliable messages.

mod many;
mod modes;
mod reliable;
mod sending;

use std::convert::Infallible;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use method::{ANSWER_TIMEOUT, Count, Latency, Outcome, Peer, Ready, Throughput};
use tautline::{
    Config, ContentType, Driver, Handler, MessageRef, MessageType, Metadata, Payload, Raw, Reply,
    UdpInterface,
};

use modes::{Mode, Side};

/// How long the connection stays open after the last message, so that the driver thread sends the backlog.
const LINGER: Duration = Duration::from_millis(50);

struct Tautline;

fn main() -> ExitCode {
    method::main::<Tautline>()
}

impl Peer for Tautline {
    fn echo(mode: &str, ready: Ready) -> Outcome<Infallible> {
        // If an answer cannot be sent, the client counts its message as lost.
        let answer = |message: &MessageRef<'_>, reply: &Reply| match message.content_type() {
            ContentType::Raw => drop(reply.send(Raw(message.payload()), &Metadata::status())),
            other => drop(
                Payload::encoded(other, message.payload())
                    .map(|payload| reply.send(&payload, &Metadata::status())),
            ),
        };
        let mode = Mode::parse(mode)?;
        if let Side::Receive(_) = mode.server {
            let server = open(mode, None, ready)?;
            loop {
                let message = server.receive(None)?;
                let _ = server.reply(&message, Raw(message.payload()), &Metadata::status());
            }
        }
        serve(mode, ready, Handler::inline(answer))
    }

    fn sink(mode: &str, ready: Ready, received: &'static Count) -> Outcome<Infallible> {
        if reliable::is_mode(mode) {
            return reliable::sink(mode, ready, received);
        }
        let mode = Mode::parse(mode)?;
        if let Side::Receive(most) = mode.server {
            let server = open(mode, None, ready)?;
            let mut messages = Vec::new();
            loop {
                if most == 1 {
                    drop(server.receive(None)?);
                    received.add(1);
                } else {
                    received.add(server.receive_many(&mut messages, most, None)? as u64);
                    messages.clear();
                }
            }
        }
        if mode.window.is_some() || mode.is_sized {
            return serve(mode, ready, sending::counting_aloud(received, mode.window));
        }
        serve(mode, ready, Handler::inline(move |_: &MessageRef<'_>, _: &Reply| received.add(1)))
    }

    fn latency(mode: &str, to: &str, run: &mut Latency) -> Outcome<()> {
        let mode = Mode::parse(mode)?;
        let mut client = Client::connect(mode, to)?;
        while let Some(message) = run.next() {
            mode.send(&client.interface, message)?;
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
        if reliable::is_mode(mode) {
            return reliable::throughput(mode, to, run);
        }
        let mode = Mode::parse(mode)?;
        if let Some(clients) = mode.clients {
            let mut clients = many::connect(mode, to, clients)?;
            let send = if mode.is_idle { many::stay_idle } else { many::send_in_turn };
            return send(mode, &mut clients, run);
        }
        if mode.is_connecting {
            return sending::connecting(mode, to, run);
        }
        let mut client = Client::connect(mode, to)?;
        let payload = mode.payload(run.message())?;
        match mode.window {
            None if mode.is_sized => sending::sized(&client.interface, &payload, run),
            Some(window) => sending::windowed(&mut client, window, mode.batch, &payload, run),
            None if mode.threads > 1 => run.in_threads(mode.threads, |part| {
                sending::flood(&client.interface, &payload, part).map_err(|error| error.to_string())
            }),
            None if mode.batch > 1 => sending::batches(&client.interface, mode.batch, &payload, run),
            None => sending::flood(&client.interface, &payload, run),
        }?;
        client.interface.flush();
        client.turn(Duration::ZERO);
        if mode.client == Side::Thread {
            // The driver thread sends the backlog that the sending threads have left.
            std::thread::sleep(LINGER);
        }
        Ok(())
    }
}

/// Opens a server with a driver thread.
fn open(mode: Mode, handler: Option<Handler>, ready: Ready) -> Outcome<UdpInterface> {
    let interface = UdpInterface::new(mode.configure(Config::server("127.0.0.1:0").name("server")))?;
    if let Some(handler) = handler {
        interface.register_message_handler(MessageType::Command, handler);
    }
    interface.connect()?;
    ready.at(interface.local_address().ok_or("not connected")?);
    Ok(interface)
}

fn serve(mode: Mode, ready: Ready, handler: Handler) -> Outcome<Infallible> {
    if mode.server != Side::Loop {
        let _interface = open(mode, Some(handler), ready)?;
        loop {
            std::thread::park();
        }
    }
    let config = mode.configure(Config::server("127.0.0.1:0").name("server"));
    let (interface, mut driver) = UdpInterface::caller_driven(config)?;
    interface.register_message_handler(MessageType::Command, handler);
    driver.connect()?;
    ready.at(interface.local_address().ok_or("not connected")?);
    loop {
        driver.turn(None);
    }
}

struct Client {
    interface: UdpInterface,
    /// `None` if the interface has a driver thread.
    driver: Option<Driver>,
}

impl Client {
    fn connect(mode: Mode, to: &str) -> Outcome<Self> {
        let config = mode.configure(Config::client(to).name("client"));
        if mode.client == Side::Thread {
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
            driver.turn(Some(wait));
        }
    }

    /// Waits for the next message. Returns whether it was the answer.
    fn receive(&mut self, mode: Mode, until: Instant, run: &mut Latency) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        let Some(driver) = &mut self.driver else {
            let message = self.interface.receive(Some(left));
            return message.is_ok_and(|message| run.answer(mode.content(message.payload())));
        };
        let mut answered = false;
        driver.turn_with(Some(left), &mut |message| {
            answered |= run.answer(mode.content(message.payload()));
        });
        answered
    }
}
