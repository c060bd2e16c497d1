//! The demo by itself: short runs on both wires.

mod support;

use support::{Finished, command, finish, last_json, run};

/// How often a demo is tried: a machine that stalls for long drops any pendulum, and the verdict says so.
const TRIES: usize = 3;

/// The verdict's exit code.
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
fn balances_on_the_native_wire() {
    assert_balanced(&demo(&["demo", "--seconds", "1.5", "--json"]));
}

#[test]
fn balances_on_the_classic_wire_with_and_without_its_options() {
    assert_balanced(&demo(&["demo", "--seconds", "1.5", "--json", "--wire", "classic"]));
    let bare = ["--wire", "classic", "--no-crc", "--no-sequence", "--rate", "200"];
    assert_balanced(&demo(&[&["demo", "--seconds", "1.5", "--json"], &bare[..]].concat()));
}

#[test]
fn a_killed_controller_is_noticed_and_its_return_too() {
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
        assert_eq!(summary["lost"], summary["lost_in_silence"], "the link itself lost none: {summary}");
        assert_eq!(finished.code, 0, "upright again: {summary}");
    }
}

#[test]
fn the_picture_and_the_plain_lines_are_there() {
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
    let svg = std::fs::read_to_string(dir.join("tautline-demo.svg")).expect("the picture, without asking");
    for part in ["<svg ", "angle from upright", "force, N", "round trip", "p99 ", "</svg>"] {
        assert!(svg.contains(part), "no {part:?} in the picture");
    }
    std::fs::remove_dir_all(&dir).expect("it is ours");
}
