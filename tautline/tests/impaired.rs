//! `Config::impair`: a bad network inside the interface, for tests.

mod common;

use std::time::{Duration, Instant};

use common::{WIRES, client, client_config, next_number, server, server_config, until};
use tautline::sim::{Impairments, Probability};
use tautline::{ConnectionState, DropReason, Metadata, Wire};

const MS: Duration = Duration::from_millis(1);

fn share(percent: f64) -> Probability {
    Probability::percent(percent).expect("a share")
}

#[test]
fn datagrams_are_lost_doubled_and_damaged_as_configured_and_counted() {
    for wire in WIRES {
        let bad = Impairments {
            loss: share(20.0),
            duplicate: share(20.0),
            corrupt: share(10.0),
            ..Impairments::default()
        };
        let server = server(server_config(wire).impair(bad, 7));
        let client = client(client_config(&server));
        // Each message is flushed, so that it has its own datagram.
        for number in 0..2000 {
            client.send(&number, &Metadata::data()).expect("the kernel takes it");
            client.flush();
            if number % 50 == 0 {
                std::thread::sleep(MS);
            }
        }
        let counted = |statistics: &tautline::Statistics| {
            statistics.messages_received + statistics.lost + statistics.missing
        };
        until("most messages are received, missing or lost", || counted(&server.statistics()) > 1800);
        let statistics = server.statistics();
        assert!(statistics.lost + statistics.missing > 300, "{statistics:?}");
        assert!(statistics.duplicate > 100, "{statistics:?}");
        assert!(statistics.datagrams_dropped.of(DropReason::BadCrc) > 50, "{statistics:?}");
        assert!(statistics.messages_received < 2000 * 9 / 10, "{statistics:?}");
    }
}

#[test]
fn a_delayed_datagram_arrives_when_it_is_due_without_other_traffic() {
    for wire in WIRES {
        let slow = Impairments { delay: 30 * MS, ..Impairments::default() };
        let server = server(server_config(wire).impair(slow, 1));
        let client = client(client_config(&server));
        for number in 0..3_u64 {
            let sent = Instant::now();
            client.send(&number, &Metadata::command()).expect("the kernel takes it");
            assert_eq!(next_number(&server), number);
            assert!(sent.elapsed() >= 30 * MS, "{:?}", sent.elapsed());
        }
    }
}

#[test]
fn a_partition_silences_the_peer() {
    let nothing = Impairments { partition: true, ..Impairments::default() };
    let server = server(server_config(Wire::Native));
    let config = client_config(&server).impair(nothing, 1).connect_timeout(300 * MS);
    let client = tautline::create_udp_client(config).expect("a valid configuration");
    assert!(client.connect().is_err(), "the server's answers are lost");
    assert_ne!(client.connection_state(), ConnectionState::Connected);
}

#[test]
fn contradicting_impairments_are_refused_by_name() {
    let odd = Impairments { loss: share(90.0), burst: Some(2.0), ..Impairments::default() };
    let error = server_config(Wire::Native).impair(odd, 1).validate().expect_err("they cannot be");
    let text = error.to_string();
    assert!(text.contains("`impair.burst` is 2") && text.contains("`impair.loss` of 90 %"), "{text}");
}
