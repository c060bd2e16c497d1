//! Shows what passes through a proxy.

use std::time::Instant;

use tautline::Endpoint;

use super::Args;
use super::show::Show;
use crate::tools::exit::{Exit, Failure};
use crate::tools::interrupt::Interrupt;
use crate::tools::output;
use crate::tools::relay::TappedRelay;

/// Shows until Ctrl-C.
pub(super) fn run(args: &Args, listen: &Endpoint, target: &Endpoint) -> Result<Exit, Failure> {
    let relay = TappedRelay::open(listen, target)?;
    let (interrupt, started) = (Interrupt::install()?, Instant::now());
    output::note_of_start(format_args!("listening on {}", relay.address));
    let mut show = Show::new(args);
    let goes_on = || !interrupt.is_asked() && args.seconds.is_none_or(|length| started.elapsed() < length);
    let missed = relay.watch(goes_on, |passing, _| match passing {
        Some(passing) => show.take(passing),
        None => Ok(show.goes_on()),
    })?;
    if missed > 0 {
        output::warn(format_args!("{missed} datagrams were carried but not shown: they came too fast"));
    }
    show.end()
}
