//! Keys are replaced while the link runs.

use super::UdpInterface;
use crate::config::ConfigError;

impl UdpInterface {
    /// Reads the key files of the configuration again (`key_file`, `keys.NAME.file`). From now on, the keys that they hold are
    /// accepted, and no others. The sessions of removed keys end, and their peers are told why
    /// ([`KeyRemoved`](crate::RemovalReason::KeyRemoved)). A client whose first key is another one calls for a session
    /// with it; the present session goes on until the server has accepted that.
    ///
    /// To replace a key without an outage: let the server accept the old and the new one, give the new one to the clients, and
    /// then remove the old one at the server. docs/security.md has the steps.
    ///
    /// # Errors
    ///
    /// A file cannot be used, or the link is plain. Then nothing changes.
    pub fn reload_keys(&self) -> Result<(), ConfigError> {
        let keys = self.config().key_sources().read()?.ok_or_else(|| ConfigError::Missing {
            key: "key_file".to_owned(),
            expected: "the path of a key file, because a plain link has no keys to read again".to_owned(),
        })?;
        self.shared().new_keys.put(keys);
        self.connection().wake_driver();
        Ok(())
    }
}
