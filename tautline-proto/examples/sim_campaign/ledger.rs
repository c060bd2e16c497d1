//! Records which messages were sent and received. Every received message must be right, and none is received twice.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tautline_proto::endpoint::Outcome;
use tautline_proto::sim::{NodeId, Random, ReceivedMessage};
use tautline_proto::wire::native::Head;
use tautline_proto::{ContentType, Delivery, Id, MessageType, Priority, WallTime};

/// The length of the message's number, which begins the payload.
const NUMBER_LEN: usize = 8;
/// The longest filling after the number.
const MAX_FILLING: u64 = 200;

/// A message as it was sent.
#[derive(Debug)]
struct Sent {
    from: NodeId,
    life: u64,
    spec: MessageSpec,
    timestamp: WallTime,
    payload: Vec<u8>,
    received_at: Vec<NodeId>,
}

/// The metadata of a message, chosen at random.
#[derive(Clone, Debug)]
pub(crate) struct MessageSpec {
    message_type: MessageType,
    priority: Priority,
    channel: u16,
    message_id: Option<Id<'static>>,
    source: Option<&'static str>,
    destination: Option<&'static str>,
    correlation_id: Option<Id<'static>>,
    lifespan: Option<Duration>,
    content_type: ContentType,
    pub(crate) delivery: Delivery,
}

impl MessageSpec {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let mut pick = |count: usize| usize::try_from(random.below(count as u64)).expect("small");
        Self {
            message_type: MessageType::ALL[pick(MessageType::ALL.len())],
            priority: Priority::ALL[pick(Priority::ALL.len())],
            channel: u16::try_from(pick(3)).expect("small"),
            message_id: (pick(4) == 0).then(|| Id::Number(pick(1 << 40) as u64)),
            source: (pick(8) == 0).then_some("rig"),
            destination: (pick(8) == 0).then_some("hmi"),
            correlation_id: (pick(4) == 0).then(|| Id::Number(pick(1 << 40) as u64)),
            lifespan: (pick(4) == 0).then(|| Duration::from_millis(50 + pick(1000) as u64)),
            content_type: ContentType::ALL[pick(ContentType::ALL.len())],
            delivery: match pick(10) {
                0 => Delivery::Reliable,
                1 => Delivery::Ordered,
                _ => Delivery::BestEffort,
            },
        }
    }

    pub(crate) fn head(&self, timestamp: WallTime) -> Head<'_> {
        Head {
            message_type: self.message_type,
            priority: self.priority,
            channel: self.channel,
            timestamp,
            exact: None,
            message_id: self.message_id.as_ref(),
            source: self.source,
            has_source: true,
            destination: self.destination,
            correlation_id: self.correlation_id.as_ref(),
            delivery: self.delivery,
            lifespan: self.lifespan,
            content_type: self.content_type,
        }
    }
}

/// All messages that were sent, and where they were received.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    sent: Vec<Sent>,
    /// The newest life of each sender from which each receiver, since its last restart, has received a message.
    heard: HashMap<(NodeId, NodeId), u64>,
    /// The number of the latest ordered message of each stream: receiver, its life, sender, its life, type, channel.
    ordered: HashMap<(NodeId, u64, NodeId, u64, MessageType, u16), usize>,
    /// Reliable messages without an outcome: sender and receipt.
    open: HashMap<(NodeId, u64), (usize, NodeId)>,
    receipts: HashSet<(NodeId, u64)>,
    /// Ordered messages that have the outcome "delivered" and that the user has not received yet, and their receivers.
    owed: Vec<(usize, NodeId)>,
    /// The number of the next message when the last session ended at each node.
    ended_before: HashMap<NodeId, usize>,
    /// Nodes that were restarted where the server did not know them yet. It cannot know that they are one client, so what was on its
    /// way from the life before still counts.
    pub(crate) left_behind: HashSet<NodeId>,
    pub(crate) outcomes: HashMap<Outcome, u64>,
    pub(crate) received: u64,
}

impl Ledger {
    /// Records a message that is about to be sent. Returns its payload.
    pub(crate) fn enter(
        &mut self,
        from: NodeId,
        life: u64,
        spec: MessageSpec,
        timestamp: WallTime,
        random: &mut Random,
    ) -> Vec<u8> {
        let mut payload = (self.sent.len() as u64).to_be_bytes().to_vec();
        let filling = random.below(MAX_FILLING);
        payload.extend((0..filling).map(|_| random.next_u64().to_be_bytes()[0]));
        self.sent.push(Sent {
            from,
            life,
            spec,
            timestamp,
            payload: payload.clone(),
            received_at: Vec::new(),
        });
        payload
    }

    /// Records that an endpoint has taken the latest message as a reliable message for `to`.
    pub(crate) fn offered(&mut self, from: NodeId, to: NodeId, receipt: u64) -> Result<(), String> {
        self.open.insert((from, receipt), (self.sent.len() - 1, to));
        if self.receipts.insert((from, receipt)) { Ok(()) } else { Err(format!("receipt {receipt} twice")) }
    }

    /// Records that a node was restarted. The outcomes of its messages are not expected any more, and it has received nothing.
    pub(crate) fn restarted(&mut self, node: NodeId) {
        self.open.retain(|(from, _), _| *from != node);
        self.receipts.retain(|(from, _)| *from != node);
        self.heard.retain(|(receiver, _), _| *receiver != node);
        self.session_ended(node);
    }

    /// Records the outcome of a reliable message.
    pub(crate) fn ended(&mut self, node: NodeId, receipt: u64, outcome: Outcome) -> Result<(), String> {
        *self.outcomes.entry(outcome).or_default() += 1;
        let Some((number, to)) = self.open.remove(&(node, receipt)) else {
            return Err(format!("a second outcome of receipt {receipt}: {outcome:?}"));
        };
        let sent = &self.sent[number];
        match outcome {
            Outcome::Delivered if sent.received_at.contains(&to) => Ok(()),
            // The receiver has it, and may hold it back for an earlier message. It is lost if the session has ended there.
            Outcome::Delivered if sent.spec.delivery == Delivery::Ordered => {
                if self.ended_before.get(&to).is_none_or(|&before| number >= before) {
                    self.owed.push((number, to));
                }
                Ok(())
            }
            Outcome::Delivered => {
                Err(format!("a message has the outcome \"delivered\" but was not received: {sent:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Records that a session ended at this node. Messages that were held back there are lost.
    pub(crate) fn session_ended(&mut self, at: NodeId) {
        self.owed.retain(|(_, to)| *to != at);
        self.ended_before.insert(at, self.sent.len());
    }

    /// Checks that every reliable message has an outcome.
    pub(crate) fn check_all_ended(&self) -> Result<(), String> {
        for (number, to) in &self.owed {
            if !self.sent[*number].received_at.contains(to) {
                return Err(format!(
                    "a message has the outcome \"delivered\" but was not received at {to:?}: {:?}",
                    self.sent[*number]
                ));
            }
        }
        match self.open.iter().next() {
            None => Ok(()),
            Some((open, _)) => Err(format!("{} without an outcome, such as {open:?}", self.open.len())),
        }
    }

    /// Records that a node received a message. Returns the sender, and how often the sender had been restarted.
    pub(crate) fn received(
        &mut self,
        at: NodeId,
        life: u64,
        got: &ReceivedMessage,
    ) -> Result<(NodeId, u64), String> {
        self.received += 1;
        let number = got.payload.first_chunk::<NUMBER_LEN>().map(|number| u64::from_be_bytes(*number));
        let number = number.and_then(|number| usize::try_from(number).ok());
        let sent = number.and_then(|number| self.sent.get_mut(number));
        let (Some(number), Some(sent)) = (number, sent) else { return Err(format!("no node sent {got:?}")) };
        check_metadata(sent, got)?;
        if sent.received_at.contains(&at) {
            return Err(format!("message {number} twice"));
        }
        sent.received_at.push(at);
        let newest = self.heard.entry((at, sent.from)).or_default();
        if sent.life < *newest && !self.left_behind.contains(&sent.from) {
            return Err(format!("message {number} of life {} after one of life {newest}", sent.life));
        }
        *newest = sent.life.max(*newest);
        if sent.spec.delivery == Delivery::Ordered {
            let stream = (at, life, sent.from, sent.life, sent.spec.message_type, sent.spec.channel);
            if self.ordered.insert(stream, number).is_some_and(|before| before > number) {
                return Err(format!("ordered message {number} behind a later one"));
            }
        }
        Ok((sent.from, sent.life))
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.len() as u64
    }
}

fn check_metadata(sent: &Sent, got: &ReceivedMessage) -> Result<(), String> {
    let Sent { spec, timestamp, payload, .. } = sent;
    let is_right = got.payload == *payload
        && (got.message_type, got.priority, got.channel) == (spec.message_type, spec.priority, spec.channel)
        && (got.timestamp, got.lifespan) == (*timestamp, spec.lifespan)
        && (got.content_type, got.delivery) == (spec.content_type, spec.delivery)
        && spec.message_id.as_ref().is_none_or(|id| got.message_id == id.to_string())
        && spec.source.is_none_or(|source| got.source == source)
        && got.destination.as_deref() == spec.destination
        && got.correlation_id == spec.correlation_id.as_ref().map(Id::to_string);
    if is_right { Ok(()) } else { Err(format!("sent {sent:?}, received {got:?}")) }
}
