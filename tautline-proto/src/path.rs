//! Estimates of the path to a peer, from heartbeats: round trip, jitter, clock offset and one-way delay.
//! docs/protocol.md §7.

use core::time::Duration;

use crate::snapshot::saved;
use crate::stats::PathGauges;
use crate::time::{Instant, Now, WallTime, duration_ns};
use crate::wire::native::Heartbeat;

/// How fast two steady clocks may drift apart, as a divisor: 500 ppm, the fastest at which NTP slews a clock.
const DRIFT: u64 = 2_000;

/// An echo older than this is ignored: it measures a pause of one end, and not the path.
const OLDEST_ECHO: Duration = Duration::from_secs(60);

/// The estimates for one session with one peer, all in nanoseconds.
#[derive(Clone, Debug, Default)]
// In this order, so that what every datagram uses shares few cache lines.
#[repr(C)]
pub(crate) struct Path {
    clock: Option<ClockSample>,
    /// The peer's wall clock minus its steady clock, at its latest heartbeat. Measurements use the steady clocks, so that
    /// setting a wall clock does not falsify them.
    peer_shift: i64,
    /// Our wall clock minus our steady clock, at the peer's latest heartbeat.
    own_shift: i64,
    samples: u64,
    rtt: u64,
    rtt_min: u64,
    round_trip: RoundTrip,
    jitter: u64,
    last_transit: Option<i64>,
    one_way_delay: u64,
    last_received: Option<(u64, Instant)>,
}

/// One measurement of the peer's steady clock.
#[derive(Clone, Copy, Debug)]
struct ClockSample {
    /// The peer's steady clock minus ours.
    offset: i64,
    /// The round trip of the measurement.
    rtt: u64,
    taken: Instant,
}

impl ClockSample {
    /// Returns the bound on its error at `now`.
    #[inline]
    fn error(&self, now: Instant) -> u64 {
        (self.rtt / 2).saturating_add(now.as_nanos().saturating_sub(self.taken.as_nanos()) / DRIFT)
    }

    /// Returns whether this newer measurement is better than `best`, or contradicts it. A contradiction shows that a clock has
    /// stood still in between, for example while the computer was suspended.
    fn replaces(&self, best: &Self) -> bool {
        let (error, best_error) = (self.error(self.taken), best.error(self.taken));
        error <= best_error || self.offset.abs_diff(best.offset) > error.saturating_add(best_error)
    }
}

/// What is known of a peer's wall clock at one moment. It gives the age of the peer's time stamps.
#[derive(Clone, Copy, Debug)]
pub struct PeerClock {
    /// The latest time that the peer's clock may show, in nanoseconds: the estimate plus the bound on its error.
    latest: i64,
    /// The bound on the error of the estimate, in nanoseconds.
    error: u64,
    /// That moment.
    at: Instant,
}

impl PeerClock {
    /// Returns the greatest age that something with this time stamp of the peer can have at that moment.
    #[must_use]
    #[inline]
    pub fn greatest_age(self, stamp: WallTime) -> Duration {
        Duration::from_nanos(self.greatest_age_ns(stamp))
    }

    /// As [`greatest_age`](Self::greatest_age), in nanoseconds, for what is computed for each message.
    #[must_use]
    #[inline]
    pub fn greatest_age_ns(self, stamp: WallTime) -> u64 {
        u64::try_from(self.latest.saturating_sub(stamp.as_nanos())).unwrap_or(0)
    }

    /// Returns when the peer's clock showed this time stamp, on our steady clock, as the estimate has it.
    #[must_use]
    pub fn moment(self, stamp: WallTime) -> Instant {
        let ago = self.latest.saturating_sub_unsigned(self.error).saturating_sub(stamp.as_nanos());
        let at = self.at.as_nanos();
        let moment = if ago < 0 {
            at.saturating_add(ago.unsigned_abs())
        } else {
            at.saturating_sub(ago.unsigned_abs())
        };
        Instant::from_nanos(moment)
    }
}

impl Path {
    /// Returns the smoothed round trip and its deviation. `None` before the first measurement.
    #[cfg(feature = "secure")]
    pub(crate) fn round_trip(&self) -> Option<(Duration, Duration)> {
        let RoundTrip { smoothed, deviation, is_measured } = self.round_trip;
        is_measured.then(|| (Duration::from_nanos(smoothed), Duration::from_nanos(deviation)))
    }

    /// Handles a heartbeat that arrived at `now`.
    pub(crate) fn receive(&mut self, heartbeat: &Heartbeat, now: Now) {
        self.last_received = Some((heartbeat.stamp, now.steady));
        self.peer_shift = difference(heartbeat.wall, heartbeat.stamp);
        self.own_shift = difference(now.wall, now.steady.as_nanos());
        self.update_jitter(heartbeat, now.steady);
        self.measure(heartbeat, now);
        if self.samples > 0 {
            self.update_one_way_delay(heartbeat, now.steady);
        }
    }

    /// Returns the echo for our next heartbeat: the peer's latest stamp, and for how long it was held here.
    pub(crate) fn echo(&self, now: Instant) -> (u64, u64) {
        self.last_received.map_or((0, 0), |(stamp, arrived)| (stamp, duration_ns(now.since(arrived))))
    }

    pub(crate) fn publish(&self, gauges: &PathGauges) {
        gauges.rtt.set(self.rtt);
        gauges.rtt_min.set(self.rtt_min);
        gauges.rtt_smoothed.set(self.round_trip.smoothed);
        gauges.rtt_deviation.set(self.round_trip.deviation);
        gauges.jitter.set(self.jitter);
        gauges.one_way_delay.set(self.one_way_delay);
        let offset = self.wall_offset().saturating_sub(self.own_shift);
        gauges.clock_offset.set(if self.clock.is_some() { offset.cast_unsigned() } else { 0 });
        gauges.clock_offset_error.set(self.clock.map_or(0, |sample| self.error_now(&sample)));
        gauges.samples.set(self.samples);
    }

    /// RFC 3550 §6.4.1: J += (|D| - J) / 16, where D is the change of the transit time.
    fn update_jitter(&mut self, heartbeat: &Heartbeat, arrived: Instant) {
        // The clocks start at arbitrary times, but the difference of two transit times does not depend on that.
        let transit = arrived.as_nanos().wrapping_sub(heartbeat.stamp).cast_signed();
        if let Some(last) = self.last_transit.replace(transit) {
            let change = transit.wrapping_sub(last).unsigned_abs();
            self.jitter = smoothed(self.jitter, change, 16);
        }
    }

    fn measure(&mut self, heartbeat: &Heartbeat, now: Now) {
        let Some(age) = now.steady.as_nanos().checked_sub(heartbeat.echo) else { return };
        if heartbeat.echo == 0 || age > duration_ns(OLDEST_ECHO) {
            return;
        }
        let Some(rtt) = age.checked_sub(heartbeat.held) else { return };
        self.update_rtt(rtt);
        let sample =
            ClockSample { offset: offset(heartbeat, now.steady), rtt: rtt.max(1), taken: now.steady };
        // Keeps a good measurement until a better one comes: after a pause of this process, all heartbeats are read late.
        if self.clock.is_none_or(|best| sample.replaces(&best)) {
            self.clock = Some(sample);
        }
        self.samples += 1;
    }

    fn update_rtt(&mut self, rtt: u64) {
        self.rtt = rtt;
        self.rtt_min = if self.samples == 0 { rtt } else { self.rtt_min.min(rtt) };
        self.round_trip.update(rtt);
    }

    /// Returns what is known of the peer's wall clock at `now`. `None` before the first measurement.
    #[inline]
    pub(crate) fn peer_clock(&self, now: Instant) -> Option<PeerClock> {
        let error = self.clock?.error(now);
        let latest =
            self.wall_offset().saturating_add_unsigned(now.as_nanos()).saturating_add_unsigned(error);
        Some(PeerClock { latest, error, at: now })
    }

    /// Returns the peer's wall clock minus our steady clock.
    #[inline]
    fn wall_offset(&self) -> i64 {
        self.clock.map_or(0, |sample| sample.offset).saturating_add(self.peer_shift)
    }

    /// Returns the bound on the sample's error at the latest heartbeat.
    fn error_now(&self, sample: &ClockSample) -> u64 {
        sample.error(self.last_received.map_or(sample.taken, |(_, at)| at))
    }

    fn update_one_way_delay(&mut self, heartbeat: &Heartbeat, arrived: Instant) {
        let sent = i128::from(heartbeat.wall.as_nanos()) - i128::from(self.wall_offset());
        let delay = i128::from(arrived.as_nanos()) - sent;
        self.one_way_delay = u64::try_from(delay.max(0)).unwrap_or(u64::MAX);
    }
}

/// A smoothed round trip and its deviation, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RoundTrip {
    smoothed: u64,
    deviation: u64,
    is_measured: bool,
}

impl RoundTrip {
    /// RFC 6298 §2: the first sample sets SRTT, and half of it RTTVAR. Then alpha = 1/8 and beta = 1/4.
    pub(crate) fn update(&mut self, sample: u64) {
        if self.is_measured {
            self.deviation = smoothed(self.deviation, self.smoothed.abs_diff(sample), 4);
            self.smoothed = smoothed(self.smoothed, sample, 8);
        } else {
            *self = Self { smoothed: sample, deviation: sample / 2, is_measured: true };
        }
    }

    /// Returns the retransmission time-out, or `None` before the first sample.
    ///
    /// RFC 6298 §2: RTO = SRTT + max(G, 4 RTTVAR), but without the lower bound of one second.
    pub(crate) fn timeout(&self, granularity: Duration) -> Option<Duration> {
        let margin = duration_ns(granularity).max(self.deviation.saturating_mul(4));
        self.is_measured.then(|| Duration::from_nanos(self.smoothed.saturating_add(margin)))
    }
}

/// Returns a wall clock minus the steady clock of the same end.
fn difference(wall: WallTime, steady: u64) -> i64 {
    wall.as_nanos().saturating_sub_unsigned(steady)
}

/// Returns the offset of the peer's steady clock. RFC 5905 §8: theta = ((T2 - T1) + (T3 - T4)) / 2.
fn offset(heartbeat: &Heartbeat, now: Instant) -> i64 {
    let ns = |value: u64| i128::from(value);
    let (sent, arrived) = (ns(heartbeat.echo), ns(now.as_nanos()));
    let (peer_arrived, peer_sent) = (ns(heartbeat.stamp) - ns(heartbeat.held), ns(heartbeat.stamp));
    let theta = ((peer_arrived - sent) + (peer_sent - arrived)) / 2;
    i64::try_from(theta).unwrap_or(if theta < 0 { i64::MIN } else { i64::MAX })
}

/// Returns the exponential average: it moves by one `part`-th of the difference towards the sample.
fn smoothed(average: u64, sample: u64, part: u64) -> u64 {
    if sample >= average { average + (sample - average) / part } else { average - (average - sample) / part }
}

saved!(RoundTrip { smoothed, deviation, is_measured });
saved!(ClockSample { offset, rtt, taken });
saved!(Path {
    samples,
    rtt,
    rtt_min,
    round_trip,
    jitter,
    last_transit,
    one_way_delay,
    clock,
    peer_shift,
    own_shift,
    last_received,
});

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A time at which our wall clock shows 1,000 s more than our steady clock.
    fn now(ms: u64) -> Now {
        let steady = Instant::from_nanos(ms * MS);
        Now { steady, wall: WallTime::from_nanos((ms * MS).cast_signed() + 1_000_000_000_000) }
    }

    /// A heartbeat that the peer sends at our time `sent_ms`. Its wall clock is `ahead_ms` ahead of ours.
    fn heartbeat(sent_ms: u64, ahead_ms: i64, echo_ms: u64, held_ms: u64) -> Heartbeat {
        let wall = WallTime::from_nanos(now(sent_ms).wall.as_nanos() + ahead_ms * MS.cast_signed());
        Heartbeat { stamp: 7_000 * MS + sent_ms * MS, wall, echo: echo_ms * MS, held: held_ms * MS }
    }

    /// Returns the peer's wall clock minus ours, as it is published.
    fn ahead_of_us(path: &Path) -> i64 {
        let gauges = PathGauges::default();
        path.publish(&gauges);
        gauges.clock_offset.value().cast_signed()
    }

    #[test]
    fn round_trip_excludes_the_time_for_which_the_echo_was_held() {
        let mut path = Path::default();
        // We sent at 100. The peer got it at 103, held it for 50 and sent at 153. It arrived here at 158.
        path.receive(&heartbeat(153, 0, 100, 50), now(158));
        assert_eq!((path.samples, path.rtt), (1, 8 * MS));
    }

    #[test]
    fn offset_of_a_clock_that_is_ahead_is_measured() {
        let mut path = Path::default();
        path.receive(&heartbeat(154, 2_500, 100, 50), now(158));
        assert_eq!((ahead_of_us(&path), path.clock.unwrap().rtt), (2_500 * MS.cast_signed(), 8 * MS));
        assert_eq!(path.one_way_delay, 4 * MS);
    }

    #[test]
    fn measurement_with_the_shortest_round_trip_sets_the_clock() {
        let mut path = Path::default();
        path.receive(&heartbeat(154, 2_500, 100, 50), now(158));
        // A slow return path makes the peer's clock look late.
        path.receive(&heartbeat(254, 2_500, 200, 50), now(300));
        assert_eq!(ahead_of_us(&path), 2_500 * MS.cast_signed());
        assert_eq!(path.one_way_delay, 46 * MS);
    }

    #[test]
    fn pause_of_this_process_does_not_replace_a_good_measurement() {
        let mut path = Path::default();
        path.receive(&heartbeat(154, 0, 100, 50), now(158));
        // Ten heartbeats that all echo the same one of ours and waited while this process was stopped.
        for sent in (200..1_200).step_by(100) {
            path.receive(&heartbeat(sent, 0, 160, sent - 164), now(1_199));
        }
        let sample = path.clock.unwrap();
        assert_eq!((sample.taken, sample.rtt), (now(158).steady, 8 * MS));
        assert_eq!(sample.error(now(1_158).steady), 4 * MS + MS / 2, "plus the drift of one second");
    }

    #[test]
    fn clock_that_stood_still_is_measured_again() {
        let mut path = Path::default();
        path.receive(&heartbeat(154, 0, 100, 50), now(158));
        // The peer's steady clock has lost five seconds. Its wall clock has not.
        let after_sleep =
            Heartbeat { stamp: heartbeat(254, 0, 0, 0).stamp - 5_000 * MS, ..heartbeat(254, 0, 200, 40) };
        path.receive(&after_sleep, now(260));
        assert_eq!(path.clock.unwrap().taken, now(260).steady);
        assert_eq!(ahead_of_us(&path), 4 * MS.cast_signed(), "measured with a longer round trip");
    }

    #[test]
    fn setting_a_wall_clock_does_not_falsify_measurements() {
        let mut path = Path::default();
        path.receive(&heartbeat(154, 0, 100, 50), now(158));
        // The peer's wall clock was set an hour ahead, ours a day back.
        let hour = 3_600_000;
        let read =
            Now { wall: WallTime::from_nanos(now(258).wall.as_nanos() - 24 * 3_600_000_000_000), ..now(258) };
        path.receive(&heartbeat(254, hour, 200, 50), read);
        assert_eq!(ahead_of_us(&path), 25 * 3_600_000_000_000);
        assert_eq!(path.one_way_delay, 4 * MS);
        let clock = path.peer_clock(now(310).steady).unwrap();
        let stamp = heartbeat(300, hour, 0, 0).wall;
        assert_eq!(clock.greatest_age(stamp), Duration::from_millis(10 + 4) + DRIFTED);
    }

    /// How far the clocks may have drifted apart since a measurement 52 ms ago.
    const DRIFTED: Duration = Duration::from_nanos(52 * MS / 2_000);

    #[test]
    fn age_of_a_time_stamp_includes_the_error_bound() {
        let mut path = Path::default();
        assert!(path.peer_clock(now(310).steady).is_none());
        path.receive(&heartbeat(254, 2_500, 200, 50), now(258));
        let clock = path.peer_clock(now(310).steady).unwrap();
        let stamp = heartbeat(300, 2_500, 0, 0).wall;
        assert_eq!(clock.greatest_age(stamp), Duration::from_millis(10 + 4) + DRIFTED);
        assert_eq!(clock.moment(stamp), now(300).steady, "the best guess does not include it");
        let in_the_future = heartbeat(400, 2_500, 0, 0).wall;
        assert_eq!(clock.moment(in_the_future), now(400).steady);
        assert_eq!(clock.greatest_age(in_the_future), Duration::ZERO);
        let from = |ns| clock.greatest_age(WallTime::from_nanos(ns));
        assert!(from(i64::MIN) > Duration::from_secs(1 << 32));
        assert_eq!(from(i64::MAX), Duration::ZERO);
    }

    #[test]
    fn only_irregular_arrivals_have_jitter() {
        let mut path = Path::default();
        for ms in [0, 100, 200] {
            path.receive(&heartbeat(ms, 0, 0, 0), now(ms + 4));
        }
        assert_eq!(path.jitter, 0);
        path.receive(&heartbeat(300, 0, 0, 0), now(320));
        assert_eq!(path.jitter, MS);
    }

    #[test]
    fn impossible_echoes_are_not_measured() {
        let mut path = Path::default();
        path.receive(&heartbeat(1, 0, 0, 0), now(2));
        path.receive(&heartbeat(2, 0, 900, 0), now(3)); // an echo of the future
        path.receive(&heartbeat(3, 0, 2, 900), now(4)); // held for longer than it exists
        path.receive(
            &Heartbeat { wall: WallTime::from_nanos(i64::MIN), held: u64::MAX, ..heartbeat(4, 0, 1, 0) },
            now(5),
        );
        assert_eq!(path.samples, 0);
    }
}
