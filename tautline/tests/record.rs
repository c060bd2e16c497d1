//! `Config::record`: what an interface receives is in a file, which is closed properly when it disconnects.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tautline::recording::RecordingReader;
use tautline::{Config, Handler, MessageType, Metadata, Raw, Wire, create_udp_client, create_udp_server};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tautline-record-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_is_received_is_recorded_whoever_takes_it_and_each_connection_has_a_whole_file() {
    for wire in [Wire::Native, Wire::Classic] {
        let folder = Folder::new(&wire.to_string());
        let config = Config::server("127.0.0.1:0").wire(wire).record(folder.0.join("runs/plant.mcap"));
        let plant = create_udp_server(config).expect("in order");
        assert_eq!(plant.recording(), None);
        plant.register_message_handler(MessageType::Data, Handler::inline(|_, _| {}));
        let mut files = Vec::new();
        for life in 0..2 {
            plant.connect().expect("a free port");
            let address = plant.local_address().expect("connected");
            let client =
                Config::client(address).name("arm").wire(wire).connect_timeout(Duration::from_secs(20));
            let controller = create_udp_client(client).expect("in order");
            controller.connect().expect("the plant answers");
            for number in 0..50_u32 {
                controller.send(&[f64::from(number), 1.5], &Metadata::data()).expect("sent");
            }
            if wire == Wire::Native {
                controller.send(Raw(&[0xab, 0xcd]), &Metadata::data()).expect("sent");
            }
            controller.send(&life, &Metadata::status()).expect("sent");
            // A handler takes the data, and `receive` the rest.
            while plant.receive(Some(Duration::from_secs(20))).expect("it comes").message_type()
                != MessageType::Status
            {}
            let until = Instant::now() + Duration::from_secs(20);
            let wanted = if wire == Wire::Native { 52 } else { 51 };
            while plant.recording().expect("it is on").recorded < wanted {
                assert!(Instant::now() < until, "{:?}", plant.recording());
                std::thread::sleep(Duration::from_millis(5));
            }
            controller.disconnect();
            plant.disconnect();
            let recording = plant.recording().expect("it was on");
            assert_eq!((recording.recorded, recording.not_recorded), (wanted, 0));
            files.push(recording.path);
        }
        assert_ne!(files[0], files[1]);
        for (life, path) in files.iter().enumerate() {
            let mut reader = RecordingReader::open(path).expect("a recording");
            let mut documents = Vec::new();
            while let Some(message) = reader.next_message().expect("readable") {
                documents.push(serde_json::from_slice::<serde_json::Value>(&message.document).expect("JSON"));
            }
            assert!(!reader.is_cut_off(), "{}", path.display());
            assert_eq!(documents.iter().filter(|found| found["data"][1] == 1.5).count(), 50);
            assert_eq!(documents.last().expect("the state")["data"], life);
            assert!(documents.iter().all(|found| found["metadata"]["source"] == "arm"));
            if wire == Wire::Native {
                assert!(documents.iter().any(|found| found["data"] == "abcd"), "raw bytes are hexadecimal");
            }
        }
    }
}

#[test]
fn a_file_that_cannot_be_created_is_an_error_of_connect() {
    let folder = Folder::new("taken");
    fs::create_dir_all(&folder.0).expect("a temporary folder");
    fs::write(folder.0.join("file"), "in the way").expect("written");
    let config = Config::server("127.0.0.1:0").record(folder.0.join("file/plant.mcap"));
    let plant = create_udp_server(config).expect("in order");
    let error = plant.connect().expect_err("a file is no folder").to_string();
    assert!(error.contains("cannot write") && error.contains("plant-"), "{error}");
    let error = Config::default().set("record", "..").expect_err("no file").to_string();
    assert!(error.contains("the path of a file"), "{error}");
}
