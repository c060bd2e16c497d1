//! Records as an end of the link: a server, or a client.

use std::time::Duration;

use tautline::{DropReason, Role, Statistics, UdpInterface};

use super::{Args, Counts, Outcome, Recording};
use crate::tools::exit::Failure;
use crate::tools::interrupt::LOOK_EVERY;
use crate::tools::link::{open, wait_over, with_all_commands, with_inbox};
use crate::tools::waiting::ServerAway;
use crate::tools::{output, traffic};
use tautline::recording::MessageView;

/// The messages that wait to be written at most, unless the configuration says otherwise.
const INBOX: usize = 65_536;

/// How many messages are written before the program looks after other things.
const WRITTEN_AT_ONCE: u64 = 256;

/// Records until the end.
pub(super) fn record(args: &Args) -> Result<Outcome, Failure> {
    let role = if args.connect { Role::Client } else { Role::Server };
    let config = args.link.config_of(role, args.endpoint.as_ref())?;
    let inbox = config.inbox_capacity.unwrap_or(INBOX);
    let config = with_inbox(with_all_commands(config))?.inbox_capacity(inbox);
    let (mut recording, interface) = Recording::begin(args, || open(config, |_| {}))?;
    match interface.local_address().filter(|_| !args.connect) {
        Some(address) => output::note_of_start(format_args!("listening on {address}")),
        None => output::note_of_start("connected"),
    }
    let mut server_away = ServerAway::of(&interface);
    while recording.goes_on() {
        server_away.look(&interface);
        record_some(&mut recording, &interface, LOOK_EVERY)?;
    }
    // What has come is recorded, however slow the disk is: senders of reliable messages have been told that they arrived. But what
    // comes meanwhile does not delay the end.
    let mut waiting = interface.statistics().inbox.waiting;
    while waiting > 0 {
        let taken = record_some(&mut recording, &interface, Duration::ZERO)?;
        waiting = if taken == 0 { 0 } else { waiting.saturating_sub(taken) };
    }
    let statistics = interface.statistics();
    interface.disconnect();
    output::note(traffic::report(&statistics, false));
    let totals = recording.finish(counts(&statistics))?;
    Ok(Outcome { totals, missed: missed(&statistics), unread: 0 })
}

/// Waits for a message, and records what has come. Returns how many messages it took.
fn record_some(
    recording: &mut Recording<'_>,
    interface: &UdpInterface,
    wait: Duration,
) -> Result<u64, Failure> {
    let (mut taken, mut wait) = (0, wait);
    while taken < WRITTEN_AT_ONCE
        && let Some(message) = wait_over(interface.receive(Some(wait)))?
    {
        recording.take(&MessageView::of(&message), &|| counts(&interface.statistics()))?;
        (taken, wait) = (taken + 1, Duration::ZERO);
    }
    recording.turn(missed(&interface.statistics()))?;
    Ok(taken)
}

/// Returns how many messages the inbox had no room for.
fn missed(statistics: &Statistics) -> u64 {
    statistics.inbox.dropped.of(DropReason::InboxFull)
}

fn counts(statistics: &Statistics) -> Counts {
    Counts::from([
        ("not_recorded".to_owned(), missed(statistics).to_string()),
        ("statistics".to_owned(), traffic::report(statistics, true)),
    ])
}
