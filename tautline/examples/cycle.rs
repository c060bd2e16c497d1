//! Two control loops with clocks of their own: the plant follows the controller, so each cycle uses exactly one command.
//!
//! The controller's period is longer by 500 ppm, as if its clock ran slower. Without `follow`, the plant would use a command
//! twice every two seconds.
//!
//! `cargo run -p tautline --example cycle`
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tautline::{
    Config, Cycle, LockState, MessageType, Metadata, UdpInterface, create_udp_client, create_udp_server,
};

/// The period of both loops.
const PERIOD: Duration = Duration::from_millis(2);

/// How long after a command's time stamp the plant uses it: the middle between two commands.
const OFFSET: Duration = Duration::from_millis(1);

/// Runs the example.
pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let plant = create_udp_server(Config::server("127.0.0.1:0").name("plant"))?;
    plant.connect()?;
    let address = plant.local_address().ok_or("the server is not connected")?;
    let controller = create_udp_client(Config::client(address).name("controller"))?;
    controller.connect()?;

    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let controller = thread::spawn(move || send_commands(&controller, &over));
    let ran = run_plant(&plant);
    is_over.store(true, Ordering::SeqCst);
    controller.join().expect("the controller does not panic");
    ran
}

/// The controller: a command in each cycle.
fn send_commands(controller: &UdpInterface, is_over: &AtomicBool) {
    let mut cycle = Cycle::every(PERIOD + PERIOD / 2_000).expect("a possible period");
    let commands = controller.publisher(Metadata::command());
    while !is_over.load(Ordering::SeqCst) {
        let wake = cycle.wait();
        // The time stamp is that of the deadline, so that this loop's own lateness does not disturb the one that follows.
        if commands.made_at(wake.deadline).send(&wake.number).is_err() {
            return;
        }
    }
}

/// The plant: one command in each cycle, at the same time after it was made.
fn run_plant(plant: &UdpInterface) -> Result<(), Box<dyn Error>> {
    let mut cycle = Cycle::every(PERIOD)?;
    cycle.follow(plant, MessageType::Command, OFFSET);
    let (mut used, mut doubled) = (0, 0);
    for _ in 0..1_000 {
        cycle.wait();
        let mut newest = None;
        while let Ok(command) = plant.receive(Some(Duration::ZERO)) {
            newest = Some(command.decode::<u64>()?);
        }
        let is_locked = cycle.following().is_some_and(|following| following.state == LockState::Locked);
        used += u32::from(is_locked && newest.is_some());
        doubled += u32::from(is_locked && newest.is_none());
    }
    let following = cycle.following().ok_or("it follows the controller")?;
    let stats = cycle.stats();
    println!("{used} cycles had a new command, {doubled} had none");
    println!("the controller's period is longer by {:.0} ppm", following.rate_ppm);
    println!("{} wake-ups, {} late, {} cycles missed", stats.wakes, stats.late, stats.missed);
    Ok(())
}
