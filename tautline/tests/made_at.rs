//! `made_at`: the age of a message and its lifespan count from when its data were made, at both ends.

mod common;

use std::time::{Duration, Instant, SystemTime};

use common::{WIRES, client, client_config, next, pair, server, server_config, until};
use tautline::{
    Delivery, DropReason, Handler, MadeAt, Message, MessageType, Metadata, Outcome, Payload, Qos, SendError,
    UdpInterface, Wire,
};

const MS: Duration = Duration::from_millis(1);
const AGO: Duration = Duration::from_millis(400);

/// Returns a server and its client that have compared their clocks.
fn compared() -> (UdpInterface, UdpInterface) {
    let (server, client) = pair(Wire::Native);
    until("the clocks are compared", || {
        server.statistics().path.is_some_and(|path| path.samples > 0)
            && client.statistics().path.is_some_and(|path| path.samples > 0)
    });
    (server, client)
}

/// The same moment in both clocks, `AGO` before now.
fn moments() -> [MadeAt; 2] {
    [(Instant::now() - AGO).into(), (SystemTime::now() - AGO).into()]
}

#[test]
fn the_age_counts_from_when_the_data_were_made() {
    let (server, client) = compared();
    let states = client.publisher(Metadata::status());
    for made in moments() {
        states.made_at(made).send(&1).expect("connected");
        let by_publisher = next(&server);
        client.send(&2, &Metadata::status().made_at(made)).expect("connected");
        let by_metadata = next(&server);
        states.made_at(made).send_batch(&[3]).expect("connected");
        let in_batch = next(&server);
        for message in [by_publisher, by_metadata, in_batch] {
            let age = message.age();
            assert!(age >= AGO, "{made:?}: {age:?}");
            assert!(age < AGO + MS * 5_000, "{made:?}: {age:?}");
        }
    }
    states.send(&4).expect("connected");
    let plain = next(&server);
    assert!(plain.age() < AGO || plain.arrival().made.elapsed() >= AGO, "nothing is left of the last time");
}

#[test]
fn a_message_has_used_up_its_lifespan_as_far_as_its_data_are_old() {
    let (server, client) = compared();
    let states = client.publisher(Metadata::status().lifespan(AGO + MS * 200));
    states.made_at(Instant::now()).send(&1).expect("connected");
    states.made_at(Instant::now() - AGO).send(&2).expect("connected");
    // Without its lifespan used up, the second message would be valid now.
    until("both wait", || server.statistics().inbox.waiting == 2);
    std::thread::sleep(MS * 250);
    let first =
        server.receive(Some(Duration::ZERO)).expect("it is still valid, if this machine is not very slow");
    assert_eq!(first.decode::<u32>().expect("a number"), 1);
    assert!(server.receive(Some(Duration::ZERO)).is_err());
    assert_eq!(server.statistics().inbox.dropped.of(DropReason::Expired), 1);
}

#[test]
fn data_older_than_their_lifespan_are_not_sent() {
    for wire in WIRES {
        let server = server(server_config(wire));
        let lifespan = Qos::new().lifespan(MS * 300);
        let client = client(client_config(&server).qos(MessageType::Command, lifespan));
        let commands = client.publisher(Metadata::command());
        for made in moments() {
            let old = commands.made_at(made);
            let results = [old.send(&1).map(drop), old.send_batch(&[1, 2]).map(drop)];
            for refused in results {
                let error = refused.expect_err("400 ms old, valid for 300 ms");
                assert!(error.is_transient(), "the next one may be in time");
                assert!(
                    matches!(error, SendError::Expired { age, lifespan } if age >= AGO && lifespan == MS * 300),
                    "{wire}: {error:?}"
                );
            }
        }
        assert_eq!(client.statistics().messages_sent, 0, "{wire}");
        commands.made_at(Instant::now()).send(&2).expect("just made");
        assert_eq!(next(&server).decode::<u32>().expect("a number"), 2);
    }
}

#[test]
fn a_time_in_the_future_counts_as_now() {
    let (server, client) = compared();
    for made in [MadeAt::from(Instant::now() + AGO * 100), MadeAt::from(SystemTime::now() + AGO * 100)] {
        let before = client.statistics().messages_sent;
        client.send(&1, &Metadata::status().made_at(made).lifespan(MS * 100)).expect("connected");
        assert_eq!(client.statistics().messages_sent, before + 1);
        let message = next(&server);
        std::thread::sleep(MS * 20);
        assert!(message.age() >= MS * 20, "it ages from now on");
    }
}

#[test]
fn receipts_and_requests_carry_the_time_too() {
    let (server, client) = compared();
    server.register_message_handler(
        MessageType::Configuration,
        Handler::inline(|message, reply| {
            let old = u64::try_from(message.age().as_millis()).expect("short");
            let _ = reply.send(&old, &Metadata::acknowledgment());
        }),
    );
    let questions = client.publisher(Metadata::configuration().delivery(Delivery::Ordered));
    let old = questions.made_at(Instant::now() - AGO);
    let answer =
        old.request("how old?", Some(common::TIME_LIMIT)).expect("connected").wait().expect("answered");
    assert!(answer.decode::<u64>().expect("a number") >= 400);
    let receipt = old.send_reliable("again").expect("connected");
    assert_eq!(receipt.wait(Some(common::TIME_LIMIT)), Some(Outcome::Delivered));
}

#[test]
fn a_message_for_a_test_has_the_age_of_its_data() {
    let metadata = Metadata::command().made_at(Instant::now() - AGO);
    let message = Message::new(&Payload::raw(*b"x"), &metadata);
    assert!(message.age() >= AGO);
    assert!(message.arrived().nanos_since(message.timestamp()) >= 399_000_000);
}
