//! Rare situations: reconnecting inside a send, a panic inside a turn, a limit of zero, a driver that dies.

mod common;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use common::{
    RawPeer, TIME_LIMIT, WIRES, address, client, client_config, lines_logged, next, pair, server,
    server_config, until,
};
use serde::{Serialize, Serializer};
use tautline::{
    Config, ConnectError, ConnectionState, Event, Handler, MessageType, Metadata, ReceiveError, SendError,
    Sent, UdpInterface, Wire, create_udp_client,
};

/// Runs `act` on a thread, and panics if it does not return in time.
#[track_caller]
fn ends<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || done.send(act()));
    result.recv_timeout(TIME_LIMIT).expect("the call returns")
}

#[test]
fn a_panic_in_the_callers_own_code_leaves_its_driver_usable() {
    let (server, mut driver) = UdpInterface::caller_driven(server_config(Wire::Classic)).unwrap();
    driver.connect().unwrap();
    let peer = RawPeer::of(&server);
    peer.command(0, 1.0, "1");
    let mut turn = || driver.turn_with(Some(TIME_LIMIT), &mut |_| panic!("in the caller's own code"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut turn)).is_err());
    peer.command(1, 1.1, "2");
    assert_eq!(driver.receive(Some(TIME_LIMIT)).unwrap().decode::<u64>().unwrap(), 2);
    ends(move || server.disconnect());
}

/// A value that reconnects while it is being encoded.
struct Reconnecting<'a>(&'a UdpInterface, Config);

impl Serialize for Reconnecting<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.disconnect();
        self.0.connect_with(self.1.clone()).unwrap();
        serializer.serialize_u8(1)
    }
}

#[test]
fn a_value_encoded_for_one_connection_is_not_sent_over_the_next() {
    let servers = WIRES.map(|wire| server(server_config(wire)));
    let [native, classic] = servers.each_ref().map(client_config);
    for (first, second, new_server) in [(&native, &classic, &servers[1]), (&classic, &native, &servers[0])] {
        let client = client(first.clone());
        let sent = client.send(&Reconnecting(&client, second.clone()), &Metadata::command());
        // While the driver has the line, the message is queued, and its refusal is counted.
        match sent {
            Ok(Sent::Queued) => until("it is refused", || client.statistics().queued_send_failures == 1),
            sent => assert_eq!(sent, Err(SendError::NotConnected)),
        }
        client.send(&2, &Metadata::command()).unwrap();
        assert_eq!(next(new_server).decode::<u64>().unwrap(), 2);
        assert_eq!(new_server.statistics().datagrams_dropped.total(), 0);
    }
}

#[test]
fn missing_datagrams_count_as_lost_when_the_connection_ends() {
    let server = server(server_config(Wire::Classic));
    let peer = RawPeer::of(&server);
    peer.command(0, 1.0, "1");
    peer.command(3, 1.1, "2");
    (0..2).for_each(|_| drop(next(&server)));
    server.disconnect();
    let statistics = server.statistics();
    assert_eq!((statistics.missing, statistics.lost), (0, 2));
}

#[test]
fn a_new_connection_never_reuses_a_peer_id() {
    for wire in WIRES {
        let (server, client) = pair(wire);
        let former = client.peers()[0].id;
        client.disconnect();
        client.connect().unwrap();
        assert_ne!(client.peers()[0].id, former, "{wire}");
        let to_former = client.publisher(Metadata::data()).to(former);
        // While the driver has the line, messages are queued, and their refusal is an event.
        let error = std::iter::repeat_with(|| to_former.send(&1)).find_map(Result::err).unwrap();
        assert_eq!(error, SendError::UnknownPeer { target: former.into() });
        server.cleanup();
    }
}

#[test]
fn the_next_sequence_number_is_that_of_the_current_session() {
    let server = server(server_config(Wire::Native));
    // Each message has its own datagram.
    let client = client(client_config(&server).coalescing_delay(Duration::ZERO));
    for number in 0..50 {
        client.send(&number, &Metadata::data()).unwrap();
    }
    // The driver writes messages that it finds queued.
    until("all are written", || client.statistics().sequence_number >= 50);
    client.disconnect();
    client.connect().unwrap();
    assert!(client.statistics().sequence_number < 50);
}

#[test]
fn an_unregistered_handler_is_dropped_without_a_further_message() {
    let server = server(server_config(Wire::Classic));
    let held = Arc::new(());
    let inside = Arc::clone(&held);
    server.register_message_handler(MessageType::Command, Handler::inline(move |_, _| _ = &inside));
    RawPeer::of(&server).command(0, 1.0, "1");
    drop(next(&server));
    server.unregister_message_handler(MessageType::Command);
    until("the closure is dropped", || Arc::strong_count(&held) == 1);
}

#[test]
fn connecting_is_refused_during_a_cleanup() {
    let server = server(server_config(Wire::Classic));
    let (inside, go_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (handler_inside, handler_go_on) = (Arc::clone(&inside), Arc::clone(&go_on));
    server.register_message_handler(
        MessageType::Command,
        Handler::blocking(move |_, _| {
            handler_inside.wait();
            handler_go_on.wait();
        }),
    );
    RawPeer::of(&server).command(0, 1.0, "1");
    inside.wait();
    let other = server.clone();
    let cleaning = std::thread::spawn(move || other.cleanup());
    // The cleanup closes the interface before it waits for the handler.
    until("the interface is closed", || server.connection_state() == ConnectionState::Closed);
    // The cleanup still waits for the handler.
    assert_eq!(server.connect(), Err(ConnectError::Closed));
    go_on.wait();
    cleaning.join().unwrap();
    assert_eq!((server.connection_state(), server.local_address()), (ConnectionState::Closed, None));
}

#[test]
fn a_name_may_contain_any_character() {
    let (server, _client) = ends(|| {
        let server = server(server_config(Wire::Native).name("a\0b"));
        let client = client(client_config(&server).name("\u{1}\n\0"));
        (server, client)
    });
    until("the server knows the client", || server.peers().iter().any(|peer| peer.name == "\u{1}\n\0"));
}

#[test]
fn a_subscription_after_the_end_ends_at_once() {
    let server = server(server_config(Wire::Native));
    server.cleanup();
    let mut events = server.events();
    assert_eq!(events.next(Some(TIME_LIMIT)), None);
    let polled = pin!(events.next_async()).poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(polled, Poll::Ready(None));
}

#[test]
fn a_server_of_both_families_finds_a_client_by_its_ipv4_address() {
    let Ok(()) = std::net::UdpSocket::bind("[::]:0").map(drop) else { return };
    let server = server(Config::server("[::]:0"));
    let port = address(&server).port();
    let client = client(Config::client(format!("127.0.0.1:{port}")));
    until("the server knows the client", || server.peers().len() == 1);
    server.publisher(Metadata::data()).to(address(&client)).send(&1).unwrap();
    assert_eq!(next(&client).decode::<u64>().unwrap(), 1);
}

#[test]
fn the_error_of_a_client_without_an_answer_speaks_of_the_server() {
    let nobody = RawPeer::towards(SocketAddr::from(([127, 0, 0, 1], 9)));
    let config = Config::client(nobody.socket.local_addr().unwrap());
    let client = client(config.connect_timeout(Duration::ZERO));
    let error = client.send(&1, &Metadata::data()).unwrap_err();
    assert_eq!(error, SendError::NoPeers);
    assert!(error.to_string().contains("server has not answered"), "{error}");
}

#[test]
fn a_time_limit_of_a_handler_holds_across_connections() {
    let server = server(server_config(Wire::Classic).handler_time_limit(Duration::from_millis(50)));
    let (inside, entered) = mpsc::channel();
    let (_end, gate) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    server.register_message_handler(
        MessageType::Command,
        Handler::blocking(move |_, _| {
            inside.send(()).unwrap();
            let _ = gate.lock().unwrap().recv();
        }),
    );
    RawPeer::of(&server).command(0, 1.0, "1");
    entered.recv_timeout(TIME_LIMIT).unwrap();
    server.disconnect();
    server.connect().unwrap();
    until("the call counts as timed out", || server.statistics().handlers.timed_out == 1);
}

#[test]
fn a_time_limit_of_zero_does_not_keep_the_driver_awake() {
    let (server, mut driver) = UdpInterface::caller_driven(server_config(Wire::Classic)).unwrap();
    driver.connect().unwrap();
    let (_end, gate) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let stuck = Handler::blocking(move |_, _| _ = gate.lock().unwrap().recv());
    server.register_message_handler(
        MessageType::Command,
        stuck.concurrency(1).time_limit(Duration::ZERO).unordered(),
    );
    let peer = RawPeer::of(&server);
    // There are more calls than workers that can be replaced, so some messages wait for ever.
    (0..40).for_each(|number| peer.command(number, 1.0, "1"));
    let begun = Instant::now();
    let mut turns = 0;
    while begun.elapsed() < Duration::from_millis(300) {
        driver.turn(Some(Duration::from_millis(100)));
        turns += 1;
    }
    assert!(turns < 2000, "{turns} turns in 0.3 s");
}

/// Sends when its thread ends.
struct LastWords(UdpInterface);

impl Drop for LastWords {
    fn drop(&mut self) {
        self.0.send("stopped", &Metadata::status()).unwrap();
    }
}

thread_local! {
    static FIRST_WORDS: RefCell<Option<LastWords>> = const { RefCell::new(None) };
    static LAST_WORDS: RefCell<Option<LastWords>> = const { RefCell::new(None) };
}

#[test]
fn a_thread_can_send_while_it_ends() {
    let (server, client) = pair(Wire::Native);
    let sent = std::thread::spawn(move || {
        // The thread's values are destroyed in either order, so one of the two sends without the thread's buffer.
        for words in [&FIRST_WORDS, &LAST_WORDS] {
            words.with_borrow_mut(|words| *words = Some(LastWords(client.clone())));
            client.send(&1, &Metadata::data()).unwrap();
        }
    });
    sent.join().unwrap();
    (0..2).for_each(|_| drop(next(&server)));
    (0..2).for_each(|_| assert_eq!(next(&server).decode::<String>().unwrap(), "stopped"));
}

#[test]
fn a_peer_is_known_before_its_first_message_is_seen() {
    for wire in WIRES {
        let (server, mut driver) = UdpInterface::caller_driven(server_config(wire)).unwrap();
        driver.connect().unwrap();
        let (mut events, inside) = (server.events(), server.clone());
        let config = client_config(&server);
        // On the native wire, the turns below answer the client.
        let config = if wire == Wire::Native { config.connect_timeout(Duration::ZERO) } else { config };
        let client = client(config);
        until("the client can send", || {
            driver.turn(Some(Duration::ZERO));
            client.send(&1, &Metadata::command()).is_ok()
        });
        let mut seen = false;
        until("the message is handed out", || {
            driver.turn_with(Some(Duration::from_millis(1)), &mut |message| {
                seen = true;
                assert_eq!(
                    inside.peer(message.peer()).expect("the server knows the peer").received.messages,
                    1
                );
                assert!(matches!(events.next(Some(Duration::ZERO)), Some(Event::PeerConnected { .. })));
                assert_eq!(inside.statistics().messages_received, 1);
            });
            seen
        });
    }
}

#[test]
fn a_peer_whose_datagrams_wait_to_be_read_is_not_silent() {
    let config = server_config(Wire::Classic).liveness_timeout(Duration::from_millis(50));
    let (server, mut driver) = UdpInterface::caller_driven(config).unwrap();
    driver.connect().unwrap();
    let (busy, calm) = (RawPeer::of(&server), RawPeer::of(&server));
    for (peer, count) in [&busy, &calm].into_iter().zip(1..) {
        peer.command(0, 1.0, "1");
        until("it is a peer", || {
            driver.turn(Some(Duration::from_millis(1)));
            server.peers().len() == count
        });
    }
    let mut events = server.events();
    // This process pauses for longer than the liveness time-out.
    (1..=150).for_each(|number| busy.command(number, 1.1, "1"));
    calm.command(1, 1.1, "1");
    std::thread::sleep(Duration::from_millis(80));
    let mut read = 0;
    until("all datagrams are read", || {
        read += driver.turn(Some(Duration::from_millis(1)));
        read == 151
    });
    assert_eq!(events.next(Some(Duration::ZERO)), None);
    std::thread::sleep(Duration::from_millis(60));
    driver.turn(Some(Duration::ZERO));
    assert!(matches!(events.next(Some(Duration::ZERO)), Some(Event::PeerSilent { .. })));
}

#[test]
fn a_flood_does_not_keep_the_driver_from_its_timers() {
    let config = server_config(Wire::Classic).liveness_timeout(Duration::from_millis(50));
    let (server, mut driver) = UdpInterface::caller_driven(config).unwrap();
    driver.connect().unwrap();
    let (busy, calm) = (RawPeer::of(&server), RawPeer::of(&server));
    calm.command(0, 1.0, "1");
    driver.turn(Some(TIME_LIMIT));
    let mut events = server.events();
    until("the calm peer is reported as silent", || {
        // Each turn finds as many datagrams as it may read.
        (0..tautline::TURN_BUDGET).for_each(|_| busy.send(b"junk"));
        driver.turn(Some(Duration::ZERO));
        matches!(events.next(Some(Duration::ZERO)), Some(Event::PeerSilent { .. }))
    });
}

#[test]
fn receiving_on_a_driver_ends_with_a_disconnect() {
    let (server, mut driver) = UdpInterface::caller_driven(server_config(Wire::Classic)).unwrap();
    driver.connect().unwrap();
    let inside = server.clone();
    server.register_message_handler(MessageType::Command, Handler::inline(move |_, _| inside.disconnect()));
    RawPeer::of(&server).command(0, 1.0, "1");
    assert_eq!(driver.receive(None).map(drop), Err(ReceiveError::Disconnected));
    assert_eq!(driver.receive(None).map(drop), Err(ReceiveError::NotConnected));
    server.cleanup();
}

#[test]
fn a_server_that_has_disconnected_answers_no_hello() {
    for round in 0..300 {
        let (server, client) = pair(Wire::Native);
        server.disconnect();
        until("the client has received the goodbye", || {
            client.connection_state() == ConnectionState::Reconnecting
        });
        // The client calls at once. An answer would have arrived by now.
        std::thread::sleep(Duration::from_millis(1));
        assert!(client.peers().is_empty(), "round {round}");
        assert_eq!(client.send(&1, &Metadata::data()), Err(SendError::NoPeers));
    }
}

/// The waker of a broken executor: it panics.
struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        panic!("a broken executor");
    }
}

#[test]
fn a_driver_that_dies_ends_its_connection() {
    let server = server(server_config(Wire::Classic));
    let mut events = server.events();
    let waker = Waker::from(Arc::new(PanickingWaker));
    let mut broken = pin!(server.receive_async());
    assert!(broken.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let other = server.clone();
    let waiting = std::thread::spawn(move || other.receive(Some(TIME_LIMIT)).map(drop));
    std::thread::sleep(Duration::from_millis(20));
    RawPeer::of(&server).command(0, 1.0, "1");
    assert_eq!(waiting.join().unwrap(), Err(ReceiveError::Disconnected));
    until("the connection has ended", || server.connection_state() == ConnectionState::Error);
    assert!(matches!(events.next(Some(TIME_LIMIT)), Some(Event::PeerConnected { .. })));
    assert_eq!(events.next(Some(TIME_LIMIT)), Some(Event::CommandsUnguarded));
    assert!(matches!(
        events.next(Some(TIME_LIMIT)),
        Some(Event::StateChanged { to: ConnectionState::Error, .. })
    ));
    assert_eq!(server.send(&1, &Metadata::data()), Err(SendError::NotConnected));
    assert_eq!((server.local_address(), server.peers().len()), (None, 0));
    server.connect().unwrap();
    RawPeer::of(&server).command(0, 1.0, "2");
    assert_eq!(next(&server).decode::<u64>().unwrap(), 2);
}

#[test]
fn a_second_waker_that_panics_does_not_keep_a_dead_connection_alive() {
    let server = server(server_config(Wire::Classic));
    let waker = Waker::from(Arc::new(PanickingWaker));
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(server.receive_async())).collect();
    for receive in &mut waiting {
        assert!(receive.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    // The first waker ends the driver. The driver wakes the others when it ends.
    RawPeer::of(&server).command(0, 1.0, "1");
    until("the connection has ended", || server.connection_state() == ConnectionState::Error);
    server.connect().unwrap();
    RawPeer::of(&server).command(0, 1.0, "2");
    assert_eq!(next(&server).decode::<u64>().unwrap(), 2);
}

#[test]
fn many_new_peers_log_few_lines() {
    let (server, mut driver) = UdpInterface::caller_driven(server_config(Wire::Classic)).unwrap();
    driver.connect().unwrap();
    let begun = Instant::now();
    let lines = lines_logged(|| {
        let peers: Vec<_> = (0..300).map(|_| RawPeer::of(&server)).collect();
        for (before, peer) in peers.iter().enumerate() {
            // A server admits only so many at once.
            until("the peer is admitted", || {
                peer.command(0, 1.0, "1");
                driver.turn(Some(TIME_LIMIT));
                server.peers().len() > before
            });
        }
    });
    let seconds = begun.elapsed().as_secs() + 1;
    assert!((1..=20 * seconds).contains(&lines), "{lines} lines in {seconds} s");
}

#[test]
#[cfg_attr(windows, ignore = "a server on Windows is not told of closed ports")]
fn a_flood_of_junk_does_not_hide_an_unreachable_peer() {
    let (server, mut driver) = UdpInterface::caller_driven(server_config(Wire::Classic)).unwrap();
    driver.connect().unwrap();
    let mut events = server.events();
    let (gone, stranger) = (RawPeer::of(&server), RawPeer::of(&server));
    gone.command(0, 1.0, "1");
    driver.turn(Some(TIME_LIMIT));
    let gone_address = gone.socket.local_addr().unwrap();
    drop(gone);
    for _ in 0..100 {
        stranger.send(b"junk");
        driver.turn(Some(TIME_LIMIT));
    }
    server.send(&1, &Metadata::status()).unwrap();
    let is_gone =
        |event| matches!(event, Event::PeerUnreachable { address: Some(at), .. } if at == gone_address);
    until("the event comes", || {
        driver.turn(Some(Duration::from_millis(1)));
        std::iter::from_fn(|| events.next(Some(Duration::ZERO))).any(is_gone)
    });
}

#[test]
fn an_executor_that_ends_drops_a_long_backlog() {
    // On a busy machine, this takes longer than a handler may by default.
    let server = server(server_config(Wire::Classic).handler_time_limit(Duration::from_secs(3600)));
    let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
    let executor = Arc::clone(&kept);
    // This executor keeps the first future and drops each later one at once.
    let spawn = move |future| {
        let mut kept = executor.lock().unwrap();
        if kept.is_empty() {
            kept.push(future);
        }
    };
    let handler = Handler::spawned(spawn, |_, _| std::future::pending()).backlog(20_000);
    server.register_message_handler(MessageType::Command, handler);
    let peer = RawPeer::of(&server);
    let offered = || server.statistics().handlers.offered();
    for number in 0..20_000 {
        peer.command(number, 1.0, "1");
        if number % 50 == 0 {
            until("the message is offered", || offered() > u64::from(number));
        }
    }
    until("all messages are offered", || offered() == 20_000);
    let first = kept.lock().unwrap().pop();
    kept.lock().unwrap().push(Box::pin(async {}));
    drop(first);
    let dropped = || server.statistics().handlers.dropped.of(tautline::DropReason::Closed);
    until("all messages are dropped", || dropped() == 20_000);
}

#[test]
fn a_client_can_be_dropped_without_connecting() {
    let config = Config::client("127.0.0.1:9");
    ends(move || drop(create_udp_client(config).unwrap()));
}
