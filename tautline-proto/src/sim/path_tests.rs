//! Tests of each impairment alone, of all together, and of the counts.

use alloc::vec::Vec;
use core::time::Duration;

use super::impairments::MAX_HOLD;
use super::path::MAX_BYTES_IN_FLIGHT;
use super::*;
use crate::time::Instant;

const MS: Duration = Duration::from_millis(1);

fn at_us(us: u64) -> Instant {
    Instant::from_nanos(us * 1000)
}

fn share(percent: f64) -> Probability {
    Probability::percent(percent).expect("a share")
}

/// Sends `count` numbered datagrams of `len` bytes, one every `every`. Returns what came out, and when.
fn run(path: &mut Path, count: u64, len: usize, every: Duration) -> Vec<(Instant, DeliveredDatagram)> {
    let mut came = Vec::new();
    let mut now = at_us(0);
    for number in 0..count {
        take(path, now, &mut came);
        let mut datagram = alloc::vec![0; len];
        datagram[..8].copy_from_slice(&number.to_be_bytes());
        path.offer(now, &datagram);
        now = now.plus(every);
    }
    take(path, now.plus(Duration::from_secs(3600)), &mut came);
    came
}

/// Takes every datagram that is due until `now`, each at its time.
fn take(path: &mut Path, now: Instant, came: &mut Vec<(Instant, DeliveredDatagram)>) {
    while let Some(due) = path.next_timeout().filter(|due| *due <= now) {
        came.push((due, path.poll(due).expect("it is due")));
    }
}

fn assert_sums(counts: &PathCounts, offered: u64) {
    assert_eq!(counts.offered, offered);
    assert_eq!(
        counts.offered + counts.copies,
        counts.dropped() + counts.delivered + counts.in_flight,
        "{counts:?}"
    );
}

fn everything() -> Impairments {
    Impairments {
        loss: share(20.0),
        burst: Some(3.0),
        duplicate: share(20.0),
        reorder: share(10.0),
        corrupt: share(10.0),
        delay: 2 * MS,
        jitter: MS,
        rate: "1Mbit".parse().ok(),
        queue: 2000,
        max_size: None,
        partition: false,
    }
}

#[test]
fn path_without_impairments_delivers_at_once_and_in_order() {
    let mut path = Path::new(Impairments::default(), 1);
    let came = run(&mut path, 1000, 20, MS);
    assert!(came.iter().zip(0..).all(|((at, came), number)| {
        *at == at_us(number * 1000) && came.number == number && !came.is_corrupted && !came.is_copy
    }));
    assert_eq!((path.counts().delivered, path.counts().reordered), (1000, 0));
}

#[test]
fn same_seed_gives_the_same_result_and_another_seed_does_not() {
    let with = |seed| run(&mut Path::new(everything(), seed), 2000, 60, MS / 5);
    assert_eq!(with(5), with(5));
    assert_ne!(with(5), with(6));
}

#[test]
fn what_happens_to_a_datagram_does_not_depend_on_the_time() {
    let impairments = Impairments { rate: None, reorder: Probability::NEVER, ..everything() };
    let results = |every| {
        let mut results: Vec<_> = run(&mut Path::new(impairments, 5), 2000, 60, every)
            .into_iter()
            .map(|(_, came)| (came.number, came.is_copy, came.datagram))
            .collect();
        results.sort();
        results
    };
    assert_eq!(results(MS), results(MS / 100));
}

#[test]
fn counts_always_add_up() {
    for seed in 0..50 {
        let mut path = Path::new(everything(), seed);
        for number in 0..500 {
            path.offer(at_us(number * 300), &number.to_be_bytes());
            if number % 3 == 0 {
                path.poll(at_us(number * 300));
            }
            path.impair(Impairments { partition: number / 50 == 3, ..everything() });
            assert_sums(&path.counts(), number + 1);
        }
        let counts = path.counts();
        assert!(counts.partitioned == 50 && counts.lost > 20 && counts.copies > 20, "{counts:?}");
        assert!(counts.queue_full > 0 || counts.in_flight > 0, "{counts:?}");
    }
}

#[test]
fn duplication_corruption_and_reordering_have_their_shares() {
    let impairments = Impairments {
        duplicate: share(20.0),
        corrupt: share(10.0),
        reorder: share(5.0),
        ..Impairments::default()
    };
    let mut path = Path::new(impairments, 9);
    let came = run(&mut path, 50_000, 30, MS);
    let counts = path.counts();
    assert_sums(&counts, 50_000);
    assert!((9_500..10_500).contains(&counts.copies), "{counts:?}");
    assert!((5_700..6_300).contains(&counts.corrupted), "{counts:?}");
    // A held datagram may be overtaken by its own copy, which does not count as reordering.
    assert!((2_000..3_200).contains(&counts.reordered), "{counts:?}");
    for (_, came) in &came {
        let intact = came.datagram[..8] == came.number.to_be_bytes() && came.datagram[8..] == [0; 22];
        assert_eq!(came.is_corrupted, !intact);
    }
}

#[test]
fn reordered_datagram_follows_the_next_one_or_its_longest_wait() {
    let impairments = Impairments { reorder: Probability::ALWAYS, ..Impairments::default() };
    let mut path = Path::new(impairments, 1);
    let came = run(&mut path, 5, 20, MS);
    let order: Vec<u64> = came.iter().map(|(_, came)| came.number).collect();
    assert_eq!(order, [1, 0, 3, 2, 4]);
    assert_eq!((came[1].0, came[3].0), (at_us(1000), at_us(3000)));
    assert_eq!(came[4].0, at_us(4000).plus(MAX_HOLD), "no datagram came to overtake it");
    assert_eq!(path.counts().reordered, 2);
}

#[test]
fn delay_and_jitter_fill_their_range() {
    let impairments = Impairments { delay: 10 * MS, jitter: 3 * MS, ..Impairments::default() };
    let mut path = Path::new(impairments, 4);
    let came = run(&mut path, 20_000, 20, 4 * MS);
    let delays: Vec<u64> = came.iter().map(|(at, came)| at.as_nanos() - came.number * 4_000_000).collect();
    let (least, most) = (delays.iter().min().expect("some"), delays.iter().max().expect("some"));
    let mean = delays.iter().sum::<u64>() / delays.len() as u64;
    assert!((10_000_000..10_010_000).contains(least), "{least}");
    assert!((12_990_000..13_000_000).contains(most), "{most}");
    assert!((11_450_000..11_550_000).contains(&mean), "{mean}");
}

#[test]
fn limited_rate_spaces_datagrams_and_bounds_its_queue() {
    // 1,000 bytes take 1 ms. Datagrams come ten times as fast, and ten of them may wait.
    let rate = "8Mbit".parse().ok();
    let mut path = Path::new(Impairments { rate, queue: 10_000, ..Impairments::default() }, 1);
    let came = run(&mut path, 1000, 1000, MS / 10);
    let counts = path.counts();
    assert_sums(&counts, 1000);
    assert!((105..=111).contains(&counts.delivered), "100 in 100 ms, plus those that waited: {counts:?}");
    assert_eq!(counts.queue_full, 1000 - counts.delivered);
    assert!(came.windows(2).all(|pair| pair[1].0.since(pair[0].0) >= MS));
    let longest = came.iter().map(|(at, came)| at.as_nanos() - came.number * 100_000).max();
    assert!(longest.is_some_and(|ns| (9_500_000..=11_000_000).contains(&ns)), "{longest:?}");
}

#[test]
fn datagram_larger_than_the_queue_is_sent_if_the_queue_is_empty() {
    let rate = "8Mbit".parse().ok();
    let mut path = Path::new(Impairments { rate, queue: 0, ..Impairments::default() }, 1);
    path.offer(at_us(0), &[0; 1000]);
    path.offer(at_us(10), &[0; 1000]);
    path.offer(at_us(1000), &[0; 1000]);
    assert_eq!((path.counts().in_flight, path.counts().queue_full), (2, 1));
}

#[test]
fn partition_loses_new_datagrams_and_delivers_those_in_flight() {
    let mut path = Path::new(Impairments { delay: MS, ..Impairments::default() }, 1);
    path.offer(at_us(0), b"before");
    path.impair(Impairments { partition: true, ..Impairments::default() });
    path.offer(at_us(1), b"during");
    path.impair(Impairments::default());
    path.offer(at_us(2), b"after");
    let datagrams: Vec<_> =
        core::iter::from_fn(|| path.poll(at_us(1000))).map(|came| came.datagram).collect();
    assert_eq!(datagrams, [b"after".to_vec(), b"before".to_vec()]);
    assert_eq!(path.counts().partitioned, 1);
}

#[test]
fn number_of_datagrams_in_flight_is_bounded() {
    let mut path = Path::new(Impairments { delay: MS, ..Impairments::default() }, 1);
    for _ in 0..MAX_IN_FLIGHT + 10 {
        path.offer(at_us(0), b"");
    }
    assert_eq!((path.counts().in_flight, path.counts().queue_full), (MAX_IN_FLIGHT as u64, 10));
    let mut path = Path::new(Impairments { delay: MS, ..Impairments::default() }, 1);
    for _ in 0..1100 {
        path.offer(at_us(0), &[0; 65_507]);
    }
    assert_eq!(path.counts().in_flight, (MAX_BYTES_IN_FLIGHT / 65_507) as u64);
}

#[test]
fn each_direction_has_its_own_losses_and_its_own_partition() {
    let [one, other] = ["10.0.0.1:1", "10.0.0.2:2"].map(|text| text.parse().expect("an address"));
    let (there, back) = (Direction { from: one, to: other }, Direction { from: other, to: one });
    let mut network = Network::new(Impairments { loss: share(50.0), ..Impairments::default() }, 3);
    let mut got = [Vec::new(), Vec::new()];
    for number in 0..64u64 {
        network.send(at_us(number), there, &number.to_be_bytes());
        network.send(at_us(number), back, &number.to_be_bytes());
    }
    while let Some((direction, came)) = network.poll(at_us(64)) {
        got[usize::from(direction == back)].push(came.number);
    }
    assert!(got[0] != got[1] && got.iter().all(|got| (16..48).contains(&got.len())), "{got:?}");
    network.impair_all(Impairments::default());
    network.impair(back, Impairments { partition: true, ..Impairments::default() });
    network.send(at_us(70), there, b"");
    network.send(at_us(70), back, b"");
    assert_eq!(network.poll(at_us(70)).map(|(direction, _)| direction), Some(there));
    assert_eq!((network.next_timeout(), network.total().partitioned), (None, 1));
    assert_sums(&network.total(), 130);
}
