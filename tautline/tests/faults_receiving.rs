//! Receiving: faults of the Python module that this library does not have. Each test is named after what holds here.

mod common;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{
    RawPeer, TIME_LIMIT, WIRES, assert_nothing_waits, client, client_config, next, next_number, pair, sealed,
    sealed_bytes, server, server_config, until,
};
use tautline::{
    DropReason, Event, Handler, MessageRef, MessageType, Metadata, Priority, ReceiveError, Reply,
    TURN_BUDGET, UdpInterface, Wire,
};

/// The size of the sequence window: after this many newer datagrams, a missing number counts as lost.
const WINDOW: u32 = 64;

#[test]
fn each_peer_has_its_own_sequence_numbers() {
    let server = server(server_config(Wire::Classic));
    let peers = [0, 5_000, 4_000_000_000].map(|first| (first, RawPeer::of(&server)));
    for step in 0..10 {
        for (first, peer) in &peers {
            peer.command(first + step, 1.0 + f64::from(step), "1");
            next(&server);
        }
    }
    let statistics = server.statistics();
    assert_eq!((statistics.sequence_errors(), statistics.missing), (0, 0));
    assert_eq!((statistics.peers, statistics.messages_received), (3, 30));
}

#[test]
fn a_thousand_lost_datagrams_count_as_a_thousand() {
    let server = server(server_config(Wire::Classic));
    let peer = RawPeer::of(&server);
    peer.command(0, 1.0, "0");
    for number in 1001..=1001 + WINDOW {
        peer.command(number, 2.0, "0");
        next(&server);
    }
    until("the missing numbers count as lost", || server.statistics().lost == 1000);
    assert_eq!(server.statistics().sequence_errors(), 1000);
}

#[test]
fn two_swapped_datagrams_are_not_counted_as_lost() {
    let server = server(server_config(Wire::Classic));
    let peer = RawPeer::of(&server);
    for number in [0, 2, 1, 3] {
        peer.command(number, 1.0 + f64::from(number), &number.to_string());
    }
    let order = [0, 2, 1, 3].map(|_| next(&server));
    assert_eq!(order.each_ref().map(|message| message.decode::<u32>().unwrap()), [0, 2, 1, 3]);
    assert_eq!(order.each_ref().map(tautline::Message::is_late), [false, false, true, false]);
    let statistics = server.statistics();
    assert_eq!((statistics.late, statistics.lost, statistics.missing), (1, 0, 0));
}

#[test]
fn duplicates_are_dropped_and_late_messages_are_marked() {
    let server = server(server_config(Wire::Classic));
    let peer = RawPeer::of(&server);
    for number in [0, 1, 1, 0, 3, 2, 2, 3] {
        peer.command(number, 1.0 + f64::from(number), &number.to_string());
    }
    let came: Vec<_> = (0..4)
        .map(|_| next(&server))
        .map(|message| (message.decode::<u32>().unwrap(), message.is_late()))
        .collect();
    assert_eq!(came, [(0, false), (1, false), (3, false), (2, true)]);
    until("every duplicate is counted", || server.statistics().duplicate == 4);
    assert_nothing_waits(&server);
    assert_eq!(server.statistics().datagrams_dropped.of(DropReason::Duplicate), 4);
}

#[test]
fn a_duplicate_command_reaches_the_handler_once() {
    let plant = server(server_config(Wire::Classic));
    let (stepped, steps) = mpsc::channel();
    let step = move |command: &MessageRef<'_>, _: &Reply| stepped.send(command.payload().to_vec()).unwrap();
    plant.register_message_handler(MessageType::Command, Handler::inline(step));
    let controller = RawPeer::of(&plant);
    for number in [0, 0, 1, 1, 0] {
        controller.command(number, 1.0, &number.to_string());
    }
    until("every duplicate is counted", || plant.statistics().duplicate == 3);
    assert_eq!(steps.try_iter().collect::<Vec<_>>(), [b"0", b"1"]);
}

#[test]
fn a_restarted_controller_is_heard_from_its_first_message() {
    let plant = server(server_config(Wire::Classic));
    let controller = RawPeer::of(&plant);
    for number in 5000..5010 {
        controller.command(number, f64::from(number), "1");
        next(&plant);
    }
    // The controller restarts: same address, numbers from 0, newer time stamps.
    for number in 0..10 {
        controller.command(number, 6000.0 + f64::from(number), &number.to_string());
        assert_eq!(next_number(&plant), u64::from(number));
    }
    assert_eq!(plant.statistics().sequence_errors(), 0);
    assert_eq!(plant.peers()[0].received.lives, 2);
}

#[test]
fn a_full_inbox_does_not_silence_handlers() {
    for wire in WIRES {
        let server = server(server_config(wire).inbox_capacity(1));
        let (heard, hears) = mpsc::channel();
        let hear = move |message: &MessageRef<'_>, _: &Reply| heard.send(message.payload().to_vec()).unwrap();
        server.register_message_handler(MessageType::Command, Handler::inline(hear));
        let client = client(client_config(&server));
        for number in 0..100 {
            client.send(&number, &Metadata::command()).unwrap();
            assert_eq!(hears.recv_timeout(TIME_LIMIT).unwrap(), number.to_string().into_bytes());
        }
        until("the inbox holds only the last message", || {
            server.statistics().inbox.dropped.of(DropReason::InboxFull) == 99
        });
    }
}

#[test]
fn a_critical_message_displaces_a_low_one_in_a_full_inbox() {
    let (server, client) = pair(Wire::Native);
    for number in 0..1000u64 {
        client.send(&number, &Metadata::data().priority(Priority::Low)).unwrap();
        until("the message has arrived", || server.statistics().inbox.waiting == number + 1);
    }
    client.send("stop", &Metadata::command().priority(Priority::Critical)).unwrap();
    until("one message was dropped", || server.statistics().inbox.dropped.of(DropReason::InboxFull) == 1);
    assert_eq!(next(&server).decode::<String>().unwrap(), "stop");
    assert_eq!(next_number(&server), 1, "the oldest was dropped");
}

#[test]
fn receive_with_a_time_out_of_0_returns_at_once() {
    let (server, _client) = pair(Wire::Native);
    let begun = Instant::now();
    for _ in 0..1000 {
        assert_nothing_waits(&server);
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "1000 polls took {:?}", begun.elapsed());
}

#[test]
fn any_thread_and_task_can_receive() {
    let (server, client) = pair(Wire::Native);
    for number in 0..3 {
        client.send(&number, &Metadata::command()).unwrap();
        let receiver = server.clone();
        assert_eq!(std::thread::spawn(move || next_number(&receiver)).join().unwrap(), number);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    client.send(&3, &Metadata::command()).unwrap();
    let task = runtime.spawn(async move { server.receive_async().await.unwrap().decode::<u64>().unwrap() });
    assert_eq!(runtime.block_on(task).unwrap(), 3);
}

#[test]
fn bad_datagrams_are_counted_by_reason() {
    for wire in WIRES {
        let server = server(server_config(wire));
        let peer = RawPeer::of(&server);
        let good = sealed(0, 1.0, "1");
        let mut flipped = good.clone();
        flipped[20] ^= 1;
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        let bad: [&[u8]; 8] = [
            b"",
            b"x",
            &flipped,
            &good[..good.len() - 1],
            &sealed(1, 1.0, &deep),
            &sealed_bytes(2, b"not JSON"),
            &sealed_bytes(3, b"{\"metadata\": {}, \"data\": 1}"),
            &[0xff; 2000],
        ];
        bad.iter().for_each(|datagram| peer.send(datagram));
        until("all datagrams are counted", || server.statistics().datagrams_received() == bad.len() as u64);
        let statistics = server.statistics();
        assert_eq!((statistics.datagrams_accepted, statistics.messages_received), (0, 0));
        assert_eq!(statistics.datagrams_dropped.total(), bad.len() as u64);
        assert_eq!(statistics.bytes_dropped, bad.iter().map(|datagram| datagram.len() as u64).sum::<u64>());
        let by_reason = |reason| statistics.datagrams_dropped.of(reason);
        match wire {
            Wire::Classic => {
                assert_eq!(statistics.crc_errors(), 3, "flipped, truncated, noise");
                assert_eq!(by_reason(DropReason::TooShort), 2);
                assert_eq!(by_reason(DropReason::TooDeep), 1);
                assert_eq!(by_reason(DropReason::BadTimestamp) + by_reason(DropReason::Malformed), 2);
            }
            Wire::Native => assert_eq!(
                by_reason(DropReason::OtherWire)
                    + by_reason(DropReason::TooShort)
                    + by_reason(DropReason::NotTautline),
                8
            ),
        }
        assert_nothing_waits(&server);
    }
}

#[test]
fn one_turn_reads_many_datagrams() {
    let config = server_config(Wire::Classic).inbox_capacity(2 * TURN_BUDGET);
    let (server, mut driver) = UdpInterface::caller_driven(config).unwrap();
    driver.connect().unwrap();
    let peer = RawPeer::of(&server);
    for number in (0..).take(TURN_BUDGET + 6) {
        peer.command(number, 1.0, "1");
    }
    assert_eq!(driver.turn(Some(TIME_LIMIT)), TURN_BUDGET, "one turn reads as many datagrams as it may");
    assert_eq!(driver.turn(Some(TIME_LIMIT)), 6);
    assert_eq!(server.statistics().inbox.waiting, TURN_BUDGET as u64 + 6);
}

#[test]
fn a_handler_and_a_receiver_get_separate_messages() {
    let server = server(server_config(Wire::Native));
    let (handed, handled) = mpsc::channel();
    server.register_message_handler(
        MessageType::Command,
        Handler::blocking(move |message, _| handed.send(message).unwrap()),
    );
    let client = client(client_config(&server));
    client.send(&[1.5], &Metadata::command()).unwrap();
    let (received, handled) = (next(&server), handled.recv_timeout(TIME_LIMIT).unwrap());
    assert_eq!(received.payload(), handled.payload());
    assert_ne!(received.payload().as_ptr(), handled.payload().as_ptr(), "each has its own copy");
    drop(handled);
    assert_eq!(received.decode::<[f64; 1]>().unwrap(), [1.5]);
}

/// Watchdogs are tested elsewhere. This is what the application itself can see: a wait that ends, and the event.
#[test]
fn a_plant_sees_that_its_controller_is_silent() {
    let config = server_config(Wire::Classic).liveness_timeout(Duration::from_millis(50));
    let plant = server(config);
    let mut events = plant.events();
    let controller = RawPeer::of(&plant);
    controller.command(0, 1.0, "1.5");
    next(&plant);
    assert_eq!(plant.receive(Some(Duration::from_millis(5))).map(drop), Err(ReceiveError::TimedOut));
    let peer = plant.peers()[0].id;
    let mut seen = std::iter::from_fn(|| events.next(Some(TIME_LIMIT)));
    assert!(seen.any(|event| event == Event::PeerSilent { peer }));
    assert_eq!(plant.statistics().timeout_errors, 1);
    controller.command(1, 2.0, "2.5");
    assert!(seen.any(|event| event == Event::PeerReturned { peer }));
}

/// This is the way without a history: an inbox with room for one message. Histories are tested in `freshness.rs`.
#[test]
fn after_a_pause_an_inbox_of_one_holds_the_newest_sample() {
    let (server, client) = {
        let server = server(server_config(Wire::Native).inbox_capacity(1));
        let client = client(client_config(&server));
        (server, client)
    };
    // Nobody reads while twelve messages arrive.
    for sample in 0..12u64 {
        client.send(&sample, &Metadata::status()).unwrap();
        until("the message has arrived", || server.statistics().messages_received == sample + 1);
    }
    let sample = next(&server);
    assert_eq!(sample.decode::<u64>().unwrap(), 11, "the newest");
    assert!(sample.age() < TIME_LIMIT);
    for sample in 12..20 {
        client.send(&sample, &Metadata::status()).unwrap();
        assert_eq!(next_number(&server), sample);
    }
}
