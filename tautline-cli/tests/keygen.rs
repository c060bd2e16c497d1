//! `keygen` makes keys that nobody else can read, and `doctor --key` checks them without showing them.

mod support;

use std::fs;
use std::path::PathBuf;

use support::{last_json, run};

/// A folder of a test, which is removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tautline-keygen-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a new folder");
        Self(path)
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("the path is text").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(unix)]
fn mode_of(path: &str) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

/// Returns the key and the fingerprint that a key file holds.
fn parts(text: &str) -> (&str, &str) {
    let comment =
        text.lines().next().and_then(|line| line.strip_prefix("# tautline key ")).expect("a comment");
    (text.lines().nth(1).expect("a key"), comment.split('.').next().expect("a fingerprint"))
}

#[cfg(unix)]
/// Starts a shell that runs the program with an umask that lets everybody read new files.
fn shell(script: &str) -> support::Finished {
    let script = format!("umask 0; tautline() {{ '{}' \"$@\"; }}; {script}", env!("CARGO_BIN_EXE_tautline"));
    let mut shell = std::process::Command::new("sh");
    support::finish(shell.args(["-c", &script]).stdin(std::process::Stdio::null()))
}

#[test]
fn a_dash_is_the_standard_output() {
    let folder = Folder::new("dash");
    let made = support::finish(support::command(&["keygen", "-"]).current_dir(&folder.0));
    assert_eq!(made.code, 0, "{made:?}");
    parts(&made.stdout);
    assert_eq!(fs::read_dir(&folder.0).expect("it exists").count(), 0, "no file named -");
}

#[test]
fn a_key_in_a_new_file_is_for_its_owner_alone_and_passes_the_check() {
    let folder = Folder::new("file");
    let path = folder.at("arm.key");
    let made = run(&["keygen", &path]);
    assert_eq!((made.code, made.stdout.as_str()), (0, ""), "{made:?}");
    let text = fs::read_to_string(&path).expect("the file is there");
    let (key, fingerprint) = parts(&text);
    assert!(made.stderr.contains(fingerprint) && !made.stderr.contains(key), "{made:?}");
    #[cfg(unix)]
    assert_eq!(mode_of(&path), 0o600);

    let checked = run(&["doctor", "--key", &path]);
    assert_eq!((checked.code, checked.stdout), (0, format!("{path}: fit, key {fingerprint}\n")));
    let checked = last_json(&run(&["doctor", "--key", &path, "--json"]).stdout);
    assert_eq!(checked["key_file"], path.as_str());
    assert_eq!(checked["fingerprints"], serde_json::json!([fingerprint]));
}

#[test]
fn a_file_that_exists_is_not_overwritten() {
    let folder = Folder::new("twice");
    let path = folder.at("arm.key");
    assert_eq!(run(&["keygen", &path]).code, 0);
    let first = fs::read_to_string(&path).expect("the file is there");
    let again = run(&["keygen", &path]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains(&path) && again.stderr.contains("never overwritten"), "{again:?}");
    assert_eq!(fs::read_to_string(&path).expect("the file is there"), first);
}

#[test]
fn every_key_is_another_one() {
    let (one, another) = (run(&["keygen"]).stdout, run(&["keygen"]).stdout);
    assert_eq!(parts(&one).0.len(), 44);
    assert_ne!(parts(&one), parts(&another));
}

#[cfg(unix)]
#[test]
fn a_key_that_the_shell_puts_in_a_file_is_closed_to_others_and_passes_the_check() {
    let folder = Folder::new("shell");
    let path = folder.at("arm.key");
    let made = shell(&format!(
        "tautline keygen > '{path}' && tautline keygen >> '{path}' && tautline doctor --key '{path}'"
    ));
    assert_eq!(made.code, 0, "{made:?}");
    assert_eq!(made.stdout.lines().count(), 2, "a line for each key: {made:?}");
    assert_eq!(mode_of(&path), 0o600);
}

#[cfg(unix)]
#[test]
fn a_key_file_that_others_can_read_is_refused_with_the_command_that_helps() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new("open");
    let path = folder.at("arm.key");
    assert_eq!(run(&["keygen", &path]).code, 0);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is our file");
    let refused = run(&["doctor", "--key", &path]);
    assert_eq!((refused.code, refused.stdout.as_str()), (2, ""));
    assert!(refused.stderr.contains(&format!("chmod 600 {path}")), "{refused:?}");
    let key = fs::read_to_string(&path).expect("the file is there");
    assert!(!refused.stderr.contains(parts(&key).0), "{refused:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported() {
    let failed = shell("tautline keygen > /dev/full");
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stderr.contains("cannot write"), "{failed:?}");
}

#[test]
fn the_check_of_a_key_file_measures_nothing() {
    let both = run(&["doctor", "--key", "arm.key", "--rate", "1kHz"]);
    assert_eq!(both.code, 2, "{both:?}");
    let missing = run(&["doctor", "--key", "no such file.key"]);
    assert_eq!(missing.code, 2);
    let quote = if cfg!(windows) { '"' } else { '\'' };
    let command = format!("tautline keygen {quote}no such file.key{quote}");
    assert!(missing.stderr.contains(&command), "{missing:?}");
}
