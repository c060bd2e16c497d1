//! Registering watchdogs: those that users ask for, and those that the configuration asks for.

use crate::sync::Arc;
use std::time::{Duration, Instant};

use super::feed::Feed;
use super::periods::Periods;
use super::spec::{WatchError, WatchId, Watchdog, Watched};
use super::table::{Template, Watchdogs};
use super::thread::Running;
use super::watch::{Failsafe, FailsafeSlot, Watch};
use crate::config::{Settings, Streams};
use crate::machine::realtime::WatchdogWishes;
use crate::sync::lock;
use tautline_proto::PeerId;

/// What registering asks of the connection.
pub(crate) trait Surroundings {
    /// The peers whose link is established.
    fn connected_peers(&self) -> Vec<PeerId>;

    /// Whether the interface connects or is connected.
    fn is_open(&self) -> bool;
}

impl Watchdogs {
    /// Registers a watchdog.
    pub(crate) fn watch(
        self: &Arc<Self>,
        spec: Watchdog,
        failsafe: Failsafe,
        settings: &Settings,
        around: &dyn Surroundings,
    ) -> Result<WatchId, WatchError> {
        let (period, spec) = completed(spec, &settings.streams)?;
        let periods = spec.periods(period)?;
        self.register(spec, periods, Some(failsafe), &settings.name, around)
    }

    fn register(
        self: &Arc<Self>,
        spec: Watchdog,
        periods: Periods,
        failsafe: Option<Failsafe>,
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
        registered.last_id += 1;
        let id = WatchId(registered.last_id);
        let running = registered.running.as_ref().expect("there is one now");
        let (mut list, _) = self.list.load().split(|_| true);
        let failsafe = Arc::new(FailsafeSlot::new(failsafe));
        let now = self.clock.steady(Instant::now());
        if spec.each_peer {
            let template = Arc::new(Template { id, spec, periods, failsafe, is_configured });
            for peer in around.connected_peers() {
                list.add(template.watch(peer, running, now));
            }
            list.each_peer.push(template);
        } else {
            let watched = Watched { selector: spec.selector, peer: spec.peer };
            let feed = Feed::new(periods, running.alarm());
            if spec.armed_at_connect && around.is_open() {
                feed.arm(now.as_nanos());
            }
            list.add(Arc::new(Watch::new(id, watched, feed, failsafe, spec.armed_at_connect)));
        }
        self.list.store(Arc::new(list));
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
        for (selector, qos) in streams.iter() {
            let Some(deadline) = qos.deadline else { continue };
            let mut spec = Watchdog::configured(selector);
            spec.misses = streams.of(selector.message_type, selector.channel.unwrap_or_default()).misses;
            self.register(spec, spec.periods(deadline)?, None, &settings.name, around)?;
        }
        self.schedule_anew(wishes);
        self.arm(now);
        Ok(())
    }
}

/// Fills in what the configuration says of a watchdog. Returns its period too.
fn completed(mut spec: Watchdog, streams: &Streams) -> Result<(Duration, Watchdog), WatchError> {
    let Watchdog { selector: Some(selector), period: None, .. } = spec else {
        return Ok((spec.period.unwrap_or_default(), spec));
    };
    let qos = streams.of(selector.message_type, selector.channel.unwrap_or_default());
    spec.misses = spec.misses.or(qos.misses);
    Ok((qos.deadline.ok_or(WatchError::NoDeadline { selector })?, spec))
}
