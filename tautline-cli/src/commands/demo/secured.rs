//! `--secure`: a key that is made for the run, and what it costs, measured beside a plain link.

use std::time::{Duration, Instant};

use serde::Serialize;
use tautline::{Config, Metadata, Payload, SecretKey, UdpInterface, create_udp_client, create_udp_server};

use crate::tools::exit::Failure;
use crate::tools::latency::show_us;
use crate::tools::link::no_connection;

/// The runs of which the middle one counts.
const RUNS: usize = 9;

/// The messages that are sent in each run, one after the other.
const MESSAGES: u32 = 500;

/// How often a send is tried while the kernel's buffer is full, once a millisecond. On a busy machine, the other end may not have read
/// for a while.
const TRIES: u32 = 1_000;

/// The size of each message, in bytes.
const SIZE: usize = 64;

/// What the key of a run costs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Costs {
    fingerprint: String,
    plain: Measured,
    secured: Measured,
}

/// What one link took.
#[derive(Clone, Copy, Debug, Serialize)]
struct Measured {
    /// From the call of `connect` to the connection.
    connect_us: f64,
    /// One call of `send`.
    send_us: f64,
}

impl Costs {
    /// Measures a plain link and one with this key, over loopback.
    pub(super) fn measure(key: &SecretKey) -> Result<Self, Failure> {
        let plain = measure(&|config| config)?;
        let secured = measure(&|config| config.key(key.clone()))?;
        Ok(Self { fingerprint: key.fingerprint(), plain, secured })
    }

    /// Returns the lines of the summary.
    pub(super) fn lines(&self) -> [String; 2] {
        let Self { fingerprint, plain, secured } = self;
        let beside =
            |of: fn(&Measured) -> f64| format!("{} (plain {})", show_us(of(secured)), show_us(of(plain)));
        [
            format!("key {fingerprint}, made for this run; each datagram is 12 bytes longer"),
            format!(
                "connecting takes {}, sending {SIZE} bytes {}",
                beside(|of| of.connect_us),
                beside(|of| of.send_us)
            ),
        ]
    }
}

fn measure(with_key: &dyn Fn(Config) -> Config) -> Result<Measured, Failure> {
    let wrong = |error: tautline::ConfigError| Failure::failed(error.to_string());
    let server = create_udp_server(with_key(Config::server("127.0.0.1:0"))).map_err(wrong)?;
    server.connect().map_err(no_connection)?;
    let address = server.local_address().ok_or_else(|| Failure::failed("the server has no address"))?;
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let client = create_udp_client(with_key(Config::client(address))).map_err(wrong)?;
        let before = Instant::now();
        client.connect().map_err(no_connection)?;
        let connect_us = before.elapsed().as_secs_f64() * 1e6;
        runs.push(Measured { connect_us, send_us: send(&client)? });
        client.cleanup();
    }
    let median = |of: fn(&Measured) -> f64| {
        let mut all: Vec<f64> = runs.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[RUNS / 2]
    };
    Ok(Measured { connect_us: median(|run| run.connect_us), send_us: median(|run| run.send_us) })
}

/// Returns what one call of `send` takes, in microseconds: the middle of many, each alone in its datagram.
fn send(client: &UdpInterface) -> Result<f64, Failure> {
    let (publisher, payload) = (client.publisher(Metadata::status()), Payload::raw(vec![0x5a; SIZE]));
    let mut calls = Vec::new();
    for _ in 0..MESSAGES {
        let mut before = Instant::now();
        let mut tries = 1;
        while let Err(error) = publisher.send(&payload) {
            if tries == TRIES || !error.is_transient() {
                return Err(Failure::failed(error.to_string()));
            }
            tries += 1;
            std::thread::sleep(Duration::from_millis(1));
            before = Instant::now();
        }
        calls.push(before.elapsed());
        // A pause, or the messages would share datagrams.
        let next = before + Duration::from_micros(50);
        while Instant::now() < next {
            std::hint::spin_loop();
        }
    }
    calls.sort();
    Ok(calls[calls.len() / 2].as_secs_f64() * 1e6)
}
