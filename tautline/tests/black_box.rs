//! The black box of an interface: what it writes, when, and that it can be run again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tautline::black_box::read::{BlackBoxFile, Half, Step};
use tautline::{
    Config, DumpError, Handler, MessageType, Metadata, Profile, UdpInterface, Watchdog, WatchdogChange,
    WatchdogEvent, Wire, create_udp_client, create_udp_server,
};

/// A folder that is removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tautline-black-box-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    fn files(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.0).expect("it exists").map(|entry| entry.expect("readable").path());
        files.filter(|path| path.extension().is_some_and(|end| end == "mcap")).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn pair(wire: Wire, size: &str, folder: &Path) -> [UdpInterface; 2] {
    // Probes of a larger path would not fit the segments of a small ring.
    let config = |config: Config| {
        let config = config.wire(wire).black_box(size).black_box_dir(folder);
        if wire == Wire::Native { config.mtu(1228) } else { config }
    };
    let plant = create_udp_server(config(Config::server("127.0.0.1:0").name("plant"))).expect("in order");
    plant.connect().expect("a free port");
    let address = plant.local_address().expect("connected");
    let controller = create_udp_client(config(Config::client(address).name("controller"))).expect("in order");
    controller.connect().expect("the plant answers");
    [plant, controller]
}

/// Lets commands go one way and answers the other.
fn exchange([plant, controller]: &[UdpInterface; 2], count: u32) {
    for number in 0..count {
        controller.send(&[f64::from(number), 1.5], &Metadata::command()).expect("sent");
        // A busy machine may lose some.
        let Ok(command) = plant.receive(Some(Duration::from_secs(1))) else { continue };
        plant.reply(&command, &number, &Metadata::acknowledgment()).expect("sent");
        let _ = controller.receive(Some(Duration::from_secs(1)));
    }
}

#[test]
fn what_a_wrapped_ring_holds_is_run_again_with_equal_outputs_at_both_ends() {
    for wire in [Wire::Native, Wire::Classic] {
        let folder = Folder::new(&format!("wrapped-{wire}"));
        let ends = pair(wire, "64KiB", &folder.0);
        exchange(&ends, 7_500);
        for end in &ends {
            let file = BlackBoxFile::open(&end.dump().expect("written")).expect("a black box");
            let mut messages = 0;
            let [inbound, outbound] = file
                .rerun(|half, step| {
                    messages += u32::from(half == Half::Inbound && matches!(step, Step::Message { .. }));
                })
                .expect("sound");
            assert_eq!((&inbound.difference, &outbound.difference), (&None, &None), "{wire}");
            assert_eq!((inbound.unreadable, outbound.unreadable), (0, 0));
            assert_eq!((file.inbound.left_out, file.outbound.left_out), (0, 0), "{wire}");
            assert!(messages > 50 && outbound.datagrams > 50, "{messages} {outbound:?}");
            for contents in [&file.inbound, &file.outbound] {
                let segments = contents.segments.len() as u64;
                let last = contents.segments.last().expect("there is one").period;
                assert!(
                    segments >= 8 && last > 10 * segments,
                    "{wire}: {last} periods of {segments} segments"
                );
            }
        }
    }
}

#[test]
fn a_watchdog_that_trips_writes_a_file_that_names_it_and_a_normal_end_writes_none() {
    let folder = Folder::new("trip");
    let config = Config::server("127.0.0.1:0").profile(Profile::control()).failsafe(|_| ()).black_box("1MiB");
    let plant = create_udp_server(config.black_box_dir(&folder.0)).expect("in order");
    plant.connect().expect("a free port");
    let client =
        Config::client(plant.local_address().expect("connected")).connect_timeout(Duration::from_secs(20));
    let controller = create_udp_client(client).expect("in order");
    controller.connect().expect("the plant answers");
    let until = Instant::now() + Duration::from_secs(60);
    // On a busy machine some commands are too old to arm the watchdog.
    while folder.files().is_empty() {
        assert!(Instant::now() < until, "no file came");
        for _ in 0..20 {
            controller.send(&1.5, &Metadata::command()).expect("sent");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(700));
    }
    let path = folder.files().remove(0);
    let file = BlackBoxFile::open(&path).expect("a black box");
    assert_eq!(file.incident["cause"], "watchdog");
    assert_eq!(file.incident["role"], "server");
    assert!(file.events.iter().any(|(_, event)| event.contains("tripped")), "{:?}", file.events);
    assert!(!file.statistics.is_empty() && file.settings["liveness_timeout"].ends_with("ms"));
    assert_eq!(file.rerun(|_, _| ()).expect("sound").map(|rerun| rerun.difference), [None, None]);
    let before = folder.files().len();
    controller.disconnect();
    plant.cleanup();
    assert_eq!(folder.files().len(), before);
}

/// Its file is due 0.3 s after the trip.
#[test]
fn a_program_that_ends_or_connects_again_right_after_a_trip_leaves_a_file_about_it() {
    for ends in [true, false] {
        let folder = Folder::new(&format!("at-once-{ends}"));
        let [plant, controller] = pair(Wire::Native, "1MiB", &folder.0);
        let (told, tripped) = std::sync::mpsc::channel();
        let watchdog = Watchdog::messages(MessageType::Command, Duration::from_millis(50));
        let failsafe = move |event: &WatchdogEvent| {
            if matches!(event.change, WatchdogChange::Tripped { .. }) {
                let _ = told.send(());
            }
        };
        plant.watch(watchdog, failsafe).expect("the system starts a thread");
        exchange(&[plant.clone(), controller.clone()], 20);
        tripped.recv_timeout(Duration::from_secs(60)).expect("it trips");
        if ends {
            drop(plant);
        } else {
            plant.disconnect();
            plant.connect().expect("a free port");
            let until = Instant::now() + Duration::from_secs(60);
            while folder.files().is_empty() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let files = folder.files();
        let file = BlackBoxFile::open(files.first().expect("it was written")).expect("a black box");
        let mut messages = 0;
        let rerun = file.rerun(|_, step| messages += u32::from(matches!(step, Step::Message { .. })));
        assert_eq!(rerun.expect("sound").map(|rerun| rerun.difference), [None, None]);
        assert!(messages > 0, "{ends}: the file is not about the connection that tripped");
    }
}

/// The forms in which a key could stand in a file.
#[cfg(feature = "secure")]
fn forms(key: &tautline::SecretKey) -> Vec<Vec<u8>> {
    let base64 = key.reveal().to_owned();
    let digit = |c: u8| {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        alphabet.iter().position(|known| *known == c)
    };
    let bits: Vec<u8> = base64
        .bytes()
        .filter_map(digit)
        .flat_map(|d| (0..6).rev().map(move |n| u8::from(d >> n & 1 == 1)))
        .collect();
    let raw: Vec<u8> =
        bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | bit)).collect();
    assert_eq!(raw.len(), 32);
    let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    let url = base64.replace('+', "-").replace('/', "_");
    let unpadded =
        [base64.trim_end_matches('='), url.trim_end_matches('=')].map(|text| text.as_bytes().to_vec());
    let texts = [hex.clone().into_bytes(), hex.to_uppercase().into_bytes()];
    // A part of a key is a key too.
    let halves = [raw[..16].to_vec(), raw[16..].to_vec()];
    texts.into_iter().chain(unpadded).chain(halves).collect()
}

#[test]
#[cfg(feature = "secure")]
fn what_a_secured_link_did_is_run_again_from_files_without_a_key() {
    let folder = Folder::new("secured");
    let keys = [(); 3].map(|()| tautline::SecretKey::generate().expect("randomness"));
    let file = |name: &str, keys: &[&tautline::SecretKey]| {
        let path = folder.0.join(name);
        let lines: String = keys.iter().map(|key| format!("{}\n", &*key.reveal())).collect();
        // Others cannot read it, and writing to it does not change that.
        let _ = keys[0].create_file(&path);
        fs::write(&path, lines).expect("written");
        path
    };
    let config =
        |config: Config, keys: &Path| config.key_file(keys).black_box("64KiB").black_box_dir(&folder.0);
    let keys_of_plant = file("plant.key", &[&keys[0], &keys[1], &keys[2]]);
    let plant = config(Config::server("127.0.0.1:0").name("plant"), &keys_of_plant);
    let plant = create_udp_server(plant).expect("in order");
    plant.connect().expect("a free port");
    let address = plant.local_address().expect("connected");
    let keys_of_controller = file("controller.key", &[&keys[0]]);
    let controller = config(Config::client(address).name("controller"), &keys_of_controller);
    let controller = create_udp_client(controller).expect("in order");
    controller.connect().expect("the plant answers");
    let ends = [plant, controller];
    exchange(&ends, 3_800);
    // The session goes on with another key.
    file("controller.key", &[&keys[1]]);
    ends[1].reload_keys().expect("it can be read");
    exchange(&ends, 3_800);
    for end in &ends {
        end.send("this is not secret here", &Metadata::status()).expect("sent");
        let path = end.dump().expect("written");
        let bytes = fs::read(&path).expect("readable");
        let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert!(holds(b"this is not secret here"), "messages are in it as they are");
        for (number, key) in keys.iter().enumerate() {
            assert!(!forms(key).iter().any(|form| holds(form)), "key {number} is in {}", path.display());
        }
        let file = BlackBoxFile::open(&path).expect("a black box");
        let (mut messages, mut sealed) = (0, 0);
        let reruns = file.rerun(|_, step| match step {
            Step::Message { .. } => messages += 1,
            Step::Sealed { bytes, .. } => sealed += u32::from(!bytes.is_empty()),
            _ => {}
        });
        let [inbound, outbound] = reruns.expect("sound");
        assert_eq!((&inbound.difference, &outbound.difference), (&None, &None));
        assert_eq!((inbound.unreadable, outbound.unreadable), (0, 0));
        assert!(messages > 20 && sealed > 20, "{messages} {sealed}");
        for contents in [&file.inbound, &file.outbound] {
            let last = contents.segments.last().expect("there is one").period;
            assert!(last > 10 * contents.segments.len() as u64, "{last} periods");
        }
    }
}

/// They may have the same name, and a signal asks all of them at once.
#[test]
fn interfaces_that_write_at_the_same_time_write_files_of_their_own() {
    const TIMES: usize = 20;
    let folder = Folder::new("same");
    let [plant, other] = [(); 2].map(|()| {
        let config = Config::server("127.0.0.1:0").name("same").black_box("64KiB").black_box_dir(&folder.0);
        let plant = create_udp_server(config).expect("in order");
        plant.connect().expect("a free port");
        plant
    });
    for _ in 0..TIMES {
        std::thread::scope(|scope| {
            for plant in [&plant, &other] {
                scope.spawn(|| BlackBoxFile::open(&plant.dump().expect("written")).expect("a black box"));
            }
        });
    }
    assert_eq!(folder.files().len(), 2 * TIMES);
}

#[test]
fn without_a_black_box_there_is_nothing_to_dump() {
    let plant = create_udp_server(Config::server("127.0.0.1:0")).expect("in order");
    plant.connect().expect("a free port");
    assert!(matches!(plant.dump(), Err(DumpError::Off)));
    let error = Config::server("127.0.0.1:0").black_box("64 MB").validate().expect_err("no size");
    assert!(error.to_string().contains("64MiB"), "{error}");
}

#[test]
fn a_driver_that_hangs_in_a_handler_does_not_keep_its_black_box_from_being_written() {
    let folder = Folder::new("hangs");
    let [plant, controller] = pair(Wire::Native, "1MiB", &folder.0);
    let (told, hangs) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    plant.register_message_handler(
        MessageType::Command,
        Handler::inline(move |_, _| {
            let _ = told.send(());
            let _ = released.recv_timeout(Duration::from_secs(60));
        }),
    );
    controller.send(&1.5, &Metadata::command()).expect("sent");
    hangs.recv_timeout(Duration::from_secs(20)).expect("the handler runs");
    let file = BlackBoxFile::open(&plant.dump().expect("written")).expect("a black box");
    let mut commands = 0;
    let rerun = file.rerun(|_, step| {
        commands += u32::from(matches!(step, Step::Message { .. }));
    });
    assert_eq!(rerun.expect("sound").map(|rerun| rerun.difference), [None, None]);
    assert_eq!(commands, 1);
    drop(release);
}

#[test]
fn a_damaged_file_is_an_error_or_less_and_never_a_panic() {
    let folder = Folder::new("damaged");
    let ends = pair(Wire::Native, "64KiB", &folder.0);
    exchange(&ends, 50);
    let whole = fs::read(ends[0].dump().expect("written")).expect("readable");
    for number in 0..300 {
        let mut damaged = whole.clone();
        let at = number * 7919 % damaged.len();
        damaged[at] ^= 1 << (number % 8);
        damaged.truncate(whole.len() - number % 50);
        if let Ok(file) = BlackBoxFile::of_bytes(&damaged) {
            let _ = file.rerun(|_, _| ());
        }
    }
}
