//! The async functions, on tokio and on a bare `block_on`. They need no particular executor, and a cancelled wait loses
//! nothing.

mod common;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use common::{TIME_LIMIT, address, client, client_config, next_number, pair, server, server_config, until};
use tautline::{
    ConnectError, ConnectionState, Event, Events, Metadata, ReceiveError, Wire, create_udp_client,
};

/// The smallest possible executor.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// The next event that is about peers or states. The size of a path is told with a heartbeat, whenever that comes.
async fn next_of_life(events: &mut Events) -> Option<Event> {
    loop {
        match events.next_async().await {
            Some(Event::PathSize { .. }) => {}
            event => return event,
        }
    }
}

/// Connects, reads the events, exchanges messages, and closes.
async fn whole_life() {
    let server = server(server_config(Wire::Native));
    let mut server_events = server.events();
    let client = create_udp_client(client_config(&server)).unwrap();
    client.connect_async().await.unwrap();
    assert_eq!(client.connection_state(), ConnectionState::Connected);
    let Some(Event::PeerConnected { name, .. }) = next_of_life(&mut server_events).await else {
        panic!("the first event is that the client has connected")
    };
    assert_eq!(name, "controller");
    for number in 0..100u64 {
        client.send(&number, &Metadata::data()).unwrap();
        let question = server.receive_async().await.unwrap();
        server.reply(&question, &number, &Metadata::status()).unwrap();
        assert_eq!(client.receive_async().await.unwrap().decode::<u64>().unwrap(), number);
    }
    client.disconnect();
    let event = next_of_life(&mut server_events).await;
    assert!(matches!(event, Some(Event::PeerDisconnected { .. })), "{event:?}");
    server.cleanup();
    assert_eq!(server.receive_async().await.map(drop), Err(ReceiveError::NotConnected));
    while let Some(event) = next_of_life(&mut server_events).await {
        assert!(matches!(event, Event::StateChanged { .. }), "{event:?}");
    }
}

#[test]
fn a_connection_lives_and_ends_on_a_bare_block_on() {
    block_on(whole_life());
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_lives_and_ends_on_tokio() {
    whole_life().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_receive_each_message_once() {
    const MESSAGES: u64 = 500;
    let (server, client) = pair(Wire::Native);
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let server = server.clone();
            tokio::spawn(async move {
                let mut numbers = Vec::new();
                while let Ok(message) = server.receive_async().await {
                    numbers.push(message.decode::<u64>().unwrap());
                }
                numbers
            })
        })
        .collect();
    for number in 0..MESSAGES {
        client.send(&number, &Metadata::command()).unwrap();
    }
    while server.statistics().inbox.taken < MESSAGES {
        tokio::task::yield_now().await;
    }
    server.disconnect();
    let mut numbers = Vec::new();
    for task in tasks {
        numbers.extend(task.await.unwrap());
    }
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..MESSAGES));
}

#[tokio::test]
async fn cancelled_waits_lose_no_message() {
    let (server, client) = pair(Wire::Native);
    let mut received = 0..200u64;
    for number in received.clone() {
        client.send(&number, &Metadata::command()).unwrap();
        // The later waits last longer, so they are cancelled before, while or after the message arrives.
        let wait = Duration::from_micros(number);
        if let Ok(message) = tokio::time::timeout(wait, server.receive_async()).await {
            assert_eq!(message.unwrap().decode::<u64>().unwrap(), received.next().unwrap());
        }
    }
    for number in received {
        let message = tokio::time::timeout(TIME_LIMIT, server.receive_async()).await.expect("none is lost");
        assert_eq!(message.unwrap().decode::<u64>().unwrap(), number);
    }
}

#[test]
fn cancelled_waits_for_events_lose_none() {
    let server = server(server_config(Wire::Native));
    let mut events = server.events();
    assert!(poll_once(&mut pin!(events.next_async())).is_pending());
    let _client = client(client_config(&server));
    assert!(matches!(block_on(events.next_async()), Some(Event::PeerConnected { .. })));
}

fn poll_once<F: Future>(future: &mut Pin<&mut F>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn connecting_goes_on_when_its_wait_is_cancelled() {
    let server = server(server_config(Wire::Native));
    let client = create_udp_client(client_config(&server)).unwrap();
    let _ = poll_once(&mut pin!(client.connect_async()));
    assert!(client.wait_for_state(ConnectionState::Connected, Some(TIME_LIMIT)));
    client.send(&1, &Metadata::command()).unwrap();
    assert_eq!(next_number(&server), 1);
}

#[tokio::test]
async fn a_server_that_starts_late_is_found_while_other_tasks_run() {
    let first = server(server_config(Wire::Native));
    let at = server_config(Wire::Native).endpoint(address(&first).to_string());
    let config = client_config(&first);
    first.cleanup();
    let client = create_udp_client(config.clone()).unwrap();
    let task = tokio::spawn({
        let client = client.clone();
        async move { client.connect_async().await }
    });
    while client.connection_state() != ConnectionState::Connecting {
        tokio::task::yield_now().await;
    }
    let late = server(at);
    task.await.unwrap().unwrap();
    until("the server knows the client", || late.statistics().peers == 1);

    let nobody = config.endpoint("127.0.0.1:9").connect_timeout(Duration::from_millis(30));
    let error = create_udp_client(nobody).unwrap().connect_async().await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }));
}
