//! Reliable messages, large messages, and requests, over sockets.

mod common;

use std::future::Future;
use std::sync::Mutex;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use common::{
    address, assert_nothing_waits, client, client_config, next, next_number, pair, server, server_config,
    until,
};
use tautline::{
    Config, Delivery, Event, Handler, MessageType, Metadata, Outcome, Payload, Publisher, Qos, RequestError,
    SendError, Target, UdpInterface, Unsupported, WallTime, Wire,
};

const TIME_LIMIT: Duration = Duration::from_secs(10);

fn reliable() -> Metadata {
    Metadata::configuration().delivery(Delivery::Reliable)
}

#[test]
fn a_receipt_ends_when_the_peer_has_the_message() {
    let (server, client) = pair(Wire::Native);
    let receipt = client.publisher(Metadata::configuration()).send_reliable(&1).expect("sent");
    assert_eq!(receipt.wait(Some(TIME_LIMIT)), Some(Outcome::Delivered));
    let message = next(&server);
    assert_eq!((message.decode::<u64>().expect("a number"), message.delivery()), (1, Delivery::Reliable));
    assert_nothing_waits(&server);
    let stats = client.statistics().deliveries;
    assert_eq!((stats.delivered, stats.waiting), (1, 0));
}

#[test]
fn a_server_delivers_to_all_its_clients() {
    let (server, first) = pair(Wire::Native);
    let second = client(client_config(&server));
    until("the server knows both clients", || server.statistics().peers == 2);
    let receipt = server.publisher(Metadata::configuration()).send_reliable(&7).expect("sent");
    assert_eq!(receipt.wait(Some(TIME_LIMIT)), Some(Outcome::Delivered));
    assert_eq!((next_number(&first), next_number(&second)), (7, 7));
    assert_eq!(server.statistics().deliveries.delivered, 2);
}

#[test]
fn a_thousand_ordered_messages_come_in_order_and_once() {
    let (server, client) = pair(Wire::Native);
    let metadata = Metadata::configuration().delivery(Delivery::Ordered);
    let mut receipts = Vec::new();
    for number in 0..1000_u64 {
        loop {
            match client.publisher(metadata.clone()).send_reliable(&number) {
                Ok(receipt) => break receipts.push(receipt),
                Err(SendError::WindowFull { .. }) => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => panic!("{error}"),
            }
        }
    }
    for number in 0..1000 {
        assert_eq!(next_number(&server), number);
    }
    assert!(receipts.iter().all(|receipt| receipt.wait(Some(TIME_LIMIT)) == Some(Outcome::Delivered)));
    assert_nothing_waits(&server);
}

/// Blocks the server's driver, so that it acknowledges nothing, until the returned value is dropped.
fn hold_up(server: &UdpInterface, client: &UdpInterface) -> Sender<()> {
    let hold = hold(server);
    client.send(&0, &Metadata::data()).expect("sent");
    hold
}

#[test]
fn a_full_window_is_an_error_with_its_own_name() {
    let (server, client) = pair(Wire::Native);
    let hold = hold_up(&server, &client);
    let refused = (0..2000).find_map(|number| client.send(&number, &reliable()).err());
    let Some(SendError::WindowFull { .. }) = refused else { panic!("{refused:?}") };
    drop(hold);
    until("all messages are acknowledged", || client.statistics().deliveries.waiting == 0);
    assert_eq!(client.statistics().deliveries.delivered, 1024);
}

#[test]
fn disconnecting_ends_messages_in_flight() {
    let (server, client) = pair(Wire::Native);
    server.cleanup();
    let mut events = client.events();
    // The server is gone, so nobody acknowledges the message.
    let sent = client.publisher(Metadata::configuration()).send_reliable(&1);
    client.disconnect();
    match sent {
        Ok(receipt) => {
            assert_eq!(receipt.wait(Some(TIME_LIMIT)), Some(Outcome::PeerLost));
            let failed = std::iter::from_fn(|| events.next(Some(Duration::ZERO)))
                .any(|event| matches!(event, Event::DeliveryFailed { outcome: Outcome::PeerLost, .. }));
            assert!(failed, "there is an event as well");
        }
        // The client had read the server's goodbye before it sent.
        Err(error) => assert_eq!(error, SendError::NoPeers),
    }
}

#[test]
fn a_message_that_is_never_acknowledged_expires() {
    let server = server(server_config(Wire::Native));
    let client = client(client_config(&server));
    let hold = hold_up(&server, &client);
    let metadata = Metadata::configuration().lifespan(Duration::from_millis(50));
    let receipt = client.publisher(metadata.clone()).send_reliable(&1).expect("sent");
    assert_eq!(receipt.wait(Some(TIME_LIMIT)), Some(Outcome::Expired));
    drop(hold);
}

#[test]
fn the_settings_of_a_stream_choose_its_delivery() {
    let server = server(server_config(Wire::Native));
    let qos = Qos::new().delivery(Delivery::Reliable);
    let client = client(client_config(&server).qos(MessageType::Error, qos));
    client.send(&1, &Metadata::error()).expect("sent");
    client.publisher(Metadata::error()).send_batch(&[2, 3]).expect("sent");
    client.send(&4, &Metadata::error().delivery(Delivery::BestEffort)).expect("sent");
    let mut got: Vec<u64> = (0..4).map(|_| next_number(&server)).collect();
    got.sort_unstable();
    assert_eq!(got, [1, 2, 3, 4]);
    until("all messages are acknowledged", || client.statistics().deliveries.delivered == 3);
}

/// Returns a server and its client, which send messages of up to a megabyte.
fn large_pair() -> (UdpInterface, UdpInterface) {
    let large = |config: Config| config.max_message_size(1 << 20).receive_buffer(4 << 20);
    let server = server(large(server_config(Wire::Native)));
    let client = client(large(client_config(&server)));
    (server, client)
}

#[test]
fn large_messages_go_through_in_fragments() {
    let (server, client) = large_pair();
    let bytes: Vec<u8> = (0..200_000_u32).map(|index| index.to_be_bytes()[2]).collect();
    let payload = Payload::raw(bytes.clone());
    client.send(&payload, &Metadata::data()).expect("sent");
    assert_eq!(next(&server).payload(), bytes);
    let sent = client.statistics();
    assert_eq!(sent.messages_sent, 1);
    assert!(sent.datagrams_sent > 130, "{} datagrams", sent.datagrams_sent);
}

#[test]
fn a_reliable_megabyte_arrives_whole() {
    let (server, client) = large_pair();
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|index| index.to_be_bytes()[2]).collect();
    let payload = Payload::raw(bytes.clone());
    let receipt = client.publisher(Metadata::data()).to(address(&server)).send_reliable(&payload);
    let receipt = receipt.expect("sent");
    assert_eq!(receipt.wait(Some(TIME_LIMIT)), Some(Outcome::Delivered));
    assert_eq!(next(&server).payload(), bytes);
    assert_nothing_waits(&server);
}

#[test]
fn one_byte_too_many_is_refused_with_the_limit() {
    let (_server, client) = large_pair();
    let payload = Payload::raw(vec![0; (1 << 20) + 1]);
    let error = client.send(&payload, &Metadata::data()).expect_err("too large").to_string();
    assert!(error.contains("1048576"), "{error}");
}

#[test]
fn a_request_gets_its_first_answer() {
    for wire in [Wire::Native, Wire::Classic] {
        let (server, client) = pair(wire);
        server.register_message_handler(
            MessageType::Command,
            Handler::inline(|message, reply| {
                let asked: u64 = std::str::from_utf8(message.payload()).unwrap().parse().unwrap();
                // The first answer is 0, the second is the number of the request.
                reply.send(&0, &Metadata::acknowledgment()).expect("sent");
                reply.send(&asked, &Metadata::acknowledgment()).expect("sent");
            }),
        );
        let answers: Vec<u64> = (1..=3)
            .map(|asked| {
                let answer = client
                    .publisher(Metadata::command())
                    .request(&asked, Some(TIME_LIMIT))
                    .expect("sent")
                    .wait()
                    .expect("answered");
                answer.decode::<u64>().expect("a number")
            })
            .collect();
        // The first answer ends the request. The second is an ordinary message.
        assert_eq!(answers, [0, 0, 0], "{wire}");
        let others: Vec<_> = (0..3).map(|_| next_number(&client)).collect();
        assert_eq!(others, [1, 2, 3], "{wire}");
    }
}

#[test]
fn many_threads_get_their_own_answers() {
    let (server, client) = pair(Wire::Native);
    server.register_message_handler(
        MessageType::Command,
        Handler::inline(|message, reply| {
            let asked: u64 = std::str::from_utf8(message.payload()).unwrap().parse().unwrap();
            reply.send(&(asked * 2), &Metadata::acknowledgment()).expect("sent");
        }),
    );
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let client = &client;
            scope.spawn(move || {
                for number in 0..100 {
                    let asked = thread * 1000 + number;
                    let answer = client
                        .publisher(Metadata::command())
                        .request(&asked, Some(TIME_LIMIT))
                        .expect("sent")
                        .wait()
                        .expect("answered");
                    assert_eq!(answer.decode::<u64>().expect("a number"), asked * 2);
                }
            });
        }
    });
    assert_nothing_waits(&client);
}

#[test]
fn a_request_without_an_answer_returns_the_reason() {
    let (_server, client) = pair(Wire::Native);
    let short = Duration::from_millis(20);
    let request = |client: &UdpInterface| {
        let request = client.publisher(Metadata::command()).request(&1, Some(short))?;
        request.wait().map(drop)
    };
    assert_eq!(request(&client), Err(RequestError::TimedOut));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            client
                .publisher(Metadata::command())
                .request(&1, Some(TIME_LIMIT))
                .expect("sent")
                .wait()
                .map(drop)
        });
        std::thread::sleep(Duration::from_millis(50));
        client.disconnect();
        assert_eq!(waiting.join().expect("no panic"), Err(RequestError::Disconnected));
    });
    assert_eq!(request(&client), Err(RequestError::Send(SendError::NotConnected)));
}

#[test]
fn a_request_that_is_not_delivered_ends_with_its_outcome() {
    let (server, client) = pair(Wire::Native);
    let hold = hold_up(&server, &client);
    let short_lived = Metadata::command().lifespan(Duration::from_millis(20));
    let answer =
        client.publisher(short_lived.clone()).request(&1, Some(TIME_LIMIT)).expect("sent").wait().map(drop);
    assert_eq!(answer, Err(RequestError::NotDelivered(Outcome::Expired)));
    drop(hold);
}

#[tokio::test]
async fn requests_and_receipts_can_be_awaited() {
    let (server, client) = pair(Wire::Native);
    server.register_message_handler(
        MessageType::Command,
        Handler::inline(|_, reply| {
            reply.send(&5, &Metadata::acknowledgment()).expect("sent");
        }),
    );
    let request = client.publisher(Metadata::command()).to(address(&server)).request(&1, None).expect("sent");
    assert_eq!(request.await.expect("answered").decode::<u64>().expect("a number"), 5);
    assert_eq!(client.publisher(Metadata::data()).send_reliable(&2).expect("sent").await, Outcome::Delivered);
}

#[tokio::test]
async fn an_awaited_request_ends_when_its_time_out_is_over() {
    for wire in [Wire::Native, Wire::Classic] {
        let (_server, client) = pair(wire);
        let publisher = client.publisher(Metadata::command());
        let short = publisher.request(&1, Some(Duration::from_millis(30))).expect("sent");
        let long = publisher.request(&2, Some(TIME_LIMIT)).expect("sent");
        assert_eq!(short.await.map(drop), Err(RequestError::TimedOut), "{wire}");
        client.disconnect();
        assert_eq!(long.await.map(drop), Err(RequestError::Disconnected), "{wire}");
    }
}

#[test]
fn a_request_without_a_time_out_ends_when_the_session_of_its_peer_does() {
    let (server, client) = pair(Wire::Native);
    let other = common::client(client_config(&server));
    until("the server knows both clients", || server.statistics().peers == 2);
    let to = |peer: &UdpInterface| server.publisher(Metadata::command()).to(address(peer));
    let [of_client, of_other] = [&client, &other].map(|peer| to(peer).request(&1, None).expect("sent"));
    let of_server = other.publisher(Metadata::command()).request(&1, None).expect("sent");
    // They arrive.
    let [_, question, _] = [&client, &other, &server].map(next);
    client.disconnect();
    assert_eq!(of_client.wait().map(drop), Err(RequestError::NotDelivered(Outcome::PeerLost)));
    other.reply(&question, &5, &Metadata::acknowledgment()).expect("sent");
    let answer = of_other.wait().expect("the other peer is there");
    assert_eq!(answer.decode::<u64>().expect("a number"), 5);
    server.disconnect();
    assert_eq!(of_server.wait().map(drop), Err(RequestError::NotDelivered(Outcome::PeerLost)));
}

/// Sends reliable messages until the window is full.
fn fill(publisher: &Publisher) {
    let refused = (0..2_000).find_map(|number| publisher.send_reliable(&number).err());
    assert!(matches!(refused, Some(SendError::WindowFull { .. })), "{refused:?}");
}

#[test]
fn a_sender_waits_until_the_window_has_room_for_all_fragments_of_its_message() {
    let (server, client) = pair(Wire::Native);
    let publisher = client.publisher(Metadata::configuration());
    let hold = hold_up(&server, &client);
    // Of ten fragments, so that four fragments still fit when one more message does not.
    let large = "x".repeat(11_000);
    let refused = (0..200).find_map(|_| publisher.send_reliable(large.as_str()).err());
    assert!(matches!(refused, Some(SendError::WindowFull { .. })), "{refused:?}");
    assert!(!publisher.wait_for_room(Some(Duration::from_millis(20))), "nothing is acknowledged");
    // A small one fits. Whoever waits next means a small one.
    publisher.send_reliable(&0).expect("there is room for a fragment");
    assert!(publisher.wait_for_room(Some(Duration::ZERO)));
    assert!(matches!(publisher.send_reliable(large.as_str()), Err(SendError::WindowFull { .. })));
    drop(hold);
    assert!(publisher.wait_for_room(Some(TIME_LIMIT)));
    publisher.send_reliable(large.as_str()).expect("there is room");
}

#[tokio::test]
async fn a_sender_waits_until_the_window_has_room() {
    let (server, client) = pair(Wire::Native);
    let publisher = client.publisher(Metadata::configuration());
    assert!(publisher.wait_for_room(Some(Duration::ZERO)), "nothing was sent yet");
    let hold = hold_up(&server, &client);
    fill(&publisher);
    assert!(!publisher.wait_for_room(Some(Duration::from_millis(20))), "nothing is acknowledged");
    drop(hold);
    assert!(publisher.wait_for_room(Some(TIME_LIMIT)));
    publisher.send_reliable(&0).expect("there is room");
    let hold = hold_up(&server, &client);
    fill(&publisher);
    let waiting = tokio::spawn(publisher.room());
    drop(hold);
    tokio::time::timeout(TIME_LIMIT, waiting).await.expect("room in time").expect("no panic");
    // The end of the connection wakes waiting senders too. Their next send returns the reason.
    let hold = hold_up(&server, &client);
    fill(&publisher);
    let waiting = tokio::spawn(publisher.room());
    client.disconnect();
    tokio::time::timeout(TIME_LIMIT, waiting).await.expect("woken").expect("no panic");
    assert_eq!(publisher.send_reliable(&1).map(drop), Err(SendError::NotConnected));
    drop(hold);
}

#[test]
fn a_publisher_uses_the_current_connection_and_keeps_the_interface_alive() {
    let (server, client) = pair(Wire::Native);
    let publisher = client.publisher(Metadata::command().channel(3)).to(Target::All);
    publisher.send(&1).expect("sent");
    client.disconnect();
    assert_eq!(publisher.send(&2), Err(SendError::NotConnected));
    client.connect().expect("the server answers");
    drop(client);
    publisher.send(&3).expect("the publisher keeps the interface alive");
    publisher.send_batch([4, 5].iter()).expect("sent");
    let numbers: Vec<_> = (0..4).map(|_| next_number(&server)).collect();
    assert_eq!(numbers, [1, 3, 4, 5]);
}

#[test]
fn the_classic_wire_cannot_deliver_reliably() {
    let (_server, client) = pair(Wire::Classic);
    let unsupported =
        |class| SendError::NotOnThisWire { wire: Wire::Classic, what: Unsupported::Delivery(class) };
    assert_eq!(client.send(&1, &reliable()), Err(unsupported(Delivery::Reliable)));
    let refused = client.publisher(Metadata::data()).send_reliable(&1).map(drop);
    assert_eq!(refused, Err(unsupported(Delivery::Reliable)));
    let config = Config::client("127.0.0.1:9").wire(Wire::Classic).max_message_size(65_528);
    let error = config.validate().expect_err("no fragments").to_string();
    assert_eq!(
        error,
        "`max_message_size` is 65528: expected at most 65527 on the classic wire, which has no fragments"
    );
}

/// Registers a handler that blocks the driver of `interface` at the next data message, until the returned value is dropped.
fn hold(interface: &UdpInterface) -> Sender<()> {
    let (hold, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    interface.register_message_handler(
        MessageType::Data,
        Handler::inline(move |_, _| {
            let _ = held.lock().map(|held| held.recv());
        }),
    );
    hold
}

#[test]
fn a_message_that_expired_before_sending_ends_at_once() {
    let slow = |config: Config| config.heartbeat_interval(TIME_LIMIT * 2).liveness_timeout(TIME_LIMIT * 5);
    let server = server(slow(server_config(Wire::Native)));
    let client = client(slow(client_config(&server)));
    let old = Metadata::configuration().timestamp(WallTime::from_nanos(0)).lifespan(Duration::from_secs(1));
    let receipt = client.publisher(old.clone()).send_reliable(&1).expect("taken");
    assert_eq!(receipt.wait(Some(TIME_LIMIT)), Some(Outcome::Expired));
}

#[test]
fn a_full_window_of_one_client_is_not_counted_as_a_refusal_of_the_kernel() {
    let (server, full) = pair(Wire::Native);
    let other = client(client_config(&server));
    until("the server knows both clients", || server.statistics().peers == 2);
    let hold = hold(&full);
    server.publisher(Metadata::data()).to(address(&full)).send(&0).expect("sent");
    let refused =
        (0..2000).find_map(|number| server.publisher(reliable()).to(address(&full)).send(&number).err());
    assert!(matches!(refused, Some(SendError::WindowFull { .. })), "{refused:?}");
    let error = server.send(&7, &reliable()).expect_err("one is full");
    assert!(matches!(error, SendError::Partly { sent: 1, failed: 1, .. }), "{error}");
    assert_eq!(next_number(&other), 7);
    let error = server.publisher(reliable()).send_batch(&[8, 9]).expect_err("one is full");
    assert!(matches!(error, SendError::Partly { sent: 2, failed: 2, .. }), "{error}");
    assert_eq!([next_number(&other), next_number(&other)], [8, 9]);
    assert_eq!(server.statistics().send_failures, 0);
    drop(hold);
}

#[test]
fn a_waker_that_panics_does_not_stop_other_outcomes() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("a broken waker of the user");
        }
    }
    let (server, client) = pair(Wire::Native);
    let hold = hold(&server);
    client.send(&0, &Metadata::data()).expect("sent");
    let mut first = client.publisher(reliable()).send_reliable(&1).expect("sent");
    let second = client.publisher(reliable()).send_reliable(&2).expect("sent");
    let waker = std::sync::Arc::new(Panics).into();
    let polled = std::pin::Pin::new(&mut first).poll(&mut std::task::Context::from_waker(&waker));
    assert!(polled.is_pending());
    client.disconnect();
    assert_eq!(first.outcome(), Some(Outcome::PeerLost));
    assert_eq!(second.outcome(), Some(Outcome::PeerLost));
    drop(hold);
}

#[tokio::test]
async fn an_answer_from_the_wrong_peer_is_an_ordinary_message() {
    let (server, asked) = pair(Wire::Native);
    let other = client(client_config(&server));
    until("the server knows both clients", || server.statistics().peers == 2);
    let request = server.publisher(Metadata::command()).to(address(&asked)).request(&1, None).expect("sent");
    let message = next(&asked);
    let forged = Metadata::data().correlation_id(message.message_id().into_owned());
    other.send(&666, &forged).expect("sent");
    assert_eq!(next_number(&server), 666, "an ordinary message");
    asked.reply(&message, &5, &Metadata::acknowledgment()).expect("sent");
    assert_eq!(request.await.expect("answered").decode::<u64>().expect("a number"), 5);
}
