//! Where the messages went: sent = received + lost, every loss by name.

use std::collections::BTreeMap;

use super::words::Answer;

/// What was neither received nor dropped by anyone who counts.
const ON_THE_WAY: &str = "on_the_way";
/// The serving end read too slowly.
const BUFFER_FULL: &str = "receive_buffer_full";

/// Losses by name; together with `received` they are what was sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Accounting {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) lost: BTreeMap<String, u64>,
}

impl Accounting {
    /// From the counts before and after; `per_datagram` messages were in a datagram on average, because the kernel
    /// counts datagrams.
    pub(super) fn new(sent: u64, per_datagram: f64, before: &Answer, after: &Answer) -> Self {
        let received = after.messages.saturating_sub(before.messages).min(sent);
        let mut left = sent - received;
        let mut lost = BTreeMap::new();
        let mut name = |reason: &str, count: u64| {
            let count = count.min(left);
            left -= count;
            if count > 0 {
                lost.insert(reason.to_owned(), count);
            }
        };
        let kernel = after.kernel_drops.zip(before.kernel_drops);
        name(
            BUFFER_FULL,
            kernel.map_or(0, |(after, before)| messages(after.saturating_sub(before), per_datagram)),
        );
        for (reason, count) in &after.dropped {
            name(reason, count.saturating_sub(before.dropped.get(reason).copied().unwrap_or(0)));
        }
        name(ON_THE_WAY, u64::MAX);
        Self { sent, received, lost }
    }

    pub(super) fn lost_total(&self) -> u64 {
        self.lost.values().sum()
    }

    /// The sum, in words.
    pub(super) fn line(&self) -> String {
        let Self { sent, received, lost } = self;
        let named = lost.iter().map(|(reason, count)| format!(" + {count} {}", reason.replace('_', " ")));
        let lost = if lost.is_empty() { " + 0 lost".to_owned() } else { named.collect() };
        format!("{sent} sent = {received} received{lost}")
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // float casts saturate
fn messages(datagrams: u64, per_datagram: f64) -> u64 {
    (datagrams as f64 * per_datagram.max(1.0)).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(messages: u64, kernel_drops: Option<u64>, duplicate: u64) -> Answer {
        let dropped = BTreeMap::from([("duplicate".to_owned(), duplicate)]);
        Answer { messages, kernel_drops, dropped, ..Answer::default() }
    }

    #[test]
    fn every_message_is_accounted_for_once() {
        let before = answer(1000, Some(5), 1);
        for (after, losses) in [
            (answer(1100, Some(5), 1), vec![]),
            (answer(1090, Some(12), 2), vec![("duplicate", 1), (ON_THE_WAY, 2), (BUFFER_FULL, 7)]),
            (answer(1090, Some(500), 9), vec![(BUFFER_FULL, 10)]),
            (answer(1000, None, 1), vec![(ON_THE_WAY, 100)]),
        ] {
            let accounting = Accounting::new(100, 1.0, &before, &after);
            let lost = losses.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect();
            assert_eq!(accounting.lost, lost);
            assert_eq!(accounting.received + accounting.lost_total(), 100);
        }
    }

    #[test]
    fn the_kernel_counts_datagrams() {
        let accounting = Accounting::new(100, 20.0, &answer(0, Some(0), 0), &answer(60, Some(2), 0));
        assert_eq!(accounting.line(), "100 sent = 60 received + 40 receive buffer full");
    }
}
