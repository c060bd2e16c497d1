//! The size of the path to one peer: the largest datagram that arrives there, found by probes (Datagram PLPMTUD, RFC 8899).
//! docs/protocol.md §7.7.
//!
//! A probe is a heartbeat that is padded to the size that it tries. The heartbeat that follows it names it, so that its loss is
//! no loss of the link, and asks for an answer. An answer that shows the heartbeat and not the probe says that the probe
//! was lost to its size, or by chance: so several must be lost. Nothing follows from the silence of a peer.

use core::net::SocketAddr;
use core::time::Duration;

use crate::snapshot::saved;
use crate::time::Instant;
use crate::wire::native::PathProbe;

/// The size that nearly every path carries (RFC 8899 §5.1.2, `BASE_PLPMTU`).
pub(super) const BASE_DATAGRAM: usize = 1_200;

/// The least size that is noted: an IPv4 packet of 428 bytes. The kernel's own least is 552.
pub(super) const MIN_DATAGRAM: usize = 400;

/// The headers of an IP packet with a UDP datagram, without options, in bytes (RFC 791, RFC 8200, RFC 768).
const IPV4_HEADERS: usize = 20 + 8;
const IPV6_HEADERS: usize = 40 + 8;

/// The packet that every network of the protocol carries: that every IPv4 host accepts (RFC 791), and every IPv6 link carries.
const IPV4_LEAST: usize = 576;
const IPV6_LEAST: usize = 1_280;

/// Packets that networks carry: tunnels, overlays, PPPoE, Ethernet, FDDI, jumbo frames. They are tried first.
const USUAL_PACKETS: [usize; 19] = [
    1_280, 1_300, 1_320, 1_340, 1_360, 1_380, 1_400, 1_420, 1_440, 1_450, 1_460, 1_472, 1_480, 1_492, 1_500,
    2_304, 4_352, 8_000, 9_000,
];

/// The search ends when the size is known to this.
const CLOSE_ENOUGH: usize = 16;

/// How many probes in a row must be lost before a larger size is given up, and before the size in use is (a black hole).
const SEARCH_TRIES: u8 = 3;
const PROOF_TRIES: u8 = 4;

/// While datagrams are sent that may be too large, the size in use is proven this often.
const PROVE_EVERY: Duration = Duration::from_millis(400);

/// Larger sizes are tried again after this time (RFC 8899 §5.1.1, `PMTU_RAISE_TIMER`, which is longer).
const RAISE_AFTER: Duration = Duration::from_secs(60);

/// A probe that was neither answered nor overtaken is forgotten after this time.
const FORGET_AFTER: Duration = Duration::from_secs(3);

/// How many heartbeats name a probe, and how many say that one has arrived, because any of them may be lost.
const REPEATS: u8 = 4;

/// What is known of the path to one peer.
#[derive(Debug)]
// In this order, so that what every datagram uses shares few cache lines.
#[repr(C)]
pub(super) struct PathSize {
    /// The size in use.
    size: usize,
    /// Whether datagrams were sent since then that a smaller path would not carry.
    used: bool,
    /// How many probes of the size that is tried were lost in a row.
    losses: u8,
    /// How many more heartbeats say that the peer's latest probe has arrived.
    answers: u8,
    /// How many more heartbeats name our latest probe, and its number. The first of them asks for an answer.
    namings: u8,
    named: u32,
    /// The size below which no path is expected to be. That in use, if the configuration allows no more than the base size:
    /// then nothing is probed.
    least: usize,
    headers: usize,
    /// The largest size that the configuration allows, and that the system is known to allow.
    most: usize,
    limit: usize,
    /// Probes of this size were lost. `usize::MAX`: none.
    failed: usize,
    /// The probe that waits for its answer.
    probe: Option<Probe>,
    /// The size that is tried.
    tried: usize,
    /// When the size in use was last proven; `None` until the next look.
    proven_at: Option<Instant>,
    /// When larger sizes are tried again; `None` until the next look.
    raise_at: Option<Instant>,
    /// The peer's latest probe that has arrived.
    arrived: u32,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    size: usize,
    number: u32,
    sent_at: Instant,
}

impl PathSize {
    /// Makes the state of a new path to this address. The configuration allows datagrams of `most` bytes.
    pub(super) fn new(address: SocketAddr, most: usize) -> Self {
        let (headers, least) = match address.ip().to_canonical().is_ipv4() {
            true => (IPV4_HEADERS, IPV4_LEAST - IPV4_HEADERS),
            false => (IPV6_HEADERS, IPV6_LEAST - IPV6_HEADERS),
        };
        let size = most.min(BASE_DATAGRAM);
        Self {
            size,
            least: if most <= BASE_DATAGRAM { size } else { least.min(size) },
            headers,
            most,
            limit: most,
            failed: usize::MAX,
            probe: None,
            tried: 0,
            losses: 0,
            proven_at: None,
            used: false,
            raise_at: None,
            named: 0,
            namings: 0,
            arrived: 0,
            answers: 0,
        }
    }

    /// The size of the largest datagram to send.
    #[inline]
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// Returns whether [`sends`](Self::sends) changes something.
    pub(super) const fn would_use(&self, size: usize) -> bool {
        size > self.least && !self.used
    }

    /// Notes that a datagram of this size is sent.
    #[inline]
    pub(super) const fn sends(&mut self, size: usize) {
        if size > self.least {
            self.used = true;
        }
    }

    /// The size of the probe to send now, right before a heartbeat, if one is due.
    pub(super) fn next_probe(&mut self, now: Instant) -> Option<usize> {
        let proven_at = *self.proven_at.get_or_insert(now);
        if self.probe.is_some_and(|probe| now.since(probe.sent_at) < FORGET_AFTER) {
            return None;
        }
        self.probe = None;
        if now >= *self.raise_at.get_or_insert(now.plus(RAISE_AFTER)) {
            (self.limit, self.failed) = (self.most, usize::MAX);
            self.raise_at = None;
        }
        let doubted = self.losses > 0 && self.tried == self.size;
        let prove = doubted || (self.used && now.since(proven_at) >= PROVE_EVERY);
        if prove && self.size > self.least { Some(self.size) } else { self.larger() }
    }

    /// The larger size to try next: the largest that may be, then usual ones, then the middle.
    fn larger(&self) -> Option<usize> {
        let (size, failed) = (self.size, self.failed);
        if size >= self.limit.min(failed) {
            return None;
        }
        if failed > self.limit {
            return Some(self.limit);
        }
        let between = |packet: &usize| (size + 1..failed).contains(&packet.saturating_sub(self.headers));
        let count = USUAL_PACKETS.iter().filter(|packet| between(packet)).count();
        let usual = USUAL_PACKETS.iter().filter(|packet| between(packet)).nth(count / 2);
        let middle = || (failed - size > CLOSE_ENOUGH).then(|| size.midpoint(failed));
        usual.map(|packet| packet - self.headers).or_else(middle)
    }

    /// Notes that the system has taken the probe of this size, with this number.
    pub(super) fn probe_sent(&mut self, size: usize, number: u32, now: Instant) {
        if self.tried != size {
            (self.tried, self.losses) = (size, 0);
        }
        self.probe = Some(Probe { size, number, sent_at: now });
        (self.named, self.namings) = (number, REPEATS);
    }

    /// Notes that the system did not take the probe. If the reason may be its size, the probe counts as lost. Returns whether the
    /// size in use changed.
    pub(super) fn probe_not_sent(&mut self, may_be_for_size: bool) -> bool {
        self.namings = 0;
        let probe = self.probe.take().filter(|_| may_be_for_size);
        probe.is_some_and(|probe| self.is_lost(probe.size))
    }

    /// What a probe says of itself.
    pub(super) fn of_probe(&self, size: usize) -> PathProbe {
        PathProbe {
            size: u16::try_from(size).unwrap_or(u16::MAX),
            arrived: self.arrived,
            ..PathProbe::default()
        }
    }

    /// What the next heartbeat says of probes; `None` if there is nothing to say.
    pub(super) fn beside_heartbeat(&mut self) -> Option<PathProbe> {
        if self.namings == 0 && self.answers == 0 {
            return None;
        }
        let asks = self.namings == REPEATS;
        let named = if self.namings > 0 { self.named } else { 0 };
        let arrived = if self.answers > 0 { self.arrived } else { 0 };
        self.namings = self.namings.saturating_sub(1);
        self.answers = self.answers.saturating_sub(1);
        Some(PathProbe { size: 0, asks, arrived, named })
    }

    /// Notes that a probe of the peer has arrived.
    pub(super) const fn probe_arrived(&mut self, number: u32) {
        self.arrived = number;
        self.answers = REPEATS;
    }

    /// Notes that the peer waits for an answer. If its probe has not arrived, the answer shows that.
    pub(super) fn asked(&mut self) {
        self.answers = self.answers.max(1);
    }

    /// Handles the peer's answer: the number of our latest probe that has arrived there, 0 for none, and the time of sending of
    /// our latest heartbeat that has. Returns whether the size in use changed.
    pub(super) fn answered(&mut self, arrived: u32, heartbeat_sent: Instant, now: Instant) -> bool {
        let Some(probe) = self.probe else { return false };
        if arrived == probe.number {
            self.probe = None;
            return self.arrived(probe.size, now);
        }
        if heartbeat_sent < probe.sent_at {
            return false;
        }
        // The heartbeat right behind the probe has arrived, and the probe has not.
        self.probe = None;
        self.is_lost(probe.size)
    }

    /// Notes that a probe of this size was lost. Returns whether the size in use changed.
    fn is_lost(&mut self, size: usize) -> bool {
        self.losses += 1;
        let most = if size > self.size { SEARCH_TRIES } else { PROOF_TRIES };
        self.losses >= most && self.is_too_large(size)
    }

    fn arrived(&mut self, size: usize, now: Instant) -> bool {
        self.losses = 0;
        if size < self.size {
            return false;
        }
        let before = core::mem::replace(&mut self.size, size);
        self.proven_at = Some(now);
        self.used = false;
        self.size != before
    }

    /// Notes that datagrams of this size do not arrive. Returns whether the size in use changed.
    pub(super) fn is_too_large(&mut self, size: usize) -> bool {
        self.losses = 0;
        self.failed = self.failed.min(size);
        self.raise_at = None;
        if size > self.size {
            return false;
        }
        let before = self.size;
        let lower =
            if size > BASE_DATAGRAM { BASE_DATAGRAM } else { self.least.min(MIN_DATAGRAM.max(size - 1)) };
        self.set(lower);
        self.size != before
    }

    /// Notes that the system knows the path to carry no more than `size`. Returns whether the size in use changed.
    pub(super) fn told(&mut self, size: usize) -> bool {
        let size = size.max(MIN_DATAGRAM);
        if size < self.limit {
            self.limit = size;
            self.raise_at = None;
        }
        let is_less = size < self.size;
        if is_less {
            self.set(size);
        }
        is_less
    }

    fn set(&mut self, size: usize) {
        self.size = size;
        self.least = self.least.min(size);
        self.proven_at = None;
        self.probe = None;
        self.losses = 0;
    }
}

saved!(Probe { size, number, sent_at });
saved!(PathSize {
    size,
    least,
    headers,
    most,
    limit,
    failed,
    probe,
    tried,
    losses,
    proven_at,
    used,
    raise_at,
    named,
    namings,
    arrived,
    answers,
});

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    /// A path that carries datagrams of `carries` bytes, and a round trip of 1 ms.
    struct Trial {
        path: PathSize,
        now: Instant,
        carries: usize,
        number: u32,
        /// The sizes of the probes that were sent.
        probes: alloc::vec::Vec<usize>,
    }

    const HEARTBEAT: Duration = Duration::from_millis(100);

    impl Trial {
        fn new(most: usize, carries: usize) -> Self {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9000));
            let path = PathSize::new(address, most);
            Self { path, now: Instant::from_nanos(0), carries, number: 0, probes: alloc::vec::Vec::new() }
        }

        /// Lets so many heartbeats pass. Every datagram that is lost by chance has a number that `chance` names.
        fn beat(&mut self, heartbeats: usize, chance: impl Fn(u32) -> bool) {
            for _ in 0..heartbeats {
                self.now = self.now.plus(HEARTBEAT);
                let Some(size) = self.path.next_probe(self.now) else { continue };
                self.number += 1;
                self.probes.push(size);
                self.path.probe_sent(size, self.number, self.now);
                let named = self.path.beside_heartbeat().expect("it names the probe");
                assert_eq!((named.asks, named.named), (true, self.number));
                let arrives = size <= self.carries && !chance(self.number);
                let arrived = if arrives { self.number } else { 0 };
                self.path.answered(arrived, self.now, self.now.plus(Duration::from_millis(1)));
            }
        }

        fn beats(&mut self, heartbeats: usize) {
            self.beat(heartbeats, |_| false);
        }
    }

    #[test]
    fn the_largest_size_is_found_at_once_if_the_path_carries_it() {
        let mut trial = Trial::new(1_472, 1_472);
        assert_eq!(trial.path.size(), BASE_DATAGRAM, "until it is proven");
        trial.beats(100);
        assert_eq!(
            (trial.path.size(), &trial.probes[..]),
            (1_472, &[1_472][..]),
            "one probe, and then silence"
        );
    }

    #[test]
    fn a_size_is_found_to_a_few_bytes_with_few_probes() {
        for carries in 1_200..=1_472 {
            let mut trial = Trial::new(1_472, carries);
            trial.beats(60);
            let found = trial.path.size();
            assert!(found <= carries && carries - found < CLOSE_ENOUGH, "{found} of {carries}");
            assert!(trial.probes.len() <= 30, "{carries}: {:?}", trial.probes);
        }
        for packet in [1_280, 1_400, 1_492, 4_352] {
            let mut trial = Trial::new(8_972, packet - 28);
            trial.beats(60);
            assert_eq!(trial.path.size(), packet - 28, "usual sizes are found exactly: {:?}", trial.probes);
        }
    }

    #[test]
    fn a_black_hole_is_noticed_within_a_second_and_larger_sizes_are_tried_again() {
        let mut trial = Trial::new(1_472, 1_472);
        trial.beats(20);
        trial.carries = 1_300;
        trial.beats(100);
        assert_eq!(trial.path.size(), 1_472, "nothing large is sent, so nothing is proven");
        trial.path.sends(1_472);
        trial.beats(9);
        assert_eq!(trial.path.size(), BASE_DATAGRAM);
        trial.beats(60);
        assert!((1_284..=1_300).contains(&trial.path.size()), "{}", trial.path.size());
        trial.carries = 1_472;
        trial.beats(600);
        assert_eq!(trial.path.size(), 1_472);
    }

    #[test]
    fn a_path_below_the_base_size_is_noticed_too() {
        let mut trial = Trial::new(1_472, 900);
        trial.path.sends(1_200);
        trial.beats(60);
        assert!((548..=900).contains(&trial.path.size()), "{}", trial.path.size());
    }

    #[test]
    fn chance_and_silence_change_nothing() {
        let mut trial = Trial::new(1_472, 1_472);
        trial.beats(20);
        for _ in 0..50 {
            trial.path.sends(1_472);
            trial.beat(10, |number| number % 3 != 0);
        }
        assert_eq!(trial.path.size(), 1_472, "two of three are lost, but never four in a row");
        // The peer is gone: no heartbeat is answered.
        trial.path.sends(1_472);
        for number in 1_000..2_000 {
            trial.now = trial.now.plus(HEARTBEAT);
            if let Some(size) = trial.path.next_probe(trial.now) {
                trial.path.probe_sent(size, number, trial.now);
            }
        }
        assert_eq!(trial.path.size(), 1_472);
    }

    #[test]
    fn an_answer_that_is_older_than_the_probe_says_nothing() {
        let mut trial = Trial::new(1_472, 1_472);
        trial.now = trial.now.plus(HEARTBEAT);
        let size = trial.path.next_probe(trial.now).expect("the first");
        trial.path.probe_sent(size, 5, trial.now);
        for _ in 0..9 {
            assert!(!trial.path.answered(0, Instant::from_nanos(7), trial.now));
        }
        assert!(trial.path.answered(5, Instant::from_nanos(7), trial.now), "the probe itself has arrived");
        assert_eq!(trial.path.size(), 1_472);
    }

    #[test]
    fn a_size_that_the_system_has_no_room_for_is_given_up_as_one_that_is_lost() {
        let mut trial = Trial::new(8_972, 8_972);
        trial.beats(5);
        // Each beat ends with a probe that the system refuses, if one is due.
        let mut beats = 0;
        while trial.path.size() > BASE_DATAGRAM {
            trial.path.sends(3_000);
            trial.now = trial.now.plus(HEARTBEAT);
            if let Some(size) = trial.path.next_probe(trial.now) {
                trial.path.probe_sent(size, 99, trial.now);
                trial.path.probe_not_sent(true);
            }
            beats += 1;
            assert!(beats < 10, "{}", trial.path.size());
        }
        // A refusal for another reason says nothing about the size.
        let mut trial = Trial::new(1_472, 1_472);
        trial.beats(5);
        for number in 100..200 {
            trial.path.sends(1_472);
            trial.now = trial.now.plus(HEARTBEAT);
            if let Some(size) = trial.path.next_probe(trial.now) {
                trial.path.probe_sent(size, number, trial.now);
                assert!(!trial.path.probe_not_sent(false));
            }
        }
        assert_eq!(trial.path.size(), 1_472);
    }

    #[test]
    fn what_the_system_says_holds_at_once_and_is_asked_again_later() {
        let mut trial = Trial::new(1_472, 1_472);
        trial.beats(5);
        assert!(trial.path.told(1_372));
        assert!(!trial.path.told(1_400));
        assert_eq!(trial.path.size(), 1_372);
        trial.beats(500);
        assert_eq!(trial.path.size(), 1_372);
        trial.beats(200);
        assert_eq!(trial.path.size(), 1_472);
    }
}
