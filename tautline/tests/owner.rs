//! One owner for each stream of commands: over sockets, on both wires, for `receive`, for handlers, and for a loop that is its own
//! driver.

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{
    TIME_LIMIT, WIRES, address, assert_nothing_waits, client, client_config, next, next_number, server,
    server_config, until,
};
use tautline::{
    ClaimError, ClaimOutcome, Config, ConnectionState, Delivery, Driver, DropReason, Event, Events, Handler,
    MessageType, Metadata, Outcome, OwnerReason, Profile, Qos, StreamId, UdpInterface, Watchdog, Wire,
    create_udp_client, create_udp_server,
};

const MS: Duration = Duration::from_millis(1);

const COMMAND: StreamId = StreamId { message_type: MessageType::Command, channel: 0 };

/// The configuration of a plant whose commands have one owner, which may be silent for `deadline`.
fn owning(wire: Wire, deadline: Duration) -> Config {
    server_config(wire).qos(MessageType::Command, Qos::new().owner(true).deadline(deadline))
}

fn not_owner(plant: &UdpInterface) -> u64 {
    plant.statistics().messages_dropped.of(DropReason::NotOwner)
}

fn command(from: &UdpInterface, number: u64) {
    from.send(&number, &Metadata::command()).expect("connected");
}

/// Returns the next event that `wanted` accepts.
#[track_caller]
fn event<T>(events: &mut Events, wanted: impl Fn(&Event) -> Option<T>) -> T {
    let end = Instant::now() + TIME_LIMIT;
    while let Some(event) = events.next(Some(end.saturating_duration_since(Instant::now()))) {
        if let Some(found) = wanted(&event) {
            return found;
        }
    }
    panic!("the event does not come");
}

fn owner_changed(event: &Event) -> Option<OwnerReason> {
    if let Event::OwnerChanged { stream: COMMAND, reason, .. } = event { Some(*reason) } else { None }
}

#[test]
fn commands_are_taken_from_the_first_sender_until_it_is_silent() {
    for wire in WIRES {
        let plant = server(owning(wire, 200 * MS));
        let mut events = plant.events();
        let (one, two) = (client(client_config(&plant)), client(client_config(&plant)));
        let mut news = two.events();
        command(&one, 1);
        assert_eq!(next_number(&plant), 1);
        assert_eq!(event(&mut events, owner_changed), OwnerReason::First);
        for number in 0..5 {
            command(&two, 100 + number);
        }
        until("the others are dropped", || not_owner(&plant) == 5);
        let owner = plant.owners()[0];
        let refused = event(&mut events, |event| match event {
            Event::NotOwner { peer, stream: COMMAND, owner } => Some((*peer, *owner)),
            _ => None,
        });
        assert_eq!(refused.1, Some(owner.owner));
        assert_ne!(refused.0, owner.owner);
        if wire == Wire::Native {
            event(&mut news, |event| {
                matches!(event, Event::StreamDenied { stream: COMMAND, .. }).then_some(())
            });
        }
        let begin = Instant::now();
        while plant.owners().first().is_none_or(|now| now.owner == owner.owner) {
            command(&two, 200);
            std::thread::sleep(MS);
            assert!(begin.elapsed() < TIME_LIMIT, "the silent owner never loses the stream");
        }
        assert_eq!(next_number(&plant), 200);
        // The deadline also has a watchdog, which may notice the silence first.
        let reason = event(&mut events, owner_changed);
        assert!(matches!(reason, OwnerReason::Silent | OwnerReason::Freed), "{wire}: {reason}");
    }
}

#[test]
fn a_claim_takes_over_and_a_release_lets_the_next_one_send() {
    let plant = server(owning(Wire::Native, 60_000 * MS));
    let mut events = plant.events();
    let (one, two) = (client(client_config(&plant)), client(client_config(&plant)));
    let mut news = one.events();
    command(&one, 1);
    assert_eq!(next_number(&plant), 1);
    let claim = two.claim(MessageType::Command).expect("connected");
    assert_eq!(claim.wait(Some(TIME_LIMIT)), Some(ClaimOutcome::Granted));
    assert_eq!(claim.outcome(), Some(ClaimOutcome::Granted));
    event(&mut news, |event| matches!(event, Event::StreamDenied { stream: COMMAND, .. }).then_some(()));
    assert_eq!(event(&mut events, owner_changed), OwnerReason::First);
    assert_eq!(event(&mut events, owner_changed), OwnerReason::Claimed);
    command(&one, 2);
    until("it is dropped", || not_owner(&plant) == 1);
    command(&two, 3);
    assert_eq!(next_number(&plant), 3);
    let release = two.release(COMMAND).expect("connected");
    assert_eq!(release.wait(Some(TIME_LIMIT)), Some(ClaimOutcome::Released));
    assert_eq!(event(&mut events, owner_changed), OwnerReason::Released);
    assert!(plant.owners().is_empty());
    command(&one, 4);
    assert_eq!(next_number(&plant), 4);
    assert_eq!(event(&mut events, owner_changed), OwnerReason::First);
}

#[test]
fn claims_have_clear_errors_and_outcomes() {
    let plant = server(server_config(Wire::Native));
    assert_eq!(plant.claim(MessageType::Command).err(), Some(ClaimError::NoPeers));
    let one = create_udp_client(client_config(&plant)).expect("valid");
    assert_eq!(one.claim(MessageType::Command).err(), Some(ClaimError::NotConnected));
    one.connect().expect("it answers");
    let claim = one.claim(MessageType::Command).expect("connected");
    assert_eq!(claim.wait(Some(TIME_LIMIT)), Some(ClaimOutcome::Unowned), "`owner` is off there");
    one.disconnect();
    assert_eq!(one.release(MessageType::Command).err(), Some(ClaimError::NotConnected));
    let classic = server(server_config(Wire::Classic));
    let two = client(client_config(&classic));
    let error = two.claim(MessageType::Command).expect_err("it has no frames for it");
    assert!(error.to_string().contains("set `wire` to native"), "{error}");
}

#[test]
fn a_claim_ends_with_the_connection_and_their_number_is_bounded() {
    let plant = server(owning(Wire::Native, 60_000 * MS));
    let (controller, mut driver) = UdpInterface::caller_driven(client_config(&plant)).expect("valid");
    driver.connect().expect("a free port");
    until("it is connected", || {
        driver.turn(Some(MS));
        driver.connection_state() == tautline::ConnectionState::Connected
    });
    let claims: Vec<_> = std::iter::from_fn(|| controller.claim(COMMAND).ok()).collect();
    assert_eq!(claims.len(), 32);
    assert_eq!(controller.claim(COMMAND).err(), Some(ClaimError::TooMany));
    until("all are granted", || {
        driver.turn(Some(MS));
        claims.iter().all(|claim| claim.outcome() == Some(ClaimOutcome::Granted))
    });
    let (waits, begun) = (controller.claim(COMMAND).expect("room"), controller.claim(COMMAND).expect("room"));
    controller.disconnect();
    assert_eq!(waits.wait(Some(TIME_LIMIT)), Some(ClaimOutcome::PeerLost));
    assert_eq!(begun.wait(Some(TIME_LIMIT)), Some(ClaimOutcome::PeerLost));
}

#[test]
fn what_waits_of_the_former_owner_is_not_handed_out_by_receive() {
    let plant = server(owning(Wire::Native, 60_000 * MS));
    let (one, two) = (client(client_config(&plant)), client(client_config(&plant)));
    for number in 0..10 {
        command(&one, number);
    }
    until("they wait", || plant.statistics().inbox.waiting == 10);
    assert_eq!(next_number(&plant), 0);
    let claim = two.claim(COMMAND).expect("connected");
    assert_eq!(claim.wait(Some(TIME_LIMIT)), Some(ClaimOutcome::Granted));
    command(&two, 100);
    assert_eq!(next_number(&plant), 100);
    assert_nothing_waits(&plant);
    let inbox = plant.statistics().inbox;
    assert_eq!((inbox.dropped.of(DropReason::NotOwner), inbox.taken, inbox.offered()), (9, 2, 11));
}

#[test]
fn a_handlers_backlog_does_not_mix_two_owners() {
    let plant = server(owning(Wire::Native, 60_000 * MS));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    plant.register_message_handler(
        MessageType::Command,
        Handler::blocking(move |message, _| {
            let number: u64 = message.decode().expect("a number");
            log.lock().expect("no panic").push((number, "begins"));
            std::thread::sleep(20 * MS);
            log.lock().expect("no panic").push((number, "ends"));
        }),
    );
    let (one, two) = (client(client_config(&plant)), client(client_config(&plant)));
    for number in 0..10 {
        command(&one, number);
    }
    until("the first is handled", || !seen.lock().expect("no panic").is_empty());
    let claim = two.claim(COMMAND).expect("connected");
    assert_eq!(claim.wait(Some(TIME_LIMIT)), Some(ClaimOutcome::Granted));
    for number in 100..103 {
        command(&two, number);
    }
    until("the last is handled", || seen.lock().expect("no panic").last() == Some(&(102, "ends")));
    let seen = seen.lock().expect("no panic");
    assert!(seen.chunks(2).all(|pair| pair[0].0 == pair[1].0), "one call at a time: {seen:?}");
    let numbers: Vec<_> = seen.iter().map(|(number, _)| *number).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    let handlers = plant.statistics().handlers;
    assert!(handlers.dropped.of(DropReason::NotOwner) > 0);
    assert_eq!(handlers.offered(), 13);
}

/// Two clients of a plant whose loop is its own driver.
fn connected_to(plant: &UdpInterface, driver: &mut Driver, wire: Wire) -> (UdpInterface, UdpInterface) {
    // Both must connect while this thread turns.
    let config = Config::client(address(plant)).wire(wire).connect_timeout(Duration::ZERO);
    let clients = (client(config.clone()), client(config));
    until("both are connected", || {
        driver.turn(Some(MS));
        [&clients.0, &clients.1].iter().all(|link| link.connection_state() == ConnectionState::Connected)
    });
    clients
}

#[test]
fn an_inline_handler_and_a_loop_that_is_its_own_driver_see_one_owner() {
    for wire in WIRES {
        let (plant, mut driver) = UdpInterface::caller_driven(owning(wire, 60_000 * MS)).expect("valid");
        driver.connect().expect("a free port");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        plant.register_message_handler(
            MessageType::Command,
            Handler::inline(move |message, _| log.lock().expect("no panic").push(message.peer())),
        );
        let (one, two) = connected_to(&plant, &mut driver, wire);
        for number in 0..20 {
            command(&one, number);
            command(&two, number);
        }
        let (mut turned, mut others) = (Vec::new(), 0);
        until("all are read", || {
            driver.turn_with(Some(MS), &mut |message| turned.push(message.peer()));
            others = not_owner(&plant);
            turned.len() as u64 + others == 40
        });
        assert_eq!(others, 20, "{wire}");
        assert!(turned.iter().all(|peer| *peer == turned[0]));
        assert_eq!(*seen.lock().expect("no panic"), turned);
    }
}

#[test]
#[cfg_attr(windows, ignore = "Windows does not tell when a datagram came")]
fn a_pause_of_this_process_does_not_make_its_owner_silent() {
    for wire in WIRES {
        let deadline = 400 * MS;
        let (plant, mut driver) = UdpInterface::caller_driven(owning(wire, deadline)).expect("valid");
        driver.connect().expect("a free port");
        let (owner, other) = connected_to(&plant, &mut driver, wire);
        let mut seen = Vec::new();
        command(&owner, 0);
        until("it is read", || {
            driver.turn_with(Some(MS), &mut |message| seen.push(message.peer()));
            !seen.is_empty()
        });
        // The loop is busy with something else. The other one's command is read first, but the owner was not silent.
        command(&other, 1);
        command(&owner, 1);
        std::thread::sleep(deadline * 3 / 2);
        until("all are read", || {
            driver.turn_with(Some(MS), &mut |message| seen.push(message.peer()));
            seen.len() as u64 + not_owner(&plant) == 3
        });
        assert_eq!(seen, [seen[0]; 2], "{wire}");
    }
}

#[test]
fn a_tripped_watchdog_frees_the_stream_before_its_deadline() {
    let plant = server(owning(Wire::Native, 60_000 * MS));
    let mut events = plant.events();
    plant
        .watch(Watchdog::messages(MessageType::Command, 30 * MS).recovers_by_itself(), |_| {})
        .expect("possible");
    let (one, two) = (client(client_config(&plant)), client(client_config(&plant)));
    command(&one, 1);
    assert_eq!(next_number(&plant), 1);
    assert_eq!(event(&mut events, owner_changed), OwnerReason::First);
    event(&mut events, |event| {
        matches!(event, Event::Watchdog(event) if event.state() == tautline::WatchdogState::Tripped)
            .then_some(())
    });
    // The driver looks with its next turn.
    let begin = Instant::now();
    while plant.statistics().messages_received < 2 {
        command(&two, 2);
        std::thread::sleep(MS);
        assert!(begin.elapsed() < TIME_LIMIT, "the stream is never free");
    }
    assert_eq!(event(&mut events, owner_changed), OwnerReason::Freed);
    assert_eq!(event(&mut events, owner_changed), OwnerReason::First);
}

#[test]
fn what_newcomers_claim_and_replace_displaces_no_event_of_the_link() {
    let config = owning(Wire::Native, 60_000 * MS).qos(MessageType::Status, Qos::new().keep_last(1));
    let plant = create_udp_server(config).expect("valid");
    let mut events = plant.events();
    plant.connect().expect("a free port");
    let newcomers: Vec<_> = (0..4).map(|_| client(client_config(&plant))).collect();
    std::thread::scope(|scope| {
        for (newcomer, channel) in newcomers.iter().zip(1..) {
            scope.spawn(move || {
                for _ in 0..150 {
                    let stream = (MessageType::Command, channel);
                    for asked in [newcomer.claim(stream), newcomer.release(stream)] {
                        assert!(asked.expect("connected").wait(Some(TIME_LIMIT)).is_some());
                    }
                }
                for channel in 0..200 {
                    for _ in 0..2 {
                        newcomer.send(&1, &Metadata::status().channel(channel)).expect("connected");
                    }
                }
            });
        }
    });
    until("their messages are read", || plant.statistics().messages_received == 4 * 2 * 200);
    let first = events.next(Some(Duration::ZERO));
    assert!(matches!(first, Some(Event::StateChanged { .. })), "it was not displaced: {first:?}");
    assert!(events.missed() > 0);
}

#[test]
fn the_user_can_free_a_stream() {
    let plant = server(owning(Wire::Native, 60_000 * MS));
    let mut events = plant.events();
    let one = client(client_config(&plant));
    command(&one, 1);
    assert_eq!(next_number(&plant), 1);
    assert_eq!(event(&mut events, owner_changed), OwnerReason::First);
    assert!(plant.free(COMMAND));
    assert_eq!(event(&mut events, owner_changed), OwnerReason::Freed);
    assert!(!plant.free(COMMAND));
}

#[test]
fn a_refused_reliable_command_is_not_delivered() {
    let plant = server(owning(Wire::Native, 60_000 * MS));
    let (one, two) = (client(client_config(&plant)), client(client_config(&plant)));
    command(&one, 1);
    assert_eq!(next_number(&plant), 1);
    let reliable = Metadata::command().delivery(Delivery::Reliable).lifespan(300 * MS);
    let receipt = two.publisher(reliable).send_reliable(&2_u64).expect("room");
    assert_eq!(receipt.wait(Some(TIME_LIMIT)), Some(Outcome::Expired));
    assert_nothing_waits(&plant);
}

#[test]
fn the_owner_that_closes_or_is_restarted_leaves_the_stream() {
    let plant = server(owning(Wire::Native, 60_000 * MS));
    let mut events = plant.events();
    let (one, two) = (client(client_config(&plant)), client(client_config(&plant)));
    command(&one, 1);
    assert_eq!(next_number(&plant), 1);
    one.disconnect();
    assert_eq!(event(&mut events, owner_changed), OwnerReason::First);
    assert_eq!(event(&mut events, owner_changed), OwnerReason::Gone);
    command(&two, 2);
    assert_eq!(next_number(&plant), 2);
    plant.disconnect();
    assert!(plant.owners().is_empty());
}

#[test]
fn the_profile_for_control_loops_has_one_owner_of_commands_and_a_channel_can_opt_out() {
    for wire in WIRES {
        // The pauses of this test may be longer than the profile's deadline.
        let goes_on = Qos::new().latch(false);
        let mut config = server_config(wire)
            .profile(Profile::control())
            .qos(MessageType::Command, goes_on)
            .failsafe(|_| {});
        if wire == Wire::Native {
            config = config.channel_qos(MessageType::Command, 7, Qos::new().owner(false));
        }
        let plant = server(config);
        let (one, two) = (client(client_config(&plant)), client(client_config(&plant)));
        command(&one, 1);
        assert_eq!(next_number(&plant), 1);
        command(&two, 2);
        until("it is dropped", || not_owner(&plant) == 1);
        if wire == Wire::Native {
            for link in [&one, &two] {
                link.send(&3, &Metadata::command().channel(7)).expect("connected");
                assert_eq!(next(&plant).channel(), 7);
            }
        }
    }
}

#[test]
fn owner_is_read_from_every_source_and_shown() {
    let config = Config::server("127.0.0.1:0")
        .apply_variables([("TAUTLINE_COMMAND_OWNER", "true"), ("TAUTLINE_COMMAND_3_OWNER", "false")])
        .expect("valid");
    let streams = config.settings().expect("valid").streams;
    assert_eq!(streams.of_type(MessageType::Command).owner, Some(true));
    assert_eq!(streams.of(MessageType::Command, 3).owner, Some(false));
    let error = Config::server("127.0.0.1:0").apply_variables([("TAUTLINE_COMMAND_OWNER", "first")]);
    let error = error.expect_err("no boolean").to_string();
    assert!(error.contains("true or false"), "{error}");
}
