//! Drops messages that are too old or were overtaken: the lifespans and histories of streams, judged once, before a message is
//! offered. A message that then waits is checked again when it is received.

use std::time::Duration;

use crate::config::{Qos, Streams};
use crate::message::Arrival;
use crate::receiving::waiting::{Keep, Limits, Stream};
use tautline_proto::history::Newest;
use tautline_proto::{Delivery, DropReason, MessageRef, MessageType, PeerId};

/// The number of message types.
const TYPES: usize = MessageType::ALL.len();

/// The settings of streams, and their newest messages.
#[derive(Debug)]
// In this order, so that what every datagram uses shares few cache lines.
#[repr(C)]
pub(super) struct Freshness {
    /// No command has come yet.
    awaits_command: bool,
    /// By type; `None` for a type without settings.
    rules: [Option<Box<Rules>>; TYPES],
    newest: Newest,
}

/// The settings of a type.
#[derive(Debug, Default)]
struct Rules {
    common: Rule,
    /// Sorted by channel.
    channels: Vec<(u16, Rule)>,
}

/// The settings of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rule {
    kept: Option<usize>,
    pub(super) lifespan: Option<Duration>,
}

impl Rules {
    #[inline(never)] // few types have channels with settings of their own
    fn of_channel(&self, channel: u16) -> Rule {
        match self.channels.binary_search_by_key(&channel, |(channel, _)| *channel) {
            Ok(index) => self.channels[index].1,
            Err(_) => self.common,
        }
    }
}

impl From<Qos> for Rule {
    fn from(qos: Qos) -> Self {
        Self { kept: qos.kept(), lifespan: qos.lifespan }
    }
}

impl Freshness {
    pub(super) fn new(streams: &Streams) -> Self {
        let of_type = |message_type: MessageType| {
            let channels = streams.channels(message_type);
            let channels: Vec<(u16, Rule)> =
                channels.map(|channel| (channel, streams.of(message_type, channel).into())).collect();
            let common: Rule = streams.of_type(message_type).into();
            let mut rules = channels.iter().map(|(_, rule)| *rule).chain([common]);
            // Commands are always judged, to notice the first.
            let is_set = rules.any(|rule| rule.kept.is_some() || rule.lifespan.is_some());
            (is_set || message_type == MessageType::Command).then(|| Box::new(Rules { common, channels }))
        };
        let rules = std::array::from_fn(|index| of_type(MessageType::ALL[index]));
        Self { rules, newest: Newest::default(), awaits_command: true }
    }

    /// The settings of a message's stream; `None` if its type has none. A message of such a type, without a lifespan of its own, need
    /// not be judged.
    #[inline]
    pub(super) fn rule(&self, message: &MessageRef<'_>) -> Option<Rule> {
        let rules = self.rules[index_of(message.message_type)].as_ref()?;
        Some(if rules.channels.is_empty() { rules.common } else { rules.of_channel(message.channel) })
    }

    /// Whether this is the first command of the connection.
    #[inline]
    pub(super) fn is_first_command(&mut self, message: &MessageRef<'_>) -> bool {
        self.awaits_command
            && message.message_type == MessageType::Command
            && std::mem::take(&mut self.awaits_command)
    }

    /// Sets the limits of a message, or returns the reason to drop it at once. `rule`: the settings of its stream. `life`: its lifespan,
    /// and its age when it was read. `number`: the number of its datagram.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(super) fn judge(
        &mut self,
        message: &MessageRef<'_>,
        arrival: &Arrival,
        rule: Option<Rule>,
        life: Option<(Duration, Duration)>,
        number: Option<u64>,
        limits: &mut Option<Limits>,
    ) -> Result<(), DropReason> {
        let expires = life.and_then(|(lifespan, _)| arrival.made.checked_add(lifespan));
        // In its place: they are large, and slow to move.
        let limits = limits.insert(Limits { expires, ..Limits::NONE });
        if life.is_some_and(|(lifespan, age)| lifespan <= age) || limits.is_expired() {
            return Err(DropReason::Expired);
        }
        // A reliable message must be delivered, whatever comes after it.
        let is_kept_by = |rule: Rule| rule.kept.filter(|_| message.delivery == Delivery::BestEffort);
        if let Some(count) = rule.and_then(is_kept_by) {
            let stream =
                Stream { peer: arrival.peer, message_type: message.message_type, channel: message.channel };
            if number.is_some_and(|number| {
                self.newest.is_stale(arrival.peer, message.stream(), number, arrival.late)
            }) {
                return Err(DropReason::Stale);
            }
            limits.keep = Some(Keep { stream, count });
        }
        Ok(())
    }

    /// Forgets a peer, or a former life of a peer.
    #[cold]
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.newest.forget(peer);
    }
}

/// The wire numbers types from 1.
#[inline]
fn index_of(message_type: MessageType) -> usize {
    usize::from(message_type.to_wire() - 1)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::config::Config;
    use crate::tests::{arrival, numbered, peer};
    use tautline_proto::Priority;
    use tautline_proto::history::MAX_STREAMS;

    const MS: Duration = Duration::from_millis(1);

    fn freshness(config: &Config) -> Freshness {
        Freshness::new(&config.settings().expect("valid").streams)
    }

    fn keeps_commands() -> Freshness {
        let config = Config::server("127.0.0.1:0");
        freshness(&config.qos(MessageType::Command, Qos::new().keep_last(2).lifespan(MS * 50)))
    }

    fn command(channel: u16) -> MessageRef<'static> {
        numbered(0, Priority::Normal).with_message_type(MessageType::Command).with_channel(channel)
    }

    fn judge(
        fresh: &mut Freshness,
        message: &MessageRef<'_>,
        arrival: Arrival,
        number: u64,
    ) -> Option<DropReason> {
        let rule = fresh.rule(message);
        let lifespan = message.lifespan.or(rule.and_then(|rule| rule.lifespan));
        let life = lifespan.map(|lifespan| (lifespan, arrival.age()));
        fresh.judge(message, &arrival, rule, life, Some(number), &mut None).err()
    }

    /// The arrival of a message that was made `age` ago.
    fn made_ago(age: Duration) -> Arrival {
        Arrival { made: Instant::now() - age, ..arrival() }
    }

    #[test]
    fn without_settings_no_message_is_dropped() {
        let all = Qos::new().keep_all().deadline(MS);
        let mut fresh = freshness(&Config::server("127.0.0.1:0").qos(MessageType::Command, all));
        for number in [5, 4, 5] {
            assert_eq!(judge(&mut fresh, &command(0), made_ago(MS * 3_600_000), number), None);
        }
        assert!(fresh.newest.is_empty());
    }

    #[test]
    fn a_message_older_than_its_lifespan_is_dropped() {
        let mut fresh = keeps_commands();
        let short = command(0).with_lifespan(Some(MS * 10));
        let long = command(0).with_lifespan(Some(MS * 60_000));
        let data = command(0).with_message_type(MessageType::Data).with_lifespan(Some(MS * 10));
        for (message, age, dropped) in
            [(&command(0), 51, true), (&short, 11, true), (&long, 1_000, false), (&data, 11, true)]
        {
            let reason = judge(&mut fresh, message, made_ago(MS * age), 1);
            assert_eq!(reason, dropped.then_some(DropReason::Expired), "{message:?}");
        }
        let (rule, life) = (fresh.rule(&long), Some((MS * 60_000, Duration::ZERO)));
        let mut limits = None;
        fresh.judge(&long, &arrival(), rule, life, Some(1), &mut limits).expect("fresh");
        let limits = limits.expect("set");
        assert!(limits.expires.is_some() && limits.keep.is_some_and(|keep| keep.count == 2));
    }

    #[test]
    fn a_message_after_a_newer_one_of_its_stream_is_dropped() {
        let mut fresh = keeps_commands();
        let late = || Arrival { late: true, ..made_ago(Duration::ZERO) };
        assert_eq!(judge(&mut fresh, &command(0), made_ago(Duration::ZERO), 7), None);
        assert_eq!(judge(&mut fresh, &command(0), made_ago(Duration::ZERO), 7), None, "the same datagram");
        assert_eq!(judge(&mut fresh, &command(0), late(), 6), Some(DropReason::Stale));
        assert_eq!(judge(&mut fresh, &command(1), late(), 6), None, "the first of its stream");
        assert_eq!(judge(&mut fresh, &command(0), Arrival { peer: peer(3), ..late() }, 6), None);
        let reliable = command(0).with_delivery(Delivery::Reliable);
        assert_eq!(judge(&mut fresh, &reliable, late(), 6), None, "a reliable message is not superseded");
        let all = command(0).with_message_type(MessageType::Data);
        assert_eq!(judge(&mut fresh, &all, late(), 5), None, "its stream has no history");
        fresh.forget(arrival().peer);
        assert_eq!(
            judge(&mut fresh, &command(0), made_ago(Duration::ZERO), 0),
            None,
            "the peer was forgotten"
        );
    }

    #[test]
    fn an_expired_message_does_not_make_others_stale() {
        let mut fresh = keeps_commands();
        assert_eq!(judge(&mut fresh, &command(0), made_ago(MS * 60), 8), Some(DropReason::Expired));
        assert_eq!(judge(&mut fresh, &command(0), made_ago(MS), 7), None);
    }

    #[test]
    fn a_late_message_of_a_stream_beyond_the_bound_is_stale() {
        let qos = Qos::new().keep_last(2).lifespan(MS * 60_000);
        let mut fresh = freshness(&Config::server("127.0.0.1:0").qos(MessageType::Command, qos));
        let now = made_ago(Duration::ZERO);
        for channel in 0..=u16::try_from(MAX_STREAMS).expect("few") {
            assert_eq!(judge(&mut fresh, &command(channel), now, 1), None);
        }
        assert_eq!(fresh.newest.len(), MAX_STREAMS);
        let beyond = command(u16::try_from(MAX_STREAMS).expect("few"));
        assert_eq!(judge(&mut fresh, &beyond, Arrival { late: true, ..now }, 0), Some(DropReason::Stale));
        assert_eq!(judge(&mut fresh, &beyond, now, 2), None);
    }
}
