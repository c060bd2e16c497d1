//! Formats the statistics of an interface as one line. Used by `listen` and `bench serve`.

use tautline::{Drops, Statistics};

use crate::tools::words::counted;

/// Returns the statistics as JSON with every counter of the library, or as a sentence with the counters above 0.
pub(crate) fn report(statistics: &Statistics, json: bool) -> String {
    if json {
        // The program looks up from its wait several times a second, which is no time-out of anybody.
        let mut statistics = *statistics;
        statistics.timeouts = 0;
        return serde_json::to_string(&statistics).expect("numbers and text are JSON");
    }
    let counts = [
        (statistics.inbox.waiting, "of them still waiting"),
        (statistics.lost, "lost"),
        (statistics.late, "late"),
        (statistics.duplicate, "duplicate"),
        (statistics.kernel_drops, "times that the receive buffer was full"),
        (statistics.messages_sent, "sent back"),
        (statistics.send_failures, "refused by the system when they were sent"),
    ];
    let mut text = format!(
        "received {} ({} bytes in all, with heartbeats and probes)",
        counted(statistics.messages_received, "message"),
        statistics.bytes_received
    );
    for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(", {count} {what}"));
    }
    let dropped = [&statistics.datagrams_dropped, &statistics.messages_dropped, &statistics.inbox.dropped];
    dropped.into_iter().for_each(|drops| push_drops(&mut text, drops));
    text
}

fn push_drops(text: &mut String, drops: &Drops) {
    for (reason, count) in drops.iter() {
        text.push_str(&format!("; {count} dropped as {reason} ({})", reason.explanation()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tautline::DropReason;

    #[test]
    fn the_sentence_has_only_counters_above_0_and_the_json_has_all() {
        let mut statistics = Statistics::default();
        assert_eq!(
            report(&statistics, false),
            "received 0 messages (0 bytes in all, with heartbeats and probes)"
        );
        statistics.messages_received = 1;
        statistics.lost = 2;
        statistics.datagrams_dropped.add(DropReason::BadCrc, 3);
        let text = report(&statistics, false);
        assert!(text.contains("1 message (0 bytes in all, with heartbeats and probes), 2 lost; 3 dropped as bad_crc (the CRC-32"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report(&statistics, true)).expect("it is JSON");
        assert_eq!((&json["duplicate"], &json["datagrams_dropped"]["bad_crc"]), (&0.into(), &3.into()));
    }
}
