//! `ping` against `listen --reply`, against a silent listener, and against another wire.

mod support;

use support::{Listener, command, finish, last_json, run};

#[test]
fn every_message_is_answered_and_measured_on_both_wires() {
    for wire in ["native", "classic"] {
        let listener = Listener::start(&["--reply", "--wire", wire]);
        let finished = run(&[
            "ping",
            &listener.address,
            "--wire",
            wire,
            "--count",
            "50",
            "--rate",
            "1000",
            "--size",
            "100",
            "--json",
        ]);
        assert_eq!(finished.code, 0, "{wire}: {finished:?}");
        assert_eq!(finished.stdout.lines().count(), 51, "a line for each message, and the summary");
        let summary = last_json(&finished.stdout);
        assert_eq!((&summary["messages_sent"], &summary["messages_received"]), (&50.into(), &50.into()));
        assert_eq!(summary["lost"], 0);
        let us =
            |key: &str| summary["rtt_us"][key].as_f64().unwrap_or_else(|| panic!("no {key} in {summary}"));
        let percentiles = ["p50", "p90", "p99", "p999", "max"].map(us);
        assert!(percentiles[0] > 1.0 && percentiles.is_sorted(), "{percentiles:?}");
        assert!(summary["jitter_us"].as_f64().is_some_and(|jitter| jitter >= 0.0));
    }
}

#[test]
fn the_budget_determines_the_exit_code() {
    let listener = Listener::start(&["--reply"]);
    let judged = |budget: &str| {
        run(&["ping", &listener.address, "--count", "5", "--interval", "1ms", "--budget", budget, "--quiet"])
    };
    let met = judged("10s");
    assert_eq!(met.code, 0, "{}", met.stdout);
    assert!(met.stdout.contains("within the budget of 10.00 s"));
    let missed = judged("1ns");
    assert_eq!(missed.code, 4);
    assert!(missed.stdout.contains("NOT within the budget"));
}

#[test]
fn a_listener_without_reply_gives_a_hint_to_reply() {
    let listener = Listener::start(&[]);
    let silent = run(&["ping", &listener.address, "--count", "1", "--timeout", "50ms", "--json"]);
    assert_eq!(silent.code, 3);
    assert_eq!(last_json(&silent.stdout)["lost"], 1);
    assert!(silent.stderr.contains("--reply"), "{}", silent.stderr);
}

#[test]
fn a_lost_message_exceeds_every_budget() {
    // A plain socket that sends the first two of three datagrams back unchanged.
    let echo = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = echo.local_addr().expect("it is bound").to_string();
    let echoing = std::thread::spawn(move || {
        let mut datagram = [0; 2048];
        for _ in 0..2 {
            let (length, from) = echo.recv_from(&mut datagram).expect("a ping");
            echo.send_to(&datagram[..length], from).expect("the loopback takes it");
        }
        echo // stays open, so that the kernel refuses no datagram
    });
    let classic = ["--wire", "classic", "--no-crc", "--no-sequence"];
    let options = ["--count", "3", "--interval", "1ms", "--timeout", "100ms", "--budget", "10s", "--json"];
    let finished = run(&[&["ping", &address], &classic[..], &options].concat());
    assert_eq!(finished.code, 4, "{finished:?}");
    let summary = last_json(&finished.stdout);
    assert_eq!((&summary["messages_received"], &summary["lost"]), (&2.into(), &1.into()));
    assert_eq!(summary["within_budget"], false);
    echoing.join().expect("it echoed");
}

#[test]
fn the_error_names_the_wire_if_the_other_end_uses_the_other_wire() {
    let native = Listener::start(&["--reply"]);
    let classic = run(&["ping", &native.address, "--wire", "classic", "--count", "1", "--timeout", "50ms"]);
    assert_eq!(classic.code, 3);
    assert!(classic.stderr.contains("wire"), "{}", classic.stderr);

    let classic = Listener::start(&["--reply", "--wire", "classic"]);
    let mut native = command(&["ping", &classic.address, "--count", "1"]);
    let native = finish(native.env("TAUTLINE_CONNECT_TIMEOUT", "200ms"));
    assert_eq!(native.code, 3);
    assert!(native.stderr.contains("wire"), "{}", native.stderr);
}
