//! Checks a key file, and shows the fingerprints of its keys. The keys themselves are never shown.

use std::path::Path;

use serde_json::json;
use tautline::SecretKey;

use crate::tools::exit::{Exit, Failure};
use crate::tools::output;

/// Prints the fingerprint of each key of a file. Fails if the file cannot be used.
pub(super) fn check(path: &Path, as_json: bool) -> Result<Exit, Failure> {
    let keys = SecretKey::read_file(path).map_err(|error| Failure::usage(error.to_string()))?;
    let fingerprints: Vec<String> = keys.iter().map(SecretKey::fingerprint).collect();
    let shown = path.display().to_string();
    output::data(&if as_json {
        json(&shown, &fingerprints)
    } else {
        output::on_terminal(text(&shown, &fingerprints))
    })?;
    Ok(Exit::Done)
}

fn json(path: &str, fingerprints: &[String]) -> String {
    json!({ "key_file": path, "fingerprints": fingerprints }).to_string() + "\n"
}

fn text(path: &str, fingerprints: &[String]) -> String {
    fingerprints.iter().map(|fingerprint| format!("{path}: fit, key {fingerprint}\n")).collect()
}
