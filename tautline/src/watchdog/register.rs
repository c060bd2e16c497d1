//! Registering watchdogs: those that users ask for, and those that the configuration asks for.

use crate::sync::Arc;
use std::time::{Duration, Instant};

use super::failsafe::{FailsafeFn, FailsafeSlot};
use super::feed::Feed;
use super::list::{List, Template};
use super::spec::{WatchError, Watchdog};
use super::table::Watchdogs;
use super::thread::Running;
use super::watch::Watch;
use crate::config::{Failsafe, Selector, Settings, Streams, WatchId, Watched};
use crate::machine::realtime::WatchdogWishes;
use crate::sync::lock;
use tautline_proto::PeerId;
use tautline_proto::silence::Rule;

/// What registering asks of the connection.
pub(crate) trait Surroundings {
    /// The peers whose link is established.
    fn connected_peers(&self) -> Vec<PeerId>;

    /// The peers of an identity whose link is established.
    fn peers_of(&self, identity: &str) -> Vec<PeerId>;

    /// Whether the interface connects or is connected.
    fn is_open(&self) -> bool;
}

impl Watchdogs {
    /// Registers a watchdog.
    pub(crate) fn watch(
        self: &Arc<Self>,
        spec: Watchdog,
        failsafe: FailsafeFn,
        settings: &Settings,
        around: &dyn Surroundings,
    ) -> Result<WatchId, WatchError> {
        let (period, spec) = completed(spec, &settings.streams)?;
        let rule = spec.rule(period)?;
        self.register(spec, rule, Some(failsafe), &settings.name, around)
    }

    fn register(
        self: &Arc<Self>,
        spec: Watchdog,
        rule: Rule,
        failsafe: Option<FailsafeFn>,
        name: &str,
        around: &dyn Surroundings,
    ) -> Result<WatchId, WatchError> {
        let is_configured = failsafe.is_none();
        let mut registered = lock(&self.registered);
        if registered.closed {
            return Err(WatchError::Closed);
        }
        if registered.running.is_none() {
            let problem = |error: std::io::Error| WatchError::System { problem: error.to_string() };
            registered.running = Some(Running::start(self, name, registered.wishes).map_err(problem)?);
        }
        let latch = if rule.latches {
            Some(registered.take_latch(&self.latches).ok_or(WatchError::TooMany)?)
        } else {
            None
        };
        registered.last_id += 1;
        let id = WatchId(registered.last_id);
        let running = registered.running.as_ref().expect("there is one now");
        let mut list = List::clone(&self.list.load());
        let failsafe = Arc::new(FailsafeSlot::new(failsafe));
        let now = self.clock.steady(Instant::now());
        let arms = spec.armed_at_connect;
        if spec.each_peer {
            let template = Arc::new(Template { id, spec, rule, failsafe, is_configured });
            for peer in around.connected_peers().into_iter().filter(|_| arms) {
                list.add_of_peer(template.watch(peer, running, now), peer);
            }
            list.each_peer.push(template);
        } else {
            let watched = Watched { identity: spec.identity, ..Watched::new(spec.selector, spec.peer) };
            let feed = Feed::new(rule, latch, running.alarm());
            if arms && around.is_open() {
                feed.arm(now.as_nanos());
            }
            let watch = Watch::new(id, watched, feed, failsafe, arms);
            let of_identity = spec.identity.map_or_else(Vec::new, |name| around.peers_of(name));
            watch.change_peers(|peers| *peers = of_identity);
            list.add(Arc::new(watch), spec.reset_by);
        }
        self.set_list(Arc::new(list));
        running.wake();
        Ok(id)
    }

    /// Begins a connection: arms the watchdogs that connecting arms, and registers those that the configuration asks for.
    /// The watchdogs' thread then asks the machine for `wishes`.
    pub(crate) fn begin(
        self: &Arc<Self>,
        settings: &Settings,
        wishes: WatchdogWishes,
        around: &dyn Surroundings,
    ) -> Result<(), WatchError> {
        let now = self.clock.steady(Instant::now());
        let former: Vec<_> =
            self.list().each_peer.iter().filter(|of| of.is_configured).map(|of| of.id).collect();
        former.into_iter().for_each(|id| _ = self.remove(id, now));
        let streams = &settings.streams;
        let by_failsafe = self.register_failsafe(settings, around)?;
        for (selector, qos) in streams.iter() {
            let Some(deadline) = qos.deadline.filter(|_| by_failsafe != Some(selector)) else { continue };
            let mut spec = Watchdog::configured(selector).each_peer();
            spec.misses = streams.of(selector.message_type, selector.channel.unwrap_or_default()).misses;
            let rule = spec.rule(deadline)?;
            self.register(spec, rule, None, &settings.name, around)?;
        }
        self.schedule_anew(wishes);
        self.arm(now);
        Ok(())
    }
}

/// The watchdog of the configuration's failsafe.
#[derive(Debug, PartialEq)]
pub(super) struct OfFailsafe {
    id: WatchId,
    spec: Watchdog,
    rule: Rule,
    failsafe: Failsafe,
}

impl Watchdogs {
    /// Registers the watchdog of the configuration's failsafe. It stays as it is if nothing has changed, so that connecting
    /// again resets no latch. Returns what it watches.
    fn register_failsafe(
        self: &Arc<Self>,
        settings: &Settings,
        around: &dyn Surroundings,
    ) -> Result<Option<Selector>, WatchError> {
        let wanted = match &settings.failsafe {
            Some(failsafe) => Some((failsafe, of_failsafe(settings)?)),
            None => None,
        };
        let former = lock(&self.registered).of_failsafe.take();
        if let Some(former) = former {
            let is_same = wanted.as_ref().is_some_and(|(failsafe, (spec, rule))| {
                (&former.failsafe, &former.spec, &former.rule) == (*failsafe, spec, rule)
            });
            if is_same && self.list().fixed().any(|watch| watch.id == former.id) {
                let selector = former.spec.selector;
                lock(&self.registered).of_failsafe = Some(former);
                return Ok(selector);
            }
            self.remove(former.id, self.clock.steady(Instant::now()));
        }
        let Some((failsafe, (spec, rule))) = wanted else { return Ok(None) };
        let called = failsafe.clone();
        let call: FailsafeFn = Box::new(move |event| called.call(event));
        let id = self.register(spec.clone(), rule, Some(call), &settings.name, around)?;
        let selector = spec.selector;
        lock(&self.registered).of_failsafe = Some(OfFailsafe { id, spec, rule, failsafe: failsafe.clone() });
        Ok(selector)
    }
}

/// What the configuration's failsafe watches.
fn of_failsafe(settings: &Settings) -> Result<(Watchdog, Rule), WatchError> {
    let (of, deadline) = settings.watched_by_failsafe();
    let qos = settings.streams.of_type(of);
    let mut spec = Watchdog::configured(of);
    (spec.misses, spec.latches) = (qos.misses, qos.latch);
    let rule = spec.rule(deadline.ok_or(WatchError::NoDeadline { selector: of.into() })?)?;
    Ok((spec, rule))
}

/// Fills in what the configuration says of a watchdog. Returns its period too.
fn completed(mut spec: Watchdog, streams: &Streams) -> Result<(Duration, Watchdog), WatchError> {
    let (Some(selector), None) = (spec.selector, spec.period) else {
        return Ok((spec.period.unwrap_or_default(), spec));
    };
    let qos = streams.of(selector.message_type, selector.channel.unwrap_or_default());
    spec.misses = spec.misses.or(qos.misses);
    // A watchdog for each peer does not latch, whatever the stream's watchdog does.
    spec.latches = spec.latches.or(qos.latch.filter(|_| !spec.each_peer));
    Ok((qos.deadline.ok_or(WatchError::NoDeadline { selector })?, spec))
}
