//! A relay on a thread of its own that carries datagrams unchanged, and lets somebody look on. Used by `tap` and `record`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;

use tautline::Endpoint;

use super::Relay;
use super::tap::{Tapped, tap};
use crate::tools::exit::Failure;
use crate::tools::impair::BothDirections;
use crate::tools::interrupt::LOOK_EVERY;
use crate::tools::observe::Passing;

/// A running relay.
#[derive(Debug)]
pub(crate) struct TappedRelay {
    /// The address that clients send to.
    pub(crate) address: SocketAddr,
    tapped: Tapped,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), Failure>>,
}

impl TappedRelay {
    /// Starts a relay that listens at `listen` for clients of `target`.
    pub(crate) fn open(listen: &Endpoint, target: &Endpoint) -> Result<Self, Failure> {
        let mut relay = Relay::open(listen, target, BothDirections::default(), 0)?;
        let address = relay.address().ok_or_else(|| Failure::failed("the relay's socket has no address"))?;
        let (end, tapped) = tap();
        relay.tap(end);
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let carry = move || {
            // A flag alone: no other memory depends on it.
            while !over.load(Ordering::Relaxed) {
                relay.turn(LOOK_EVERY)?;
            }
            Ok(())
        };
        let thread = std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(carry)
            .map_err(|error| Failure::failed(format!("cannot start the relay's thread: {error}")))?;
        Ok(Self { address, tapped, is_over, thread })
    }

    /// Shows each datagram to `see`, with how many were carried but not looked at because too many waited; `None` after a while
    /// without any. Ends when `goes_on` or `see` returns false, and after what was carried until then has been shown. Returns how many
    /// were not looked at.
    pub(crate) fn watch(
        self,
        goes_on: impl Fn() -> bool,
        mut see: impl FnMut(Option<&Passing<'_>>, u64) -> Result<bool, Failure>,
    ) -> Result<u64, Failure> {
        let Self { tapped, is_over, thread, .. } = self;
        loop {
            if !goes_on() {
                is_over.store(true, Ordering::Relaxed);
            }
            let is_wanted = match tapped.next(LOOK_EVERY) {
                Ok(datagram) => see(Some(&datagram.passing()), tapped.dropped())?,
                Err(RecvTimeoutError::Timeout) => see(None, tapped.dropped())?,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if !is_wanted {
                is_over.store(true, Ordering::Relaxed);
                break;
            }
        }
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(tapped.dropped())
    }
}
