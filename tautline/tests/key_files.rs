//! Key files: what is read, what is refused with which sentence, and what is created.
#![cfg(feature = "secure")]

#[path = "common/key_files.rs"]
mod files;

use std::fs;
use std::path::Path;

use tautline::SecretKey;

#[cfg(unix)]
use files::allow;
use files::{FIRST, Folder, SECOND};

#[cfg(unix)]
fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

fn read(path: &Path) -> Vec<String> {
    let keys = SecretKey::read_file(path).unwrap_or_else(|error| panic!("{error}"));
    keys.iter().map(|key| key.reveal().to_owned()).collect()
}

/// Returns the sentence that refuses the file, with `FILE` in place of its path.
fn refusal(path: &Path) -> String {
    let error = SecretKey::read_file(path).expect_err("it is refused");
    error.to_string().replace(&path.display().to_string(), "FILE")
}

#[test]
fn keys_stand_on_lines_among_comments_and_empty_lines() {
    let folder = Folder::new("lines");
    for text in [
        format!("{FIRST}\n{SECOND}\n"),
        format!("{FIRST}\n{SECOND}"),
        format!("# the new key\r\n{FIRST}\r\n\r\n# the old key\r\n{SECOND}\r\n"),
        format!("\u{feff}\n  {FIRST}\t\n\n   # {FIRST}\n {SECOND}  "),
    ] {
        assert_eq!(read(&folder.file("two.key", &text)), [FIRST, SECOND], "{text:?}");
    }
}

#[test]
fn each_file_that_holds_no_usable_keys_is_refused_with_a_sentence() {
    let folder = Folder::new("contents");
    let right = "expected a key of 32 bytes, that is 44 characters of base64, as `tautline keygen` makes it";
    let many: String = (0..65u8)
        .map(|number| {
            let mut key = [200; 32];
            key[0] = number;
            format!("{}\n", &*SecretKey::from(key).reveal())
        })
        .collect();
    for (bytes, sentence) in [
        (
            String::new(),
            "FILE holds no key: it needs a line of 44 characters of base64, as `tautline keygen` makes it"
                .to_owned(),
        ),
        (
            "# nothing yet\n".to_owned(),
            "FILE holds no key: it needs a line of 44 characters of base64, as `tautline keygen` makes it"
                .to_owned(),
        ),
        ("#\n\ncorrect horse battery staple\n".to_owned(), format!("line 3 of FILE is not base64: {right}")),
        (format!("{FIRST} # ours\n"), format!("line 1 of FILE is not base64: {right}")),
        (FIRST[..40].to_owned(), format!("line 1 of FILE has 30 bytes: {right}")),
        ("00".repeat(32), format!("line 1 of FILE has 48 bytes: {right}")),
        (
            format!("{}=", "A".repeat(43)),
            format!("line 1 of FILE has 32 equal bytes, which are no secret: {right}"),
        ),
        (
            format!("{FIRST}\n{SECOND}\n#\n{FIRST}\n"),
            "lines 1 and 4 of FILE hold the same key: remove one of them".to_owned(),
        ),
        (many, "FILE holds more than 64 keys: remove those that nobody uses".to_owned()),
        (
            "#".repeat(65_537),
            "FILE has more than 65536 bytes: a key file has a line of 44 characters for each key".to_owned(),
        ),
    ] {
        let found = refusal(&folder.file("wrong.key", &bytes));
        assert_eq!(found, sentence);
        assert!(
            !found.contains(&FIRST[..8]) && !found.contains("horse"),
            "it repeats what the file holds: {found}"
        );
    }
}

#[test]
fn a_file_as_large_as_allowed_is_read() {
    let folder = Folder::new("large");
    let path = folder.file("large.key", format!("{FIRST}\n{}", "#".repeat(65_536 - 45)));
    assert_eq!(read(&path), [FIRST]);
}

#[test]
fn a_file_that_is_no_text_is_refused() {
    let folder = Folder::new("text");
    assert_eq!(
        refusal(&folder.file("bytes.key", [0x80; 32])),
        "FILE is not text: a key file has a line of 44 characters of base64 for each key"
    );
    let utf16: Vec<u8> = format!("\u{feff}{FIRST}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let path = folder.file("utf16.key", utf16);
    assert_eq!(
        refusal(&path),
        "FILE is text in UTF-16, which PowerShell writes: make the key with `tautline keygen FILE`, without `>`"
    );
}

#[test]
fn what_is_no_readable_file_is_refused() {
    let folder = Folder::new("kind");
    assert_eq!(
        refusal(&folder.at("none.key")),
        "there is no file FILE: make a key with `tautline keygen FILE`, or copy the key of the other end to it"
    );
    assert_eq!(refusal(&folder.0), "FILE is a directory: name the key file in it");
    #[cfg(unix)]
    {
        let below = folder.file("plain.key", FIRST).join("below");
        assert!(refusal(&below).starts_with("cannot read FILE: "), "{}", refusal(&below));
        let device = Path::new("/dev/null");
        assert_eq!(refusal(device), "FILE is not a regular file: a key is read from a regular file only");
    }
}

#[test]
fn a_key_in_place_of_a_path_is_refused_and_not_repeated() {
    let sentence =
        "a key was given where the path of a key file belongs: write the key to a file, and name the file";
    for text in [FIRST.to_owned(), format!("# tautline key.\n{FIRST}\n"), FIRST[..43].to_owned()] {
        let key = SecretKey::generate().expect("random");
        for error in [SecretKey::read_file(&text).map(|_| ()), key.create_file(&text)].map(Result::unwrap_err)
        {
            assert_eq!(error.to_string(), sentence);
            assert!(!format!("{error:?}").contains(&FIRST[..8]), "{error:?}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_others_have_access_to_is_refused_with_the_command_that_helps() {
    let folder = Folder::new("modes");
    let path = folder.file("arm.key", FIRST);
    for mode in [0o640, 0o604, 0o660, 0o644, 0o601, 0o777] {
        allow(&path, mode);
        assert_eq!(
            refusal(&path),
            format!(
                "others have access to FILE (its mode is {mode:04o}): type `chmod 600 FILE`, and replace the key if somebody \
                 may have read it"
            )
        );
    }
    for mode in [0o600, 0o400] {
        allow(&path, mode);
        assert_eq!(read(&path), [FIRST], "{mode:o}");
    }
    // The mode counts before the contents, so that nobody mends the contents of a file that others read.
    fs::write(folder.file("none.key", ""), "").expect("written");
    allow(&folder.at("none.key"), 0o644);
    assert!(refusal(&folder.at("none.key")).starts_with("others have access to FILE"));
}

#[cfg(unix)]
#[test]
fn the_command_in_a_sentence_is_what_a_shell_understands() {
    let folder = Folder::new("shell");
    let path = folder.file("the arm's key", FIRST);
    allow(&path, 0o644);
    let sentence = SecretKey::read_file(&path).expect_err("it is refused").to_string();
    let command = sentence.split('`').nth(1).expect("a command");
    let status = std::process::Command::new("sh").args(["-c", command]).status().expect("a shell");
    assert!(status.success(), "{command}");
    assert_eq!(read(&path), [FIRST]);
}

#[cfg(unix)]
#[test]
fn what_a_symbolic_link_leads_to_is_what_counts() {
    let folder = Folder::new("links");
    let (target, link) = (folder.file("target.key", FIRST), folder.at("link.key"));
    std::os::unix::fs::symlink(&target, &link).expect("a link");
    assert_eq!(read(&link), [FIRST]);
    allow(&target, 0o644);
    assert!(refusal(&link).starts_with("others have access to FILE"));
}

#[test]
fn a_new_file_holds_its_key_and_is_for_its_owner_alone() {
    let folder = Folder::new("new");
    let (path, key) = (folder.at("arm.key"), SecretKey::generate().expect("random"));
    key.create_file(&path).expect("created");
    assert_eq!(SecretKey::read_file(&path), Ok(vec![key.clone()]));
    #[cfg(unix)]
    assert_eq!(mode_of(&path), 0o600);
    let text = fs::read_to_string(&path).expect("text");
    assert!(text.contains(&key.fingerprint()), "{text}");
}

#[test]
fn a_file_that_exists_is_never_overwritten() {
    let folder = Folder::new("exists");
    let path = folder.file("arm.key", FIRST);
    let error = SecretKey::generate().expect("random").create_file(&path).expect_err("it exists");
    let shown = path.display();
    let sentence =
        format!("{shown} exists, and keys are never overwritten: name another file, or remove it first");
    assert_eq!(error.to_string(), sentence);
    assert_eq!(read(&path), [FIRST]);

    let nowhere = folder.at("no folder").join("arm.key");
    let error =
        SecretKey::generate().expect("random").create_file(&nowhere).expect_err("there is no such folder");
    assert!(error.to_string().contains("cannot write "), "{error}");
}
