//! The busy neighbour: a process of the runner that computes and never waits. The scheduler chooses its core.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::measure::TIME_LIMIT;

/// The runner's hidden command.
pub(crate) const COMMAND: &str = "--be-a-busy-neighbour";

/// After this time the neighbour ends by itself if it was not killed. No measurement beside it may take longer.
const LONGEST: Duration = Duration::from_secs(60);
const _: () = assert!(TIME_LIMIT.as_secs() < LONGEST.as_secs());

/// The number of computation steps between two checks of the clock.
const STEPS: u64 = 100_000;

/// A running neighbour. It is killed when this is dropped.
pub(crate) struct Neighbour(Child);

impl Neighbour {
    pub(crate) fn start() -> Result<Self, String> {
        let problem = |error: std::io::Error| format!("the busy neighbour cannot be started: {error}");
        let runner = std::env::current_exe().map_err(problem)?;
        let mut command = Command::new(runner);
        command.arg(COMMAND).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self).map_err(problem)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // Kills this child process only.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the neighbour's process.
pub(crate) fn be_busy() {
    let end = Instant::now() + LONGEST;
    while Instant::now() < end {
        std::hint::black_box((0..STEPS).fold(0_u64, |sum, step| std::hint::black_box(sum ^ step)));
    }
}
