//! Key files in folders of their own.
#![allow(dead_code)] // no test file uses all of it

use std::fs;
use std::path::PathBuf;

/// `python3 -c 'import base64; print(base64.b64encode(bytes(range(32))))'`, and the bytes after those.
pub(crate) const FIRST: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
pub(crate) const SECOND: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

/// A folder of a test, which is removed at its end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tautline-keys-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a new folder");
        Self(path)
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file that others cannot read.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        // Writing to it changes nothing of who may read it.
        #[cfg(windows)]
        let _ = tautline::SecretKey::from([7; 32]).create_file(&path);
        fs::write(&path, bytes).expect("written");
        #[cfg(unix)]
        allow(&path, 0o600);
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(unix)]
pub(crate) fn allow(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is our file");
}
