//! `bench`: both measurements with a child process and with `bench serve`, the HTML page, and the exit codes.

mod support;

use serde_json::Value;
use support::{Finished, Listener, command, finish, last_json, run};

fn assert_reports(finished: &Finished, code: i32, parts: &[&str]) {
    assert_eq!(finished.code, code, "{finished:?}");
    for part in parts {
        assert!(finished.stderr.contains(part), "no {part:?} in {}", finished.stderr);
    }
}

/// Asserts that the percentiles that fifty round trips tell are present and in ascending order.
fn assert_sound(rtt_us: &Value) {
    let us = |key: &str| rtt_us[key].as_f64().unwrap_or_else(|| panic!("no {key} in {rtt_us}"));
    let in_order = ["min", "p50", "p90", "max"].map(us);
    assert!(["p99", "p999", "p9999"].iter().all(|key| rtt_us[key].is_null()), "{rtt_us}");
    assert!(in_order[0] > 0.0 && in_order.is_sorted(), "{rtt_us}");
    assert!((us("min")..=us("max")).contains(&us("mean")) && us("std_dev") >= 0.0, "{rtt_us}");
}

fn assert_adds_up(summary: &Value, sent: u64) {
    let count = |key: &str| summary[key].as_u64().unwrap_or_else(|| panic!("no {key} in {summary}"));
    assert_eq!(count("messages_sent"), sent);
    assert_eq!(count("messages_received") + count("lost"), sent);
    let lost = summary["lost_by_name"].as_object().expect("losses have names");
    assert_eq!(lost.values().filter_map(Value::as_u64).sum::<u64>(), count("lost"));
}

/// Returns a path in the temporary folder that no other test uses.
fn temporary(name: &str) -> String {
    let path = std::env::temp_dir().join(format!("tautline-bench-{}-{name}", std::process::id()));
    path.to_str().expect("the path is text").to_owned()
}

/// Asserts that a page is complete and refers to nothing outside itself.
fn assert_self_contained(page: &str) {
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"), "{}", &page[..80]);
    for tag in ["html", "head", "body", "main", "style", "svg", "script", "figure", "table", "div", "p"] {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "<{tag}>");
    }
    let page = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "fetch("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("prefers-color-scheme: dark"));
    assert!(!page.contains("NaN"));
}

#[test]
fn ping_pong_measures_every_message_on_both_wires() {
    for (wire, taking) in [
        ("native", "receive"),
        ("classic", "receive"),
        ("native", "caller-driven"),
        ("classic", "caller-driven"),
    ] {
        let words = ["bench", "latency", "--messages", "50", "--wire", wire, "--json", "--caller-driven"];
        let finished = run(&words[..if taking == "receive" { words.len() - 1 } else { words.len() }]);
        assert_eq!(finished.code, 0, "{wire}: {finished:?}");
        assert_eq!(finished.stdout.lines().count(), 1, "one object");
        let summary = last_json(&finished.stdout);
        assert_eq!(summary["taking"], taking);
        assert_eq!((&summary["mode"], &summary["wire"]), (&"ping-pong".into(), &wire.into()));
        assert_eq!((&summary["messages_sent"], &summary["messages_received"]), (&50.into(), &50.into()));
        assert_eq!((&summary["lost"], &summary["size"]), (&0.into(), &64.into()));
        assert_sound(&summary["rtt_us"]);
    }
}

#[test]
fn a_run_at_a_rate_can_be_compared_with_a_raw_socket() {
    let options = ["--rate", "1kHz", "--messages", "50", "--baseline", "--set", "wait=block", "--json"];
    let finished = run(&[&["bench", "latency"], &options[..]].concat());
    assert_eq!(finished.code, 0, "{finished:?}");
    let summary = last_json(&finished.stdout);
    assert_eq!((&summary["mode"], &summary["rate_hz"]), (&"paced".into(), &1000.0.into()));
    assert_sound(&summary["baseline"]["rtt_us"]);
    assert_eq!(summary["baseline"]["messages_sent"], 50);
    for (key, ratio) in summary["ratios"].as_object().expect("there is a raw socket to compare with") {
        assert_eq!(ratio.is_number(), summary["rtt_us"][key].is_number(), "{key}: {summary}");
    }
    assert!(summary["ratios"]["p90"].as_f64().is_some_and(|ratio| ratio > 0.0), "{summary}");
}

#[test]
fn reports_name_the_settings_from_all_sources() {
    let file = temporary("settings.toml");
    std::fs::write(&file, "send_buffer = 65536\n[command.3]\nhistory = 1\n").expect("it can be written");
    for what in ["latency", "throughput"] {
        let words = ["bench", what, "--messages", "5", "--set", "coalescing_delay=0s", "--config", &file];
        let words = [&words[..], &["--wire", "native", "--json"]].concat();
        let finished = finish(command(&words).env("TAUTLINE_WAIT", "block"));
        let set = &last_json(&finished.stdout)["set"];
        let expected =
            ["send_buffer = 65536", "wait = block", "coalescing_delay = 0s", "command.3.history = 1"];
        assert_eq!(set, &serde_json::json!(expected), "{finished:?}");
    }
    std::fs::remove_file(&file).expect("this test created it");
    let finished = run(&["bench", "latency", "--messages", "5", "--timeout", "2s", "--set", "wait=block"]);
    assert!(finished.stdout.contains("time-out 2.00 s, wait = block"), "{}", finished.stdout);
}

#[test]
fn every_message_of_a_flood_is_accounted_for() {
    for wire in ["native", "classic"] {
        let finished = run(&["bench", "throughput", "--messages", "3000", "--wire", wire, "--json"]);
        assert_eq!(finished.code, 0, "{wire}: {finished:?}");
        let summary = last_json(&finished.stdout);
        assert_adds_up(&summary, 3000);
        assert!(summary["messages_received"].as_u64() > Some(0), "{wire}: {summary}");
    }
}

#[test]
fn batches_share_datagrams_and_every_message_is_sent() {
    // 3000 is not a multiple of 70, so the last batch is smaller.
    let options = [
        "--messages",
        "3000",
        "--batch",
        "70",
        "--set",
        "coalescing_delay=1ms",
        "--set",
        "wait=spin",
        "--json",
    ];
    let finished = run(&[&["bench", "throughput"], &options[..]].concat());
    assert_eq!(finished.code, 0, "{finished:?}");
    let summary = last_json(&finished.stdout);
    assert_adds_up(&summary, 3000);
    assert_eq!(
        (&summary["batch"], &summary["set"]),
        (&70.into(), &serde_json::json!(["wait = spin", "coalescing_delay = 1ms"]))
    );
    let datagrams = summary["datagrams_sent"].as_u64().expect("it is counted");
    assert!((1..1000).contains(&datagrams), "{datagrams}");
}

#[test]
fn a_flood_is_coalesced_by_default_on_the_native_wire_only() {
    for (options, set, is_packed) in [
        (&["--wire", "native"][..], &["coalescing_delay = 20us"][..], true),
        (&["--set", "coalescing_delay=0s"], &["coalescing_delay = 0s"], false),
        (&["--wire", "classic"], &[], false),
    ] {
        let finished = run(&[&["bench", "throughput", "--messages", "3000", "--json"], options].concat());
        let summary = last_json(&finished.stdout);
        assert_eq!(summary["set"], serde_json::json!(set), "{finished:?}");
        let datagrams = summary["datagrams_sent"].as_u64().expect("it is counted");
        assert_eq!(datagrams < 3000, is_packed, "{summary}");
    }
}

#[test]
fn nothing_is_lost_with_few_messages_in_flight() {
    // The last run allows fewer messages than a batch has, and too few for a mark per quarter.
    let runs = [["native", "256", "1"], ["classic", "64", "40"], ["native", "3", "40"]];
    for [wire, outstanding, batch] in runs {
        let options = ["--wire", wire, "--outstanding", outstanding, "--batch", batch, "--messages", "2000"];
        let finished = run(&[&["bench", "throughput", "--json"], &options[..]].concat());
        assert_eq!(finished.code, 0, "{finished:?}");
        let summary = last_json(&finished.stdout);
        assert_adds_up(&summary, 2000);
        assert_eq!((&summary["lost"], &summary["datagrams_lost"]), (&0.into(), &0.into()), "{summary}");
    }
}

#[test]
fn without_sequence_numbers_lost_datagrams_are_not_known() {
    let options = ["--wire", "classic", "--no-sequence", "--messages", "500", "--json"];
    let summary = last_json(&run(&[&["bench", "throughput"], &options[..]].concat()).stdout);
    assert_adds_up(&summary, 500);
    assert!(summary["datagrams_lost"].is_null(), "{summary}");
}

#[cfg(unix)] // has SIGSTOP
#[test]
fn the_rate_counts_until_the_last_message_is_read_from_the_buffer() {
    const STOPPED: std::time::Duration = std::time::Duration::from_millis(700);
    let server = Listener::run(&["bench", "serve", "127.0.0.1:0"]);
    let options = ["--seconds", "0.5", "--set", "liveness_timeout=5s", "--json"];
    let running = support::start(&[&["bench", "throughput", &server.address], &options[..]].concat());
    support::wait_until_it_catches_ctrl_c(&running);
    server.signal("-STOP");
    std::thread::sleep(STOPPED);
    server.signal("-CONT");
    let summary = last_json(&support::finished(running).stdout);
    let number = |key: &str| summary[key].as_f64().unwrap_or_else(|| panic!("no {key} in {summary}"));
    assert!(
        number("received_per_second") * STOPPED.as_secs_f64() <= number("messages_received"),
        "{summary}"
    );
}

#[test]
fn a_single_message_has_no_rate() {
    let finished = run(&["bench", "throughput", "--messages", "1", "--json"]);
    let summary = last_json(&finished.stdout);
    assert_eq!((finished.code, &summary["messages_received"]), (0, &1.into()), "{finished:?}");
    assert!(summary["received_per_second"].is_null() && summary["sent_per_second"].is_null(), "{summary}");
}

#[test]
fn losses_have_names() {
    // A buffer of 4 KiB holds only a few datagrams, so the kernel drops most of them.
    let options = ["--messages", "20000", "--size", "1000", "--set", "receive_buffer=4096", "--json"];
    let finished = run(&[&["bench", "throughput"], &options[..]].concat());
    assert_eq!(finished.code, 0, "{finished:?}");
    let summary = last_json(&finished.stdout);
    assert_adds_up(&summary, 20_000);
    assert_eq!(summary["lost_by_name"]["never_came"], summary["lost"], "{summary}");
    assert!(summary["datagrams_lost"].as_u64() > Some(0), "{summary}");
    assert_eq!(summary["set"][0], "receive_buffer = 4096");
}

#[test]
fn a_serving_end_serves_several_runs() {
    let mut server = Listener::run(&["bench", "serve", "127.0.0.1:0", "--baseline"]);
    let peer = server.address.clone();
    for _ in 0..2 {
        let flood = run(&["bench", "throughput", &peer, "--messages", "500", "--json"]);
        assert_adds_up(&last_json(&flood.stdout), 500);
        let trips = run(&["bench", "latency", &peer, "--messages", "20", "--baseline", "--json"]);
        assert_eq!(trips.code, 0, "{trips:?}");
        assert_eq!(last_json(&trips.stdout)["peer"], peer.as_str());
    }
    server.interrupt();
    let (code, report) = server.end();
    assert_eq!(code, 0);
    assert!(report.contains("messages ("), "{report}");
}

#[test]
fn the_budget_determines_the_exit_code() {
    let judged = |options: &[&str]| run(&[&["bench", "latency", "--messages", "20"], options].concat());
    let met = judged(&["--budget", "10s", "--timeout", "10s"]);
    assert_eq!(met.code, 0, "{met:?}");
    assert!(
        met.stdout.contains("within the budget of 10.00 s (p99.9; no message lost or not sent)"),
        "{}",
        met.stdout
    );
    let missed = judged(&["--budget", "1ns", "--budget-percentile", "max"]);
    assert_eq!(missed.code, 4);
    assert!(missed.stdout.contains("NOT within the budget") && missed.stdout.contains("(max;"));
    let missed = last_json(&judged(&["--budget", "1ns", "--json"]).stdout);
    assert_eq!((&missed["within_budget"], &missed["budget_percentile"]), (&false.into(), &99.9.into()));
}

#[test]
fn the_pages_are_self_contained_and_escape_their_texts() {
    let path = temporary("page.html");
    for (what, title) in
        [("latency", "Round trips over loopback"), ("throughput", "Throughput over loopback")]
    {
        let mut words = vec!["bench", what, "--messages", "300", "--html", &path];
        words.extend((what == "latency").then_some("--baseline"));
        // A value with a "<" must not become a tag.
        words.extend(["--set", "name=<b>&"]);
        let finished = run(&words);
        assert_eq!(finished.code, 0, "{finished:?}");
        assert!(finished.stderr.contains(&path), "{}", finished.stderr);
        let page = std::fs::read_to_string(&path).expect("the page is there");
        std::fs::remove_file(&path).expect("this test created it");
        assert!(page.contains(&format!("<h1>{title}: 64 bytes, native wire")), "{}", &page[..200]);
        assert!(page.contains("name = &lt;b&gt;&amp;") && !page.contains("<b>&"));
        assert_self_contained(&page);
    }
}

#[test]
fn a_chart_has_a_dot_for_one_measurement_and_a_text_for_none() {
    let path = temporary("short.html");
    let page = |words: &[&str]| {
        let finished = run(&[&["bench"], words, &["--html", &path]].concat());
        let page = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("no page: {finished:?}"));
        std::fs::remove_file(&path).expect("this test created it");
        assert_self_contained(&page);
        page
    };
    let one = page(&["latency", "--messages", "1"]);
    assert!(one.matches("<circle ").count() == 3 && !one.contains("<polyline "), "{one}");
    let none = page(&["latency", "--messages", "1", "--timeout", "1ns"]);
    assert_eq!(none.matches(">no answers</text>").count(), 2, "{none}");
    let flood = page(&["throughput", "--messages", "1"]);
    assert!(flood.contains(">too short for a rate</text>"), "{flood}");
    let short = page(&["throughput", "--seconds", "0.01", "--set", "coalescing_delay=0s"]);
    assert!(short.contains("<circle "), "{short}");
}

#[test]
fn ctrl_c_ends_the_bench_with_the_results_so_far() {
    let mut server = Listener::run(&["bench", "serve", "127.0.0.1:0"]);
    let running = support::start(&["bench", "latency", &server.address, "--seconds", "3600", "--json"]);
    support::wait_until_it_catches_ctrl_c(&running);
    support::signal("-INT", running.id());
    let summary = last_json(&support::finished(running).stdout);
    assert_eq!((&summary["messages_received"], &summary["lost"]), (&summary["messages_sent"], &0.into()));
    server.interrupt();
    assert_eq!(server.end().0, 0);
}

#[test]
fn a_peer_that_goes_away_ends_the_bench_with_the_results_so_far() {
    let server = Listener::run(&["bench", "serve", "127.0.0.1:0"]);
    let options = ["--seconds", "3600", "--timeout", "50ms", "--budget", "50ms", "--json"];
    let running = support::start(&[&["bench", "latency", &server.address], &options[..]].concat());
    support::wait_until_it_catches_ctrl_c(&running);
    drop(server);
    let finished = support::finished(running);
    assert_eq!(finished.code, 4, "{finished:?}");
    let summary = last_json(&finished.stdout);
    assert_eq!((&summary["ended_early"], &summary["within_budget"]), (&true.into(), &false.into()));
}

#[test]
fn results_are_shown_even_if_the_peer_is_gone_before_it_reports_its_counts() {
    let page = temporary("gone.html");
    let flood = ["throughput", "--messages", "1000000000", "--outstanding", "64"];
    let trips = ["latency", "--seconds", "1", "--set", "wait=block"];
    for (arguments, code, unknown) in
        [(&flood[..], 3, "/messages_received"), (&trips[..], 4, "/cost/memory_there")]
    {
        let server = Listener::run(&["bench", "serve", "127.0.0.1:0"]);
        let options = [&server.address, "--json", "--html", &page];
        let running = support::start(&[&["bench"], arguments, &options].concat());
        support::wait_until_it_catches_ctrl_c(&running);
        drop(server);
        let finished = support::finished(running);
        assert_reports(&finished, code, &["error:"]);
        let summary = last_json(&finished.stdout);
        assert!(summary["messages_sent"].as_u64() > Some(0), "{summary}");
        assert_eq!(summary.pointer(unknown), Some(&Value::Null), "{summary}");
        assert_self_contained(&std::fs::read_to_string(&page).expect("the page is there"));
        std::fs::remove_file(&page).expect("this test created it");
    }
}

#[cfg(target_os = "linux")] // has /proc
#[test]
fn a_bench_that_is_killed_leaves_no_serving_end_behind() {
    let running = support::start(&["bench", "latency", "--seconds", "3600"]);
    support::wait_until_it_catches_ctrl_c(&running);
    let id = running.id();
    let children =
        std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("it runs, on Linux");
    let child = children.split_whitespace().next().expect("the serving end").to_owned();
    support::signal("-KILL", id);
    support::wait_until_gone(running, &child);
}

#[test]
fn an_error_names_the_wrong_option_and_what_would_be_right() {
    for (arguments, parts) in [
        (&["latency", "--set", "receive_bufer=1"][..], &["--set", "receive_bufer", "receive_buffer"][..]),
        (&["latency", "--set", "receive_buffer=many"], &["receive_buffer", "many"]),
        (&["throughput", "--set", "receive_buffer"], &["--set", "KEY=VALUE"]),
        (&["latency", "--set", "endpoint=a:1"], &["endpoint", "leave it out"]),
        (&["latency", "--set", "wire=classic", "--wire", "native"], &["`wire`", "--wire: leave it out"]),
        (&["throughput", "--set", "use_crc=false"], &["`use_crc`", "--no-crc: leave it out"]),
        (&["latency", "--set", "max_message_size=32"], &["`max_message_size` is 32", "1024 bytes"]),
        (&["serve", "[::1]:0", "--set", "use_sequence=true"], &["--no-sequence: leave it out"]),
        (&["latency", "--size", "0"], &["--size", "65000"]),
        (&["latency", "--messages", "0"], &["--messages", "1 or more"]),
        (&["latency", "--messages", "5", "--seconds", "5"], &["--messages", "--seconds"]),
        (&["latency", "--seconds", "0"], &["--seconds"]),
        (&["latency", "--rate", "1MHz"], &["--rate", "20000"]),
        (&["latency", "--budget", "soon"], &["--budget", "250ms"]),
        (&["latency", "--budget", "1ms", "--budget-percentile", "101"], &["--budget-percentile", "99.9"]),
        (&["latency", "--budget-percentile", "99"], &["--budget"]),
        (&["latency", "--budget", "100ms", "--timeout", "10ms"], &["--budget", "longer than --timeout"]),
        (&["latency", "--no-crc"], &["--no-crc", "--wire classic"]),
        (&["throughput", "127.0.0.1:0"], &["port"]),
        (&["throughput", "--batch", "0"], &["--batch", "10000"]),
        (&["throughput", "--outstanding", "0"], &["--outstanding", "1 or more"]),
        (&["latency", "--set", "wait=sometimes"], &["--set", "wait", "adaptive, block or spin"]),
        (&["serve", "host:port"], &["host:port", "expected"]),
    ] {
        let finished = run(&[&["bench"], arguments].concat());
        assert_reports(&finished, 2, parts);
        assert_eq!(finished.stdout, "", "errors go to stderr");
    }
}

#[test]
fn a_page_that_cannot_be_written_is_found_before_the_measurement() {
    let finished = run(&["bench", "latency", "--seconds", "3600", "--html", "/no/such/folder/page.html"]);
    assert_reports(&finished, 1, &["/no/such/folder/page.html"]);
}

#[test]
fn a_peer_without_bench_serve_and_a_missing_peer_are_errors() {
    let listener = Listener::start(&["--reply"]);
    let other = run(&["bench", "throughput", &listener.address, "--messages", "1"]);
    assert_reports(&other, 3, &[&listener.address, "tautline bench serve"]);
    let gone = listener.address.clone();
    drop(listener);
    let page = temporary("none.html");
    let mut unanswered = command(&["bench", "latency", &gone, "--html", &page]);
    assert_reports(&finish(unanswered.env("TAUTLINE_CONNECT_TIMEOUT", "200ms")), 3, &[&gone]);
    assert!(!std::path::Path::new(&page).exists(), "no page without a measurement");
}

#[test]
fn the_baseline_needs_a_peer_with_a_raw_socket() {
    let server = Listener::run(&["bench", "serve", "127.0.0.1:0"]);
    let finished = run(&["bench", "latency", &server.address, "--baseline", "--messages", "1"]);
    assert_reports(&finished, 2, &["bench serve ADDRESS --baseline"]);
}
