//! The keys of an endpoint, and who holds them.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::key::{Key, KeyId};
use crate::rights::Rights;
use crate::snapshot::{Reader, Saved, Writer};

/// How many keys an endpoint has at most.
const MAX_KEYS: usize = 256;

/// Who a peer is: its keys decide that, and not what it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name, as configured at this end. Empty for a key that everybody shares.
    pub name: Arc<str>,
    /// The keys that are accepted from it.
    pub keys: Vec<Key>,
    /// What it may send to this end.
    pub rights: Rights,
}

impl Identity {
    /// An identity that may send everything.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, keys: impl IntoIterator<Item = Key>) -> Self {
        Self { name: name.into(), keys: keys.into_iter().collect(), rights: Rights::ALL }
    }

    /// Limits what it may send.
    #[must_use]
    pub fn with_rights(self, rights: Rights) -> Self {
        Self { rights, ..self }
    }
}

/// The keys of an endpoint: those that it accepts, and the one that a client calls with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Not empty, and each has a key.
    identities: Vec<Arc<Identity>>,
    /// The id of each key, and where the key is.
    places: Vec<(KeyId, usize, usize)>,
}

impl Keys {
    /// The keys of these identities. A client calls with the first key of the first one.
    ///
    /// # Errors
    ///
    /// An identity has no key, a key is there twice, or there is none or too many.
    pub fn new(identities: impl IntoIterator<Item = Identity>) -> Result<Self, BadKeys> {
        let identities: Vec<_> = identities.into_iter().map(Arc::new).collect();
        let mut places: Vec<(KeyId, usize, usize)> = Vec::new();
        for (holder, identity) in identities.iter().enumerate() {
            if identity.keys.is_empty() {
                return Err(BadKeys::NoKey(identity.name.clone()));
            }
            for (index, key) in identity.keys.iter().enumerate() {
                let id = key.id();
                if let Some(&(_, other, _)) = places.iter().find(|(known, ..)| *known == id) {
                    let (one, other) = (identities[other].name.clone(), identity.name.clone());
                    return Err(BadKeys::Twice(one, other));
                }
                places.push((id, holder, index));
            }
        }
        match places.len() {
            0 => Err(BadKeys::None),
            1..=MAX_KEYS => Ok(Self { identities, places }),
            many => Err(BadKeys::TooMany(many)),
        }
    }

    /// One key that everybody shares, and that lets its holders send everything.
    #[must_use]
    pub fn shared(key: Key) -> Self {
        let id = key.id();
        let identity = Identity::new("", [key]);
        Self { identities: [Arc::new(identity)].into(), places: [(id, 0, 0)].into() }
    }

    /// Returns the key that a client calls with.
    pub(crate) fn calling(&self) -> &Key {
        &self.identities[0].keys[0]
    }

    /// Returns what names that key. In a rerun, the key itself is not there.
    pub(crate) fn calling_id(&self) -> KeyId {
        self.places[0].0
    }

    /// Returns the key with this id, and who holds it.
    #[must_use]
    pub fn find(&self, id: KeyId) -> Option<(&Key, &Arc<Identity>)> {
        let &(_, holder, index) = self.places.iter().find(|(known, ..)| *known == id)?;
        let identity = &self.identities[holder];
        Some((&identity.keys[index], identity))
    }
}

/// What is saved of keys is who holds them, what they may send, and what names each key. The keys are not.
impl Saved for Identity {
    fn save(&self, out: &mut Writer) {
        let Self { name, keys, rights } = self;
        (name.clone(), (*rights, keys.len())).save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let (name, (rights, keys)): (Arc<str>, (Rights, usize)) = Saved::load(from)?;
        let none = Key::from_bytes([0; Key::LEN]);
        (1..=MAX_KEYS).contains(&keys).then(|| Self { name, keys: alloc::vec![none; keys], rights })
    }
}

impl Saved for Keys {
    fn save(&self, out: &mut Writer) {
        self.identities.save(out);
        self.places.iter().for_each(|(id, ..)| id.save(out));
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let identities: Vec<Arc<Identity>> = Saved::load(from)?;
        let mut places = Vec::new();
        for (holder, identity) in identities.iter().enumerate() {
            for index in 0..identity.keys.len() {
                places.push((KeyId::load(from)?, holder, index));
            }
        }
        (!places.is_empty()).then_some(Self { identities, places })
    }
}

impl Keys {
    /// More than the bytes that are saved.
    pub(crate) fn saved_len(&self) -> usize {
        let len = |identity: &Arc<Identity>| identity.name.len() + 32 + identity.keys.len() * KeyId::LEN;
        self.identities.iter().map(len).sum::<usize>() + 64
    }
}

/// Why keys are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadKeys {
    /// There is no key at all.
    None,
    /// The identity of this name has no key.
    NoKey(Arc<str>),
    /// The same key is there twice, for the identities of these names.
    Twice(Arc<str>, Arc<str>),
    /// There are this many keys.
    TooMany(usize),
}

impl fmt::Display for BadKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("there is no key: name at least one"),
            Self::NoKey(name) => write!(f, "\"{name}\" has no key: give it at least one"),
            Self::Twice(one, other) if one == other && one.is_empty() => {
                f.write_str("a key is there twice: name it once")
            }
            Self::Twice(one, other) if one == other => {
                write!(f, "a key of \"{one}\" is there twice: name it once")
            }
            Self::Twice(one, other) => write!(
                f,
                "\"{one}\" and \"{other}\" have the same key: give each its own, because the key decides who a peer is"
            ),
            Self::TooMany(count) => write!(f, "there are {count} keys: at most {MAX_KEYS} can be accepted"),
        }
    }
}

impl core::error::Error for BadKeys {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageType;

    fn key(number: u16) -> Key {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        Key::from_bytes(bytes)
    }

    #[test]
    fn a_key_is_found_with_its_holder() {
        let rights = Rights::NONE.with(MessageType::Status);
        let hmi = Identity::new("hmi", [key(1), key(2)]).with_rights(rights);
        let keys = Keys::new([hmi, Identity::new("controller", [key(3)])]).expect("in order");
        let found = keys.find(key(2).id()).expect("it is there");
        assert_eq!((found.0, &*found.1.name, found.1.rights), (&key(2), "hmi", rights));
        assert_eq!(keys.find(key(3).id()).expect("it is there").1.rights, Rights::ALL);
        assert!(keys.find(key(4).id()).is_none());
        assert_eq!(keys.calling(), &key(1));
        assert_eq!(Keys::shared(key(7)).calling(), &key(7));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let refused = |identities: Vec<Identity>| Keys::new(identities).err();
        assert_eq!(refused(Vec::new()), Some(BadKeys::None));
        assert_eq!(refused([Identity::new("hmi", [])].into()), Some(BadKeys::NoKey("hmi".into())));
        let twice = [Identity::new("a", [key(1)]), Identity::new("b", [key(2), key(1)])];
        assert_eq!(refused(twice.into()), Some(BadKeys::Twice("a".into(), "b".into())));
        let many = |count| [Identity::new("", (0..count).map(key))].into();
        assert_eq!(refused(many(256)), None);
        assert_eq!(refused(many(257)), Some(BadKeys::TooMany(257)));
    }
}
