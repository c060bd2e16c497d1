//! What heartbeats tell of the path: round trip, jitter, clock offset, one-way delay. docs/protocol.md §7.

use core::time::Duration;

use crate::stats::PathGauges;
use crate::time::{Instant, Now, WallTime, duration_ns};
use crate::wire::native::Heartbeat;

/// How many samples the clock filter looks back on (RFC 5905 §10 keeps eight).
const CLOCK_SAMPLES: usize = 8;

/// An echo older than this measures a hiccup, not the path.
const OLDEST_ECHO: Duration = Duration::from_secs(60);

/// Estimates for one session with one peer; all in nanoseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path {
    samples: u64,
    rtt: u64,
    rtt_min: u64,
    rtt_smoothed: u64,
    rtt_deviation: u64,
    jitter: u64,
    last_transit: Option<i64>,
    one_way_delay: u64,
    clock: [ClockSample; CLOCK_SAMPLES],
    last_received: Option<(u64, Instant)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct ClockSample {
    /// The peer's wall clock minus ours.
    offset: i64,
    /// The round trip it was measured with; 0 for no sample.
    rtt: u64,
}

impl Path {
    /// Takes in a heartbeat that arrived at `now`.
    pub(crate) fn receive(&mut self, heartbeat: &Heartbeat, now: Now) {
        self.last_received = Some((heartbeat.stamp, now.steady));
        self.update_jitter(heartbeat, now.steady);
        self.measure(heartbeat, now);
        if self.samples > 0 {
            self.update_one_way_delay(heartbeat, now.wall);
        }
    }

    /// The echo for our next heartbeat: the peer's last stamp and how long it was held here.
    pub(crate) fn echo(&self, now: Instant) -> (u64, u64) {
        self.last_received.map_or((0, 0), |(stamp, arrived)| (stamp, duration_ns(now.since(arrived))))
    }

    pub(crate) fn publish(&self, gauges: &PathGauges) {
        let clock = self.best_clock();
        gauges.rtt.set(self.rtt);
        gauges.rtt_min.set(self.rtt_min);
        gauges.rtt_smoothed.set(self.rtt_smoothed);
        gauges.rtt_deviation.set(self.rtt_deviation);
        gauges.jitter.set(self.jitter);
        gauges.one_way_delay.set(self.one_way_delay);
        gauges.clock_offset.set(clock.offset.cast_unsigned());
        gauges.clock_offset_error.set(clock.rtt / 2);
        gauges.samples.set(self.samples);
    }

    /// RFC 3550 §6.4.1: J += (|D| - J) / 16, D being the change of transit time.
    fn update_jitter(&mut self, heartbeat: &Heartbeat, arrived: Instant) {
        // The clocks start anywhere; the difference of two transits does not depend on it.
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
        let sample = ClockSample { offset: offset(heartbeat, now, age), rtt: rtt.max(1) };
        #[allow(clippy::cast_possible_truncation)] // below CLOCK_SAMPLES
        let at = (self.samples % CLOCK_SAMPLES as u64) as usize;
        self.clock[at] = sample;
        self.samples += 1;
    }

    /// RFC 6298 §2: the first sample sets SRTT and half of it RTTVAR; then alpha = 1/8, beta = 1/4.
    fn update_rtt(&mut self, rtt: u64) {
        self.rtt = rtt;
        if self.samples == 0 {
            self.rtt_min = rtt;
            self.rtt_smoothed = rtt;
            self.rtt_deviation = rtt / 2;
        } else {
            self.rtt_min = self.rtt_min.min(rtt);
            self.rtt_deviation = smoothed(self.rtt_deviation, self.rtt_smoothed.abs_diff(rtt), 4);
            self.rtt_smoothed = smoothed(self.rtt_smoothed, rtt, 8);
        }
    }

    /// The sample with the shortest round trip: the least of it can be asymmetry (RFC 5905 §10).
    fn best_clock(&self) -> ClockSample {
        let measured = self.clock.iter().filter(|sample| sample.rtt > 0);
        measured.min_by_key(|sample| sample.rtt).copied().unwrap_or_default()
    }

    fn update_one_way_delay(&mut self, heartbeat: &Heartbeat, arrived: WallTime) {
        let apparent = arrived.nanos_since(heartbeat.wall);
        let delay = apparent.saturating_add(self.best_clock().offset);
        self.one_way_delay = u64::try_from(delay).unwrap_or(0);
    }
}

/// RFC 5905 §8: theta = ((T2 - T1) + (T3 - T4)) / 2.
fn offset(heartbeat: &Heartbeat, now: Now, echo_age: u64) -> i64 {
    let ns = |value: u64| i128::from(value);
    let (sent, arrived) = (i128::from(now.wall.as_nanos()) - ns(echo_age), i128::from(now.wall.as_nanos()));
    let peer_sent = i128::from(heartbeat.wall.as_nanos());
    let peer_arrived = peer_sent - ns(heartbeat.held);
    let theta = ((peer_arrived - sent) + (peer_sent - arrived)) / 2;
    i64::try_from(theta).unwrap_or(if theta < 0 { i64::MIN } else { i64::MAX })
}

/// An exponential average: `part` of the difference is taken over.
fn smoothed(average: u64, sample: u64, part: u64) -> u64 {
    if sample >= average { average + (sample - average) / part } else { average - (average - sample) / part }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A time at which our wall clock shows 1,000 s more than the steady one.
    fn now(ms: u64) -> Now {
        let steady = Instant::from_nanos(ms * MS);
        Now { steady, wall: WallTime::from_nanos((ms * MS).cast_signed() + 1_000_000_000_000) }
    }

    /// Sent by the peer at our time `sent_ms`; its wall clock is `ahead_ms` ahead of ours.
    fn heartbeat(sent_ms: u64, ahead_ms: i64, echo_ms: u64, held_ms: u64) -> Heartbeat {
        let wall = WallTime::from_nanos(now(sent_ms).wall.as_nanos() + ahead_ms * MS.cast_signed());
        Heartbeat { stamp: 7_000 * MS + sent_ms * MS, wall, echo: echo_ms * MS, held: held_ms * MS }
    }

    #[test]
    fn a_round_trip_leaves_out_the_time_the_echo_was_held() {
        let mut path = Path::default();
        // We sent at 100; it arrived there at 103, was held 50, sent at 153, arrived here at 158.
        path.receive(&heartbeat(153, 0, 100, 50), now(158));
        assert_eq!((path.samples, path.rtt), (1, 8 * MS));
    }

    #[test]
    fn a_clock_ahead_is_seen_within_its_error_bound() {
        let mut path = Path::default();
        path.receive(&heartbeat(154, 2_500, 100, 50), now(158));
        let clock = path.best_clock();
        assert_eq!((clock.offset, clock.rtt), (2_500 * MS.cast_signed(), 8 * MS));
        assert_eq!(path.one_way_delay, 4 * MS);
    }

    #[test]
    fn the_shortest_round_trip_settles_the_clock() {
        let mut path = Path::default();
        path.receive(&heartbeat(154, 2_500, 100, 50), now(158));
        // A slow way back pretends that the peer's clock is behind.
        path.receive(&heartbeat(254, 2_500, 200, 50), now(300));
        assert_eq!(path.best_clock().offset, 2_500 * MS.cast_signed());
        assert_eq!(path.one_way_delay, 46 * MS);
    }

    #[test]
    fn steady_arrivals_have_no_jitter_and_a_late_one_has() {
        let mut path = Path::default();
        for ms in [0, 100, 200] {
            path.receive(&heartbeat(ms, 0, 0, 0), now(ms + 4));
        }
        assert_eq!(path.jitter, 0);
        path.receive(&heartbeat(300, 0, 0, 0), now(320));
        assert_eq!(path.jitter, MS);
    }

    #[test]
    fn nonsense_from_the_peer_measures_nothing() {
        let mut path = Path::default();
        path.receive(&heartbeat(1, 0, 0, 0), now(2));
        path.receive(&heartbeat(2, 0, 900, 0), now(3)); // an echo from the future
        path.receive(&heartbeat(3, 0, 2, 900), now(4)); // held longer than it exists
        path.receive(
            &Heartbeat { wall: WallTime::from_nanos(i64::MIN), held: u64::MAX, ..heartbeat(4, 0, 1, 0) },
            now(5),
        );
        assert_eq!(path.samples, 0);
    }
}
