//! `ping` against `listen --reply`, against a silent listener, and against another wire.

mod support;

use std::io::{BufRead, BufReader, Read};

use support::{Listener, command, finish, ignores_interrupts, last_json, run, signal, start};

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
            "1000",
            "--rate",
            "2000",
            "--size",
            "100",
            "--timeout",
            "20s",
            "--json",
        ]);
        assert_eq!(finished.code, 0, "{wire}: {finished:?}");
        assert_eq!(finished.stdout.lines().count(), 1001, "a line for each message, and the summary");
        let summary = last_json(&finished.stdout);
        assert_eq!((&summary["messages_sent"], &summary["messages_received"]), (&1000.into(), &1000.into()));
        assert_eq!(summary["lost"], 0);
        let us =
            |key: &str| summary["rtt_us"][key].as_f64().unwrap_or_else(|| panic!("no {key} in {summary}"));
        let percentiles = ["p50", "p90", "p99", "p999", "max"].map(us);
        assert!(percentiles[0] > 1.0 && percentiles.is_sorted(), "{percentiles:?}");
        assert!(summary["jitter_us"].as_f64().is_some_and(|jitter| jitter >= 0.0));
    }
}

#[test]
fn percentiles_that_so_few_round_trips_cannot_tell_are_left_out() {
    let listener = Listener::start(&["--reply"]);
    let few = run(&["ping", &listener.address, "--count", "20", "--interval", "1ms", "--quiet"]);
    assert!(few.stdout.contains("p50 ") && few.stdout.contains("p90 "), "{}", few.stdout);
    assert!(!few.stdout.contains("p99") && few.stdout.contains("max "), "{}", few.stdout);
    let few = run(&["ping", &listener.address, "--count", "20", "--interval", "1ms", "--json"]);
    let rtt_us = &last_json(&few.stdout)["rtt_us"];
    assert!(rtt_us["p90"].is_f64() && rtt_us["p99"].is_null() && rtt_us["p999"].is_null(), "{rtt_us}");
}

#[test]
fn the_letters_are_those_of_ping() {
    let listener = Listener::start(&["--reply"]);
    let finished = run(&["ping", &listener.address, "-c", "3", "-i", "0.01", "-s", "100", "-W", "20", "-q"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{finished:?}");
    assert!(finished.stdout.contains("3 sent, 3 answered"), "{}", finished.stdout);
    assert!(!finished.stdout.contains("message 0"), "{}", finished.stdout);
}

#[test]
fn without_a_count_it_goes_on_until_a_signal_of_any_kind() {
    for name in ["-INT", "-TERM", "-HUP"] {
        if (name == "-INT" && ignores_interrupts()) || (name == "-HUP" && cfg!(windows)) {
            continue;
        }
        let listener = Listener::start(&["--reply"]);
        // A shell that runs tests in the background may have it ignore the signals.
        let mut ping = start(&["ping", &listener.address, "--interval", "2ms", "--json"]);
        let mut lines = BufReader::new(ping.stdout.take().expect("it is piped"));
        let mut line = String::new();
        for number in 0..150 {
            line.clear();
            lines.read_line(&mut line).expect("text");
            assert!(line.contains(&format!("\"message\":{number},")), "{line}");
        }
        signal(name, ping.id());
        let mut rest = String::new();
        lines.read_to_string(&mut rest).expect("text");
        let summary = last_json(&rest);
        assert!(summary["messages_sent"].as_u64().is_some_and(|sent| sent >= 150), "{name}: {summary}");
        assert_eq!(summary["lost"], 0, "{name}: the answers to the last messages are waited for: {summary}");
        assert_eq!(ping.wait().expect("it ends").code(), Some(0), "{name}");
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
