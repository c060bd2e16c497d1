//! The keys of a configuration: key files, keys from code, and the named holders of keys that a server knows.
//!
//! [`Config`] holds where keys are; [`KeySources::read`] reads them, when settings are checked and when keys are replaced.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use tautline_proto::{MessageType, Rights};

use super::error::{ConfigError, nearest_holder_key};
use super::key_text::holds_key;
#[cfg(feature = "secure")]
use super::secret::SecretKey;
use super::value::{Setting, SourceValue, Wire};
use super::{Config, Role, invalid, missing_with};

/// The path of a key file. Text that is a key itself is not kept, so that nothing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPath(Option<PathBuf>);

impl KeyPath {
    /// The path; `None` if the text that was given is a key and not a path.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.as_deref()
    }

    /// Takes a relative path as one below `folder`.
    #[cfg(feature = "toml")]
    fn below(&mut self, folder: &Path) {
        if let Some(path) = &mut self.0 {
            *path = folder.join(&*path);
        }
    }
}

impl From<PathBuf> for KeyPath {
    fn from(path: PathBuf) -> Self {
        Self(Some(path).filter(|path| !holds_key(&path.to_string_lossy())))
    }
}

impl From<&Path> for KeyPath {
    fn from(path: &Path) -> Self {
        Self::from(path.to_owned())
    }
}

impl From<&str> for KeyPath {
    fn from(path: &str) -> Self {
        Self::from(PathBuf::from(path))
    }
}

impl From<String> for KeyPath {
    fn from(path: String) -> Self {
        Self::from(PathBuf::from(path))
    }
}

impl Setting for KeyPath {
    type Size = ();

    fn read(given: SourceValue<'_>) -> Option<Self> {
        given.text().filter(|text| !text.trim().is_empty()).map(Self::from)
    }

    fn size(&self) {}

    fn show(&self) -> String {
        self.0.as_ref().map_or_else(|| "a key".to_owned(), |path| path.display().to_string())
    }

    fn expected(_: Option<&RangeInclusive<()>>) -> String {
        "the path of a key file".to_owned()
    }
}

/// Somebody who holds keys that a server accepts, and what it may send: an HMI that observes, a controller that commands.
///
/// ```
/// use tautline::{Config, KeyHolder, MessageType};
///
/// let config = Config::server("0.0.0.0:9000")
///     .key_holder("controller", KeyHolder::of_file("controller.key").may_command())
///     .key_holder("hmi", KeyHolder::of_file("hmi.key").may_observe())
///     .key_holder("sensor", KeyHolder::of_file("sensor.key").may_send([MessageType::Status]));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyHolder {
    file: Option<KeyPath>,
    #[cfg(feature = "secure")]
    keys: Vec<SecretKey>,
    rights: Option<Rights>,
}

impl KeyHolder {
    /// The keys are in this file. Say what their holder may send, too.
    #[must_use]
    pub fn of_file(path: impl Into<KeyPath>) -> Self {
        Self { file: Some(path.into()), ..Self::default() }
    }

    /// The keys are these. Say what their holder may send, too.
    #[cfg(feature = "secure")]
    #[must_use]
    pub fn of_keys(keys: impl IntoIterator<Item = SecretKey>) -> Self {
        Self { keys: keys.into_iter().collect(), ..Self::default() }
    }

    /// It may send messages of every type.
    #[must_use]
    pub fn may_command(self) -> Self {
        self.may(Rights::ALL)
    }

    /// It may send no messages. It is in the link, and receives what is sent to it and to all.
    #[must_use]
    pub fn may_observe(self) -> Self {
        self.may(Rights::NONE)
    }

    /// It may send messages of these types only.
    #[must_use]
    pub fn may_send(self, types: impl IntoIterator<Item = MessageType>) -> Self {
        self.may(types.into_iter().collect())
    }

    fn may(self, rights: Rights) -> Self {
        Self { rights: Some(rights), ..self }
    }
}

/// A key of a holder's table, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HolderKey {
    File,
    May,
    MaySend,
}

impl HolderKey {
    pub(super) const NAMES: [&'static str; 3] = ["file", "may", "may_send"];
    const ALL: [(&'static str, Self); 3] =
        [("file", Self::File), ("may", Self::May), ("may_send", Self::MaySend)];

    fn set(self, holder: &mut KeyHolder, written: &str, given: SourceValue<'_>) -> Result<(), ConfigError> {
        match self {
            Self::File => {
                let path = KeyPath::read(given);
                holder.file = Some(path.ok_or_else(|| invalid(written, &given, &KeyPath::expected(None)))?);
            }
            Self::May => {
                let rights = match given.text().map(str::trim) {
                    Some("command") => Rights::ALL,
                    Some("observe") => Rights::NONE,
                    _ => return Err(invalid(written, &given, "command or observe")),
                };
                holder.rights = Some(rights);
            }
            Self::MaySend => {
                let rights = types(given).ok_or_else(|| invalid(written, &given, &expected_types()))?;
                holder.rights = Some(rights);
            }
        }
        Ok(())
    }
}

/// Reads a list of message types.
fn types(given: SourceValue<'_>) -> Option<Rights> {
    let (SourceValue::List(text) | SourceValue::Untyped(text) | SourceValue::Text(text)) = given else {
        return None;
    };
    text.split(',').map(|name| MessageType::from_name(name.trim())).collect()
}

fn expected_types() -> String {
    let names: Vec<&str> = MessageType::ALL.iter().map(|message_type| message_type.name()).collect();
    format!(
        "message types ({}), such as [\"status\", \"data\"], or `may = \"observe\"` for none",
        names.join(", ")
    )
}

/// The longest name of a holder, in bytes: it travels as a name does.
const LONGEST_NAME: usize = 64;

fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_part) && !holds_key(name)
}

fn not_a_name(written: &str, name: &str) -> ConfigError {
    let expected = format!("a name of 1 to {LONGEST_NAME} letters, digits, - and _");
    if holds_key(name) {
        return invalid("keys", &"about a key", &expected);
    }
    let start: String = name.chars().take(LONGEST_NAME + 1).collect();
    invalid(written, &format!("about {start:?}"), &expected)
}

/// The other one of the two keys that say what a holder may send, such as `keys.hmi.may` for `keys.hmi.may_send`.
pub(super) fn other_rights(name: &str, separator: char) -> Option<String> {
    let [may, may_send] = ["may", "may_send"].map(|key| (key, name.strip_suffix(key)));
    let other = may_send.1.map(|holder| (holder, may.0)).or(may.1.map(|holder| (holder, may_send.0)));
    let (holder, other) =
        other.filter(|(holder, _)| is_of_holder(name, separator) && holder.ends_with(separator))?;
    Some(format!("{holder}{other}"))
}

/// Whether `name` is a key of a holder, such as `keys.hmi.file`.
pub(super) fn is_of_holder(name: &str, separator: char) -> bool {
    name.strip_prefix("keys").is_some_and(|rest| rest.starts_with(separator))
}

impl Config {
    /// Sets the key of the link: the client calls with it, the server accepts it. Without one, the link is plain.
    #[cfg(feature = "secure")]
    #[must_use]
    pub fn key(mut self, key: SecretKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Lets a server accept the keys of somebody, and limits what it may send. `name` is its identity: peers, messages and
    /// watchdogs show it. Replaces a holder of the same name.
    #[must_use]
    pub fn key_holder(mut self, name: impl Into<String>, holder: KeyHolder) -> Self {
        self.key_holders.insert(name.into(), holder);
        self
    }

    /// Sets a key of a holder, such as `keys.hmi.file`. Errors show it as `written`, and others as `write` writes them.
    pub(super) fn set_of_holder(
        &mut self,
        name: &str,
        separator: char,
        written: &str,
        given: SourceValue<'_>,
        write: impl Fn(&str) -> String,
    ) -> Result<(), ConfigError> {
        let rest = &name["keys".len() + separator.len_utf8()..];
        let known = HolderKey::ALL
            .into_iter()
            .rev()
            .find_map(|(key_name, key)| Some((rest.strip_suffix(key_name)?.strip_suffix(separator)?, key)));
        let Some((holder, key)) = known else {
            if let Some(holder) = rest.strip_suffix("key").and_then(|holder| holder.strip_suffix(separator)) {
                let instead = write(&format!("keys{separator}{holder}{separator}file"));
                return Err(ConfigError::KeyInText { key: written.to_owned(), instead });
            }
            let nearest = rest.rsplit_once(separator).and_then(|(holder, key)| {
                Some(write(&format!("keys{separator}{holder}{separator}{}", nearest_holder_key(key)?)))
            });
            return Err(ConfigError::UnknownHolderKey { key: written.to_owned(), nearest });
        };
        if !is_name(holder) {
            return Err(not_a_name(written, holder));
        }
        key.set(self.key_holders.entry(holder.to_owned()).or_default(), written, given)
    }

    /// Takes relative paths of key files as paths below `folder`.
    #[cfg(feature = "toml")]
    pub(super) fn key_files_below(&mut self, folder: &Path) {
        let of_holders = self.key_holders.values_mut().filter_map(|holder| holder.file.as_mut());
        self.key_file.iter_mut().chain(of_holders).for_each(|path| path.below(folder));
    }

    /// Returns where the keys are, if there are any.
    pub(crate) fn key_sources(&self) -> KeySources {
        KeySources {
            #[cfg(feature = "secure")]
            key: self.key.clone(),
            file: self.key_file.clone(),
            holders: self.key_holders.clone(),
        }
    }

    /// Checks the settings about keys that can be checked without reading a file.
    pub(super) fn check_keys(&self, role: Role, wire: Wire) -> Result<(), ConfigError> {
        let mut set = self.key_settings();
        let Some(first) = set.next() else { return Ok(()) };
        if cfg!(not(feature = "secure")) {
            return Err(ConfigError::SecurityNotBuilt { key: first });
        }
        if wire == Wire::Classic {
            return Err(ConfigError::CannotBeSecured { key: first });
        }
        #[cfg(feature = "secure")]
        if self.key.is_some() && self.key_file.is_some() {
            return Err(invalid("key_file", &"set, and so is `key`", "one of the two"));
        }
        self.key_holders.iter().try_for_each(|(name, holder)| holder.check(name, role))
    }

    /// The names of the settings about keys that are set.
    fn key_settings(&self) -> impl Iterator<Item = String> + '_ {
        #[cfg(feature = "secure")]
        let key = self.key.iter().map(|_| "key".to_owned());
        #[cfg(not(feature = "secure"))]
        let key = std::iter::empty();
        let file = self.key_file.iter().map(|_| "key_file".to_owned());
        key.chain(file).chain(self.key_holders.keys().map(|name| format!("keys.{name}")))
    }
}

impl KeyHolder {
    fn check(&self, name: &str, role: Role) -> Result<(), ConfigError> {
        let table = format!("keys.{name}");
        if !is_name(name) {
            return Err(not_a_name("keys", name));
        }
        if role == Role::Client {
            return Err(ConfigError::NoEffect {
                key: table,
                only: "for servers (a client calls with its `key_file`)",
            });
        }
        if self.file.is_none() && !self.has_keys() {
            return Err(missing_with(&format!("{table}.file"), "the path of a key file"));
        }
        if self.rights.is_none() {
            return Err(missing_with(
                &format!("{table}.may"),
                "command or observe, or `may_send` with message types",
            ));
        }
        Ok(())
    }

    #[cfg(feature = "secure")]
    fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    #[cfg(not(feature = "secure"))]
    fn has_keys(&self) -> bool {
        false
    }
}

/// Where the keys of an interface are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct KeySources {
    #[cfg(feature = "secure")]
    key: Option<SecretKey>,
    file: Option<KeyPath>,
    holders: BTreeMap<String, KeyHolder>,
}

#[cfg(feature = "secure")]
mod reading {
    use tautline_proto::secure::{BadKeys, Identity, Key, Keys};

    use super::{ConfigError, KeyPath, KeySources, Rights, SecretKey, invalid};

    impl KeySources {
        /// Whether there are any. Without keys, the link is plain.
        pub(crate) fn is_empty(&self) -> bool {
            self.key.is_none() && self.file.is_none() && self.holders.is_empty()
        }

        /// Reads all keys. `None` if there are no sources.
        pub(crate) fn read(&self) -> Result<Option<Keys>, ConfigError> {
            if self.is_empty() {
                return Ok(None);
            }
            let mut identities = Vec::new();
            let shared: Vec<Key> = match (&self.key, &self.file) {
                (Some(key), _) => vec![key.clone().into()],
                (None, Some(path)) => keys_of("key_file", path)?,
                (None, None) => Vec::new(),
            };
            if !shared.is_empty() {
                identities.push(Identity::new("", shared));
            }
            for (name, holder) in &self.holders {
                let mut keys: Vec<Key> = holder.keys.iter().cloned().map(Into::into).collect();
                if let Some(path) = &holder.file {
                    keys.extend(keys_of(&format!("keys.{name}.file"), path)?);
                }
                let rights = holder.rights.unwrap_or(Rights::NONE);
                identities.push(Identity::new(name.clone(), keys).with_rights(rights));
            }
            Keys::new(identities).map(Some).map_err(|error| ConfigError::Keys(describe(error)))
        }
    }

    fn keys_of(setting: &str, path: &KeyPath) -> Result<Vec<Key>, ConfigError> {
        let Some(path) = path.path() else {
            return Err(invalid(setting, &"a key", "the path of a file that holds the key"));
        };
        let keys = SecretKey::read_file(path);
        let keys = keys.map_err(|error| ConfigError::KeyFile { key: setting.to_owned(), error })?;
        Ok(keys.into_iter().map(Into::into).collect())
    }

    /// Names the settings, where the protocol names identities.
    fn describe(error: BadKeys) -> String {
        match error {
            BadKeys::Twice(one, other) if one.is_empty() && !other.is_empty() => format!(
                "`key_file` and `keys.{other}` hold the same key: give each holder its own, because the key decides who a peer is"
            ),
            error => error.to_string(),
        }
    }
}
