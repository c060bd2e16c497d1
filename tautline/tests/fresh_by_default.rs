//! With default settings, a consumer of commands that was held up acts on the newest command first, and is told what it must
//! know: that older ones were replaced, that a reader is behind for good, that nothing protects it.

mod common;

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{TIME_LIMIT, WIRES, client, client_config, lines_logged, next, server, until};
use tautline::{
    Config, DropReason, Event, Events, Handler, History, MessageType, Metadata, Qos, Reader, UdpInterface,
    Watchdog, Wire,
};

const MS: Duration = Duration::from_millis(1);

/// How long the consumer is held up.
const PAUSE: Duration = Duration::from_millis(300);

/// The configuration of a server with default settings.
fn default_server(wire: Wire) -> Config {
    Config::server("127.0.0.1:0").wire(wire)
}

/// A server with default settings, and its client.
fn pair(wire: Wire) -> (UdpInterface, UdpInterface) {
    let server = server(default_server(wire));
    let client = client(client_config(&server));
    (server, client)
}

/// Sends a command each millisecond in a thread of its own, until it is dropped. Returns how many.
struct Commands {
    stop: Arc<Mutex<bool>>,
    thread: Option<thread::JoinHandle<u64>>,
}

impl Commands {
    fn from(client: &UdpInterface) -> Self {
        let stop = Arc::new(Mutex::new(false));
        let (client, stopped) = (client.clone(), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut number = 0_u64;
            while !*stopped.lock().expect("no panic") {
                client.send(&number, &Metadata::command()).expect("connected");
                number += 1;
                thread::sleep(MS);
            }
            client.flush();
            number
        });
        Self { stop, thread: Some(thread) }
    }

    fn end(mut self) -> u64 {
        *self.stop.lock().expect("no panic") = true;
        self.thread.take().expect("it runs").join().expect("no panic")
    }
}

/// Waits for an event that `pick` accepts.
fn wait_for<T>(events: &mut Events, pick: impl Fn(&Event) -> Option<T>) -> T {
    let deadline = Instant::now() + TIME_LIMIT;
    loop {
        let event = events.next(Some(deadline.saturating_duration_since(Instant::now())));
        if let Some(found) = pick(&event.expect("the event comes in time")) {
            return found;
        }
    }
}

/// The events that are there now.
fn all(events: &mut Events) -> Vec<Event> {
    std::iter::from_fn(|| events.next(Some(Duration::ZERO))).collect()
}

/// Checks that every message of the server is accounted for, and that none was dropped but for a newer one.
fn check_sums(server: &UdpInterface, sent: u64) {
    until("all commands came", || server.statistics().messages_received == sent);
    let statistics = server.statistics();
    let (early, inbox, handlers) = (statistics.messages_dropped, statistics.inbox, statistics.handlers);
    assert_eq!(early.total(), early.of(DropReason::Superseded) + early.of(DropReason::Stale));
    assert_eq!(inbox.dropped.total(), inbox.dropped.of(DropReason::Superseded));
    assert_eq!(handlers.dropped.total(), handlers.dropped.of(DropReason::Superseded));
    assert_eq!(inbox.offered() + early.total(), sent, "{statistics:?}");
    if handlers.offered() > 0 {
        assert_eq!(handlers.offered() + early.total(), sent, "{statistics:?}");
    }
}

#[test]
fn only_commands_on_the_native_wire_have_a_history_of_one_by_default() {
    for wire in WIRES {
        let streams = default_server(wire).settings().expect("valid").streams;
        for message_type in MessageType::ALL {
            let of_type = streams.of(*message_type, 3).history;
            let newest = wire == Wire::Native && *message_type == MessageType::Command;
            assert_eq!(of_type, newest.then_some(History::KeepLast(1)), "{wire}, {message_type}");
        }
    }
    let all = default_server(Wire::Native).qos(MessageType::Command, Qos::new().keep_all());
    assert_eq!(
        all.settings().expect("valid").streams.of(MessageType::Command, 0).history,
        Some(History::KeepAll)
    );
    let reliable = default_server(Wire::Native)
        .qos(MessageType::Command, Qos::new().delivery(tautline::Delivery::Reliable));
    assert_eq!(reliable.validate(), Ok(()), "the default contradicts nothing");
}

#[test]
fn a_reader_that_paused_gets_the_newest_command_next() {
    let (server, client) = pair(Wire::Native);
    let mut events = server.events();
    let commands = Commands::from(&client);
    for _ in 0..20 {
        next(&server);
    }
    thread::sleep(PAUSE);
    let first = next(&server);
    assert!(first.age() < PAUSE / 2, "{:?}", first.age());
    let told = wait_for(&mut events, |event| match event {
        Event::Superseded { peer, message_type, channel } => Some((*peer, *message_type, *channel)),
        _ => None,
    });
    assert_eq!(told, (first.peer(), MessageType::Command, 0));
    thread::sleep(PAUSE);
    next(&server);
    let sent = commands.end();
    let again = all(&mut events).iter().filter(|event| matches!(event, Event::Superseded { .. })).count();
    assert_eq!(again, 0, "it is told once for each stream");
    check_sums(&server, sent);
}

#[test]
#[cfg_attr(windows, ignore = "Windows does not tell when a datagram came")]
fn a_loop_that_paused_gets_the_newest_command_next() {
    let (server, mut driver) = UdpInterface::caller_driven(default_server(Wire::Native)).expect("valid");
    driver.connect().expect("a free port");
    let config = client_config(&server);
    let client = thread::spawn(move || client(config));
    while !client.is_finished() {
        driver.turn(Some(MS));
    }
    let client = client.join().expect("no panic");
    let commands = Commands::from(&client);
    for way in ["receive", "turn_with"] {
        for _ in 0..20 {
            driver.receive(Some(TIME_LIMIT)).expect("commands come");
        }
        // One more waits in the inbox: that of before the pause.
        while server.statistics().inbox.waiting == 0 {
            driver.turn(Some(MS * 10));
        }
        thread::sleep(PAUSE);
        let age = match way {
            "receive" => driver.receive(Some(TIME_LIMIT)).expect("commands come").age(),
            _ => {
                let mut first = None;
                while first.is_none() {
                    driver.turn_with(Some(MS), &mut |message| _ = first.get_or_insert(message.age()));
                }
                first.expect("a command came")
            }
        };
        assert!(age < PAUSE / 2, "{way}: {age:?}");
    }
    let sent = commands.end();
    while server.statistics().messages_received < sent {
        driver.turn(Some(MS));
    }
    check_sums(&server, sent);
}

#[test]
fn a_handler_that_paused_gets_the_newest_command_next() {
    for kind in ["blocking", "async"] {
        let (server, client) = pair(Wire::Native);
        let mut events = server.events();
        let ages = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&ages);
        let act = move |message: &tautline::Message| {
            let mut ages = list.lock().expect("no panic");
            ages.push(message.age());
            if ages.len() == 20 {
                thread::sleep(PAUSE);
            }
        };
        let handler = match kind {
            "blocking" => Handler::blocking(move |message, _| act(&message)).concurrency(1),
            _ => Handler::asynchronous(move |message, _| {
                act(&message);
                async {}
            })
            .concurrency(1),
        };
        server.register_message_handler(MessageType::Command, handler);
        let commands = Commands::from(&client);
        until("the handler went on", || ages.lock().expect("no panic").len() >= 25);
        let sent = commands.end();
        let first = ages.lock().expect("no panic")[20];
        assert!(first < PAUSE / 2, "{kind}: {first:?}");
        wait_for(&mut events, |event| matches!(event, Event::Superseded { .. }).then_some(()));
        until("the handler is done", || {
            let handlers = server.statistics().handlers;
            handlers.waiting + handlers.running == 0
        });
        check_sums(&server, sent);
    }
}

/// While an inline handler holds the driver up, commands wait in the kernel.
#[test]
#[cfg_attr(windows, ignore = "Windows does not tell when a datagram came")]
fn an_inline_handler_that_paused_gets_the_newest_command_next() {
    let (server, client) = pair(Wire::Native);
    let ages = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&ages);
    server.register_message_handler(
        MessageType::Command,
        Handler::inline(move |message, _| {
            let mut ages = list.lock().expect("no panic");
            ages.push(message.age());
            if ages.len() == 20 {
                thread::sleep(PAUSE);
            }
        }),
    );
    let mut events = server.events();
    let commands = Commands::from(&client);
    until("the handler went on", || ages.try_lock().is_ok_and(|ages| ages.len() >= 25));
    let sent = commands.end();
    let first = ages.lock().expect("no panic")[20];
    assert!(first < PAUSE / 2, "{first:?}");
    wait_for(&mut events, |event| matches!(event, Event::Superseded { .. }).then_some(()));
    check_sums(&server, sent);
}

#[test]
fn commands_that_a_handler_sees_are_not_told_as_replaced() {
    let (server, client) = pair(Wire::Native);
    server.register_message_handler(MessageType::Command, Handler::inline(|_, _| {}));
    let mut events = server.events();
    for number in 0..50 {
        client.send(&number, &Metadata::command()).expect("connected");
        until("it was handled", || server.statistics().handlers.handled == number + 1);
    }
    assert_eq!(server.statistics().inbox.dropped.of(DropReason::Superseded), 49, "nobody reads the inbox");
    assert!(!all(&mut events).iter().any(|event| matches!(event, Event::Superseded { .. })));
}

#[test]
fn two_joints_on_one_channel_are_told_to_use_two() {
    let (server, mut driver) = UdpInterface::caller_driven(default_server(Wire::Native)).expect("valid");
    driver.connect().expect("a free port");
    let config = client_config(&server);
    let client = thread::spawn(move || client(config));
    while !client.is_finished() {
        driver.turn(Some(MS));
    }
    let client = client.join().expect("no panic");
    let mut events = server.events();
    let logged = lines_logged(|| {
        for joint in ["shoulder", "elbow"] {
            client.send(joint, &Metadata::command()).expect("connected");
        }
        while server.statistics().messages_received < 2 {
            driver.turn(Some(MS));
        }
    });
    // One line about the replaced command, and one that nothing protects the consumer.
    assert_eq!(logged, 2);
    let told: Vec<_> =
        all(&mut events).into_iter().filter(|event| matches!(event, Event::Superseded { .. })).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    for (channel, joint) in (1..).zip(["shoulder", "elbow"]) {
        client.send(joint, &Metadata::command().channel(channel)).expect("connected");
    }
    while server.statistics().messages_received < 4 {
        driver.turn(Some(MS));
    }
    let waiting: Vec<String> = (0..3)
        .map(|_| driver.receive(Some(TIME_LIMIT)).expect("it waits").decode().expect("a joint"))
        .collect();
    assert_eq!(waiting, ["elbow", "shoulder", "elbow"], "nothing was replaced on the other channels");
}

#[test]
fn a_reader_that_is_behind_for_good_is_told_once() {
    for wire in WIRES {
        let (server, client) = pair(wire);
        let mut events = server.events();
        next_after(&server, &client);
        for number in 0..50 {
            client.send(&number, &Metadata::data()).expect("connected");
        }
        client.flush();
        // One message in, one message out: it stays behind.
        let started = Instant::now();
        let mut told = Vec::new();
        while told.is_empty() {
            client.send(&1, &Metadata::data()).expect("connected");
            client.flush();
            next(&server);
            thread::sleep(MS);
            told.extend(
                all(&mut events).into_iter().filter(|event| matches!(event, Event::ReaderBehind { .. })),
            );
            assert!(started.elapsed() < TIME_LIMIT, "{wire}: it is not told");
        }
        assert!(
            matches!(told[..], [Event::ReaderBehind { reader: Reader::Inbox, waiting: 40.., age }] if age >= MS * 20),
            "{wire}: {told:?}"
        );
        assert_eq!(server.statistics().readers_behind, 1, "{wire}");
    }
}

/// A reader that has read once.
fn next_after(server: &UdpInterface, client: &UdpInterface) {
    client.send(&0, &Metadata::data()).expect("connected");
    next(server);
}

#[test]
fn a_handler_that_is_behind_for_good_is_told() {
    let (server, client) = pair(Wire::Native);
    let mut events = server.events();
    let slow = Handler::blocking(|_, _| thread::sleep(MS * 50)).concurrency(1);
    server.register_message_handler(MessageType::Data, slow);
    for number in 0..100 {
        client.send(&number, &Metadata::data()).expect("connected");
    }
    client.flush();
    let reader = wait_for(&mut events, |event| match event {
        Event::ReaderBehind { reader, .. } => Some(*reader),
        _ => None,
    });
    assert_eq!(reader.to_string(), "handler of data");
}

#[test]
fn a_consumer_of_commands_without_lifespan_and_watchdog_is_warned_once() {
    let unguarded =
        |server: &UdpInterface, events: &mut Events, client: &UdpInterface, metadata: &Metadata| {
            for number in 0..3 {
                let before = server.statistics().messages_received;
                client.send(&number, metadata).expect("connected");
                until("it came", || server.statistics().messages_received > before);
            }
            all(events).iter().filter(|event| matches!(event, Event::CommandsUnguarded)).count()
        };
    for wire in WIRES {
        let command = Metadata::command();
        let bare = server(default_server(wire));
        let (mut events, client_of_bare) = (bare.events(), client(client_config(&bare)));
        assert_eq!(
            unguarded(&bare, &mut events, &client_of_bare, &Metadata::data()),
            0,
            "{wire}: no commands"
        );
        assert_eq!(unguarded(&bare, &mut events, &client_of_bare, &command), 1, "{wire}");

        let limited = Qos::new().lifespan(MS * 500);
        let limited = server(default_server(wire).qos(MessageType::Command, limited));
        let (mut events, client_of_limited) = (limited.events(), client(client_config(&limited)));
        assert_eq!(unguarded(&limited, &mut events, &client_of_limited, &command), 0, "{wire}: a lifespan");

        for watchdog in [Watchdog::messages(MessageType::Command, MS * 500), Watchdog::peer(MS * 500)] {
            let watched = tautline::create_udp_server(default_server(wire)).expect("valid");
            watched.watch(watchdog.clone(), |_| {}).expect("possible");
            let mut events = watched.events();
            watched.connect().expect("a free port");
            let client_of_watched = client(client_config(&watched));
            assert_eq!(
                unguarded(&watched, &mut events, &client_of_watched, &command),
                0,
                "{wire}: {watchdog:?}"
            );
        }

        let handling = tautline::create_udp_server(default_server(wire)).expect("valid");
        handling.register_message_handler(MessageType::Command, Handler::inline(|_, _| {}));
        let mut events = handling.events();
        handling.connect().expect("a free port");
        let warned = |event: &Event| matches!(event, Event::CommandsUnguarded).then_some(());
        wait_for(&mut events, warned);
        let client_of_handling = client(client_config(&handling));
        assert_eq!(unguarded(&handling, &mut events, &client_of_handling, &command), 0, "{wire}: once");
    }
}
