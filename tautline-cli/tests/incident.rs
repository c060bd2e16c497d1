//! `tautline incident`: incidents that are staged on purpose are named rightly from the file alone, and run again with equal outputs.

#![allow(clippy::print_stdout)] // why a test was skipped
#![cfg_attr(windows, allow(dead_code, unused_imports))] // of tests that need signals

#[path = "incident/kinds.rs"]
mod kinds;
mod support;

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Child;
#[cfg(target_os = "linux")]
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
#[cfg(target_os = "linux")]
use support::Listener;
use support::{run, signal, start};
use tautline::black_box::read::BlackBoxFile;
use tautline::{
    Config, Handler, MessageType, Metadata, UdpInterface, Watchdog, Wire, create_udp_client,
    create_udp_server,
};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tautline-incident-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    /// Waits for the file that a trip leads to.
    fn file(&self) -> PathBuf {
        let until = Instant::now() + Duration::from_secs(40);
        loop {
            let files =
                std::fs::read_dir(&self.0).expect("it exists").map(|entry| entry.expect("readable").path());
            if let Some(file) =
                files.into_iter().find(|path| path.extension().is_some_and(|end| end == "mcap"))
            {
                return file;
            }
            assert!(Instant::now() < until, "no file came");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// So small that the rings wrap soon, and so large that they hold what a test stages.
const BLACK_BOX: &str = "256KiB";

/// Lets both rings of a plant wrap, before anything is staged: each end sends more than ten times what a ring holds, so many
/// messages at once.
fn wrap(plant: &UdpInterface, controller: &UdpInterface, at_once: usize, mut turn: impl FnMut()) {
    let blob = "x".repeat(1_000);
    for _ in 0..2_200 / at_once {
        for _ in 0..at_once {
            send(controller, &blob);
            send(plant, &blob);
        }
        turn();
        // On a busy machine some may be lost.
        while plant.receive(Some(Duration::from_millis(1))).is_ok() {}
    }
}

/// How often the rings of a file were written over: that of the receiving half, and that of the sending half.
fn wraps(file: &Path) -> [u64; 2] {
    let file = BlackBoxFile::open(file).expect("a black box");
    [&file.inbound, &file.outbound].map(|ring| {
        let segments = ring.segments.len() as u64;
        ring.segments.last().map_or(0, |last| last.period / segments)
    })
}

/// A plant with a black box, and a watchdog on commands where `watched`.
fn plant(folder: &Folder, config: impl FnOnce(Config) -> Config) -> (UdpInterface, String) {
    let base = Config::server("127.0.0.1:0").name("plant").black_box(BLACK_BOX).black_box_dir(&folder.0);
    let plant = create_udp_server(config(base)).expect("in order");
    plant.connect().expect("a free port");
    let address = plant.local_address().expect("connected").to_string();
    (plant, address)
}

fn controller(address: &str) -> UdpInterface {
    let config = Config::client(address).name("controller").connect_timeout(Duration::from_secs(30));
    let controller = create_udp_client(config).expect("in order");
    controller.connect().expect("the plant answers");
    controller
}

fn watch(plant: &UdpInterface) {
    plant
        .watch(Watchdog::messages(MessageType::Command, Duration::from_millis(300)), |_| ())
        .expect("the system starts a thread");
}

/// Sends a message, again if it cannot be sent yet: on a busy machine, the other end may not have read for a while.
fn send(from: &UdpInterface, data: &impl serde::Serialize) {
    let until = Instant::now() + Duration::from_secs(40);
    while let Err(error) = from.send(data, &Metadata::data()) {
        assert!(error.is_transient() && Instant::now() < until, "{error}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends commands at some 200 Hz, for this long.
fn command(controller: &UdpInterface, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        let _ = controller.send(&[0.5, 1.5], &Metadata::command());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The causes that are named. The rerun must give equal outputs, from rings that have wrapped ten times.
fn named(file: &Path) -> Vec<String> {
    let wraps = wraps(file);
    assert!(wraps.iter().all(|count| *count >= 10), "{wraps:?}");
    named_of(file)
}

/// As [`named`], of an end that only listens: its sending half has little to record.
fn named_of_listener(file: &Path) -> Vec<String> {
    let wraps = wraps(file);
    assert!(wraps[0] >= 10, "{wraps:?}");
    named_of(file)
}

fn named_of(file: &Path) -> Vec<String> {
    let path = file.to_str().expect("text");
    let rerun = run(&["incident", path, "--rerun"]);
    assert_eq!(rerun.code, 0, "{}{}", rerun.stdout, rerun.stderr);
    assert_eq!(rerun.stdout.matches("every output is the same").count(), 2, "{}", rerun.stdout);
    let found = run(&["incident", path, "--json"]);
    let found: Value = serde_json::from_str(&found.stdout).expect("JSON");
    let causes = found["causes"].as_array().expect("a list");
    causes.iter().map(|cause| cause["cause"].as_str().expect("text").to_owned()).collect()
}

/// A program of its own that sends commands without end, so that it can be killed and stopped.
fn sender(address: &str, wire: &str) -> Child {
    let count = ["--rate", "200", "--count", "100000", "--wire", wire];
    start(&[&["send", address, "[0.5, 1.5]", "--type", "command"], &count[..]].concat())
}

/// Waits for commands, and answers them with states for a while, as a plant does.
fn answer(plant: &UdpInterface, time: Duration) {
    plant.receive(Some(Duration::from_secs(30))).expect("a command");
    let until = Instant::now() + time;
    while Instant::now() < until {
        let _ = plant.send(&[0.1, 0.2], &Metadata::status());
        let _ = plant.receive(Some(Duration::from_millis(5)));
    }
}

#[test]
#[cfg(unix)]
fn a_peer_that_was_killed_is_told_from_one_that_was_stopped() {
    for (name, cause) in [("-KILL", "peer killed"), ("-STOP", "peer stopped or network cut")] {
        let folder = Folder::new(name);
        let (plant, address) = plant(&folder, |config| config);
        let other = controller(&address);
        wrap(&plant, &other, 10, || ());
        other.disconnect();
        watch(&plant);
        let mut sender = sender(&address, "native");
        answer(&plant, Duration::from_millis(500));
        signal(name, sender.id());
        answer_until_file(&plant, &folder);
        let found = named(&folder.file());
        sender.kill().expect("it is ours");
        sender.wait().expect("it has ended");
        assert_eq!(found.first().map(String::as_str), Some(cause), "{found:?}");
    }
}

/// Sends states until the trip has led to a file.
fn answer_until_file(plant: &UdpInterface, folder: &Folder) {
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| folder.file());
        while !waits.is_finished() {
            let _ = plant.send(&[0.1, 0.2], &Metadata::status());
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

/// A stop that ends: the peer goes on with the next number, so nothing was lost.
#[test]
#[cfg(unix)]
fn a_peer_that_was_held_up_for_a_moment_is_told_from_losses() {
    for wire in [Wire::Native, Wire::Classic] {
        let folder = Folder::new(&format!("held-up-{wire}"));
        let (plant, address) = plant(&folder, |config| config.wire(wire));
        watch(&plant);
        let mut sender = sender(&address, &wire.to_string());
        answer(&plant, Duration::from_millis(500));
        signal("-STOP", sender.id());
        // The watchdog trips after 0.3 s, and the file is written 0.3 s later.
        std::thread::sleep(Duration::from_millis(400));
        signal("-CONT", sender.id());
        answer_until_file(&plant, &folder);
        let found = named_of(&folder.file());
        sender.kill().expect("it is ours");
        sender.wait().expect("it has ended");
        assert_eq!(found.first().map(String::as_str), Some("peer stopped"), "{wire}: {found:?}");
    }
}

/// Only the newest command waits for the handler, so that no queue grows: what the handler never saw was replaced.
#[test]
fn a_handler_that_is_slower_than_its_commands_is_named() {
    for wire in [Wire::Native, Wire::Classic] {
        let folder = Folder::new(&format!("slow-commands-{wire}"));
        let (plant, address) = plant(&folder, |config| config.wire(wire));
        let config = Config::client(address.as_str()).wire(wire).connect_timeout(Duration::from_secs(30));
        let controller = create_udp_client(config).expect("in order");
        controller.connect().expect("the plant answers");
        plant.register_message_handler(
            MessageType::Command,
            Handler::blocking(|_, _| std::thread::sleep(Duration::from_millis(300))),
        );
        command(&controller, Duration::from_millis(2_500));
        let found = named_of(&plant.dump().expect("written"));
        assert_eq!(found.first().map(String::as_str), Some("slow handler"), "{wire}: {found:?}");
    }
}

#[test]
fn a_handler_that_panics_is_named() {
    let folder = Folder::new("panic");
    let (plant, address) = plant(&folder, |config| config);
    let controller = controller(&address);
    wrap(&plant, &controller, 10, || ());
    plant.register_message_handler(MessageType::Command, Handler::blocking(|_, _| panic!("staged")));
    command(&controller, Duration::from_millis(200));
    let until = Instant::now() + Duration::from_secs(60);
    while plant.statistics().handlers.panicked == 0 {
        assert!(Instant::now() < until, "it has not panicked");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(named(&plant.dump().expect("written")).first().map(String::as_str), Some("handler panic"));
}

#[test]
fn an_inline_handler_that_takes_long_is_named() {
    let folder = Folder::new("slow-handler");
    let (plant, address) = plant(&folder, |config| config);
    let controller = controller(&address);
    wrap(&plant, &controller, 10, || ());
    plant.register_message_handler(
        MessageType::Data,
        Handler::inline(|_, _| std::thread::sleep(Duration::from_millis(400))),
    );
    command(&controller, Duration::from_millis(200));
    send(&controller, &1);
    command(&controller, Duration::from_millis(800));
    let found = named(&plant.dump().expect("written"));
    assert_eq!(found.first().map(String::as_str), Some("slow handler"), "{found:?}");
}

#[test]
fn a_reader_that_takes_long_is_named() {
    let folder = Folder::new("slow-reader");
    let (plant, address) = plant(&folder, |config| config.inbox_capacity(20));
    let controller = controller(&address);
    wrap(&plant, &controller, 10, || ());
    for _ in 0..200 {
        send(&controller, &1);
        std::thread::sleep(Duration::from_millis(5));
    }
    let found = named(&plant.dump().expect("written"));
    assert_eq!(found.first().map(String::as_str), Some("slow reader"), "{found:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_kernel_buffer_that_was_full_is_named() {
    let folder = Folder::new("kernel");
    let config = Config::server("127.0.0.1:0").name("plant").receive_buffer(4096).black_box(BLACK_BOX);
    let (plant, mut driver) = UdpInterface::caller_driven(config.black_box_dir(&folder.0)).expect("in order");
    plant.connect().expect("a free port");
    let address = plant.local_address().expect("connected").to_string();
    let controller = std::thread::scope(|scope| {
        let connecting = scope.spawn(|| controller(&address));
        while !connecting.is_finished() {
            driver.turn(Some(Duration::from_millis(5)));
        }
        connecting.join().expect("connected")
    });
    wrap(&plant, &controller, 1, || {
        driver.turn(Some(Duration::from_millis(5)));
    });
    for number in 0..500 {
        send(&controller, &number);
        std::thread::sleep(Duration::from_micros(200));
    }
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        driver.turn(Some(Duration::from_millis(5)));
    }
    let found = named(&plant.dump().expect("written"));
    assert_eq!(found.first().map(String::as_str), Some("kernel buffer full"), "{found:?}");
}

#[test]
fn a_flood_of_strangers_is_named() {
    let folder = Folder::new("flood");
    let (plant, address) = plant(&folder, |config| config.black_box("768KiB"));
    let controller = controller(&address);
    // The flood lets the ring of the receiving half wrap.
    let blob = "x".repeat(1_000);
    for _ in 0..8_000 {
        send(&plant, &blob);
    }
    command(&controller, Duration::from_millis(100));
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    for number in 0..60_000 {
        stranger.send_to(&[b'?'; 100], &address).expect("sent");
        if number % 50 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let found = named(&plant.dump().expect("written"));
    assert_eq!(found.first().map(String::as_str), Some("flood"), "{found:?}");
}

/// Carries datagrams between a plant and its controller, and loses those to the plant that `passes` refuses.
fn relay(plant: &str, passes: impl Fn(&[u8]) -> bool + Send + 'static) -> String {
    let [outside, inside] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a free port"));
    let address = outside.local_addr().expect("bound").to_string();
    inside.connect(plant).expect("an address");
    for socket in [&outside, &inside] {
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a time");
    }
    let (back_to, back_from) =
        (outside.try_clone().expect("a socket"), inside.try_clone().expect("a socket"));
    let client = std::sync::Arc::new(std::sync::OnceLock::new());
    let known = std::sync::Arc::clone(&client);
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok((len, from)) = outside.recv_from(&mut buffer) {
            let _ = known.set(from);
            if passes(&buffer[..len]) {
                let _ = inside.send(&buffer[..len]);
            }
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok(len) = back_from.recv(&mut buffer) {
            if let Some(client) = client.get() {
                let _ = back_to.send_to(&buffer[..len], client);
            }
        }
    });
    address
}

#[test]
fn a_burst_of_losses_is_named() {
    let folder = Folder::new("loss");
    let (plant, address) = plant(&folder, |config| config);
    let is_bad = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let bad = std::sync::Arc::clone(&is_bad);
    let controller = controller(&relay(&address, move |_| !bad.load(std::sync::atomic::Ordering::Relaxed)));
    wrap(&plant, &controller, 10, || ());
    command(&controller, Duration::from_millis(300));
    is_bad.store(true, std::sync::atomic::Ordering::Relaxed);
    command(&controller, Duration::from_millis(300));
    is_bad.store(false, std::sync::atomic::Ordering::Relaxed);
    command(&controller, Duration::from_millis(300));
    let found = named(&plant.dump().expect("written"));
    assert_eq!(found.first().map(String::as_str), Some("network loss"), "{found:?}");
}

/// Makes the library that answers for the wall clock. `None`: there is no C compiler.
#[cfg(target_os = "linux")]
fn clock_library(folder: &Folder) -> Option<PathBuf> {
    let [source, library] = ["clock.c", "clock.so"].map(|name| folder.0.join(name));
    std::fs::write(&source, include_str!("../../tautline/tests/common/clock.c")).expect("written");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).status();
    let Ok(made) = made else {
        println!("skipped: clock step: there is no C compiler (cc)");
        return None;
    };
    assert!(made.success(), "the library does not compile");
    Some(library)
}

/// The clock is set for one program alone: a library that is loaded before all others answers for it.
#[test]
#[cfg(target_os = "linux")]
fn a_clock_that_was_set_is_named() {
    use std::os::unix::fs::FileExt;

    for (wire, step, way) in [("native", 10_000_000_000_i64, "forward"), ("classic", -60_000_000, "back")] {
        let folder = Folder::new(&format!("clock-{wire}"));
        let Some(library) = clock_library(&folder) else { return };
        let shift = folder.0.join("shift");
        let clock = std::fs::File::create(&shift).expect("a file");
        let set = |ns: i64| clock.write_all_at(&ns.to_ne_bytes(), 0).expect("written");
        set(0);
        let path = folder.0.to_str().expect("text");
        let args = ["listen", "127.0.0.1:0", "--wire", wire, "--black-box", path];
        let mut plant = support::command(&args);
        let plant = plant.env("LD_PRELOAD", &library).env("TEST_CLOCK_SHIFT", &shift);
        let mut plant = Listener::of(plant.env("TAUTLINE_BLACK_BOX", BLACK_BOX));
        let blob = format!("\"{}\"", "x".repeat(1_000));
        let count = ["--rate", "1000", "--count", "100000", "--wire", wire];
        let mut sender = start(&[&["send", &plant.address, &blob], &count[..]].concat());
        for _ in 0..2_000 {
            plant.line();
        }
        set(step);
        for _ in 0..50 {
            plant.line();
        }
        plant.signal("-USR2");
        let file = folder.file();
        sender.kill().expect("it is ours");
        sender.wait().expect("it has ended");
        let found = named_of_listener(&file);
        assert_eq!(found.first().map(String::as_str), Some("clock step"), "{wire}: {found:?}");
        let told = run(&["incident", file.to_str().expect("text")]).stdout;
        assert!(told.contains(&format!("clock was set {way} by")), "{told}");
    }
}

/// Both ends send packets that are too large from then on. A path that tells nobody is noticed some time later, so each end
/// writes several files.
#[test]
#[cfg(target_os = "linux")]
fn a_path_that_has_shrunk_is_named() {
    let allowed = Command::new("unshare").args(["-rn", "ip", "link", "set", "lo", "up"]).output();
    if !allowed.as_ref().is_ok_and(|output| output.status.success()) {
        println!("skipped: path shrunk: network namespaces are not allowed here: {allowed:?}");
        return;
    }
    let stage = |address: &str, router: &str| {
        let folder = Folder::new(&format!("path-{router}-{}", address.len()));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/networks/shrinking_path.sh");
        let mut staged = Command::new("unshare");
        staged.args(["-rn", "sh"]).arg(script).arg(env!("CARGO_BIN_EXE_tautline"));
        let staged = staged
            .args([address, router])
            .arg(&folder.0)
            .env("TAUTLINE_BLACK_BOX", "128KiB")
            .output()
            .expect("it was allowed");
        for end in ["plant", "controller"] {
            let files = std::fs::read_dir(folder.0.join(end)).unwrap_or_else(|_| panic!("{staged:?}"));
            let found: Vec<_> = files
                .map(|file| {
                    let path = file.expect("readable").path();
                    (wraps(&path), named_of(&path))
                })
                .collect();
            // The first files may be too early, for the cause and for the rings.
            let is_named = found.iter().any(|(wraps, found)| {
                wraps.iter().all(|count| *count >= 10)
                    && found.first().is_some_and(|first| first == "path shrunk")
            });
            assert!(is_named, "{address}, {router}, {end}: {found:?}");
        }
    };
    std::thread::scope(|scope| {
        for address in ["10.78.2.1:9000", "[fd78:2::1]:9000"] {
            for router in ["told", "silent"] {
                scope.spawn(move || stage(address, router));
            }
        }
    });
}

/// Somebody who was not there needs both: `demo` prints the path of the file, and `incident` prints the time of the trip.
#[test]
fn the_demo_tells_where_its_black_box_is_and_incident_tells_when_the_trip_was() {
    let folder = Folder::new("demo");
    let args = ["demo", "--black-box", "boxes", "--cut-after", "1s", "--seconds", "3"];
    let demo = support::command(&args).current_dir(&folder.0).output().expect("it runs");
    let told = String::from_utf8_lossy(&demo.stderr).into_owned();
    let line =
        told.lines().find(|line| line.contains("black box written")).unwrap_or_else(|| panic!("{told}"));
    assert!(line.contains(&format!("boxes{}plant-", std::path::MAIN_SEPARATOR)), "{line}");
    let boxes = Folder(folder.0.join("boxes"));
    let file = boxes.file();
    let text = run(&["incident", file.to_str().expect("text")]).stdout;
    let trip =
        text.lines().find(|line| line.starts_with("A watchdog tripped at 20")).expect("the time is told");
    assert!(trip.ends_with(" UTC."), "{trip}");
    // Under Windows, a socket may not tell that nothing listens.
    let cause = if cfg!(unix) { "  peer killed: p1 (\"controller\")" } else { "  peer " };
    assert!(text.starts_with("What went wrong\n") && text.contains(cause), "{text}");
    assert!(text.contains(" ms before the trip") && text.contains("It waits for: command."), "{text}");
}

#[test]
fn the_files_of_both_ends_say_which_way_lost_what() {
    for wire in [Wire::Native, Wire::Classic] {
        let folder = Folder::new(&format!("both-{wire}"));
        let (plant, address) = plant(&folder, |config| config.wire(wire).black_box("2MiB"));
        let is_bad = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let bad = std::sync::Arc::clone(&is_bad);
        let relay = relay(&address, move |_| !bad.load(std::sync::atomic::Ordering::Relaxed));
        let config = Config::client(relay.as_str()).name("controller").wire(wire);
        let config = config.black_box("2MiB").black_box_dir(&folder.0);
        let controller = create_udp_client(config).expect("in order");
        controller.connect().expect("the plant answers");
        // What the plant sends goes to this one too. That is no part of the link.
        let other = Config::client(address.as_str()).name("other").wire(wire);
        let other = create_udp_client(other.connect_timeout(Duration::from_secs(30))).expect("in order");
        other.connect().expect("the plant answers");
        send(&other, &1);
        let exchange = || {
            for _ in 0..40 {
                let _ = controller.send(&[0.5, 1.5], &Metadata::command());
                let _ = plant.send(&1, &Metadata::status());
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        // On the classic wire, the plant knows its controller once it has heard it.
        send(&controller, &1);
        plant.receive(Some(Duration::from_secs(20))).expect("it comes");
        exchange();
        is_bad.store(true, std::sync::atomic::Ordering::Relaxed);
        exchange();
        is_bad.store(false, std::sync::atomic::Ordering::Relaxed);
        exchange();
        let files = [&plant, &controller].map(|end| end.dump().expect("written"));
        let [first, second] = files.each_ref().map(|file| file.to_str().expect("text"));
        for order in [[first, second], [second, first]] {
            let told = run(&["incident", order[0], order[1]]);
            assert_eq!(told.code, 0, "{}", told.stderr);
            let way = |from: &str| {
                let line = told.stdout.lines().find(|line| line.starts_with(from)).expect("there is a line");
                let numbers = line.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok());
                let numbers: Vec<u64> = numbers.collect();
                assert_eq!(numbers[0], numbers[1] + numbers[2], "{line}");
                numbers[2]
            };
            let lost = way("controller to plant: ");
            assert!((30..=60).contains(&lost), "{wire}: {}", told.stdout);
            assert_eq!(way("plant to controller: "), 0, "{wire}: {}", told.stdout);
            assert!(told.stdout.contains("in a row lost: "), "{}", told.stdout);
            assert!(told.stdout.contains(" command"), "{}", told.stdout);
            assert!(told.stdout.contains("give or take"), "{}", told.stdout);
        }
        let page = folder.0.join("both.html");
        let told = run(&["incident", first, second, "--html", page.to_str().expect("text")]);
        assert_eq!(told.code, 0, "{}", told.stderr);
        let page = std::fs::read_to_string(page).expect("written");
        assert!(page.contains("<svg") && page.contains("controller sent, lost"), "{page}");
        let alone = run(&["incident", first, second, "--rerun"]);
        assert_eq!(alone.code, 2, "{}", alone.stdout);
        assert!(alone.stderr.contains("2 files are named: name one, such as"), "{}", alone.stderr);
        let many = run(&["incident", first, second, first]);
        assert!(many.code == 2 && many.stderr.contains("3 files are named"), "{}", many.stderr);
        let again = plant.dump().expect("written");
        let same = run(&["incident", first, again.to_str().expect("text")]);
        assert!(
            same.code == 2 && same.stderr.contains("the same end, the server \"plant\""),
            "{}",
            same.stderr
        );
        std::fs::remove_file(again).expect("written");
        let all = run(&["incident", folder.0.to_str().expect("text")]);
        assert!(all.code == 2 && all.stderr.contains(second), "the newest is not named: {}", all.stderr);
    }
}

#[test]
fn what_is_no_black_box_and_what_cannot_be_tried_are_errors() {
    let folder = Folder::new("errors");
    let path = folder.0.join("text.mcap");
    std::fs::write(folder.0.join("plant-1.part"), "a part").expect("written");
    let refused = run(&["incident", folder.0.to_str().expect("text")]);
    assert!(
        refused.code == 2 && refused.stderr.contains("plant-1.part: it is being written"),
        "{}",
        refused.stderr
    );
    std::fs::write(&path, "no black box").expect("written");
    let refused = run(&["incident", path.to_str().expect("text")]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("no black box of tautline"), "{}", refused.stderr);
    let (plant, address) = plant(&folder, |config| config);
    let controller = controller(&address);
    command(&controller, Duration::from_millis(300));
    let file = plant.dump().expect("written");
    let whole = std::fs::read(&file).expect("written");
    let ring = whole.windows(14).rposition(|name| name == b"/ring/outbound").expect("it has rings");
    let mut changed = whole.clone();
    changed[whole.len() / 2 + ring / 2] ^= 1;
    for (bytes, told) in
        [(&whole[..], None), (&whole[..ring], Some("it was cut off")), (&changed, Some("cannot be read"))]
    {
        std::fs::write(&path, bytes).expect("written");
        let text = run(&["incident", path.to_str().expect("text"), "--rerun"]).stdout;
        let (halves, is_cut) = (text.matches(" half: ").count(), told == Some("it was cut off"));
        assert!(halves == 2 && text.contains("sending half: not in the file") == is_cut, "{text}");
        let warning = text.lines().next().filter(|line| line.starts_with("The file is damaged: "));
        assert_eq!(warning.is_some(), told.is_some(), "{text}");
        assert!(warning.is_none_or(|warning| warning.contains(told.unwrap_or_default())), "{text}");
    }
    let mut of_another_build = std::fs::read(&file).expect("written");
    let at = of_another_build.windows(6).position(|name| name == b"format").expect("it has a format");
    of_another_build[at] = b'F';
    std::fs::write(&path, of_another_build).expect("written");
    let refused = run(&["incident", path.to_str().expect("text")]);
    assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
    assert!(refused.stderr.contains("another build of tautline"), "{}", refused.stderr);
    let file = file.to_str().expect("text");
    let refused = run(&["replay", file, &address]);
    assert_eq!(refused.code, 2);
    assert!(
        refused.stderr.contains("a black box, not a recording: `tautline incident`"),
        "{}",
        refused.stderr
    );
    let misspelled = run(&["incident", file, "--what-if", "comand.lifespan=5ms"]);
    assert!(misspelled.stderr.contains("did you mean `command.lifespan`?"), "{}", misspelled.stderr);
    for (written, meant) in [
        ("lifespn", "lifespan"),
        ("dedline", "deadline"),
        ("owner", "command.owner"),
        ("ownr", "command.owner"),
    ] {
        let misspelled = run(&["incident", file, "--what-if", &format!("{written}=5ms")]);
        let sentence = format!("there is no key `{written}`: did you mean `{meant}`?");
        assert!(misspelled.stderr.contains(&sentence), "{}", misspelled.stderr);
    }
    let refused = run(&["incident", file, "--what-if", "colour=red"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("there is no key `colour`"), "{}", refused.stderr);
    for (change, sentence) in [
        ("liveness_timeout=500ms", "with liveness_timeout=500ms already: name another value"),
        ("liveness_timeout=soon", "liveness_timeout"),
        ("liveness_timeout=1ms", "liveness_timeout"),
        ("receive_buffer=4096", "receive_buffer cannot be tried: no rerun depends on it"),
        ("inbox_capacity=3", "These can be: heartbeat_interval, "),
        ("status.history=3", "status.history cannot be tried"),
        ("wire=classic", "means nothing to another one"),
        ("lifespan", "write KEY=VALUE"),
    ] {
        let refused = run(&["incident", file, "--what-if", change]);
        assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{change}");
        assert!(refused.stderr.contains(sentence), "{change}: {}", refused.stderr);
    }
    for (change, sentence) in [
        ("lifespan=1us", "too old when they were read"),
        ("command.lifespan=1us", "too old when they were read"),
        ("command.deadline=1ms", "silences of streams that were longer than their deadline: "),
        ("deadline=1min", "no difference in messages"),
        ("max_message_size=1", "messages handed out: 0 instead of"),
        ("liveness_timeout=201ms", "no difference in messages"),
        ("heartbeat_interval=20ms", "no difference in messages"),
        ("command.owner=true", "no difference in messages"),
        ("allow=10.1.2.3", "instead of"),
        ("reliable_tries=2", "no difference in messages"),
    ] {
        let tried = run(&["incident", file, "--what-if", change]);
        assert_eq!(tried.code, 0, "{change}: {}", tried.stderr);
        assert!(tried.stdout.contains(sentence), "{change}: {}", tried.stdout);
    }
    let refused = run(&["incident", file, "--html", folder.0.to_str().expect("text")]);
    assert!(refused.code == 2 && refused.stderr.contains("is a folder: name a file in it"), "{refused:?}");
    let page = folder.0.join("page.html");
    let told = run(&["incident", file, "--html", page.to_str().expect("text")]);
    assert!(told.stdout.contains("last command received"), "{}", told.stdout);
    let page = std::fs::read_to_string(page).expect("written");
    assert!(page.contains("<svg") && page.contains("wait in the kernel"));
    assert!(!page.contains("src=") && !page.contains("href="), "it needs nothing else");
}
