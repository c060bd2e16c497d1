//! The bad network between controller and plant (`--impair`).
//!
//! It is the relay that `tautline proxy` uses, on its own thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tautline::Endpoint;
use tautline::sim::Impairments;

use crate::tools::exit::Failure;
use crate::tools::impair::{BothDirections, Direction};
use crate::tools::interrupt::LOOK_EVERY;
use crate::tools::relay::Relay;
use crate::tools::relay::totals::{DirectionTotals, Totals};

/// The seed of all random decisions. It is constant, so that the losses of every demo follow the same sequence.
const SEED: u64 = 1;

/// A running relay in front of the plant.
#[derive(Debug)]
pub(super) struct BadNetwork {
    /// The address that the controller connects to.
    pub(super) address: SocketAddr,
    impairments: BothDirections,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Totals, Failure>>,
}

impl BadNetwork {
    /// Starts a relay in front of `plant`.
    pub(super) fn before(plant: SocketAddr, impairments: Impairments) -> Result<Self, Failure> {
        let endpoint =
            |address: SocketAddr| -> Endpoint { address.to_string().parse().expect("an address is one") };
        let impairments = BothDirections::default().with(Direction::Both, impairments);
        let here = SocketAddr::new(plant.ip(), 0);
        let relay = Relay::open(&endpoint(here), &endpoint(plant), impairments, SEED)?;
        let address = relay.address().ok_or_else(|| Failure::failed("the relay's socket has no address"))?;
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::Builder::new()
            .name("network".to_owned())
            .spawn(move || carry(relay, &over))
            .map_err(|error| Failure::failed(format!("cannot start the network's thread: {error}")))?;
        Ok(Self { address, impairments, is_over, thread })
    }

    /// Ends the relay and describes the losses.
    pub(super) fn end(self) -> Result<String, Failure> {
        self.is_over.store(true, Ordering::Relaxed);
        let totals = self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let lost = |totals: &DirectionTotals| format!("{} of {}", totals.counts.dropped(), totals.received());
        let (there, back) = (lost(&totals.to_target), lost(&totals.to_client));
        let words = self.impairments.describe();
        Ok(format!("{words}: lost {there} datagrams to the plant and {back} to the controller"))
    }
}

fn carry(mut relay: Relay, is_over: &AtomicBool) -> Result<Totals, Failure> {
    while !is_over.load(Ordering::Relaxed) {
        relay.turn(LOOK_EVERY)?;
    }
    Ok(relay.totals())
}
