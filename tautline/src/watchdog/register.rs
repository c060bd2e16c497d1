//! Registering watchdogs: those that users ask for, and those that the configuration does.

use crate::sync::Arc;
use std::time::{Duration, Instant};

use tautline_proto::Instant as Steady;

use super::feed::Feed;
use super::periods::Periods;
use super::spec::{WatchError, WatchId, Watchdog, Watched};
use super::table::Template;
use super::thread::Running;
use super::watch::{Failsafe, Place, Watch};
use crate::config::Streams;
use crate::connection::shared::Shared;
use crate::sync::lock;
use tautline_proto::ConnectionState;

impl Shared {
    pub(crate) fn steady_now(&self) -> Steady {
        self.clock.steady(Instant::now())
    }

    /// Registers a watchdog.
    pub(crate) fn watch(self: &Arc<Self>, spec: Watchdog, failsafe: Failsafe) -> Result<WatchId, WatchError> {
        let (period, spec) = self.completed(spec)?;
        let periods = spec.periods(period)?;
        self.register(spec, periods, Some(failsafe), false)
    }

    /// Its period, and what the configuration says of it.
    fn completed(&self, mut spec: Watchdog) -> Result<(Duration, Watchdog), WatchError> {
        let Watchdog { selector: Some(selector), period: None, .. } = spec else {
            return Ok((spec.period.unwrap_or_default(), spec));
        };
        let streams = self.config().settings().map(|settings| settings.streams).unwrap_or_default();
        let qos = streams.of(selector.message_type, selector.channel.unwrap_or_default());
        spec.misses = spec.misses.or(qos.misses);
        Ok((qos.deadline.ok_or(WatchError::NoDeadline { selector })?, spec))
    }

    fn register(
        self: &Arc<Self>,
        spec: Watchdog,
        periods: Periods,
        failsafe: Option<Failsafe>,
        is_configured: bool,
    ) -> Result<WatchId, WatchError> {
        let watchdogs = &self.watchdogs;
        let mut registered = lock(&watchdogs.registered);
        if registered.closed {
            return Err(WatchError::Closed);
        }
        if registered.running.is_none() {
            let problem = |error: std::io::Error| WatchError::System { problem: error.to_string() };
            registered.running = Some(Running::start(self).map_err(problem)?);
        }
        registered.last_id += 1;
        let id = WatchId(registered.last_id);
        let running = registered.running.as_ref().expect("there is one now");
        let (mut list, _) = watchdogs.list.load().split(|_| true);
        let place = Arc::new(Place::new(failsafe));
        let now = self.steady_now();
        if spec.each_peer {
            let template = Arc::new(Template { id, spec, periods, place, is_configured });
            for peer in self.directory.all().iter().filter(|peer| peer.state.can_send()) {
                list.add(template.watch(peer.id, running, now));
            }
            list.each_peer.push(template);
        } else {
            let watched = Watched { selector: spec.selector, peer: spec.peer };
            let feed = Feed::new(periods, running.alarm());
            let state = self.status.state();
            if spec.armed_at_connect && (state == ConnectionState::Connecting || state.can_send()) {
                feed.arm(now.as_nanos());
            }
            list.add(Arc::new(Watch::new(id, watched, feed, place, spec.armed_at_connect)));
        }
        watchdogs.list.store(Arc::new(list));
        running.wake();
        Ok(id)
    }

    /// A connection begins: what it arms is armed, and what its configuration expects is watched.
    pub(crate) fn begin_watching(self: &Arc<Self>, streams: &Streams) -> Result<(), WatchError> {
        let now = self.steady_now();
        let former: Vec<_> =
            self.watchdogs.list().each_peer.iter().filter(|of| of.is_configured).map(|of| of.id).collect();
        former.into_iter().for_each(|id| _ = self.watchdogs.remove(id, now));
        for (selector, qos) in streams.iter() {
            let Some(deadline) = qos.deadline else { continue };
            let mut spec = Watchdog::configured(selector);
            spec.misses = streams.of(selector.message_type, selector.channel.unwrap_or_default()).misses;
            self.register(spec, spec.periods(deadline)?, None, true)?;
        }
        self.watchdogs.schedule_anew();
        self.watchdogs.arm(now);
        Ok(())
    }
}
