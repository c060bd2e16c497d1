//! Accounts for every message: sent = received + lost, and each loss has a name.

use std::collections::BTreeMap;

use super::protocol::Answer;

/// Messages that were neither received nor counted as dropped.
const ON_THE_WAY: &str = "on_the_way";
/// Messages that the system refused after the interface had taken them.
const REFUSED: &str = "refused_by_the_system";
/// Messages in datagrams whose sequence numbers the serving end never saw.
const NEVER_CAME: &str = "never_came";
/// Messages in datagrams that the kernel dropped because the serving end read too slowly.
const BUFFER_FULL: &str = "receive_buffer_full";

/// The losses by name. Together with `received` they add up to `sent`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Accounting {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) lost: BTreeMap<String, u64>,
    /// Datagrams that never arrived, according to their sequence numbers. `None` without sequence numbers.
    pub(super) datagrams_lost: Option<u64>,
    /// Datagrams that the kernel dropped because the serving end's receive buffer was full. `None` if the kernel does
    /// not report them.
    pub(super) kernel_drops: Option<u64>,
}

impl Accounting {
    /// Computes the losses from the counts before and after. `per_datagram` is the mean number of messages in a
    /// datagram. It is needed only without sequence numbers, when the kernel's count of datagrams is all that is
    /// known. With sequence numbers, every message that was not dropped by name was in a datagram that never arrived.
    /// `refused` messages never left this end.
    pub(super) fn new(sent: u64, refused: u64, per_datagram: f64, before: &Answer, after: &Answer) -> Self {
        let grown = |before: Option<u64>, after: Option<u64>| Some(after?.saturating_sub(before?));
        let datagrams_lost = grown(before.datagrams_lost, after.datagrams_lost);
        let kernel_drops = grown(before.kernel_drops, after.kernel_drops);
        let received = after.messages.saturating_sub(before.messages).min(sent);
        let mut left = UnnamedLosses { count: sent - received, lost: BTreeMap::new() };
        left.name(REFUSED, refused);
        if datagrams_lost.is_none() {
            left.name(BUFFER_FULL, kernel_drops.map_or(0, |datagrams| messages(datagrams, per_datagram)));
        }
        for (reason, count) in &after.dropped {
            left.name(reason, count.saturating_sub(before.dropped.get(reason).copied().unwrap_or(0)));
        }
        let rest = if datagrams_lost > Some(0) { NEVER_CAME } else { ON_THE_WAY };
        left.name(rest, u64::MAX);
        Self { sent, received, lost: left.lost, datagrams_lost, kernel_drops }
    }

    pub(super) fn lost_total(&self) -> u64 {
        self.lost.values().sum()
    }

    /// Formats the sum as a sentence.
    pub(super) fn line(&self) -> String {
        let Self { sent, received, lost, .. } = self;
        let named = lost.iter().map(|(reason, count)| format!(" + {count} {}", reason.replace('_', " ")));
        let lost = if lost.is_empty() { " + 0 lost".to_owned() } else { named.collect() };
        format!("{sent} sent = {received} received{lost}")
    }

    /// Describes the lost datagrams. The text is empty if no loss is known.
    pub(super) fn datagrams_line(&self) -> String {
        let never_came = self.datagrams_lost.filter(|count| *count > 0);
        let never_came =
            never_came.map(|count| format!("datagrams that never arrived, by sequence number: {count}"));
        let kernel = self.kernel_drops.filter(|count| *count > 0);
        let kernel = kernel.map(|count| {
            format!("drops because the receive buffer was full (one per system call that sent): {count}")
        });
        never_came.into_iter().chain(kernel).collect::<Vec<_>>().join("; ")
    }
}

/// The number of losses without a name so far, and the losses with a name.
struct UnnamedLosses {
    count: u64,
    lost: BTreeMap<String, u64>,
}

impl UnnamedLosses {
    fn name(&mut self, reason: &str, count: u64) {
        let count = count.min(self.count);
        self.count -= count;
        if count > 0 {
            self.lost.insert(reason.to_owned(), count);
        }
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

    fn numbered(messages: u64, kernel_drops: u64, datagrams_lost: u64) -> Answer {
        Answer { datagrams_lost: Some(datagrams_lost), ..answer(messages, Some(kernel_drops), 0) }
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
            let accounting = Accounting::new(100, 0, 1.0, &before, &after);
            let lost = losses.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect();
            assert_eq!(accounting.lost, lost);
            assert_eq!(accounting.received + accounting.lost_total(), 100);
        }
    }

    #[test]
    fn without_sequence_numbers_the_kernels_datagrams_are_converted_to_messages() {
        let accounting = Accounting::new(100, 0, 20.0, &answer(0, Some(0), 0), &answer(60, Some(2), 0));
        assert_eq!(accounting.line(), "100 sent = 60 received + 40 receive buffer full");
    }

    #[test]
    fn sequence_numbers_take_precedence_over_the_kernels_count() {
        let accounting = Accounting::new(100, 4, 20.0, &numbered(0, 3, 1), &numbered(73, 5, 3));
        assert_eq!(accounting.line(), "100 sent = 73 received + 23 never came + 4 refused by the system");
        let line = accounting.datagrams_line();
        assert!(line.contains("by sequence number: 2") && line.ends_with("that sent): 2"), "{line}");
        let accounting = Accounting::new(100, 0, 20.0, &numbered(0, 3, 1), &numbered(73, 3, 1));
        assert_eq!(accounting.line(), "100 sent = 73 received + 27 on the way");
        assert_eq!(accounting.datagrams_line(), "");
    }
}
