//! The examples of docs/safety.md do what the page says: started in either order, after a trip, and beside strangers.

#![allow(clippy::print_stderr)] // as the examples of the page

mod common;

use std::error::Error;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::{address, client, until};
use tautline::{
    Config, DropReason, Handler, MessageType, Metadata, Profile, Qos, UdpInterface, Watchdog, WatchdogChange,
    WatchdogState, create_udp_client, create_udp_server,
};

include!("safety/plant.rs");
include!("safety/plant_with_panel.rs");
include!("safety/controller.rs");

const MS: Duration = Duration::from_millis(1);

#[test]
fn the_page_shows_what_is_tested_here() {
    let page = include_str!("../../docs/safety.md");
    for example in [
        include_str!("safety/plant.rs"),
        include_str!("safety/plant_with_panel.rs"),
        include_str!("safety/controller.rs"),
    ] {
        assert!(page.contains(example.trim()), "docs/safety.md does not have this example:\n{example}");
    }
}

/// Sends a command every millisecond, if the link is there, until it is stopped.
struct Stream {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Stream {
    fn start(from: &UdpInterface) -> Self {
        let (from, is_over) = (from.clone(), Arc::new(AtomicBool::new(false)));
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                // Before the server is there, sending is refused.
                let _ = from.send(&0.5, &Metadata::command());
                thread::sleep(MS);
            }
        });
        Self { is_over, thread }
    }

    fn stop(self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.join().expect("no panic");
    }
}

/// A plant's example.
type StartPlant = fn(&str) -> Result<(UdpInterface, Arc<AtomicBool>), Box<dyn Error>>;

/// Plays the page's scene with this plant. `reset` resets it.
fn play(start_plant: StartPlant, plant_is_first: bool, reset: fn(&UdpInterface)) {
    let free = UdpSocket::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").to_string();
    let early = plant_is_first.then(|| start_plant(&free).expect("a free port"));
    let (controller, states_come) = controller(&free).expect("possible");
    let stream = Stream::start(&controller);
    thread::sleep(20 * MS);
    let (plant, motor_may_run) = early.unwrap_or_else(|| start_plant(&free).expect("the port is free again"));
    plant.register_message_handler(
        MessageType::Command,
        Handler::inline(|_, reply| _ = reply.send(&1, &Metadata::status())),
    );
    let runs = || motor_may_run.load(Ordering::SeqCst);
    // This machine may pause for longer than 20 ms. Then somebody must reset, as the page says.
    let runs_in_the_end = || {
        until("the motor runs under live commands, and the controller sees states", || {
            if plant.statistics().messages_dropped.of(DropReason::Latched) > 0 && !runs() {
                reset(&plant);
            }
            runs() && states_come.load(Ordering::SeqCst)
        });
    };
    runs_in_the_end();

    stream.stop();
    until("the motor stops without commands", || !runs());
    until("the controller sees that states have stopped", || !states_come.load(Ordering::SeqCst));
    let strangers: Vec<_> = (0..2).map(|_| client(Config::client(address(&plant)))).collect();
    let streams: Vec<_> = strangers.iter().chain([&controller]).map(Stream::start).collect();
    for _ in 0..50 {
        assert!(!runs(), "nobody's commands start it again");
        thread::sleep(MS);
    }
    streams.into_iter().for_each(Stream::stop);
    drop(strangers);
    assert!(plant.statistics().messages_dropped.of(DropReason::Latched) > 0);

    let stream = Stream::start(&controller);
    reset(&plant);
    runs_in_the_end();
    stream.stop();
}

#[test]
fn the_plant_of_the_profile_stops_until_it_is_reset() {
    for plant_is_first in [true, false] {
        play(plant, plant_is_first, |plant| _ = plant.reset_all());
    }
}

#[test]
fn the_plant_with_a_panel_stops_until_the_panel_resets_it() {
    let reset = |plant: &UdpInterface| {
        let panel = client(Config::client(address(plant)).name("panel"));
        let _ = panel.send("go on", &Metadata::configuration());
        // It may be older than a trip that comes meanwhile. Then `play` asks again.
        thread::sleep(5 * MS);
    };
    for plant_is_first in [true, false] {
        play(plant_with_panel, plant_is_first, reset);
    }
}
