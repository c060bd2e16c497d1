//! Incidents of the same kinds, staged in other ways: other wires, keys, IPv6, more peers, more handlers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tautline::SecretKey;

use super::*;

/// A link for each wire, and one with a key.
fn links(name: &str, stage: impl Fn(&Folder, &dyn Fn(Config) -> Config)) {
    let key = SecretKey::generate().expect("randomness");
    let wires: [&dyn Fn(Config) -> Config; 3] =
        [&|config| config, &|config| config.key(key.clone()), &|config| config.wire(Wire::Classic)];
    for (number, wire) in wires.into_iter().enumerate() {
        stage(&Folder::new(&format!("{name}-{number}")), wire);
    }
}

fn client(address: &str, config: impl FnOnce(Config) -> Config) -> UdpInterface {
    let base = Config::client(address).name("controller").connect_timeout(Duration::from_secs(30));
    let client = create_udp_client(config(base)).expect("in order");
    client.connect().expect("the plant answers");
    client
}

/// Sends commands until the trip has led to a file.
fn command_until_file(
    controller: &UdpInterface,
    folder: &Folder,
    content: &impl serde::Serialize,
) -> PathBuf {
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| folder.file());
        while !waits.is_finished() {
            let _ = controller.send(content, &Metadata::command());
            std::thread::sleep(Duration::from_millis(5));
        }
        waits.join().expect("there is a file")
    })
}

#[track_caller]
fn assert_is_first(found: &[String], name: &str) {
    assert_eq!(found.first().map(String::as_str), Some(name), "{found:?}");
}

/// Nothing is lost, and nobody has stopped: what was sent in time comes late.
#[test]
fn a_network_that_holds_everything_back_is_told_from_a_peer_that_stopped() {
    links("delay", |folder, wire| {
        let (plant, address) = plant(folder, wire);
        let is_slow = Arc::new(AtomicBool::new(false));
        let slow = Arc::clone(&is_slow);
        let relay = relay(&address, move |_| {
            if slow.swap(false, Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(450));
            }
            true
        });
        let controller = client(&relay, wire);
        command(&controller, Duration::from_millis(500));
        watch(&plant);
        command(&controller, Duration::from_millis(100));
        is_slow.store(true, Ordering::Relaxed);
        let file = command_until_file(&controller, folder, &[0.5, 1.5]);
        assert_is_first(&named_of(&file), "network delay");
    });
}

/// The path tells nobody that large datagrams are lost. Heartbeats still pass.
#[test]
fn a_path_that_loses_large_datagrams_without_a_word_is_named() {
    let folder = Folder::new("large");
    let (plant, address) = plant(&folder, |config| config);
    let is_narrow = Arc::new(AtomicBool::new(false));
    let narrow = Arc::clone(&is_narrow);
    let relay = relay(&address, move |datagram| datagram.len() < 300 || !narrow.load(Ordering::Relaxed));
    let controller = client(&relay, |config| config);
    let content = "x".repeat(600);
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        let _ = controller.send(&content, &Metadata::command());
        std::thread::sleep(Duration::from_millis(5));
    }
    watch(&plant);
    controller.send(&content, &Metadata::command()).expect("sent");
    std::thread::sleep(Duration::from_millis(50));
    is_narrow.store(true, Ordering::Relaxed);
    let file = command_until_file(&controller, &folder, &content);
    assert_is_first(&named_of(&file), "path shrunk");
}

/// Each sends as it may. One sends so much that the reader is behind.
#[test]
fn a_peer_that_floods_is_named() {
    links("peer-flood", |folder, wire| {
        let (plant, address) = plant(folder, |config| wire(config).inbox_capacity(20).black_box("2MiB"));
        let [controller, flood] = [(); 2].map(|()| client(&address, wire));
        command(&controller, Duration::from_millis(700));
        let data = flood.publisher(Metadata::data());
        let many = vec![[7; 4]; 700];
        for _ in 0..10 {
            let _ = data.send_batch(&many);
            command(&controller, Duration::from_millis(50));
        }
        assert_is_first(&named_of(&plant.dump().expect("written")), "flood");
    });
}

/// The other handler, for more messages, keeps up.
#[test]
fn a_slow_handler_beside_a_fast_one_is_named() {
    for is_async in [false, true] {
        let folder = Folder::new(&format!("two-handlers-{is_async}"));
        let (plant, address) = plant(&folder, |config| config);
        let controller = client(&address, |config| config);
        plant.register_message_handler(MessageType::Status, Handler::blocking(|_, _| ()));
        let takes = Duration::from_millis(200);
        plant.register_message_handler(
            MessageType::Command,
            if is_async {
                Handler::asynchronous(async move |_, _| std::thread::sleep(takes))
            } else {
                Handler::blocking(move |_, _| std::thread::sleep(takes))
            },
        );
        for _ in 0..250 {
            controller.send(&1, &Metadata::command()).expect("sent");
            (0..4).for_each(|number| drop(controller.send(&number, &Metadata::status())));
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_is_first(&named_of(&plant.dump().expect("written")), "slow handler");
    }
}

/// The program calls its driver late: what came meanwhile waited in the kernel.
#[test]
#[cfg(target_os = "linux")]
fn a_driver_that_was_called_late_is_named() {
    let folder = Folder::new("driver-late");
    let config = Config::server("127.0.0.1:0").black_box(BLACK_BOX).black_box_dir(&folder.0);
    let (plant, mut driver) = UdpInterface::caller_driven(config).expect("in order");
    plant.connect().expect("a free port");
    let address = plant.local_address().expect("connected").to_string();
    std::thread::scope(|scope| {
        let commanding = scope.spawn(|| {
            let controller = client(&address, |config| config);
            command(&controller, Duration::from_millis(1_500));
            // The end of the link is no part of this incident.
            std::mem::forget(controller);
        });
        let (begin, mut is_late) = (Instant::now(), false);
        while !commanding.is_finished() {
            driver.turn(Some(Duration::from_millis(5)));
            while plant.receive(Some(Duration::ZERO)).is_ok() {}
            if !is_late && plant.statistics().messages_received > 100 {
                is_late = true;
                std::thread::sleep(Duration::from_millis(250));
            }
        }
        assert!(is_late, "{:?} {:?}", begin.elapsed(), plant.statistics());
    });
    assert_is_first(&named_of(&plant.dump().expect("written")), "driver late");
}

/// The file of the trip is written while the handler still runs, so the driver could not note it.
#[test]
fn an_inline_handler_that_still_runs_when_the_file_is_written_is_named() {
    links("runs-on", |folder, wire| {
        let (plant, address) = plant(folder, wire);
        let (release, released) = std::sync::mpsc::channel::<()>();
        plant.register_message_handler(
            MessageType::Data,
            Handler::inline(move |_, _| {
                let _ = released.recv_timeout(Duration::from_secs(60));
            }),
        );
        let controller = client(&address, wire);
        command(&controller, Duration::from_millis(300));
        watch(&plant);
        command(&controller, Duration::from_millis(100));
        send(&controller, &1);
        let file = command_until_file(&controller, folder, &[0.5, 1.5]);
        assert_is_first(&named_of(&file), "slow handler");
        let told = run(&["incident", file.to_str().expect("text")]).stdout;
        assert!(told.contains("the inline handler of data was called"), "{told}");
        assert!(!told.contains("peer s"), "the peer is not to blame: {told}");
        drop(release);
    });
}

/// As [`a_driver_that_was_called_late_is_named`], but it is never called again.
#[test]
fn a_driver_that_is_not_called_any_more_is_named() {
    let folder = Folder::new("driver-gone");
    let config = Config::server("127.0.0.1:0").black_box(BLACK_BOX).black_box_dir(&folder.0);
    let (plant, mut driver) = UdpInterface::caller_driven(config).expect("in order");
    plant.connect().expect("a free port");
    let address = plant.local_address().expect("connected").to_string();
    let file = std::thread::scope(|scope| {
        let commanding = scope.spawn(|| {
            let controller = client(&address, |config| config);
            command_until_file(&controller, &folder, &[0.5, 1.5])
        });
        while plant.statistics().messages_received < 100 {
            driver.turn(Some(Duration::from_millis(5)));
            while plant.receive(Some(Duration::ZERO)).is_ok() {}
        }
        watch(&plant);
        let until = Instant::now() + Duration::from_millis(200);
        while Instant::now() < until {
            driver.turn(Some(Duration::from_millis(5)));
        }
        commanding.join().expect("a file came")
    });
    assert_is_first(&named_of(&file), "driver late");
}

/// One peer goes on with its data while the one that commands is killed.
#[test]
#[cfg(unix)]
fn a_peer_that_was_killed_beside_one_that_goes_on_is_named() {
    let folder = Folder::new("killed-beside");
    let (plant, address) = plant(&folder, |config| config);
    let other = client(&address, |config| config.name("other"));
    watch(&plant);
    let mut sender = sender(&address, "native");
    answer(&plant, Duration::from_millis(500));
    sender.kill().expect("it is ours");
    sender.wait().expect("it has ended");
    let file = std::thread::scope(|scope| {
        let waits = scope.spawn(|| folder.file());
        while !waits.is_finished() {
            send(&other, &1);
            let _ = plant.send(&[0.1, 0.2], &Metadata::status());
            std::thread::sleep(Duration::from_millis(5));
        }
        waits.join().expect("there is a file")
    });
    assert_is_first(&named_of(&file), "peer killed");
}

/// Its program hangs, or has nothing to say. Heartbeats show that it is alive, but the classic wire has none.
#[test]
fn a_peer_that_is_alive_but_commands_no_more_is_told_from_one_that_is_gone() {
    links("no-commands", |folder, wire| {
        let (plant, address) = plant(folder, wire);
        let controller = client(&address, wire);
        watch(&plant);
        command(&controller, Duration::from_millis(500));
        let file = folder.file();
        let is_classic = plant.config().wire == Some(Wire::Classic);
        assert_is_first(&named_of(&file), if is_classic { "peer silent" } else { "sender stopped" });
        drop(controller);
    });
}

/// The classic wire has no goodbye, and nothing is sent to a peer that commands only.
#[test]
fn the_end_of_a_link_is_told_as_far_as_the_wire_shows_it() {
    for (address, wire, name) in
        [("[::1]:0", Wire::Native, "peer closed"), ("127.0.0.1:0", Wire::Classic, "peer silent")]
    {
        let folder = Folder::new(&format!("end-{wire}"));
        let config = Config::server(address).wire(wire).black_box(BLACK_BOX).black_box_dir(&folder.0);
        let plant = create_udp_server(config).expect("in order");
        plant.connect().expect("a free port");
        let controller =
            client(&plant.local_address().expect("connected").to_string(), |config| config.wire(wire));
        watch(&plant);
        command(&controller, Duration::from_millis(300));
        controller.disconnect();
        assert_is_first(&named_of(&folder.file()), name);
    }
}
