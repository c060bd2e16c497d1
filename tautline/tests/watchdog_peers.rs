//! Watchdogs for each peer, while peers come and go by the thousand: the table stays small, and no stranger is looked at for
//! the messages of another.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{RawPeer, TIME_LIMIT, client, client_config, next, server, server_config, until};
use tautline::{MessageType, Metadata, Qos, Watchdog, WatchdogChange, WatchdogState, Wire};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_peer_that_sends_nothing_watched_gets_no_watchdog() {
    let server =
        server(server_config(Wire::Native).qos(MessageType::Command, Qos::new().deadline(TIME_LIMIT)));
    let first = client(client_config(&server));
    first.send(&1, &Metadata::command()).expect("connected");
    next(&server);
    let silent: Vec<_> = (0..30).map(|_| client(client_config(&server))).collect();
    silent[0].send(&1, &Metadata::data()).expect("connected");
    next(&server);
    assert_eq!(server.watchdogs().len(), 1);
    silent[0].send(&1, &Metadata::command()).expect("connected");
    next(&server);
    assert_eq!(server.watchdogs().len(), 2);
}

/// Every peer of the classic wire sends one command and is displaced by the next ones, as a stranger would do it.
#[test]
fn watchdogs_of_departed_peers_leave_with_them() {
    const PEERS: usize = 2_000;
    const AT_ONCE: usize = 8;
    let deadline = Qos::new().deadline(3_600 * 1_000 * MS);
    let config = server_config(Wire::Classic)
        .max_peers(AT_ONCE)
        .liveness_timeout(MS)
        .peer_expiry(2 * MS)
        .qos(MessageType::Command, deadline);
    let server = server(config);
    let (trips, told) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let count = (Arc::clone(&trips), Arc::clone(&told));
    let each = Watchdog::messages(MessageType::Command, TIME_LIMIT).each_peer();
    let failsafe = move |event: &tautline::WatchdogEvent| {
        count
            .0
            .fetch_add(u64::from(matches!(event.change, WatchdogChange::Tripped { .. })), Ordering::SeqCst);
        count.1.fetch_add(1, Ordering::SeqCst);
    };
    server.watch(each, failsafe).expect("possible");
    let most = Arc::new(AtomicU64::new(0));
    let (looking, over) = (Arc::clone(&most), Arc::new(AtomicBool::new(false)));
    let looks = {
        let (server, over) = (server.clone(), Arc::clone(&over));
        thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                looking.fetch_max(server.watchdogs().len() as u64, Ordering::SeqCst);
                thread::sleep(MS);
            }
        })
    };
    for _ in 0..PEERS {
        RawPeer::of(&server).command(0, 1.0, "1");
        thread::sleep(MS / 4);
    }
    over.store(true, Ordering::SeqCst);
    looks.join().expect("no panic");
    let came = server.statistics().messages_received;
    assert!(came > 100, "{came} came");
    // Two templates for each peer, and at most 256 that wait to be told.
    let most = most.load(Ordering::SeqCst);
    assert!(most <= 2 * AT_ONCE as u64 + 256 + 2, "{most} watchdogs at once");
    until("the peers are gone", || server.watchdogs().len() <= 2 * AT_ONCE);
    let left = server.watchdogs().iter().filter(|watch| watch.state != WatchdogState::Tripped).count() as u64;
    until("each that left is counted", || server.statistics().watchdog_trips + left >= 2 * came);
    assert!(trips.load(Ordering::SeqCst) <= came && told.load(Ordering::SeqCst) > 0);
}
