//! A thread that waits in `receive` turns meanwhile, and the driver's thread goes on when it leaves.

mod common;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{TIME_LIMIT, WIRES, client, client_config, next, server, server_config, until};
use tautline::{
    Config, DrivenBy, Handler, Message, MessageType, Metadata, Outcome, Raw, ReceiveError, SendError,
    UdpInterface, Wire,
};

/// Returns a server and its client, driven by `driven_by`.
fn driven(wire: Wire, driven_by: DrivenBy) -> (UdpInterface, UdpInterface) {
    let server = server(server_config(wire).driven_by(driven_by));
    let client = client(client_config(&server).driven_by(driven_by));
    (server, client)
}

/// Receives messages until one says 0. Returns how many came before it.
fn receive_until_zero(interface: &UdpInterface) -> u64 {
    let mut count = 0;
    while interface.receive(Some(TIME_LIMIT)).expect("a message").decode::<u64>().expect("a number") > 0 {
        count += 1;
    }
    count
}

/// Sends numbers, the last of which is 0, with a pause before each.
fn count_down(client: &UdpInterface, from: u64, pause: Duration) {
    for number in (0..=from).rev() {
        thread::sleep(pause);
        client.send(&number, &Metadata::data()).expect("connected");
    }
}

#[test]
fn a_reader_gets_every_message_whoever_drives() {
    for wire in WIRES {
        for driven_by in [DrivenBy::Auto, DrivenBy::Thread, DrivenBy::Callers] {
            // Shorter and longer than the time after which the driver's thread takes over.
            for pause in [Duration::ZERO, Duration::from_micros(300), Duration::from_millis(5)] {
                let (server, client) = driven(wire, driven_by);
                let reader = thread::spawn({
                    let server = server.clone();
                    move || receive_until_zero(&server)
                });
                count_down(&client, 20, pause);
                assert_eq!(reader.join().expect("no panic"), 20, "{wire}, {driven_by}, {pause:?}");
            }
        }
    }
}

#[test]
fn a_sender_that_waits_for_room_loses_nothing_whoever_drives() {
    const MESSAGES: u64 = 5_000;
    for driven_by in [DrivenBy::Auto, DrivenBy::Thread, DrivenBy::Callers] {
        let (server, client) = driven(Wire::Native, driven_by);
        server.register_message_handler(MessageType::Data, Handler::inline(|_, _| ()));
        let data = client.publisher(Metadata::data());
        for number in 0..MESSAGES {
            while let Err(error) = data.send_reliable(&number) {
                assert!(matches!(error, SendError::WindowFull { .. }), "{error}");
                assert!(data.wait_for_room(Some(TIME_LIMIT)), "{driven_by}");
            }
        }
        // Nobody waits any more, so the driver's thread does the rest.
        until("everything is acknowledged", || client.statistics().deliveries.waiting == 0);
        assert_eq!(client.statistics().deliveries.delivered, MESSAGES, "{driven_by}");
    }
}

/// Returns the names of the threads that run an inline handler of a server whose reader waits in `receive`.
fn threads_of_inline_handler(driven_by: DrivenBy) -> Vec<String> {
    let (server, client) = driven(Wire::Native, driven_by);
    let (tell, told) = mpsc::channel();
    let handler = Handler::inline(move |_, _| {
        let _ = tell.send(thread::current().name().unwrap_or_default().to_owned());
    });
    server.register_message_handler(MessageType::Data, handler);
    let reader = thread::Builder::new().name("the reader".to_owned());
    let reader = reader.spawn({
        let server = server.clone();
        move || receive_until_zero(&server)
    });
    count_down(&client, 50, Duration::from_millis(1));
    reader.expect("a thread").join().expect("no panic");
    told.try_iter().collect()
}

#[test]
fn inline_handlers_run_on_the_drivers_thread_unless_callers_drive() {
    for driven_by in [DrivenBy::Auto, DrivenBy::Thread] {
        assert!(!threads_of_inline_handler(driven_by).contains(&"the reader".to_owned()), "{driven_by}");
    }
    assert!(threads_of_inline_handler(DrivenBy::Callers).contains(&"the reader".to_owned()));
}

/// The reader counts what it takes, and looks at the order. `take` takes messages.
fn read_in_order(
    server: &UdpInterface,
    take: fn(&UdpInterface, &mut Vec<Message>) -> Result<usize, ReceiveError>,
) -> u64 {
    let (mut messages, mut count, mut last) = (Vec::new(), 0, 0);
    while take(server, &mut messages).is_ok() {
        for message in messages.drain(..) {
            let number = message.payload().try_into().map(u64::from_le_bytes).expect("eight bytes");
            assert!(number > last, "{number} after {last}");
            (count, last) = (count + 1, number);
        }
    }
    count
}

fn one(server: &UdpInterface, messages: &mut Vec<Message>) -> Result<usize, ReceiveError> {
    messages.push(server.receive(None)?);
    Ok(1)
}

fn many(server: &UdpInterface, messages: &mut Vec<Message>) -> Result<usize, ReceiveError> {
    server.receive_many(messages, 500, None)
}

#[test]
fn a_reader_that_gets_more_than_it_can_take_has_messages_in_order_and_each_is_accounted_for() {
    for driven_by in [DrivenBy::Auto, DrivenBy::Thread, DrivenBy::Callers] {
        for take in [one, many] {
            let (server, client) = driven(Wire::Native, driven_by);
            let reader = thread::spawn({
                let server = server.clone();
                move || read_in_order(&server, take)
            });
            let data = client.publisher(Metadata::data());
            let mut number = 0u64;
            let mut send = || {
                number += 1;
                // Windows may have no room for a moment.
                while let Err(error) = data.send(Raw(&number.to_le_bytes())) {
                    assert!(error.is_transient(), "{error}");
                }
            };
            (0..100_000).for_each(|_| send());
            // The reader goes on, however much has come.
            let before = server.statistics().inbox.taken;
            until("the reader takes further messages", || {
                send();
                server.statistics().inbox.taken > before + 3
            });
            server.disconnect();
            let count = reader.join().expect("no panic");
            let stats = server.statistics();
            assert_eq!(stats.inbox.taken, count, "{driven_by}");
            assert_eq!(
                stats.inbox.offered(),
                stats.messages_received - stats.messages_dropped.total(),
                "{driven_by}: {stats:?}"
            );
        }
    }
}

#[test]
fn many_messages_are_received_at_once_and_the_first_is_waited_for() {
    for wire in WIRES {
        let (server, client) = driven(wire, DrivenBy::Auto);
        let mut messages = Vec::new();
        assert_eq!(server.receive_many(&mut messages, 0, None), Ok(0));
        let nothing = server.receive_many(&mut messages, 5, Some(Duration::from_millis(1)));
        assert_eq!((nothing, messages.len()), (Err(ReceiveError::TimedOut), 0));
        client.publisher(Metadata::data()).send_batch(&(0..100).collect::<Vec<u64>>()).expect("connected");
        while messages.len() < 100 {
            let (before, left) = (messages.len(), 100 - messages.len());
            let count = server.receive_many(&mut messages, 7, Some(TIME_LIMIT)).expect("more came");
            assert!((1..=7).contains(&count) && count <= left && messages.len() == before + count);
        }
        let numbers: Vec<u64> = messages.iter().map(|message| message.decode().expect("a number")).collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>(), "{wire}");
        assert_eq!(server.statistics().timeouts, 1);
        server.disconnect();
        assert_eq!(server.receive_many(&mut messages, 7, None), Err(ReceiveError::NotConnected));
    }
}

/// The second answer to a command goes to a handler, which tells on which thread it runs.
#[test]
fn a_thread_that_waits_for_an_answer_or_a_receipt_drives() {
    for wire in WIRES {
        let (server, client) = driven(wire, DrivenBy::Callers);
        let (tell, told) = mpsc::channel();
        let name = || thread::current().name().unwrap_or_default().to_owned();
        let handler = Handler::inline(move |_, _| drop(tell.send(name())));
        client.register_message_handler(MessageType::Acknowledgment, handler);
        server.register_message_handler(
            MessageType::Command,
            Handler::blocking(|_, reply| {
                let _ = reply.send("working", &Metadata::status());
                let _ = reply.send("done", &Metadata::acknowledgment());
            }),
        );
        let asks = thread::Builder::new().name("the asker".to_owned()).spawn({
            let client = client.clone();
            move || {
                for _ in 0..50 {
                    let answer = client.publisher(Metadata::command()).request("go", Some(TIME_LIMIT));
                    let answer = answer.expect("connected").wait().expect("an answer");
                    assert_eq!(answer.decode::<String>().expect("text"), "working");
                    if wire == Wire::Native {
                        let receipt =
                            client.publisher(Metadata::data()).send_reliable("x").expect("connected");
                        assert_eq!(receipt.wait(Some(TIME_LIMIT)), Some(Outcome::Delivered));
                    }
                }
                // What the last command brings is read here at the latest.
                let _ = client.receive(Some(Duration::from_millis(100)));
            }
        });
        asks.expect("a thread").join().expect("no panic");
        let threads: Vec<String> = told.try_iter().collect();
        assert!(threads.iter().any(|name| name == "the asker"), "{wire}: {threads:?}");
    }
}

#[test]
fn handlers_go_on_when_the_reader_has_left() {
    let (server, client) = driven(Wire::Native, DrivenBy::Auto);
    let (tell, told) = mpsc::channel();
    let handler = Handler::blocking(move |message: Message, _| {
        let _ = tell.send(message.decode::<u64>().expect("a number"));
    });
    server.register_message_handler(MessageType::Data, handler);
    let wait = thread::spawn({
        let server = server.clone();
        move || (0..3).for_each(|_| drop(next(&server)))
    });
    for number in 0..3 {
        client.send(&number, &Metadata::data()).expect("connected");
        // The reader leads so long that the driver's thread does not look by itself any more.
        thread::sleep(Duration::from_millis(20));
    }
    wait.join().expect("no panic");
    // Nobody waits in `receive` any more.
    client.send(&3, &Metadata::data()).expect("connected");
    let seen: Vec<u64> = (0..4).map(|_| told.recv_timeout(TIME_LIMIT).expect("the driver goes on")).collect();
    assert_eq!(seen, [0, 1, 2, 3]);
}

#[test]
fn a_disconnect_ends_a_reader_that_leads() {
    for wire in WIRES {
        let (server, _client) = driven(wire, DrivenBy::Auto);
        let reader = thread::spawn({
            let server = server.clone();
            // The second call may lead: a thread that comes back soon does.
            move || (server.receive(Some(Duration::from_millis(1))), server.receive(None).map(drop))
        });
        until("the second call", || server.statistics().timeouts == 1);
        thread::sleep(Duration::from_millis(20));
        server.disconnect();
        assert_eq!(reader.join().expect("no panic").1, Err(ReceiveError::Disconnected));
        server.connect().expect("a free port");
        server.cleanup();
    }
}

#[test]
fn a_handler_can_disconnect_on_the_thread_that_leads() {
    let (server, client) = driven(Wire::Native, DrivenBy::Callers);
    let ended = server.clone();
    let handler = Handler::inline(move |_, _| ended.disconnect());
    server.register_message_handler(MessageType::Command, handler);
    let reader = thread::spawn({
        let server = server.clone();
        move || while server.receive(Some(TIME_LIMIT)).is_ok() {}
    });
    count_down(&client, 3, Duration::from_millis(1));
    client.send(&1, &Metadata::command()).expect("connected");
    reader.join().expect("no panic");
    assert!(server.local_address().is_none());
    server.unregister_message_handler(MessageType::Command);
    server.connect().expect("a free port");
    until("the server hears again", || server.local_address().is_some());
}

#[test]
fn a_handler_that_waits_for_messages_does_not_drive() {
    let (server, client) = driven(Wire::Native, DrivenBy::Callers);
    let (tell, told) = mpsc::channel();
    let inner = server.clone();
    let handler = Handler::blocking(move |_, _| {
        let _ = tell.send(next(&inner).decode::<u64>().expect("a number"));
    });
    server.register_message_handler(MessageType::Command, handler);
    client.send(&1, &Metadata::command()).expect("connected");
    client.send(&2, &Metadata::data()).expect("connected");
    assert!([1, 2].contains(&told.recv_timeout(TIME_LIMIT).expect("the handler has its message")));
    server.cleanup();
}

#[test]
fn the_setting_is_read_from_text() {
    let mut config = Config::server("127.0.0.1:0");
    config.set("driven_by", "callers").expect("valid");
    assert_eq!(config.settings().expect("valid").driven_by, DrivenBy::Callers);
    let error = config.set("driven_by", "nobody").and_then(|()| config.validate()).expect_err("unknown");
    assert!(error.to_string().contains("auto, thread or callers"), "{error}");
}
