//! Checks that a message in steady state allocates nothing, on either side.
//!
//! The allocator of this test program counts the allocations of all threads, and of each thread.
#![allow(unsafe_code)] // a counting allocator

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{TIME_LIMIT, client, client_config, server, server_config};
use tautline::{
    Config, Cycle, DropReason, Handler, MessageRef, MessageType, Metadata, Payload, Qos, Reply, UdpInterface,
    Watchdog, Wire,
};

/// The system's allocator, with counters.
struct CountingAllocator;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static OF_THIS_THREAD: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    // A thread that ends has none any more.
    let _ = OF_THIS_THREAD.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: each call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of this function, which is that of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of this function, which is that of the system's allocator.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of this function, which is that of the system's allocator.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// The steps before counting: more than any table or queue needs to reach its final size.
const WARM_UP: u64 = 3_000;

/// The steps of one round: enough that heartbeats are sent meanwhile. Under Wine a step takes a hundred times as long.
const COUNTED: u64 = if cfg!(windows) { 2_000 } else { 20_000 };

/// The number of rounds. A queue that becomes longer than ever before allocates in one round only. Code that allocates for
/// each message does so in every round.
const ROUNDS: usize = 5;

/// Returns the number of allocations that `step` makes in steady state: 0 if there is a round without any.
fn allocations(step: impl FnMut()) -> u64 {
    counted(step, || ALLOCATIONS.load(Ordering::Relaxed))
}

/// As [`allocations`], by this count.
fn counted(mut step: impl FnMut(), count: impl Fn() -> u64) -> u64 {
    (0..WARM_UP).for_each(|_| step());
    let mut round = || {
        let before = count();
        (0..COUNTED).for_each(|_| step());
        count() - before
    };
    (0..ROUNDS).map(|_| round()).find(|&count| count == 0).unwrap_or_else(round)
}

/// Returns a server that counts commands and answers data, both inline, its client, and the count. `streams` changes both
/// configurations.
fn pair(streams: impl Fn(Config) -> Config) -> (UdpInterface, UdpInterface, Arc<AtomicU64>) {
    let often = |config: Config| streams(config.heartbeat_interval(Duration::from_millis(20)));
    let server = server(often(server_config(Wire::Native)));
    let seen = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&seen);
    server.register_message_handler(
        MessageType::Command,
        Handler::inline(move |_: &MessageRef<'_>, _: &Reply| {
            count.fetch_add(1, Ordering::Release);
        }),
    );
    let answer = Payload::raw([7; 32]);
    server.register_message_handler(
        MessageType::Data,
        Handler::inline(move |_: &MessageRef<'_>, reply: &Reply| {
            reply.send(&answer, &Metadata::status()).expect("the client is there");
        }),
    );
    let client = client(often(client_config(&server)));
    // The inbox of an interface whose messages somebody receives has copies of what handlers have.
    assert!(server.receive(Some(Duration::ZERO)).is_err());
    (server, client, seen)
}

/// This is one test, because the allocator counts for the whole program.
#[test]
fn a_message_in_steady_state_allocates_nothing() {
    let (server, client, seen) = pair(|config| config);
    let (command, data) = (Metadata::command(), Metadata::data());

    let payload = Payload::raw([5; 64]);
    let mut sent = 0;
    let one_way = allocations(|| {
        client.send(&payload, &command).expect("connected");
        sent += 1;
        while seen.load(Ordering::Acquire) < sent {
            std::thread::yield_now();
        }
    });
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > 0, "the counter counts");
    assert_eq!(
        one_way, 0,
        "raw bytes to an inline handler, and to the inbox, which drops its oldest message"
    );

    let state = [0.5, -1.5, 2.25e-3];
    let values = allocations(|| {
        client.send(&state, &command).expect("connected");
        sent += 1;
        while seen.load(Ordering::Acquire) < sent {
            std::thread::yield_now();
        }
    });
    assert_eq!(values, 0, "a value as JSON");

    let round_trip = allocations(|| {
        client.send(&payload, &data).expect("connected");
        assert_eq!(client.receive(None).expect("connected").payload(), [7; 32]);
    });
    assert_eq!(round_trip, 0, "answered inline, received from the inbox");

    for watchdog in [Watchdog::peer(TIME_LIMIT), Watchdog::messages(MessageType::Command, TIME_LIMIT)] {
        server.watch(watchdog.misses(2, 5), |_| {}).expect("possible");
    }
    let mut cycle = Cycle::every(Duration::from_micros(10)).expect("possible");
    cycle.follow(&server, MessageType::Command, Duration::ZERO);
    let watched = allocations(|| {
        client.send(&payload, &command).expect("connected");
        sent += 1;
        while seen.load(Ordering::Acquire) < sent {
            std::thread::yield_now();
        }
        // Not at every step, because each wait gives the core away.
        if sent % 512 == 0 {
            cycle.wait();
        }
    });
    assert_eq!(watched, 0, "watched, and followed by a cycle");
    drop(cycle);

    // Nobody reads the server's inbox any more, so each command replaces the command before it.
    let (server, client, seen) = pair(|config| {
        let fresh = Qos::new().keep_last(1).lifespan(Duration::from_secs(60));
        config.qos(MessageType::Command, fresh).qos(MessageType::Status, fresh)
    });
    sent = 0;
    let fresh = allocations(|| {
        client.send(&payload, &command).expect("connected");
        sent += 1;
        while seen.load(Ordering::Acquire) < sent {
            std::thread::yield_now();
        }
        client.send(&payload, &data).expect("connected");
        assert_eq!(client.receive(None).expect("connected").payload(), [7; 32]);
    });
    assert!(server.statistics().inbox.dropped.of(DropReason::Superseded) > COUNTED);
    assert_eq!(fresh, 0, "streams with a history and a lifespan");

    // Sealed with a key, also in packs.
    #[cfg(feature = "secure")]
    {
        let key = tautline::SecretKey::generate().expect("random");
        let (_server, client, seen) = pair(|config| config.key(key.clone()));
        let batch = vec![payload.clone(); 40];
        let packs = client.publisher(Metadata::status());
        sent = 0;
        let sealed = allocations(|| {
            client.send(&payload, &command).expect("connected");
            sent += 1;
            if sent % 64 == 0 {
                // To the inbox, which drops its oldest messages.
                packs.send_batch(&batch).expect("connected");
            }
            while seen.load(Ordering::Acquire) < sent {
                std::thread::yield_now();
            }
            client.send(&payload, &data).expect("connected");
            assert_eq!(client.receive(None).expect("connected").payload(), [7; 32]);
        });
        assert_eq!(sealed, 0, "sealed with a key");
    }

    // The threads that write the files allocate. The one that drives does not.
    let folder = std::env::temp_dir().join(format!("tautline-allocations-{}", std::process::id()));
    let config = server_config(Wire::Native).black_box_dir(&folder).record(folder.join("run.mcap"));
    let config = config.black_box("1MiB");
    let (server, mut driver) = UdpInterface::caller_driven(config).expect("a valid configuration");
    driver.connect().expect("possible");
    let client = std::thread::scope(|scope| {
        let connected = scope.spawn(|| common::client(client_config(&server)));
        while !connected.is_finished() {
            driver.turn(Some(Duration::from_millis(1)));
        }
        connected.join().expect("it connects")
    });
    sent = 0;
    let recorded = counted(
        || {
            client.send(&payload, &command).expect("connected");
            while driver.turn(None) == 0 {}
            sent += 1;
            if sent % 100 == 0 {
                // A debug build writes more slowly than it sends. What waits takes memory.
                std::thread::sleep(Duration::from_millis(8));
            }
        },
        || OF_THIS_THREAD.with(Cell::get),
    );
    assert_eq!(recorded, 0, "with a black box and a recording");
    drop(client);
    drop((driver, server));
    std::fs::remove_dir_all(&folder).expect("this test created it");
}
