//! A few seconds of the soak, so that its command keeps working.
#![cfg(feature = "sim")]
#![cfg(target_os = "linux")] // where /proc tells

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
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("the accounting is exact"), "{told}");
}
