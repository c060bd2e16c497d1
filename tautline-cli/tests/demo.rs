//! Short runs of the demo on both wires.

mod support;

use support::{Finished, Listener, command, finish, last_json, run};

/// The number of tries for a demo. On a machine that stalls for a long time, the pendulum falls and the verdict says
/// so.
const TRIES: usize = 3;

/// The exit code if the verdict is not met.
const NOT_MET: i32 = 4;

/// Runs a demo until its verdict is met.
fn demo(arguments: &[&str]) -> Finished {
    until_met(|| run(arguments))
}

fn until_met(mut run: impl FnMut() -> Finished) -> Finished {
    let mut finished = run();
    for _ in 1..TRIES {
        if finished.code != NOT_MET {
            break;
        }
        finished = run();
    }
    finished
}

fn assert_balanced(finished: &Finished) {
    assert_eq!(finished.code, 0, "{}\n{}", finished.stdout, finished.stderr);
    assert_eq!(finished.stdout.lines().count(), 1, "one line of JSON");
    let summary = last_json(&finished.stdout);
    assert_eq!(summary["upright"], true, "{summary}");
    assert_eq!(summary["lost"], 0, "{summary}");
    assert_eq!(summary["messages_sent"], summary["messages_received"]);
    assert!(summary["messages_sent"].as_u64().is_some_and(|sent| sent > 100), "{summary}");
    assert!(summary["rtt_us"]["p999"].as_f64().is_some_and(|us| us > 0.0));
}

#[test]
fn the_pendulum_is_balanced_on_the_native_wire() {
    assert_balanced(&demo(&["demo", "--seconds", "1.5", "--json"]));
}

#[test]
fn the_pendulum_is_balanced_on_the_classic_wire_with_and_without_crc_and_sequence() {
    assert_balanced(&demo(&["demo", "--seconds", "1.5", "--json", "--wire", "classic"]));
    let bare = ["--wire", "classic", "--no-crc", "--no-sequence", "--rate", "200"];
    assert_balanced(&demo(&[&["demo", "--seconds", "1.5", "--json"], &bare[..]].concat()));
}

#[test]
fn the_plant_notices_that_the_controller_is_killed_and_restarted() {
    for wire in ["native", "classic"] {
        let finished = demo(&[
            "demo",
            "--seconds",
            "3.5",
            "--cut-after",
            "1s",
            "--cut-for",
            "300ms",
            "--json",
            "--wire",
            wire,
        ]);
        let summary = last_json(&finished.stdout);
        let events: Vec<&str> = summary["events"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|event| event["what"].as_str())
            .collect();
        for part in ["is killed", "sets the force to zero", "is started again", "commands are back"] {
            assert!(events.iter().any(|event| event.contains(part)), "no {part:?} in {events:?}");
        }
        assert!(summary["lost"].as_u64().is_some_and(|lost| lost > 100), "{summary}");
        assert_eq!(summary["lost"], summary["lost_in_silence"], "the network lost no message: {summary}");
        assert_eq!(finished.code, 0, "upright again: {summary}");
    }
}

/// Returns the time of the first event whose text contains `words`, in seconds.
fn when(summary: &serde_json::Value, words: &str) -> f64 {
    let events = summary["events"].as_array().expect("a list");
    let is_it = |event: &&serde_json::Value| event["what"].as_str().is_some_and(|what| what.contains(words));
    let event = events.iter().find(is_it).unwrap_or_else(|| panic!("no {words:?} in {summary}"));
    event["seconds"].as_f64().expect("a number")
}

#[test]
fn on_a_bad_network_the_pendulum_stays_upright_and_the_failsafe_works() {
    let options = ["--impair", "loss=10%,jitter=5ms", "--cut-after", "2s", "--cut-for", "300ms", "--json"];
    let finished = demo(&[&["demo", "--seconds", "5"], &options[..]].concat());
    assert_eq!(finished.code, 0, "upright at the end: {}", finished.stdout);
    let summary = last_json(&finished.stdout);
    let network = summary["network"].as_str().expect("the summary has it");
    assert!(network.starts_with("loss 10 %, jitter 5ms: lost "), "{network}");
    let (sent, lost) = (summary["messages_sent"].as_f64(), summary["lost"].as_f64());
    let share = lost.zip(sent).map(|(lost, sent)| lost / sent).expect("numbers");
    assert!((0.1..0.5).contains(&share), "a fifth of the round trips, and the losses of the cut: {summary}");
    // 20 ms and the commands in flight. A busy machine may stop plant or controller for longer.
    let until_zero = when(&summary, "sets the force to zero") - when(&summary, "is killed");
    assert!(until_zero < 0.5, "{until_zero}: {summary}");
}

#[test]
fn the_histogram_is_below_the_line_of_round_trips() {
    let finished = run(&["demo", "--seconds", "1", "--impair", "delay=1ms", "--no-plot"]);
    let names: Vec<&str> = finished.stdout.lines().map(|line| line.get(2..12).unwrap_or("").trim()).collect();
    let at = names.iter().position(|name| *name == "round trip").expect("the line is there");
    assert_eq!(&names[at..at + 3], ["round trip", "", "angle"], "{}", finished.stdout);
    assert!(names[..at].contains(&"network"), "{}", finished.stdout);
}

#[test]
fn the_demo_works_through_a_separate_proxy() {
    let plant = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let plant_at = plant.local_addr().expect("it is bound").to_string();
    drop(plant);
    let proxy = Listener::run(&["proxy", "127.0.0.1:0", &plant_at, "--loss", "5%", "--delay", "2ms"]);
    let options = ["--plant", &plant_at, "--via", &proxy.address, "--rate", "200", "--json"];
    let finished = demo(&[&["demo", "--seconds", "1.5"], &options[..]].concat());
    assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
    let summary = last_json(&finished.stdout);
    assert!(summary["rtt_us"]["p50"].as_f64().is_some_and(|us| us >= 4000.0), "2 ms each way: {summary}");
}

#[test]
fn the_demo_writes_a_picture_and_plain_lines() {
    let dir = std::env::temp_dir().join(format!("tautline-demo-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary folder");
    let finished =
        until_met(|| finish(command(&["demo", "--seconds", "1.2", "--rate", "500"]).current_dir(&dir)));
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    for part in ["upright", "0 lost", "p50 ", "p99.9 ", "angle ", "force "] {
        assert!(finished.stdout.contains(part), "no {part:?} in {}", finished.stdout);
    }
    assert!(!finished.stdout.contains('\x1b'), "no colours outside a terminal");
    assert!(finished.stderr.contains("answers/s"), "a line per second: {}", finished.stderr);
    let svg =
        std::fs::read_to_string(dir.join("tautline-demo.svg")).expect("the picture is written by default");
    for part in ["<svg ", "angle from upright", "force, N", "round trip", "p99 ", "</svg>"] {
        assert!(svg.contains(part), "no {part:?} in the picture");
    }
    std::fs::remove_dir_all(&dir).expect("this test created it");
}
