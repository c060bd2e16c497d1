//! What was truly sent, and what of it was handed out: nothing wrong, nothing twice.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tautline_proto::endpoint::Outcome;
use tautline_proto::sim::{NodeId, Random, ReceivedMessage};
use tautline_proto::wire::native::Head;
use tautline_proto::{ContentType, Delivery, Id, MessageType, Priority, WallTime};

/// Bytes before the filling: the message's number.
const NUMBER_LEN: usize = 8;
const LONGEST_FILLING: u64 = 200;

/// One message as its sender made it.
#[derive(Debug)]
struct Sent {
    from: NodeId,
    life: u64,
    wish: Wish,
    timestamp: WallTime,
    payload: Vec<u8>,
    handed_out_at: Vec<NodeId>,
}

/// The metadata of a message, drawn by lot.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
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

impl Wish {
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
            message_id: self.message_id.as_ref(),
            source: self.source,
            destination: self.destination,
            correlation_id: self.correlation_id.as_ref(),
            delivery: self.delivery,
            lifespan: self.lifespan,
            content_type: self.content_type,
        }
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    sent: Vec<Sent>,
    /// The newest life of each sender that each receiver's present life has heard.
    heard: HashMap<(NodeId, NodeId), u64>,
    /// The number of the last ordered message of each stream: receiver, its life, sender, its life, type, channel.
    ordered: HashMap<(NodeId, u64, NodeId, u64, MessageType, u16), usize>,
    /// Reliable messages without an outcome: sender and receipt.
    open: HashMap<(NodeId, u64), (usize, NodeId)>,
    receipts: HashSet<(NodeId, u64)>,
    /// Ordered messages told delivered and not handed out yet, and where they must be.
    owed: Vec<(usize, NodeId)>,
    /// The messages before this one were sent before the last session ended at a node.
    ended_before: HashMap<NodeId, usize>,
    pub(crate) outcomes: HashMap<Outcome, u64>,
    pub(crate) handed_out: u64,
}

impl Ledger {
    /// Enters a message that is about to be sent, and gives its payload.
    pub(crate) fn enter(
        &mut self,
        from: NodeId,
        life: u64,
        wish: Wish,
        timestamp: WallTime,
        random: &mut Random,
    ) -> Vec<u8> {
        let mut payload = (self.sent.len() as u64).to_be_bytes().to_vec();
        let filling = random.below(LONGEST_FILLING);
        payload.extend((0..filling).map(|_| random.next_u64().to_be_bytes()[0]));
        self.sent.push(Sent {
            from,
            life,
            wish,
            timestamp,
            payload: payload.clone(),
            handed_out_at: Vec::new(),
        });
        payload
    }

    /// The message entered last was taken by the reliable delivery for `to`.
    pub(crate) fn offered(&mut self, from: NodeId, to: NodeId, receipt: u64) -> Result<(), String> {
        self.open.insert((from, receipt), (self.sent.len() - 1, to));
        if self.receipts.insert((from, receipt)) { Ok(()) } else { Err(format!("receipt {receipt} twice")) }
    }

    /// A node begins a new life: nobody waits for the outcomes of the last one, and it has heard nobody.
    pub(crate) fn restarted(&mut self, node: NodeId) {
        self.open.retain(|(from, _), _| *from != node);
        self.receipts.retain(|(from, _)| *from != node);
        self.heard.retain(|(receiver, _), _| *receiver != node);
        self.session_ended(node);
    }

    /// A reliable message ended.
    pub(crate) fn ended(&mut self, node: NodeId, receipt: u64, outcome: Outcome) -> Result<(), String> {
        *self.outcomes.entry(outcome).or_default() += 1;
        let Some((number, to)) = self.open.remove(&(node, receipt)) else {
            return Err(format!("a second outcome of receipt {receipt}: {outcome:?}"));
        };
        let sent = &self.sent[number];
        match outcome {
            Outcome::Delivered if sent.handed_out_at.contains(&to) => Ok(()),
            // It is there, and may wait for one before it; unless the session that it came in is over there.
            Outcome::Delivered if sent.wish.delivery == Delivery::Ordered => {
                if self.ended_before.get(&to).is_none_or(|&before| number >= before) {
                    self.owed.push((number, to));
                }
                Ok(())
            }
            Outcome::Delivered => Err(format!("told delivered and not handed out: {sent:?}")),
            _ => Ok(()),
        }
    }

    /// A session ended at this node, and with it what waited there.
    pub(crate) fn session_ended(&mut self, at: NodeId) {
        self.owed.retain(|(_, to)| *to != at);
        self.ended_before.insert(at, self.sent.len());
    }

    /// Every reliable message must have ended by now.
    pub(crate) fn check_all_ended(&self) -> Result<(), String> {
        for (number, to) in &self.owed {
            if !self.sent[*number].handed_out_at.contains(to) {
                return Err(format!(
                    "told delivered and never handed out at {to:?}: {:?}",
                    self.sent[*number]
                ));
            }
        }
        match self.open.iter().next() {
            None => Ok(()),
            Some((open, _)) => Err(format!("{} without an outcome, such as {open:?}", self.open.len())),
        }
    }

    /// A message was handed out at a node: who sent it, and in which life.
    pub(crate) fn handed_out(
        &mut self,
        at: NodeId,
        life: u64,
        got: &ReceivedMessage,
    ) -> Result<(NodeId, u64), String> {
        self.handed_out += 1;
        let number = got.payload.first_chunk::<NUMBER_LEN>().map(|number| u64::from_be_bytes(*number));
        let number = number.and_then(|number| usize::try_from(number).ok());
        let sent = number.and_then(|number| self.sent.get_mut(number));
        let (Some(number), Some(sent)) = (number, sent) else { return Err(format!("nobody sent {got:?}")) };
        check_metadata(sent, got)?;
        if sent.handed_out_at.contains(&at) {
            return Err(format!("message {number} twice"));
        }
        sent.handed_out_at.push(at);
        let newest = self.heard.entry((at, sent.from)).or_default();
        if sent.life < *newest {
            return Err(format!("message {number} of life {} after one of life {newest}", sent.life));
        }
        *newest = sent.life;
        if sent.wish.delivery == Delivery::Ordered {
            let stream = (at, life, sent.from, sent.life, sent.wish.message_type, sent.wish.channel);
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
    let Sent { wish, timestamp, payload, .. } = sent;
    let is_right = got.payload == *payload
        && (got.message_type, got.priority, got.channel) == (wish.message_type, wish.priority, wish.channel)
        && (got.timestamp, got.lifespan) == (*timestamp, wish.lifespan)
        && (got.content_type, got.delivery) == (wish.content_type, wish.delivery)
        && wish.message_id.as_ref().is_none_or(|id| got.message_id == id.to_string())
        && wish.source.is_none_or(|source| got.source == source)
        && got.destination.as_deref() == wish.destination
        && got.correlation_id == wish.correlation_id.as_ref().map(Id::to_string);
    if is_right { Ok(()) } else { Err(format!("sent {sent:?}, handed out {got:?}")) }
}
