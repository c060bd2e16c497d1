//! How many system calls a message costs that comes while the driver sleeps (`wait = block`): two at the end that receives it.
//!
//! strace(1) counts them. Without it, the test prints that it is skipped.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr)] // why a test was skipped

mod common;

use std::process::Command;
use std::time::Duration;

use common::{TIME_LIMIT, address, client_config, server_config};
use tautline::{Driver, Metadata, UdpInterface, WaitPolicy, Wire};

/// The number of round trips. Each is two messages.
const ROUND_TRIPS: u64 = 400;

/// The most calls for each message, in tenths: two, and what heartbeats and the first messages need.
const MOST_TENTHS: u64 = 25;

fn caller_driven(config: tautline::Config) -> (UdpInterface, Driver) {
    let (interface, mut driver) =
        UdpInterface::caller_driven(config.wait(WaitPolicy::Block)).expect("a valid configuration");
    driver.connect().expect("it connects");
    (interface, driver)
}

#[test]
#[ignore = "a child of the other test"]
fn the_round_trips() {
    let (server, mut servers_driver) = caller_driven(server_config(Wire::Native));
    let config = client_config(&server);
    let echo = std::thread::spawn(move || {
        for _ in 0..ROUND_TRIPS {
            let question = servers_driver.receive(Some(TIME_LIMIT)).expect("a question");
            server.reply(&question, question.payload(), &Metadata::data()).expect("connected");
        }
    });
    let (client, mut driver) = caller_driven(config);
    for number in 0..ROUND_TRIPS {
        // As a loop at 1 kHz, so that both ends sleep.
        std::thread::sleep(Duration::from_millis(1));
        client.send(&number, &Metadata::data()).expect("connected");
        driver.receive(Some(TIME_LIMIT)).expect("an answer");
    }
    echo.join().expect("no panic");
    eprintln!("connected to {}", address(&client));
}

/// Returns how often strace saw one of these calls.
fn count(table: &str, calls: &[&str]) -> u64 {
    let of_line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // The share, the seconds, the microseconds of each call, and the calls.
        words.last().filter(|name| calls.contains(name)).map(|_| words[3].parse::<u64>().expect("a number"))
    };
    table.lines().filter_map(of_line).sum()
}

#[test]
fn a_message_costs_a_driver_that_sleeps_two_system_calls() {
    let file = std::env::temp_dir().join(format!("tautline-calls-{}", std::process::id()));
    let program = std::env::current_exe().expect("this program");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-o"]).arg(&file).arg(program);
    let run = strace.args(["--exact", "the_round_trips", "--ignored"]).output();
    let table = std::fs::read_to_string(&file).unwrap_or_default();
    let _ = std::fs::remove_file(&file);
    let Ok(run) = run else {
        eprintln!("skipped: needs strace");
        return;
    };
    if table.is_empty() {
        eprintln!("skipped: strace may not trace here: {}", String::from_utf8_lossy(&run.stderr));
        return;
    }
    assert!(run.status.success(), "{run:?}");
    let calls = count(&table, &["ppoll", "poll", "recvfrom", "recvmsg"]);
    assert!(calls >= ROUND_TRIPS * 2, "strace saw the calls: {table}");
    assert!(
        calls * 10 <= ROUND_TRIPS * 2 * MOST_TENTHS,
        "{calls} calls for {} messages: {table}",
        ROUND_TRIPS * 2
    );
}
