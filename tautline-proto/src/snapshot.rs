//! Writes the state of an endpoint as bytes, and reads it back: the marks of a black box, from which a rerun can start.
//!
//! Each type lists its fields once, in [`saved!`] beside its definition, so that a field that is forgotten does not compile.
//! Writing takes no memory: [`Writer`] has its room from the start, and notes when it was too small. Reading believes nothing:
//! the bytes come from a file. Hash tables are not written. They are made anew from what they index.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use core::ops::Range;
use core::time::Duration;

/// Takes the bytes of a state, up to a length that it was made with.
#[derive(Debug)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    is_too_small: bool,
}

impl Writer {
    pub(crate) fn with_room_for(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), is_too_small: false }
    }

    /// Writes one value in place of what was written before. Returns its bytes; `None` if there is too little room.
    pub(crate) fn write(&mut self, save: impl FnOnce(&mut Self)) -> Option<&[u8]> {
        self.bytes.clear();
        self.is_too_small = false;
        save(self);
        (!self.is_too_small).then_some(&self.bytes)
    }

    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if self.bytes.capacity() - self.bytes.len() < bytes.len() {
            self.is_too_small = true;
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }
}

/// The bytes of a state that are still to be read.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}

/// A value that can be written as bytes and read back.
pub(crate) trait Saved: Sized {
    fn save(&self, out: &mut Writer);

    /// Returns `None` if the bytes are none of this type.
    fn load(from: &mut Reader<'_>) -> Option<Self>;

    /// Many values without their number. Bytes are copied at once.
    fn save_all(values: &[Self], out: &mut Writer) {
        values.iter().for_each(|value| value.save(out));
    }
}

/// Reads a whole value from these bytes. `None` if some are left.
pub(crate) fn read<T: Saved>(bytes: &[u8]) -> Option<T> {
    let mut from = Reader(bytes);
    let value = T::load(&mut from)?;
    from.0.is_empty().then_some(value)
}

/// Says how a structure is saved: the fields that are, and after `else` those that begin anew.
macro_rules! saved {
    (
        $type:ident { $($(#[$is_there:meta])* $field:ident),* $(,)? }
        $(else { $($(#[$meta:meta])* $other:ident: $value:expr),+ $(,)? })?
    ) => {
        impl crate::snapshot::Saved for $type {
            fn save(&self, out: &mut crate::snapshot::Writer) {
                let Self { $($(#[$is_there])* $field,)* $($($(#[$meta])* $other: _,)+)? } = self;
                $($(#[$is_there])* crate::snapshot::Saved::save($field, out);)*
            }

            fn load(from: &mut crate::snapshot::Reader<'_>) -> Option<Self> {
                $($(#[$is_there])* let $field = crate::snapshot::Saved::load(from)?;)*
                Some(Self { $($(#[$is_there])* $field,)* $($($(#[$meta])* $other: $value,)+)? })
            }
        }
    };
}
pub(crate) use saved;

/// Says how an enumeration is saved: the number of each variant, and the names of its fields. Others cannot be saved.
macro_rules! saved_variants {
    ($type:ident { $($(#[$is_there:meta])* $number:literal = $variant:ident $(($($field:ident),+))?),+ $(,)? }) => {
        impl crate::snapshot::Saved for $type {
            #[allow(unreachable_patterns)]
            fn save(&self, out: &mut crate::snapshot::Writer) {
                match self {
                    $($(#[$is_there])* Self::$variant $(($($field),+))? => {
                        out.put(&[$number]);
                        $($(crate::snapshot::Saved::save($field, out);)+)?
                    })+
                    _ => out.refuse(),
                }
            }

            fn load(from: &mut crate::snapshot::Reader<'_>) -> Option<Self> {
                Some(match <u8 as crate::snapshot::Saved>::load(from)? {
                    $($(#[$is_there])* $number => Self::$variant $(($({
                        let $field = crate::snapshot::Saved::load(from)?;
                        $field
                    }),+))?,)+
                    _ => return None,
                })
            }
        }
    };
}
pub(crate) use saved_variants;

impl Writer {
    /// What is written cannot be saved.
    pub(crate) const fn refuse(&mut self) {
        self.is_too_small = true;
    }
}

macro_rules! saved_numbers {
    ($($number:ty),+) => {$(
        impl Saved for $number {
            #[inline]
            fn save(&self, out: &mut Writer) {
                out.put(&self.to_le_bytes());
            }

            fn load(from: &mut Reader<'_>) -> Option<Self> {
                from.take(size_of::<Self>())?.try_into().ok().map(Self::from_le_bytes)
            }
        }
    )+};
}
saved_numbers!(u16, u32, u64, i64, u128, f64);

impl Saved for u8 {
    fn save(&self, out: &mut Writer) {
        out.put(&[*self]);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        from.take(1).map(|byte| byte[0])
    }

    fn save_all(values: &[Self], out: &mut Writer) {
        out.put(values);
    }
}

impl Saved for usize {
    fn save(&self, out: &mut Writer) {
        (*self as u64).save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        u64::load(from)?.try_into().ok()
    }
}

impl Saved for bool {
    fn save(&self, out: &mut Writer) {
        u8::from(*self).save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        match u8::load(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Saved for Duration {
    fn save(&self, out: &mut Writer) {
        (self.as_secs(), self.subsec_nanos()).save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let (seconds, nanos) = <(u64, u32)>::load(from)?;
        (nanos < 1_000_000_000).then(|| Self::new(seconds, nanos))
    }
}

impl<T: Saved> Saved for Option<T> {
    fn save(&self, out: &mut Writer) {
        self.is_some().save(out);
        self.iter().for_each(|value| value.save(out));
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        if bool::load(from)? { T::load(from).map(Some) } else { Some(None) }
    }
}

macro_rules! saved_pointers {
    ($($pointer:ident),+) => {$(
        impl<T: Saved> Saved for $pointer<T> {
            fn save(&self, out: &mut Writer) {
                (**self).save(out);
            }

            fn load(from: &mut Reader<'_>) -> Option<Self> {
                T::load(from).map(Self::new)
            }
        }
    )+};
}
saved_pointers!(Box, Arc);

/// Reads how many values follow. Each takes a byte at least, so that the number cannot ask for more memory than there are bytes.
fn load_len(from: &mut Reader<'_>) -> Option<usize> {
    usize::load(from).filter(|&len| len <= from.0.len())
}

impl<T: Saved> Saved for Vec<T> {
    fn save(&self, out: &mut Writer) {
        self.len().save(out);
        T::save_all(self, out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        (0..load_len(from)?).map(|_| T::load(from)).collect()
    }
}

macro_rules! saved_collections {
    ($($collection:ident: $($bound:path),+;)+) => {$(
        impl<T: $($bound +)+> Saved for $collection<T> {
            fn save(&self, out: &mut Writer) {
                self.len().save(out);
                self.iter().for_each(|entry| entry.save(out));
            }

            fn load(from: &mut Reader<'_>) -> Option<Self> {
                (0..load_len(from)?).map(|_| T::load(from)).collect()
            }
        }
    )+};
}
saved_collections! {
    VecDeque: Saved;
    BTreeSet: Saved, Ord;
}

impl<K: Saved + Ord, V: Saved> Saved for BTreeMap<K, V> {
    fn save(&self, out: &mut Writer) {
        self.len().save(out);
        for (key, value) in self {
            key.save(out);
            value.save(out);
        }
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        (0..load_len(from)?).map(|_| Saved::load(from)).collect()
    }
}

impl Saved for String {
    fn save(&self, out: &mut Writer) {
        self.len().save(out);
        out.put(self.as_bytes());
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Self::from_utf8(Vec::load(from)?).ok()
    }
}

impl Saved for Arc<str> {
    fn save(&self, out: &mut Writer) {
        self.len().save(out);
        out.put(self.as_bytes());
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        String::load(from).map(Self::from)
    }
}

impl<T: Saved, const N: usize> Saved for [T; N] {
    fn save(&self, out: &mut Writer) {
        T::save_all(self, out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let values: Option<Vec<T>> = (0..N).map(|_| T::load(from)).collect();
        values?.try_into().ok()
    }
}

impl<A: Saved, B: Saved> Saved for (A, B) {
    fn save(&self, out: &mut Writer) {
        self.0.save(out);
        self.1.save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some((A::load(from)?, B::load(from)?))
    }
}

impl Saved for Range<u64> {
    fn save(&self, out: &mut Writer) {
        (self.start, self.end).save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        <(u64, u64)>::load(from).map(|(start, end)| start..end)
    }
}

impl Saved for IpAddr {
    fn save(&self, out: &mut Writer) {
        match self {
            Self::V4(ip) => (4_u8, ip.to_bits()).save(out),
            Self::V6(ip) => (6_u8, ip.to_bits()).save(out),
        }
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        match u8::load(from)? {
            4 => u32::load(from).map(|bits| Ipv4Addr::from_bits(bits).into()),
            6 => u128::load(from).map(|bits| Ipv6Addr::from_bits(bits).into()),
            _ => None,
        }
    }
}

impl Saved for SocketAddr {
    fn save(&self, out: &mut Writer) {
        (self.ip(), self.port()).save(out);
        if let Self::V6(v6) = self {
            (v6.flowinfo(), v6.scope_id()).save(out);
        }
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        match <(IpAddr, u16)>::load(from)? {
            (IpAddr::V6(ip), port) => {
                let (flow, scope) = Saved::load(from)?;
                Some(SocketAddrV6::new(ip, port, flow, scope).into())
            }
            (ip, port) => Some(Self::new(ip, port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    /// Reads a value of the same type.
    fn read_as<T: Saved>(_: &T, bytes: &[u8]) -> Option<T> {
        read(bytes)
    }

    #[test]
    fn what_was_saved_is_loaded_and_what_was_cut_is_not() {
        let addresses: [SocketAddr; 2] = ["10.0.0.1:5".parse().unwrap(), "[fe80::1%3]:7".parse().unwrap()];
        let value = (
            (vec![Some(String::from("a")), None], BTreeMap::from([(7_u32, addresses)])),
            (Duration::from_nanos(1_500_000_001), (VecDeque::from([1.5_f64]), 3..9_u64)),
        );
        let mut writer = Writer::with_room_for(1000);
        let bytes = writer.write(|out| value.save(out)).expect("there is room").to_vec();
        assert_eq!(read(&bytes), Some(value.clone()));
        for cut in 0..bytes.len() {
            assert_eq!(read_as(&value, &bytes[..cut]), None, "{cut} bytes");
        }
        let mut small = Writer::with_room_for(8);
        assert_eq!(small.write(|out| value.save(out)), None);
    }

    #[test]
    fn a_length_that_the_bytes_cannot_have_is_refused() {
        assert_eq!(read::<Vec<u64>>(&u64::MAX.to_le_bytes()), None);
    }
}
