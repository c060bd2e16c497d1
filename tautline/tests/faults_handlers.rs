//! Handlers: faults of the Python module that this library does not have. Each test is named after what holds here.

mod common;

use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use common::{TIME_LIMIT, client, client_config, next_number, pair, server, server_config, until};
use tautline::{
    DropReason, Handler, HandlerStats, Message, MessageType, Metadata, Reply, UdpInterface, Wire,
};

/// Returns a blocking handler that reports the number it got and then waits until the test releases it.
fn gated() -> (impl Fn(Message, Reply) + Send + Sync + 'static, Receiver<u64>, Sender<()>) {
    let (began, begins) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let released = Mutex::new(released);
    let handler = move |message: Message, _| {
        began.send(message.decode().expect("a number")).expect("the test still runs");
        let _ = released.lock().expect("never poisoned").recv_timeout(TIME_LIMIT);
    };
    (handler, begins, release)
}

/// Returns the counts of the handler of this type.
fn statistics_of(interface: &UdpInterface, message_type: MessageType) -> HandlerStats {
    let all = interface.handler_statistics();
    all.into_iter().find(|(selector, _)| *selector == message_type.into()).expect("it is registered").1
}

#[test]
fn async_handlers_run_with_and_without_a_runtime() {
    let (server, client) = pair(Wire::Native);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let handle = runtime.handle().clone();
    let one = Box::new(1);
    // One handler runs without a runtime, on a worker of its own. The other runs on the user's runtime.
    server.register_message_handler(
        MessageType::Command,
        Handler::asynchronous(async move |message, reply| {
            // The future may borrow what the closure captures, because it stays on the worker.
            let number: u64 = message.decode().unwrap();
            reply.send(&(number + *one), &Metadata::status()).unwrap();
        }),
    );
    server.register_message_handler(
        MessageType::Data,
        Handler::spawned(
            move |future| drop(handle.spawn(future)),
            |message, reply| async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let number: u64 = message.decode().unwrap();
                reply.send(&(number + 2), &Metadata::status()).unwrap();
            },
        ),
    );
    for number in 0..10 {
        client.send(&number, &Metadata::command()).unwrap();
        assert_eq!(next_number(&client), number + 1);
        client.send(&number, &Metadata::data()).unwrap();
        assert_eq!(next_number(&client), number + 2);
    }
    until("each call has finished", || server.statistics().handlers.handled == 20);
}

#[test]
fn a_blocking_handler_does_not_block_other_types() {
    let (server, client) = pair(Wire::Native);
    let (handler, begins, release) = gated();
    server.register_message_handler(MessageType::Command, Handler::blocking(handler));
    server.register_message_handler(
        MessageType::Data,
        Handler::blocking(|message, reply| {
            reply.send(&message.decode::<u64>().unwrap(), &Metadata::status()).unwrap();
        }),
    );
    client.send(&0, &Metadata::command()).unwrap();
    begins.recv_timeout(TIME_LIMIT).unwrap();
    for number in 0..20 {
        client.send(&number, &Metadata::data()).unwrap();
        assert_eq!(next_number(&client), number);
    }
    assert_eq!(statistics_of(&server, MessageType::Command).running, 1, "the handler still blocks");
    release.send(()).unwrap();
}

#[test]
fn handlers_run_in_order_with_a_bounded_backlog() {
    let (server, client) = pair(Wire::Native);
    let (handler, begins, release) = gated();
    server.register_message_handler(MessageType::Command, Handler::blocking(handler).backlog(10));
    client.send(&0, &Metadata::command()).unwrap();
    assert_eq!(begins.recv_timeout(TIME_LIMIT).unwrap(), 0);
    for number in 1..30u64 {
        client.send(&number, &Metadata::command()).unwrap();
    }
    // The handler works on one message and ten wait. The others are dropped. The messages of a peer are handled in order.
    until("the dropped messages are counted", || {
        statistics_of(&server, MessageType::Command).dropped.of(DropReason::BacklogFull) == 19
    });
    for number in 1..11 {
        release.send(()).unwrap();
        assert_eq!(begins.recv_timeout(TIME_LIMIT).unwrap(), number);
    }
    release.send(()).unwrap();
    until("all messages are accounted for", || {
        let statistics = statistics_of(&server, MessageType::Command);
        statistics.handled == 11 && statistics.offered() == 30
    });
}

#[test]
fn a_handler_that_panics_is_called_again() {
    let (server, client) = pair(Wire::Native);
    server.register_message_handler(
        MessageType::Command,
        Handler::inline(|message, reply| {
            assert!(message.payload() != b"13", "this one is unlucky");
            reply.send("done", &Metadata::status()).unwrap();
        }),
    );
    for number in 12..16 {
        client.send(&number, &Metadata::command()).unwrap();
        if number != 13 {
            assert_eq!(common::next(&client).decode::<String>().unwrap(), "done");
        }
    }
    until("all calls are counted", || {
        let statistics = statistics_of(&server, MessageType::Command);
        (statistics.handled, statistics.panicked) == (3, 1)
    });
}

#[test]
fn a_handler_can_disconnect_and_unregister_itself() {
    for kind in ["inline", "blocking", "async"] {
        let (server, client) = pair(Wire::Native);
        let (done, is_done) = mpsc::channel();
        let inside = server.clone();
        let act = move || {
            assert!(inside.unregister_message_handler(MessageType::Command));
            inside.disconnect();
            let _ = done.send(inside.statistics().connection_state);
        };
        let handler: Handler = match kind {
            "inline" => Handler::inline(move |_, _| act()),
            "blocking" => Handler::blocking(move |_, _| act()).into(),
            _ => {
                let act = std::sync::Arc::new(act);
                Handler::asynchronous(move |_, _| {
                    let act = std::sync::Arc::clone(&act);
                    async move { act() }
                })
                .into()
            }
        };
        server.register_message_handler(MessageType::Command, handler);
        client.send(&1, &Metadata::command()).unwrap();
        let state = is_done.recv_timeout(TIME_LIMIT).expect(kind);
        assert_eq!(state, tautline::ConnectionState::Disconnected);
    }
}

#[test]
fn the_configured_limits_of_handlers_have_an_effect() {
    let config = server_config(Wire::Native)
        .handler_backlog(3)
        .handler_concurrency(1)
        .handler_time_limit(Duration::from_millis(20));
    let server = server(config);
    let client = client(client_config(&server));
    let (handler, begins, release) = gated();
    server.register_message_handler(MessageType::Command, Handler::blocking(handler).unordered());
    for number in 0..10u64 {
        client.send(&number, &Metadata::command()).unwrap();
    }
    until("a call passed its limit", || statistics_of(&server, MessageType::Command).timed_out > 0);
    assert!(statistics_of(&server, MessageType::Command).dropped.of(DropReason::BacklogFull) > 0);
    assert_eq!(begins.recv_timeout(TIME_LIMIT).unwrap(), 0);
    drop(release);
}
