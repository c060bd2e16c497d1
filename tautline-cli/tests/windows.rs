//! What is different on Windows: paths with drive letters, PowerShell's files, and errors that name what helps there.
#![cfg(windows)]

mod support;

use std::fs;

use support::{Finished, Folder, Listener, command, finish, run, run_with_input};

/// Runs the program with one variable in its environment.
fn run_with(variable: (&str, &str), args: &[&str]) -> Finished {
    finish(command(args).env(variable.0, variable.1).stdin(std::process::Stdio::null()))
}

#[test]
fn a_path_with_a_drive_letter_is_a_path_wherever_one_is_named() {
    let folder = Folder::new("drive");
    let path = folder.0.to_str().expect("text").to_owned();
    assert_eq!(path.get(1..3), Some(":\\"), "{path}");
    let key = format!("{path}\\arm.key");
    let made = run(&["keygen", &key]);
    assert_eq!(made.code, 0, "{made:?}");
    // On the command line, in a variable, in a file.
    let fit = run(&["doctor", "--key", &key]);
    assert!(fit.code == 0 && fit.stdout.starts_with(&format!("{key}: fit")), "{fit:?}");
    let settings = folder.file("plant.toml", "role = \"server\"\nendpoint = \"127.0.0.1:0\"\n");
    let checked = run_with(("TAUTLINE_KEY_FILE", &key), &["config", "check", &settings]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let text = format!(
        "role = \"server\"\nendpoint = \"127.0.0.1:0\"\nkey_file = '{key}'\nblack_box_dir = '{path}\\box'\n"
    );
    let printed = run(&["config", "print", &folder.file("secured.toml", &text)]);
    assert!(printed.code == 0 && printed.stdout.contains(&format!("{path}\\box")), "{printed:?}");
    // A relative one is looked for beside the file that names it.
    let beside = folder.file("beside.toml", &text.replace(&key, ".\\arm.key"));
    assert_eq!(run(&["config", "check", &beside]).code, 0);
    let spoiled = run(&["config", "check", &folder.file("quotes.toml", &text.replace('\'', "\""))]);
    assert!(spoiled.code != 0 && spoiled.stderr.contains("in single quotes"), "{spoiled:?}");
}

#[test]
fn a_black_box_goes_to_another_drive_and_is_read_there() {
    let folder = Folder::new("box");
    let path = folder.0.join("box");
    let args = ["demo", "--seconds", "2", "--cut-after", "500ms", "--no-plot", "--black-box"];
    let stopped = run(&[&args[..], &[path.to_str().expect("text")]].concat());
    assert_ne!(stopped.code, 0, "the motor was stopped: {stopped:?}");
    // The first box may be of another fault: on a busy machine, a link may need a second try.
    let files = fs::read_dir(&path).expect("it was created").map(|file| file.expect("readable").path());
    let mut names = files.map(|file| file.to_str().expect("text").to_owned());
    let of_watchdog = names.find(|name| name.ends_with("-watchdog.mcap")).expect("the watchdog's");
    let story = run(&["incident", &of_watchdog]);
    assert!(story.code == 0 && story.stdout.contains("watchdog"), "{story:?}");
}

#[test]
fn errors_name_what_helps_on_windows() {
    let listener = Listener::start(&[]);
    let taken = run(&["listen", &listener.address]);
    assert!(taken.code != 0 && taken.stderr.contains("is in use at 127.0.0.1: stop the other"), "{taken:?}");
    let card = run_with(("TAUTLINE_INTERFACE", "Ethernet 77"), &["listen", "127.0.0.1:0"]);
    assert!(card.code != 0 && card.stderr.contains("Get-NetAdapter"), "{card:?}");
    for finished in [taken, card] {
        assert!(!finished.stderr.contains("ip "), "no command of Linux: {finished:?}");
    }
}

#[test]
fn errors_of_key_files_name_what_helps_on_windows() {
    let folder = Folder::new("keys");
    // Windows PowerShell writes UTF-16 where `>` leads to a file.
    let wide: Vec<u8> = "\u{feff}key".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let path = folder.0.join("arm.key");
    let name = path.to_str().expect("text");
    fs::write(&path, &wide).expect("a file");
    let open = run(&["doctor", "--key", name]);
    assert!(open.code == 2 && open.stderr.contains(&format!("icacls {name} /inheritance:r")), "{open:?}");
    fs::remove_file(&path).expect("this test created it");
    assert_eq!(run(&["keygen", name]).code, 0);
    fs::write(&path, &wide).expect("it stays closed to others");
    let wide = run(&["doctor", "--key", name]);
    assert!(wide.code == 2 && wide.stderr.contains("PowerShell"), "{wide:?}");
    let nowhere = run(&["keygen", &format!("{}\\none\\arm.key", folder.0.display())]);
    assert!(nowhere.code == 1 && nowhere.stderr.contains("cannot write "), "{nowhere:?}");
}

/// As PowerShell passes them on: a mark at the front, and \r\n.
#[test]
fn lines_may_end_as_on_windows() {
    let mut listener = Listener::start(&["--count", "2"]);
    let sent = run_with_input(&["send", &listener.address], "\u{feff}{\"a\": 1}\r\n[2]\r\n".as_bytes());
    assert_eq!(sent.code, 0, "{sent:?}");
    assert_eq!(listener.message()["data"]["a"], 1);
    assert_eq!(listener.message()["data"][0], 2);
}
