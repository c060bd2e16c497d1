//! Runs the example `soak` for a few seconds, so that it keeps working.
#![cfg(feature = "sim")]
#![cfg(target_os = "linux")] // has /proc

use std::process::Command;

#[test]
fn a_short_soak_accounts_for_everything() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = ["--minutes", "0.1", "--rate", "200"];
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--locked", "--all-features", "--example", "soak", "--"]).args(arguments);
    let output = command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs this test");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("the accounting is exact"), "{text}");
}
