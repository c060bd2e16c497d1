//! Names what went wrong near the cause of a file: one rule for each kind of incident.
//!
//! A cause that explains others comes first: a flood fills the kernel's buffer, and a handler that takes long leaves a queue. A path that
//! has shrunk comes before the handler: on a busy machine, a driver that had to wait for the processor looks like a slow handler. A
//! peer's silence is judged after what was too slow at this end, because this end may only have heard the peer too late. Losses
//! come after a silence: it is named only if they do not explain it.

mod cause;
mod connecting;
mod counts;
mod flood;
mod network;
mod returned;
mod sender;
mod silence;
#[cfg(test)]
mod tests;
mod this_end;

pub(super) use self::cause::Cause;
use self::cause::Kind;
use self::connecting::not_connected;
use self::flood::{flood, flood_of_a_peer};
use self::network::{counted_loss, loss_burst, network_delay, path_shrunk, too_old};
use self::returned::held_up;
use self::silence::silence;
use self::this_end::{
    called_late, clock_step, driver_late, dropped_here, handler_panic, kernel_buffer_full, outpaced,
    slow_handler, slow_reader,
};
use super::story::Story;
use super::words::span;

/// Names what went wrong, the likeliest first.
pub(super) fn of(story: &Story) -> Vec<Cause> {
    let rules = [
        not_connected,
        flood,
        handler_panic,
        clock_step,
        path_shrunk,
        slow_handler,
        kernel_buffer_full,
        driver_late,
        slow_reader,
        silence,
        loss_burst,
        network_delay,
        too_old,
    ];
    let mut found: Vec<_> = rules.into_iter().filter_map(|rule| rule(story)).collect();
    if found.is_empty() {
        found.extend(counted_loss(story).into_iter().chain(held_up(story)).chain(outpaced(story)));
        if found.iter().all(|cause| cause.kind != Kind::DriverLate) {
            found.extend(called_late(story));
        }
        if found.is_empty() {
            found.extend(dropped_here(story));
        }
        return found;
    }
    // Why datagrams came faster than they were read.
    if let [Cause { kind: Kind::KernelBufferFull, .. }, ..] = &found[..]
        && found.iter().all(|cause| cause.kind != Kind::DriverLate)
    {
        found.splice(1..1, called_late(story));
    }
    // A peer that sends so much is the reason why this end was too slow.
    if found.iter().any(|cause| TOO_SLOW.contains(&cause.kind)) {
        found.splice(0..0, flood_of_a_peer(story));
    }
    found
}

/// The causes as lines of text. If there is none, the line says so.
pub(super) fn told(story: &Story, found: &[Cause]) -> Vec<String> {
    if found.is_empty() {
        let short = story.short_record().map(|reach| {
            format!(" But its record reaches back only {}: a larger `black_box` keeps more.", span(reach))
        });
        return vec!["The file shows no fault.".to_owned() + &short.unwrap_or_default()];
    }
    found.iter().map(|cause| format!("{}: {}", cause.name(), cause.sentence)).collect()
}

/// What a flood leads to.
const TOO_SLOW: [Kind; 4] = [Kind::SlowHandler, Kind::KernelBufferFull, Kind::DriverLate, Kind::SlowReader];
