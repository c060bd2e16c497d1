//! Records both directions of links through a proxy.

use std::cell::{Cell, RefCell};

use tautline::Endpoint;

use super::{Args, Counts, Outcome, Recording};
use crate::tools::exit::Failure;
use crate::tools::observe::{Observer, Order, Seen, What};
use crate::tools::output;
use crate::tools::relay::TappedRelay;

/// Records until the end.
pub(super) fn record(args: &Args, listen: &Endpoint, target: &Endpoint) -> Result<Outcome, Failure> {
    let (recording, relay) = Recording::begin(args, || TappedRelay::open(listen, target))?;
    let recording = RefCell::new(recording);
    output::note_of_start(format_args!("listening on {}", relay.address));
    let (mut observer, unread) = (Observer::default(), Cell::new(0));
    let goes_on = || recording.borrow().goes_on();
    let missed = relay.watch(goes_on, |passing, missed| {
        let mut recording = recording.borrow_mut();
        let mut written = Ok(());
        if let Some(passing) = passing {
            observer.see(passing, &mut |seen| {
                unread
                    .set(unread.get() + u64::from(matches!(seen.what, What::Sealed { .. } | What::Wrong(_))));
                if let What::Message { message, .. } = &seen.what
                    && is_new(seen)
                    && written.is_ok()
                {
                    written = recording.take(message, &|| counts(missed, unread.get()));
                }
            });
        }
        written.and_then(|()| recording.turn(missed)).map(|()| true)
    })?;
    let unread = unread.get();
    let totals = recording.into_inner().finish(counts(missed, unread))?;
    Ok(Outcome { totals, missed, unread })
}

/// Whether this was not recorded before: a reliable message that is sent again, and a datagram that passed before, were.
fn is_new(seen: &Seen<'_>) -> bool {
    let is_again = matches!(seen.what, What::Message { is_again: true, .. });
    !is_again && !matches!(seen.order, Order::Duplicate | Order::Old)
}

fn counts(missed: u64, unread: u64) -> Counts {
    Counts::from([
        ("not_recorded".to_owned(), missed.to_string()),
        ("unread_datagrams".to_owned(), unread.to_string()),
    ])
}
