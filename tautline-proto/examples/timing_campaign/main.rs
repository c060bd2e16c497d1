//! Looks for a time that depends on how much of a forged tag is right (dudect: Reparaz, Balasch, Verbauwhede, 2017).
//!
//! ```text
//! cargo run --release -p tautline-proto --features secure --example timing_campaign -- [SAMPLES]
//! ```
//!
//! A server gets datagrams of one session whose tags are wrong: in the first byte, or in the last one alone. The two kinds come in
//! random order, and each is timed. Welch's t says whether one kind takes longer: beyond 10 there is no doubt, below 4.5 nothing was
//! found. A comparison that stops at the first difference is measured in the same way, to show that the measurement sees one.
//!
//! The exit code is 1 if the server's times differ, or if nothing is seen of the comparison that stops. Busy machines need more
//! samples (300,000 by default).
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for a terminal

#[path = "../mutation_campaign/mutate.rs"]
#[allow(dead_code)] // only the generator is used
mod mutate;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use mutate::Rng;
use support::{Node, Packet, address, at, config, settle};
use tautline_proto::DropReason;
use tautline_proto::endpoint::{Role, WireFormat};
use tautline_proto::secure::{Key, Keys};

const TAG_LEN: usize = 16;

/// Beyond this, times differ.
const NO_DOUBT: f64 = 10.0;

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    let Ok(samples) = argument.as_deref().unwrap_or("300000").parse() else {
        eprintln!("usage: timing_campaign [SAMPLES]");
        return ExitCode::from(2);
    };
    let opening = opening(samples);
    let stopping = stopping(samples);
    println!("opening a datagram with a wrong tag        t = {opening:8.2}  ({samples} samples)");
    println!("a comparison that stops at a difference    t = {stopping:8.2}");
    match opening.abs() < NO_DOUBT && stopping.abs() > NO_DOUBT {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// The times of two kinds of the same act, in nanoseconds.
type Times = [Vec<f64>; 2];

/// Times a server that drops forged datagrams.
fn opening(samples: usize) -> f64 {
    let secured = |role, port, seed| {
        let mut config = config(role, WireFormat::Native);
        config.security = Some(Keys::shared(Key::from_bytes([1; 32])));
        Node::new(port, config, seed)
    };
    let (mut server, mut client) = (secured(Role::Server, 9000, 1), secured(Role::Client, 5000, 2));
    client.dial(address(9000), at(0));
    settle(&mut [&mut client, &mut server], at(0));
    client.send(&[b'1'; 64], at(1));
    let packet = client.sent.pop_front().expect("a sealed datagram");
    let tag_at = packet.bytes.len() - TAG_LEN;
    let forged = [tag_at, packet.bytes.len() - 1].map(|wrong| {
        let mut bytes = packet.bytes.clone();
        bytes[wrong] ^= 0xff;
        Packet { bytes, ..packet.clone() }
    });
    let mut scratch = Vec::new();
    let times = measure(samples, |kind| {
        let packet = &forged[kind];
        let begun = Instant::now();
        let accepted = server.inbound.handle(at(1), packet.from, &packet.bytes, &mut scratch).is_some();
        let took = begun.elapsed();
        assert!(!accepted, "it is a forgery");
        while server.inbound.poll_event(at(1)).is_some() {}
        took.as_nanos() as f64
    });
    let dropped = server.inbound.counters().snapshot().datagrams_dropped.of(DropReason::BadTag);
    assert_eq!(dropped, samples as u64, "each was opened");
    welch(times)
}

/// Times a comparison that does what must not be done.
fn stopping(samples: usize) -> f64 {
    let right = [7u8; TAG_LEN];
    let forged = [0, TAG_LEN - 1].map(|wrong| {
        let mut tag = right;
        tag[wrong] ^= 0xff;
        tag
    });
    welch(measure(samples, |kind| {
        let begun = Instant::now();
        // Some rounds, so that the clock sees it.
        for _ in 0..20 {
            black_box(black_box(&right).iter().zip(black_box(&forged[kind])).all(|(a, b)| black_box(a) == b));
        }
        begun.elapsed().as_nanos() as f64
    }))
}

/// Calls `act` for one of two kinds at a time, in random order.
fn measure(samples: usize, mut act: impl FnMut(usize) -> f64) -> Times {
    let (mut rng, mut times) = (Rng::new(1), Times::default());
    for _ in 0..samples {
        let kind = rng.below(2);
        let took = act(kind);
        times[kind].push(took);
    }
    times
}

/// Welch's t of two samples, without the longest fifth of both together.
fn welch(times: Times) -> f64 {
    let mut all: Vec<f64> = times.iter().flatten().copied().collect();
    all.sort_unstable_by(f64::total_cmp);
    // The rest was made by interrupts and other programs.
    let longest = all[all.len() / 5 * 4];
    let [a, b] = times.map(|times| {
        let kept: Vec<f64> = times.into_iter().filter(|&time| time <= longest).collect();
        let count = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / count;
        let variance = kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    (a.0 - b.0) / (a.1 + b.1).sqrt()
}
